"""Records what PyTorch's attention gives in float64: outputs, and gradients of sum(w * y), w = cos(1, 2, 3 …).

Run by hand, where torch is installed: python tests/recorded/record_attention.py
Keys of the file: `<case>/query`, `<case>/key`, `<case>/value`, `<case>/y`, `<case>/mask` (True may be seen),
`<case>/grad/query` …, and for multi-head attention `<case>/params/<projection>/<kernel or bias>` and their gradients,
as kjax has them.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

HEADS, SIZE = 2, 3
rng = np.random.default_rng(0)


def tensor(*shape):
    return torch.tensor(rng.standard_normal(shape), requires_grad=True)


def loss(y):
    return (torch.cos(torch.arange(1, y.numel() + 1, dtype=y.dtype)).reshape(y.shape) * y).sum()


def arrays(given, y, mask):
    loss(y).backward()
    found = {"y": y.detach().numpy(), **{name: a.detach().numpy() for name, a in given.items()}}
    return found | {f"grad/{name}": a.grad.numpy() for name, a in given.items()} | {"mask": mask.numpy()}


def scaled_dot_product():
    """Two heads of queries for each of keys; (batch, heads, time, size)."""
    given = {"query": tensor(2, 4, 5, 3), "key": tensor(2, 2, 6, 3), "value": tensor(2, 2, 6, 4)}
    mask = torch.tensor(rng.random((2, 4, 5, 6)) < 0.6)
    mask[..., 0] = True
    return arrays(given, nn.functional.scaled_dot_product_attention(*given.values(), mask, enable_gqa=True), mask)


def causal():
    given = {"query": tensor(2, 2, 5, 3), "key": tensor(2, 2, 5, 3), "value": tensor(2, 2, 5, 3)}
    y = nn.functional.scaled_dot_product_attention(*given.values(), is_causal=True)
    return arrays(given, y, torch.ones(5, 5).tril().bool())


def projection(weight, bias, out=False):
    """PyTorch's (outputs, inputs) as (inputs, heads, size), or for the output as (heads, size, outputs)."""
    kernel = weight.T.reshape(HEADS, SIZE, -1) if out else weight.T.reshape(-1, HEADS, SIZE)
    return {"kernel": kernel, "bias": bias if out else bias.reshape(HEADS, SIZE)}


def projections(weights):
    ins, bias, out, out_bias = weights
    names = ("query", "key", "value")
    found = {n: projection(w, b) for n, w, b in zip(names, np.split(ins, 3), np.split(bias, 3), strict=True)}
    found["attention_output"] = projection(out, out_bias, out=True)
    return {f"{n}/{part}": a for n, own in found.items() for part, a in own.items()}


def multi_head():
    layer = nn.MultiheadAttention(HEADS * SIZE, HEADS, batch_first=True).double()
    weights = [layer.in_proj_weight, layer.in_proj_bias, layer.out_proj.weight, layer.out_proj.bias]
    for weight in weights:
        weight.data = torch.tensor(rng.standard_normal(weight.shape))
    given = {name: tensor(3, length, HEADS * SIZE) for name, length in (("query", 4), ("key", 5), ("value", 5))}
    mask = torch.tensor(np.arange(5) < np.array([[5], [3], [4]]))  # of the keys
    y, _ = layer(*given.values(), key_padding_mask=~mask)
    found = arrays(given, y, mask)
    found |= {f"params/{n}": a for n, a in projections([w.detach().numpy() for w in weights]).items()}
    return found | {f"grad/{n}": a for n, a in projections([w.grad.numpy() for w in weights]).items()}


def main():
    cases = {"scaled_dot_product": scaled_dot_product(), "causal": causal(), "multi_head": multi_head()}
    found = {f"{case}/{key}": a for case, own in cases.items() for key, a in own.items()}
    np.savez_compressed(Path(__file__).with_name("attention.npz"), **found)


if __name__ == "__main__":
    main()
