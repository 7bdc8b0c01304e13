"""Records what PyTorch's normalisation within examples, and of kernels, gives in float64.

Run by hand, where torch is installed: python tests/recorded/record_norms.py
Keys of the file: `<case>/x`, `<case>/y`, `<case>/grad/x`, the gradient of sum(w * y), w = cos(1, 2, 3 …); for each
weight, `<case>/params/<name>` and `<case>/grad/<name>`, in PyTorch's layout; for spectral norm the vector before and
after, `<case>/u` and `<case>/moved`. Channels are first.
"""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils import spectral_norm, weight_norm

warnings.simplefilter("ignore")
PICTURES, ROWS, STEPS = (2, 6, 3, 4), (4, 5), (3, 4, 5)

CASES = {
    "layer_norm": (nn.LayerNorm(5, eps=1e-3), ROWS),
    "layer_norm_of_all": (nn.LayerNorm((6, 3, 4), eps=1e-5), PICTURES),
    "rms_norm": (nn.RMSNorm(5, eps=1e-6), STEPS),
    "group_norm": (nn.GroupNorm(3, 6, eps=1e-3), PICTURES),
    "group_norm_of_one": (nn.GroupNorm(1, 6, eps=1e-3), PICTURES),
    "group_norm_of_vectors": (nn.GroupNorm(2, 6, eps=1e-3), (4, 6)),
    "instance_norm": (nn.InstanceNorm2d(6, eps=1e-3, affine=True), PICTURES),
    "weight_norm": (weight_norm(nn.Linear(5, 3)), ROWS),
    "weight_norm_whole": (weight_norm(nn.Linear(5, 3), dim=None), ROWS),
    "weight_norm_conv": (weight_norm(nn.Conv2d(6, 2, (2, 3))), PICTURES),
    "spectral_norm": (spectral_norm(nn.Linear(5, 3)), ROWS),
    "spectral_norm_conv": (spectral_norm(nn.Conv2d(6, 2, (2, 3)), n_power_iterations=3), PICTURES),
}


def record(layer, shape):
    rng = np.random.default_rng(0)
    layer = layer.double()
    x = torch.tensor(rng.standard_normal(shape), requires_grad=True)
    found = {"x": x.detach().numpy()}
    for name, weight in layer.named_parameters():
        weight.data = torch.tensor(rng.standard_normal(weight.shape))
        found[f"params/{name}"] = weight.detach().numpy().copy()
    if hasattr(layer, "weight_u"):
        found["u"] = layer.weight_u.numpy().copy()
    y = layer(x)
    if hasattr(layer, "weight_u"):
        found["moved"] = layer.weight_u.numpy().copy()
    found["y"] = y.detach().numpy()
    (torch.cos(torch.arange(1, y.numel() + 1, dtype=y.dtype)).reshape(y.shape) * y).sum().backward()
    found["grad/x"] = x.grad.numpy()
    return found | {f"grad/{name}": weight.grad.numpy() for name, weight in layer.named_parameters()}


def main():
    torch.manual_seed(0)
    found = {f"{case}/{key}": a for case, given in CASES.items() for key, a in record(*given).items()}
    np.savez_compressed(Path(__file__).with_name("norms.npz"), **found)


if __name__ == "__main__":
    main()
