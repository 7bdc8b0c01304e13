"""Records what PyTorch's bilinear layer gives in float64: outputs, and gradients of sum(w * y), w = cos(1, 2, 3 …).

Run by hand, where torch is installed: python tests/recorded/record_bilinear.py
Keys of the file: `<case>/a`, `<case>/b` (the inputs), `<case>/y`, `<case>/kernel`, `<case>/bias`, and
`<case>/grad/<name>` for the gradient along each. PyTorch's weight has the units' axis first, the kernel has it last.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

CASES = {
    "rows": (nn.Bilinear(3, 2, 4), (5,)),
    "steps": (nn.Bilinear(3, 2, 4), (2, 3)),
    "no_bias": (nn.Bilinear(1, 5, 2, bias=False), (4,)),
}


def record(layer, leading):
    rng = np.random.default_rng(0)
    layer = layer.double()
    a, b = (
        torch.tensor(rng.standard_normal((*leading, n)), requires_grad=True)
        for n in (layer.in1_features, layer.in2_features)
    )
    for weight in layer.parameters():
        weight.data = torch.tensor(rng.standard_normal(weight.shape))
    y = layer(a, b)
    (torch.cos(torch.arange(1, y.numel() + 1, dtype=y.dtype)).reshape(y.shape) * y).sum().backward()
    leaves = {"a": a, "b": b, **{{"weight": "kernel"}.get(n, n): w for n, w in layer.named_parameters()}}
    found = {"y": y.detach().numpy()}
    for name, leaf in leaves.items():
        last = (lambda array: np.moveaxis(array, 0, -1)) if name == "kernel" else np.asarray
        found |= {name: last(leaf.detach().numpy()), f"grad/{name}": last(leaf.grad.numpy())}
    return found


def main():
    found = {f"{case}/{key}": a for case, given in CASES.items() for key, a in record(*given).items()}
    np.savez_compressed(Path(__file__).with_name("bilinear.npz"), **found)


if __name__ == "__main__":
    main()
