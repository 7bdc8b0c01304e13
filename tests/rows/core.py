"""Rows of `kjax.nn.core` and the containers."""

import jax
import jax.numpy as jnp
from case import OPTIONS, Case

from kjax import nn


def double(x):
    return x * 2.0


def plus(x, by=0.0):
    return x + by


def _keras_model(k):
    import keras

    return keras.Sequential([k.Conv2D(2, 3, activation="tanh"), k.Flatten(), k.Dense(3), k.Dense(2)])


def _keras_bilinear(k):
    """Keras has no such layer: the outer product of the inputs, flat, through a dense layer."""
    import keras

    a, b = keras.Input((3,)), keras.Input((2,))
    return keras.Model(
        [a, b], k.Dense(2, "tanh")(k.Flatten()(k.Dot(axes=2)([k.Reshape((3, 1))(a), k.Reshape((2, 1))(b)])))
    )


def _flat_kernel(weights):
    kernel, bias = weights
    return [kernel.reshape(-1, kernel.shape[-1]), bias]


def init(layer, *shapes):
    x = tuple(jnp.ones(shape) for shape in shapes)
    return layer.init(jax.random.key(0), x if len(x) > 1 else x[0])


def apply(layer, built, x):
    return layer.apply(*init(layer, *built), x)


ROWS = [
    Case(nn.Dense(3), (4, 5), lambda k: k.Dense(3)),
    Case(nn.Dense(3, "tanh", use_bias=False), (4, 2, 5), lambda k: k.Dense(3, "tanh", use_bias=False)),
    Case(nn.Dense(2, activation="softmax", **OPTIONS), (4, 5), lambda k: k.Dense(2, activation="softmax")),
    Case(nn.Activation("tanh"), (4, 5), lambda k: k.Activation("tanh")),
    Case(nn.Activation("softplus"), (4, 2, 5), lambda k: k.Activation("softplus")),
    Case(nn.Flatten(), (4, 2, 3, 5), lambda k: k.Flatten()),
    Case(nn.Flatten(data_format="channels_first"), (4, 2, 3, 5), lambda k: k.Flatten(data_format="channels_first")),
    Case(nn.Flatten(), (4,), lambda k: k.Flatten()),
    Case(nn.Reshape((3, 4)), (2, 12), lambda k: k.Reshape((3, 4))),
    Case(nn.Reshape((-1, 2)), (2, 3, 4), lambda k: k.Reshape((-1, 2))),
    Case(nn.Permute((2, 1)), (2, 3, 4), lambda k: k.Permute((2, 1))),
    Case(nn.Permute((3, 1, 2)), (2, 3, 4, 5), lambda k: k.Permute((3, 1, 2))),
    Case(nn.RepeatVector(3), (2, 4), lambda k: k.RepeatVector(3)),
    Case(nn.Lambda(double), (2, 4), formula=lambda x: 2 * x),
    Case(nn.Lambda(plus, output_shape=(4,), arguments={"by": 1.5}), (2, 4), formula=lambda x: x + 1.5),
    Case(nn.Embedding(7, 3), (4, 5), lambda k: k.Embedding(7, 3), integers=7),
    Case(nn.Embedding(7, 3, "he_normal", "l2", "l1", "max_norm", mask_zero=True, input_length=5), (4, 5),
         lambda k: k.Embedding(7, 3, mask_zero=True), integers=7),
    Case(nn.Identity(), (2, 3), lambda k: k.Identity()),
    Case(nn.Masking(0.5), (2, 3, 4), lambda k: k.Masking(0.5)),
    Case(nn.EinsumDense("abc,cde->abde", (None, 2, 3), "tanh", "d", **OPTIONS), (2, 3, 4), lambda k: k.EinsumDense("abc,cde->abde", (None, 2, 3), "tanh", "d")),
    Case(nn.Bilinear(2, "tanh", bias_initializer="ones"), ((4, 3), (4, 2)), _keras_bilinear, to_keras=_flat_kernel),
    Case(nn.Serial([nn.Conv2D(2, 3, activation="tanh"), nn.Flatten(), nn.Serial([nn.Dense(3), nn.Dense(2)], name="head")]), (2, 5, 5, 1),
         lambda k: _keras_model(k)),
]  # fmt: skip

