"""Rows of `kjax.nn.merging`."""

import jax
import jax.numpy as jnp
from case import Case

from kjax import layers, nn

TWO = ((3, 4), (3, 4))
SPREAD = ((2, 4), (2, 3, 4), (2, 1, 4))
ROWS = [
    Case(nn.Add(), SPREAD, lambda k: k.Add()),
    Case(nn.Subtract(), TWO, lambda k: k.Subtract()),
    Case(nn.Multiply(), SPREAD, lambda k: k.Multiply()),
    Case(nn.Average(), ((3, 4), (3, 4), (3, 4)), lambda k: k.Average()),
    Case(nn.Maximum(), ((3, 4), (3, 4), (3, 4)), lambda k: k.Maximum()),
    Case(nn.Minimum(), TWO, lambda k: k.Minimum()),
    Case(nn.Concatenate(), ((2, 3, 1), (2, 3, 2), (2, 3, 4)), lambda k: k.Concatenate()),
    Case(nn.Dot(axes=(2, 1), normalize=True), ((2, 3, 4), (2, 4, 5)), lambda k: k.Dot(axes=(2, 1), normalize=True)),
]  # fmt: skip


def call(layer, *shapes):
    return layer.init(jax.random.key(0), tuple(jnp.ones(shape) for shape in shapes))


A, B = nn.Input(shape=(4,), name="a"), nn.Input(shape=(3,), name="b")
MISTAKES = {
    "adding one input": (lambda: call(nn.Add(), (2, 3)), ["Add()", "two or more inputs, layer([a, b]), not of 1", "(2, 3)"]),
    "adding what is no list": (lambda: nn.Add().init(jax.random.key(0), jnp.ones((2, 3))), ["two or more inputs", "(2, 3)"]),
    "subtracting three inputs": (lambda: call(nn.Subtract(), (2, 3), (2, 3), (2, 3)), ["Subtract()", "takes a list of 2 inputs", "not of 3"]),
    "adding other shapes": (lambda: call(nn.Add(), (2, 3, 4), (2, 5, 4)), ["axis 1 differs", "shapes (2, 3, 4), (2, 5, 4)"]),
    "adding nodes of other shapes": (lambda: layers.add([A, B]), ["add", "axis 1 differs", "(1, 4), (1, 3)"]),
    "multiplying other batches": (lambda: call(nn.Multiply(), (2, 3), (1, 3)), ["one batch size (axis 0)", "(2, 3), (1, 3)"]),
    "concatenating examples": (lambda: nn.Concatenate(axis=0), ["Concatenate: axis", "batch axis 0"]),
    "concatenating along axis 1.0": (lambda: nn.Concatenate(axis=1.0), ["Concatenate: axis is an integer", "1.0"]),
    "concatenating other shapes": (lambda: call(nn.Concatenate(axis=1), (2, 3, 4), (2, 3, 5)), ["along axis 1", "axis 2 differs", "(2, 3, 4), (2, 3, 5)"]),
    "concatenating other ranks": (lambda: call(nn.Concatenate(), (2, 3), (2, 3, 5)), ["of one rank", "(2, 3), (2, 3, 5)"]),
    "concatenating beyond the rank": (lambda: call(nn.Concatenate(axis=-3), (2, 3, 4), (2, 3, 4)), ["axis -3", "not the batch axis"]),
    "concatenating one node": (lambda: layers.concatenate([A]), ["two or more inputs", "not of 1"]),
    "a dot over the batch": (lambda: nn.Dot(axes=(0, 1)), ["Dot: axes", "batch axis 0", "(0, 1)"]),
    "a dot over three axes": (lambda: nn.Dot(axes=(1, 2, 3)), ["one integer or two", "(1, 2, 3)"]),
    "a dot without axes": (lambda: nn.Dot(), ["Dot is missing", "'axes'"]),
    "a dot over an axis that is not there": (lambda: call(nn.Dot(axes=2), (2, 3, 4), (2, 4)), ["axis 2 of input 2", "(2, 3, 4), (2, 4)"]),
    "a dot over other sizes": (lambda: call(nn.Dot(axes=1), (2, 3), (2, 4)), ["sizes differ: 3 and 4", "(2, 3), (2, 4)"]),
    "a dot of three inputs": (lambda: call(nn.Dot(axes=1), (2, 3), (2, 3), (2, 3)), ["takes a list of 2 inputs"]),
}  # fmt: skip
