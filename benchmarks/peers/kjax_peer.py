"""kjax as its users write it: `Sequential`, `compile`, `fit` on arrays in memory."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import kjax
from benchmarks.peers import kjax_layers
from benchmarks.peers.placing import on_accelerator
from benchmarks.spec import walk
from benchmarks.workloads import BETA_1, BETA_2, EPSILON, LEARNING_RATE, Workload
from kjax import losses, optim

PRECISIONS = {"float32": None, "bfloat16": "mixed_bfloat16"}


class Peer:
    def __init__(self, workload: Workload):
        self.batch = workload.batch
        self.model = kjax.Sequential(network(workload), seed=0)
        adam = optim.Adam(LEARNING_RATE, BETA_1, BETA_2, EPSILON)
        self.model.compile(adam, loss(workload), precision=PRECISIONS[workload.precision])
        state = self.model.state
        weights = jax.tree.map(jnp.asarray, kjax_layers.renamed(workload.weights()))
        self.model.load_state(state.replace(params=weights))

    def prepare(self, x: np.ndarray, y: np.ndarray) -> Any:
        return on_accelerator(x, y)

    def epoch(self, data: Any, shuffle: bool = True) -> float:
        return self.model.fit(*data, batch_size=self.batch, verbose=0, shuffle=shuffle).history["loss"][-1]

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.model.predict(x, verbose=0)

    def train_on_batch(self, x: np.ndarray, y: np.ndarray) -> float:
        return self.model.train_on_batch(x, y)


def loss(workload: Workload) -> Any:
    kind = losses.BinaryCrossentropy if workload.classes == 1 else losses.SparseCategoricalCrossentropy
    return kind(from_logits=True)


def network(workload: Workload) -> list[Any]:
    rows = walk(workload.spec, workload.shape)
    first, *rest = [
        kjax_layers.made(kind, arguments, shape).replace(name=name) for name, (kind, *arguments), shape, _ in rows
    ]
    return [first.replace(input_shape=workload.shape), *rest]