MISTAKES = {
    "embeddings that are given": (lambda: nn.Embedding(3, 2, weights=[jnp.ones((3, 2))]), ["Embedding has no argument 'weights'", "set_weights"]),
    "an embedding of size zero": (lambda: nn.Embedding(0, 2), ["Embedding: input_dim", "got 0"]),
    "an embedding of a half": (lambda: nn.Embedding(3, 2.5), ["Embedding: output_dim", "2.5"]),
    "a misspelt regularizer of embeddings": (lambda: nn.Embedding(3, 2, embedding_regularizer="l2"), ["Did you mean 'embeddings_regularizer'?"]),
    "a mask value of text": (lambda: nn.Masking("0"), ["Masking: mask_value must be a number", "'0'"]),
    "masking without features": (lambda: init(nn.Masking(), (2,)), ["Masking()", "rank 2 or more, (batch, time, …, features)", "(2,)"]),
    "an equation without an arrow": (lambda: nn.EinsumDense("ab,bc", 3), ["EinsumDense: the equation must read 'ab,bc->ac'", "'ab,bc'"]),
    "an equation that is no text": (lambda: nn.EinsumDense(3, 3), ["the equation must read", "got 3"]),
    "an ellipsis on one side": (lambda: nn.EinsumDense("...b,bc->bc", (3, 3)), ["'...' at the left or the right of both"]),
    "an ellipsis on both sides": (lambda: nn.EinsumDense("...b...,bc->...c...", 3), ["'...' at the left or the right of both"]),
    "a letter twice": (lambda: nn.EinsumDense("aab,bc->ac", 3), ["a letter twice in 'aab'"]),
    "an output from nowhere": (lambda: nn.EinsumDense("ab,bc->ad", 3), ["'d' in its output only"]),
    "a kernel's own letter": (lambda: nn.EinsumDense("ab,bcd->ac", 3), ["'d' in its kernel only"]),
    "a batch axis in the kernel": (lambda: nn.EinsumDense("ab,abc->ac", 3), ["batch axis 'a' first, and out of the kernel"]),
    "a batch axis that moves": (lambda: nn.EinsumDense("ab,bc->ca", 3), ["batch axis 'a' first"]),
    "an output_shape too long": (lambda: nn.EinsumDense("ab,bc->ac", (2, 3)), ["a size for each of 'c'", "(2, 3)"]),
    "an output_shape of text": (lambda: nn.EinsumDense("ab,bc->ac", "3"), ["output_shape is a tuple of sizes", "'3'"]),
    "an output_shape that says nothing": (lambda: nn.EinsumDense("ab,bc->ac", (None,)), ["must say the size of 'c'"]),
    "a bias on another axis": (lambda: nn.EinsumDense("ab,bc->ac", 3, bias_axes="b"), ["bias_axes are letters among 'c'", "'b'"]),
    "an input of another rank": (lambda: init(nn.EinsumDense("ab,bc->ac", 3), (2, 3, 4)), ["takes inputs of rank 2", "(2, 3, 4)"]),
    "an input without what is left out": (lambda: init(nn.EinsumDense("...ab,bc->...ac", (None, 3)), (2, 3)), ["rank 3 or more", "(2, 3)"]),
    "an output_shape unlike the input": (lambda: init(nn.EinsumDense("abc,cd->abd", (5, 3)), (2, 4, 3)), ["size 5 for 'b'", "the input has 4"]),
    "an einsum of other features": (lambda: apply(nn.EinsumDense("ab,bc->ac", 3), [(2, 3)], jnp.ones((2, 4))), ["a kernel of shape (3, 3), not (4, 3)", "(2, 4)"]),
    "a bilinear layer of one input": (lambda: init(nn.Bilinear(2), (2, 3)), ["Bilinear(2)", "takes a list of 2 inputs"]),
    "a bilinear layer of other steps": (lambda: init(nn.Bilinear(2), (2, 3, 4), (2, 5, 4)), ["differ in their last axis only", "(2, 3, 4), (2, 5, 4)"]),
    "a bilinear layer without units": (lambda: nn.Bilinear(0), ["Bilinear: units", "got 0"]),
    "a bilinear layer of other features": (lambda: apply(nn.Bilinear(2), [(2, 3), (2, 4)], (jnp.ones((2, 3)), jnp.ones((2, 5)))), ["built for (3, 4) features", "(2, 3), (2, 5)"]),
}  # fmt: skip
