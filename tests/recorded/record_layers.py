"""Records what PyTorch's layers give in float64: outputs, and gradients of sum(w * y), w = cos(1, 2, 3 …).

Run by hand, where torch is installed: python tests/recorded/record_layers.py
Keys of the file: `<case>/x`, `<case>/y`, `<case>/grad/x`, and for each weight, named and shaped as kjax has it
(a kernel's last axes are inputs, outputs), `<case>/params/<name>` and `<case>/grad/<name>`; batch normalisation has
`<case>/state/<name>` and `<case>/moved/<name>` too. Pictures are channels first.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

torch.manual_seed(0)
PICTURES, ROWS, MANY = (2, 2, 7, 7), (4, 5), (3, 2, 5)

CASES = {
    "dense": (nn.Linear(5, 3), ROWS),
    "dense_many_axes": (nn.Linear(5, 3, bias=False), MANY),
    "conv": (nn.Conv2d(2, 3, (3, 2)), PICTURES),
    "conv_one_channel": (nn.Conv2d(1, 3, 3), (2, 1, 7, 6)),
    "conv_pointwise": (nn.Conv2d(2, 3, 1), PICTURES),
    "conv_strided": (nn.Conv2d(2, 3, 3, stride=(2, 3)), PICTURES),
    "conv_same": (nn.Conv2d(2, 3, (3, 5), padding="same"), PICTURES),
    "conv_dilated": (nn.Conv2d(2, 3, 3, dilation=(2, 3)), PICTURES),
    "conv_dilated_same": (nn.Conv2d(2, 3, 3, dilation=2, padding="same", bias=False), PICTURES),
    "max_pooling": (nn.MaxPool2d(2), PICTURES),
    "max_pooling_overlapping": (nn.MaxPool2d((3, 2), stride=(2, 1)), PICTURES),
    "average_pooling": (nn.AvgPool2d(2), PICTURES),
    "average_pooling_overlapping": (nn.AvgPool2d((3, 2), stride=(2, 1)), PICTURES),
    # A window over the edge: PyTorch's edge is of zeros that do not count, as Keras's 'same' is.
    "average_pooling_edge": (nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False), PICTURES),
    "max_pooling_edge": (nn.MaxPool2d(3, stride=1, padding=1), PICTURES),
    "global_max_pooling": (nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()), PICTURES),
    "global_average_pooling": (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), PICTURES),
    "zero_padding": (nn.ZeroPad2d((1, 2, 3, 0)), PICTURES),
    "flatten": (nn.Flatten(), PICTURES),
    "batch_norm": (nn.BatchNorm1d(5, eps=1e-3, momentum=0.01), ROWS),
    "batch_norm_pictures": (nn.BatchNorm2d(2, eps=1e-3, momentum=0.2), PICTURES),
    "batch_norm_inference": (nn.BatchNorm2d(2, eps=1e-3).eval(), PICTURES),
}


def as_kjax_has_it(layer, name, array):
    """A weight's name and array in kjax's layout: PyTorch's kernels have their outputs first."""
    if name == "bias":
        return ("beta" if "Norm" in type(layer).__name__ else "bias"), array
    if "Norm" in type(layer).__name__:
        return "gamma", array
    return "kernel", np.moveaxis(array, (0, 1), (-1, -2))


def record(layer, shape):
    rng = np.random.default_rng(0)
    layer = layer.double()
    x = torch.tensor(rng.standard_normal(shape), requires_grad=True)
    found = {"x": x.detach().numpy()}
    for weight in layer.parameters():
        weight.data = torch.tensor(rng.standard_normal(weight.shape))
    if "Norm" in type(layer).__name__:
        layer.running_mean = torch.tensor(rng.standard_normal(layer.running_mean.shape))
        layer.running_var = torch.tensor(0.5 + rng.random(layer.running_var.shape))
        found |= {"state/moving_mean": layer.running_mean.numpy().copy()}
        found |= {"state/moving_variance": layer.running_var.numpy().copy()}
    y = layer(x)
    if "Norm" in type(layer).__name__ and layer.training:
        found |= {"moved/moving_mean": layer.running_mean.numpy().copy()}
        found |= {"moved/moving_variance": layer.running_var.numpy().copy()}
    found["y"] = y.detach().numpy()
    (torch.cos(torch.arange(1, y.numel() + 1, dtype=y.dtype)).reshape(y.shape) * y).sum().backward()
    found["grad/x"] = x.grad.numpy()
    for name, weight in layer.named_parameters():
        name, value = as_kjax_has_it(layer, name, weight.detach().numpy())
        found[f"params/{name}"] = value
        found[f"grad/{name}"] = as_kjax_has_it(layer, name if name == "bias" else "weight", weight.grad.numpy())[1]
    return found


def main():
    found = {f"{case}/{key}": a for case, given in CASES.items() for key, a in record(*given).items()}
    np.savez_compressed(Path(__file__).with_name("layers.npz"), **found)


if __name__ == "__main__":
    main()
