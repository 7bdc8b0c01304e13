"""Rows of `kjax.nn.graph`, `kjax.nn.composite` and `kjax.nn.operation`."""

import jax
import jax.numpy as jnp
import numpy as np
from case import Case

import kjax
from kjax import nn


class Gated(nn.Composite):
    units: int = 3

    def parts(self):
        return {"gate": nn.Dense(self.units, "sigmoid"), "body": nn.Dense(self.units)}

    def forward(self, x, training=False):
        return self.gate(x) * self.body(x)


def skip():
    a = nn.Input(shape=(4,))
    shared = nn.Dense(4, "tanh", activity_regularizer="l2")
    return nn.Graph(a, nn.Dense(3)(shared(shared(a)) + a * 2.0))


def two():
    a, b = nn.Input(shape=(4,)), nn.Input(shape=(2,))
    product = nn.Dense(3)(a)[:, None] @ nn.Dense(3, use_bias=False)(b)[:, :, None]
    return nn.Graph([a, b], product[:, 0])


def _keras_skip(k):
    import keras

    a = keras.Input((4,))
    shared = k.Dense(4, "tanh")
    return keras.Model(a, k.Dense(3)(shared(shared(a)) + a * 2.0))


def _keras_two(k):
    import keras

    a, b = keras.Input((4,)), keras.Input((2,))
    product = k.Lambda(lambda ab: keras.ops.matmul(ab[0][:, None], ab[1][:, :, None])[:, 0])
    return keras.Model([a, b], product([k.Dense(3)(a), k.Dense(3, use_bias=False)(b)]))


def _keras_gated(k):
    import keras

    x = keras.Input((3,))
    gate, body = k.Dense(4, "sigmoid"), k.Dense(4)
    return keras.Model(x, gate(x) * body(x))


def call(layer, x):
    return layer.init(jax.random.key(0), x)


A = nn.Input(shape=(4,), name="a")
ROWS = [
    Case(skip(), (5, 4), _keras_skip),
    Case(two(), ((5, 4), (5, 2)), _keras_two),
    Case(Gated(4), (5, 3), _keras_gated),
    Case(nn.Operation("sub", 1.5, swapped=True), (3, 4), formula=lambda x: 1.5 - x),
    Case(nn.Operation("mul"), ((3, 4), (3, 2, 4)), formula=lambda a, b: a[:, None] * b),
    Case(nn.Operation("matmul"), ((2, 3, 4), (2, 4, 2)), formula=lambda a, b: a @ b),
    Case(nn.Slice((slice(None), slice(0, None, 2), -1)), (3, 4, 2), formula=lambda x: x[:, ::2, -1]),
]  # fmt: skip

MISTAKES = {
    "a layer called on an array": (lambda: nn.Dense(2)(jnp.ones((2, 3))), ["Dense(2) was called on", "Input(shape=…)", "layer.apply"]),
    "a layer called on nothing": (lambda: nn.Dense(2)(), ["Dense(2) was called on"]),
    "an input that is not listed": (lambda: nn.Graph(nn.Input(shape=(3,), name="b"), nn.Dense(2)(A)), ["need <a (None, 4) float32>", "inputs ('b')", "inputs="]),
    "outputs that are no nodes": (lambda: nn.Graph(A, [nn.Dense(2)]), ["outputs are nodes", "Dense(2)"]),
    "inputs of one name": (lambda: nn.Graph([A, nn.Input(shape=(4,), name="a")], nn.Dense(1)(A)), ["inputs must differ"]),
    "the same input twice": (lambda: nn.Graph([A, A], nn.Dense(1)(A)), ["inputs must differ"]),
    "a rank the layer cannot take": (lambda: nn.Conv2D(2, 3)(A), ["conv2d (called on <a (None, 4) float32>)", "rank 4", "(1, 4)"]),
    "an Input without a shape": (lambda: nn.Input(name="x"), ["Input takes either shape=(…)"]),
    "an Input of a negative size": (lambda: nn.Input(shape=(-1,)), ["Input: shape", "(-1,)"]),
    "a misspelt Input": (lambda: nn.Input(shap=(3,)), ["Did you mean 'shape'?"]),
    "iterating over a node": (lambda: list(A), ["cannot be iterated over", "node[:, 0]"]),
    "a truth value of a node": (lambda: bool(A > 0), ["has no value yet"]),
    "a NumPy function on a node": (lambda: np.tanh(np.asarray(A)), ["Lambda(jnp.tanh)(node)"]),
    "adding an array": (lambda: jnp.ones(4) + A, ["add: the other operand is a node or a number", "Lambda"]),
    "multiplying a NumPy array": (lambda: np.ones(4) * A, ["mul: the other operand is a node or a number", "Lambda"]),
    "slicing the batch": (lambda: A[0], ["first axis is the batch"]),
    "indexing by an array": (lambda: A[:, np.arange(2)], ["slices, integers, None"]),
    "adding text": (lambda: A + "b", ["add: the other operand is a node or a number", "'b'"]),
    "a shared layer on two widths": (lambda: _shared_on_two_widths(), ["dense", "was built for 4 features", "(1, 3)"]),
    "an input missing at fit": (lambda: fit([np.ones((2, 4))]), ["x takes 2 arrays", "'a', 'b'", "a list of 1"]),
    "an input misnamed at fit": (lambda: fit({"a": np.ones((2, 4)), "bb": np.ones((2, 3))}), ["x names 'bb'", "Did you mean 'b'?"]),
    "inputs in the wrong order": (lambda: fit([np.ones((2, 3)), np.ones((2, 4))]), ["x['a'] has examples of shape (3,)", "(4,)"]),
    "an output without targets": (lambda: fit(y=[np.ones((2, 1))]), ["y takes 2 arrays", "'sum', 'far'"]),
    "a loss for no output": (lambda: fit(loss={"som": "mse"}), ["loss names 'som'", "Did you mean 'sum'?"]),
    "a composite without forward": (lambda: call(nn.Composite(), jnp.ones((1, 2))), ["Composite defines no forward"]),
    "setting an attribute while it runs": (lambda: call(Setting(), jnp.ones((1, 2))), ["self.last is set while the network runs"]),
}  # fmt: skip


def fit(x=None, y=None, loss="mse"):
    a, b = nn.Input(shape=(4,), name="a"), nn.Input(shape=(3,), name="b")
    model = kjax.Model([a, b], [nn.Dense(1, name="sum")(a), nn.Dense(1, name="far")(b)])
    model.compile("sgd", loss)
    model.fit(x or [np.ones((2, 4)), np.ones((2, 3))], y or [np.ones((2, 1))] * 2, verbose=0)


class Setting(nn.Composite):
    def forward(self, x):
        self.last = x
        return x


def _shared_on_two_widths():
    dense, b = nn.Dense(2), nn.Input(shape=(3,))
    net = nn.Graph([A, b], dense(A) + dense(b))
    return call(net, net.specs())
