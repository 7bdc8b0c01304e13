"""EinsumDense with all kinds of equations against Keras's shapes and NumPy's numbers; Bilinear against PyTorch."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from case import randomised
from conftest import keras_allowed
from hypothesis import given, settings
from hypothesis import strategies as st

from kjax import nn

RECORDED = np.load(pathlib.Path(__file__).parents[1] / "recorded" / "bilinear.npz", allow_pickle=False)
SIZES = {"b": 2, "c": 3, "d": 4, "e": 5, "f": 1}
# equation, the letters of an input behind its batch axis, those that an ellipsis may stand for.
EQUATIONS = [
    ("ab,bc->ac", "b", ""),
    ("abc,cd->abd", "bc", ""),
    ("abc,cde->abde", "bc", ""),
    ("abcd,cde->abe", "bcd", ""),
    ("abc,bcd->abd", "bc", ""),  # a matrix for each b
    ("abc,bd->adc", "bc", ""),
    ("abc,db->acd", "bc", ""),
    ("abc,cd->ad", "bc", ""),  # b is summed without weights
    ("abc,c->abc", "bc", ""),  # nothing is summed
    ("...b,bc->...c", "b", "de"),
    ("...bc,ce->...be", "bc", "df"),
    ("ab...,bc->ac...", "b", "de"),
    ("abc...,cd->abd...", "bc", "ef"),
]


@st.composite
def layers(draw):
    """Arguments of the layer and the shape of an input."""
    equation, given, more = draw(st.sampled_from(EQUATIONS))
    left = equation.startswith("...")
    hidden = more[: draw(st.integers(0, len(more)))]
    kernel, output = equation.split(",")[1].replace("...", "").split("->")
    letters = output if left else output[1:]
    # Keras wants the sizes of all weights in output_shape, even those that the input tells.
    told = [letter in given and letter not in kernel and draw(st.booleans()) for letter in letters]
    sizes = tuple(None if is_told else SIZES[letter] for letter, is_told in zip(letters, told, strict=True))
    letters = [letter for letter, size in zip(letters, sizes, strict=True) if size]
    bias = draw(st.sampled_from([None, *letters, "".join(letters)]))
    shape = (2, *(SIZES[letter] for letter in (hidden + given if left else given + hidden)))
    return (equation, sizes, draw(st.sampled_from([None, "tanh"])), bias or None), shape


@settings(derandomize=True, deadline=None, max_examples=10, database=None)
@given(layers())
def test_equations_of_all_kinds(drawn):
    (equation, sizes, activation, bias), shape = drawn
    layer = nn.EinsumDense(equation, sizes, activation, bias)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    params = randomised(jax.eval_shape(layer.init, jax.random.key(0), x)[0])
    with keras_allowed():
        import keras

        theirs = keras.layers.EinsumDense(equation, sizes, activation, bias, kernel_initializer="zeros")
        theirs.build(shape)
    ours = [params[name] for name in ("kernel", "bias") if name in params]
    assert [weight.shape for weight in ours] == [tuple(weight.shape) for weight in theirs.weights]
    y, _ = jax.jit(layer.apply)(params, {}, x)
    wide = [np.asarray(weight, np.float64) for weight in ours]
    expected = np.einsum(equation, x, wide[0]) + (wide[1] if bias else 0)
    np.testing.assert_allclose(y, np.tanh(expected) if activation else expected, rtol=2e-6, atol=2e-6)


def test_sizes_that_the_input_tells_may_stay_open():
    x = jnp.ones((2, 3, 4))
    told, open_ = (nn.EinsumDense("abc,bcd->abd", (n, 5), bias_axes="bd") for n in (3, None))
    jax.tree.map(np.testing.assert_array_equal, told.init(jax.random.key(0), x), open_.init(jax.random.key(0), x))


def test_the_kernel_is_drawn_for_what_is_summed():
    layer = nn.EinsumDense("abc,dbec->ade", (20, 30), kernel_initializer="orthogonal")
    kernel = jax.jit(layer.init)(jax.random.key(0), jnp.ones((1, 2, 3)))[0]["kernel"]
    matrix = kernel.transpose(1, 3, 0, 2).reshape(6, 600)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(6), atol=1e-6)
    kernel = layer.replace(kernel_initializer="glorot_uniform").init(jax.random.key(0), jnp.ones((1, 2, 3)))[0][
        "kernel"
    ]
    limit = np.sqrt(6 / (2 * 3 + 20 * 30))
    assert 0.99 * limit < np.abs(kernel).max() <= limit


def test_masks_go_round():
    x = nn.Masked(jnp.ones((2, 3, 4)), jnp.array([[True, True, False], [True, False, False]]))
    layer = nn.EinsumDense("abc,cd->abd", (None, 5))
    y, _ = layer.apply(*layer.init(jax.random.key(0), x), x)
    np.testing.assert_array_equal(y.mask, x.mask)


@pytest.mark.parametrize("case", sorted({key.split("/")[0] for key in RECORDED.files}))
def test_bilinear_like_pytorch(case):
    with jax.enable_x64(True):
        mine = {key.removeprefix(f"{case}/"): jnp.asarray(RECORDED[key]) for key in RECORDED.files if case in key}
        params = {name: mine[name] for name in ("kernel", "bias") if name in mine}
        layer = nn.Bilinear(params["kernel"].shape[-1], use_bias="bias" in params)
        shapes = jax.eval_shape(layer.init, jax.random.key(0), (mine["a"], mine["b"]))[0]
        assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, params)

        def run(params, a, b):
            y = layer.apply(params, {}, (a, b))[0]
            return (jnp.cos(jnp.arange(1, y.size + 1)).reshape(y.shape) * y).sum(), y

        (grads, *along), y = jax.jit(jax.grad(run, (0, 1, 2), has_aux=True))(params, mine["a"], mine["b"])
        # 1e-12: sums of up to a hundred products, in another order.
        for name, got in {**grads, "a": along[0], "b": along[1]}.items():
            np.testing.assert_allclose(got, mine[f"grad/{name}"], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(y, mine["y"], rtol=1e-12, atol=1e-12)
