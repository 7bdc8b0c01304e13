"""PyTorch as its users write it: a module, a loop over shuffled batches, Adam in its fused form.

Indexing by a permutation is used in place of a `DataLoader`, which collates row by row and is slower.
"""

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks.peers import torch_layers
from benchmarks.peers.channels import images
from benchmarks.workloads import BETA_1, BETA_2, EPSILON, LEARNING_RATE, Workload

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.set_float32_matmul_precision("high" if DEVICE.type == "cuda" else "highest")  # TF32 there, as JAX does


class Peer:
    def __init__(self, workload: Workload, compiled: bool = False):
        torch.manual_seed(0)
        self.workload = workload
        model = torch_layers.network(workload).to(DEVICE)
        self.optimizer = torch.optim.Adam(
            model.parameters(), lr=LEARNING_RATE, betas=(BETA_1, BETA_2), eps=EPSILON, fused=True
        )
        self.model = torch.compile(model) if compiled else model

    def prepare(self, x: np.ndarray, y: np.ndarray) -> Any:
        x = torch.from_numpy(images(x)).to(DEVICE)
        y = torch.from_numpy(y if self.workload.classes == 1 else y.astype(np.int64)).to(DEVICE)
        return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x, y

    def epoch(self, data: Any, shuffle: bool = True) -> float:
        x, y = data
        self.model.train()
        order = torch.randperm(len(x), device=DEVICE) if shuffle else torch.arange(len(x), device=DEVICE)
        losses = [self.step(x[rows], y[rows]) for rows in order.split(self.workload.batch)]
        return torch.stack(losses).mean().item()

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.optimizer.zero_grad()
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=self.workload.precision == "bfloat16"):
            logits = self.model(x)
        loss = self.loss(logits.float(), y)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def loss(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if self.workload.classes == 1:
            return functional.binary_cross_entropy_with_logits(logits, y)
        return functional.cross_entropy(logits.flatten(0, -2), y.flatten())

    def predict(self, x: np.ndarray) -> np.ndarray:
        self.model.eval()
        with torch.inference_mode():
            return self.model(torch.from_numpy(images(x)).to(DEVICE)).cpu().numpy()

    def train_on_batch(self, x: np.ndarray, y: np.ndarray) -> float:
        self.model.train()
        return self.step(*self.prepare(x, y)).item()
