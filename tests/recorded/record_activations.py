"""Records what PyTorch's activations give: values, slopes and curvatures in float64.

Run by hand, where torch is installed: python tests/recorded/record_activations.py
Keys of the file: `x`, then `<name>/value`, `<name>/slope` and `<name>/curvature`, where slope is the gradient
of sum(w * f(x)), w = cos(1, 2, 3 …), and curvature that of sum(w * slope).
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

FUNCTIONS = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exponential": torch.exp,
    "softmax": lambda x: F.softmax(x, dim=-1),
    "log_softmax": lambda x: F.log_softmax(x, dim=-1),
    "softplus": lambda x: F.softplus(x, threshold=1e9),
    "softsign": F.softsign,
    "elu": F.elu,
    "selu": F.selu,
    "celu": F.celu,
    "celu_2": lambda x: F.celu(x, 2.0),
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "hard_silu": F.hardswish,
    "mish": F.mish,
    "glu": lambda x: F.glu(x, dim=-1),
    "log_sigmoid": F.logsigmoid,
    "hard_tanh": F.hardtanh,
    "tanh_shrink": F.tanhshrink,
    "hard_shrink": F.hardshrink,
    "soft_shrink": F.softshrink,
    "threshold": lambda x: F.threshold(x, 0.7, -2.0),
}


def weights(y):
    return torch.cos(torch.arange(1, y.numel() + 1, dtype=y.dtype)).reshape(y.shape)


def derivative(y, x):
    """The gradient of sum(w * y); zeros where y does not depend on x."""
    if not y.requires_grad:
        return torch.zeros_like(x)
    (g,) = torch.autograd.grad((weights(y) * y).sum(), x, create_graph=True, allow_unused=True)
    return torch.zeros_like(x) if g is None else g


def record(f, x):
    x = torch.tensor(x, requires_grad=True)
    value = f(x)
    slope = derivative(value, x)
    curvature = derivative(slope, x)
    return {"value": value, "slope": slope, "curvature": curvature}


def main():
    x = np.random.default_rng(0).normal(scale=3.0, size=(6, 8))
    arrays = {"x": x}
    for name, f in FUNCTIONS.items():
        for kind, array in record(f, x).items():
            arrays[f"{name}/{kind}"] = array.detach().numpy()
    np.savez_compressed(Path(__file__).with_name("activations.npz"), **arrays)


if __name__ == "__main__":
    main()
