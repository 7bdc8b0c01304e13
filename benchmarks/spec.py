"""Networks as data: a list of layers, each a tuple of its kind and its arguments.

One list describes a network to every peer; each peer builds from it what its own users would write. The kinds:

    ("dense", units, activation)                    activation: "relu" or None
    ("conv", filters, padding, activation)          3x3, stride 1, channels last
    ("pool",)                                       maximum of 2x2
    ("dropout", rate)
    ("flatten",)
    ("stem", filters)                               3x3 convolution, batch norm, relu
    ("block", filters, stride)                      a residual block of two 3x3 convolutions with batch norm
    ("average",)                                    over rows and columns
    ("embedding", rows, width)
    ("positions", length)                           adds a learned vector to each place
    ("lstm", units)                                 gives its last output
    ("decoder", heads)                              causal self-attention and a gelu MLP, each behind a layer norm
    ("layernorm",)
"""

import dataclasses
import math
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

Spec = tuple[tuple[Any, ...], ...]
Shape = tuple[int, ...]
Weights = dict[str, dict[str, np.ndarray]]
"""By layer, then by name: kernels are (in, out) or (rows, columns, in, out)."""


@dataclasses.dataclass(frozen=True)
class Built:
    """What a layer makes of an input's shape: its weights, its output, the products it multiplies for one example."""

    weights: dict[str, Shape]
    output: Shape
    products: int = 0


def walk(spec: Spec, shape: Shape) -> Iterator[tuple[str, tuple[Any, ...], Shape, Built]]:
    """For each layer: its name, itself, its input's shape (without the batch axis), what it makes of that."""
    for i, layer in enumerate(spec):
        built = KINDS[layer[0]](shape, *layer[1:])
        yield f"{i}_{layer[0]}", layer, shape, built
        shape = built.output


def first_weights(spec: Spec, shape: Shape) -> Weights:
    """The same weights for every peer."""
    shapes = {name: built.weights for name, _, _, built in walk(spec, shape) if built.weights}
    return {layer: {name: draw(layer, name, s) for name, s in own.items()} for layer, own in shapes.items()}


def draw(layer: str, name: str, shape: Shape) -> np.ndarray:
    """Ones for scales, zeros for biases, Glorot's uniform numbers for kernels."""
    if not name.startswith("kernel"):
        return (np.ones if name.startswith("gamma") else np.zeros)(shape, np.float32)
    generator = np.random.default_rng(zlib.crc32(f"{layer}/{name}".encode()))
    limit = math.sqrt(6 / (math.prod(shape[:-2]) * (shape[-2] + shape[-1])))
    return generator.uniform(-limit, limit, shape).astype(np.float32)


def count(weights: Weights) -> int:
    """How many numbers the weights hold."""
    return sum(a.size for layer in weights.values() for a in layer.values())


def step_flops(spec: Spec, shape: Shape, batch: int) -> float:
    """Floating-point operations of the matrix products and convolutions of one training step.

    Forward, the gradient of the weights, the gradient of the input; the first layer that multiplies needs no last one.
    """
    products = [built.products for _, _, _, built in walk(spec, shape) if built.products]
    learned_input = any(layer[0] == "embedding" for layer in spec)
    return 2.0 * batch * (3 * sum(products) - (0 if learned_input else products[0]))


def without_dropout(spec: Spec) -> Spec:
    """The same layers, dropping nothing."""
    return tuple(("dropout", 0.0) if layer[0] == "dropout" else layer for layer in spec)


def dense(shape: Shape, units: int, activation: str | None) -> Built:
    weights = {"kernel": (shape[-1], units), "bias": (units,)}
    return Built(weights, (*shape[:-1], units), math.prod(shape) * units)


def conv(shape: Shape, filters: int, padding: str, activation: str | None) -> Built:
    rows, columns = shape[:2] if padding == "same" else (shape[0] - 2, shape[1] - 2)
    weights = {"kernel": (3, 3, shape[2], filters), "bias": (filters,)}
    return Built(weights, (rows, columns, filters), rows * columns * 9 * shape[2] * filters)


def pool(shape: Shape) -> Built:
    return Built({}, (shape[0] // 2, shape[1] // 2, shape[2]))


def dropout(shape: Shape, rate: float) -> Built:
    return Built({}, shape)


def flatten(shape: Shape) -> Built:
    return Built({}, (math.prod(shape),))


def stem(shape: Shape, filters: int) -> Built:
    weights = normed("", (3, 3, shape[2], filters))
    return Built(weights, (*shape[:2], filters), math.prod(shape) * 9 * filters)


def block(shape: Shape, filters: int, stride: int) -> Built:
    weights = normed("1", (3, 3, shape[2], filters)) | normed("2", (3, 3, filters, filters))
    rows, columns = shape[0] // stride, shape[1] // stride
    products = 9 * (shape[2] + filters)
    if needs_projection(shape, filters, stride):
        weights |= normed("3", (1, 1, shape[2], filters))
        products += shape[2]
    return Built(weights, (rows, columns, filters), rows * columns * products * filters)


def needs_projection(shape: Shape, filters: int, stride: int) -> bool:
    """Whether a residual block's input has another shape than its output."""
    return stride > 1 or shape[2] != filters


def normed(number: str, kernel: Shape) -> dict[str, Shape]:
    """A convolution without a bias, and the batch norm behind it."""
    return {f"kernel{number}": kernel, f"gamma{number}": kernel[-1:], f"beta{number}": kernel[-1:]}


def average(shape: Shape) -> Built:
    return Built({}, shape[-1:])


def embedding(shape: Shape, rows: int, width: int) -> Built:
    return Built({"kernel": (rows, width)}, (*shape, width))


def positions(shape: Shape, length: int) -> Built:
    return Built({"kernel": (length, shape[-1])}, shape)


def lstm(shape: Shape, units: int) -> Built:
    weights = {"kernel": (shape[-1], 4 * units), "kernel_recurrent": (units, 4 * units), "bias": (4 * units,)}
    return Built(weights, (units,), shape[0] * 4 * units * (shape[-1] + units))


def decoder(shape: Shape, heads: int) -> Built:
    length, width = shape
    kernels = {"qkv": (width, 3 * width), "out": (width, width), "up": (width, 4 * width), "down": (4 * width, width)}
    weights = {"gamma1": (width,), "beta1": (width,), "gamma2": (width,), "beta2": (width,)}
    for name, kernel in kernels.items():
        weights |= {f"kernel_{name}": kernel, f"bias_{name}": kernel[1:]}
    return Built(weights, shape, length * 12 * width**2 + 2 * length**2 * width)


def layernorm(shape: Shape) -> Built:
    return Built({"gamma": shape[-1:], "beta": shape[-1:]}, shape)


KINDS = {f.__name__: f for f in (dense, conv, pool, dropout, flatten, stem, block, average)}
KINDS |= {f.__name__: f for f in (embedding, positions, lstm, decoder, layernorm)}
