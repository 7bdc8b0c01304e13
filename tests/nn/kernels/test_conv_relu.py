"""Convolution with bias and relu, in C and in JAX: values and derivatives against XLA's in float64, transformations."""

import doctest
import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads
from test_conv import assert_near, plain

from kjax import native, nn
from kjax.nn.kernels import conv_native, conv_relu

module = importlib.import_module("kjax.nn.kernels.conv_relu")

# name: x, kernel, strides, padding, dilation.
CASES = {
    "one channel": ((3, 9, 10, 1), (3, 3, 1, 32), (1, 1), "valid", (1, 1)),
    "three channels, blocks": ((2, 9, 29, 3), (3, 3, 3, 48), (1, 1), "same", (1, 1)),
    "strides": ((2, 11, 10, 3), (5, 4, 3, 16), (2, 3), "same", (1, 1)),
    "no whole vectors": ((2, 7, 9, 4), (3, 2, 4, 19), (1, 1), ((1, 2), (0, 3)), (2, 1)),
    "many channels": ((1, 23, 19, 40), (3, 3, 40, 16), (1, 1), "valid", (1, 1)),
    "1-D": ((3, 40, 2), (4, 2, 16), (2,), ((6, 0),), (2,)),
    "3-D": ((1, 4, 5, 4, 2), (2, 3, 2, 2, 16), (1, 1, 1), "same", (1, 1, 1)),
}
LIBRARIES = [None, *(level for level in native._found_levels() if native._path(level).exists())]


def use(level, patch):
    """A level's library in the place of the fastest; None: no library."""
    found = level and native._load(native._path(level))
    patch.setattr(native, "library", lambda: found)
    patch.setattr(native, "_target", native._target.__wrapped__)


def operands(case, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in (*case[:2], case[1][-1:]))


def oracle(x, kernel, bias, *window):
    y = plain(x, kernel, *window)
    return jax.nn.relu(y + jnp.broadcast_to(bias, y.shape))


def curve(function, case):
    """The output, the gradients of all three operands, and those of kernel and bias alone, as in a first layer."""

    def run(x, kernel, bias):
        y, pull = jax.vjp(lambda *a: function(*a, *case[2:]), x, kernel, bias)
        _, pull_first = jax.vjp(lambda *a: function(x, *a, *case[2:]), kernel, bias)
        g = 1 + jnp.tanh(y)
        return y, *pull(g), *pull_first(g)

    return run


def check(case, level, eps):
    values = operands(case)
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(v, np.float64)) for v in values]
        want = [np.asarray(v) for v in jax.jit(curve(oracle, case))(*wide)]
    with pytest.MonkeyPatch.context() as patch:
        use(level, patch)
        program = jax.jit(curve(conv_relu, case)).lower(*values)
        # Up to 16 products, XLA's sum is as fast.
        many, whole = math.prod(case[1][:-1]) > 16, case[1][-1] % 16 == 0
        for name, wanted in (("kjax_conv_relu_kernels", many), ("kjax_conv_relu_grad", whole)):
            assert (name in program.as_text()) == (wanted and level is not None and len(case[2]) < 3)
        assert_near(program.compile()(*values), want, eps)


@pytest.mark.parametrize("level", LIBRARIES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_output_and_gradients_are_those_of_float64(case, level):
    check(case, level, 2e-6)


@st.composite
def random_cases(draw):
    small = st.integers(1, 3)
    taps, strides, dilation = (tuple(draw(small) for _ in range(2)) for _ in range(3))
    size = tuple((k - 1) * d + draw(st.integers(3, 20)) for k, d in zip(taps, dilation, strict=True))
    padding = draw(st.sampled_from(["valid", "same"]) | st.tuples(*[st.tuples(*[st.integers(-1, 3)] * 2)] * 2))
    channels, filters = draw(st.integers(1, 4)), draw(st.sampled_from([1, 7, 16, 32, 48]))
    return (draw(small), *size, channels), (*taps, channels, filters), strides, padding, dilation


@settings(derandomize=True, deadline=None, max_examples=12, database=None)
@given(random_cases(), st.sampled_from(LIBRARIES[1:] or [None]))
def test_random_shapes(case, level):
    check(case, level, 3e-6)


@pytest.mark.parametrize("first", [True, False])
def test_derivatives_of_every_mode_and_order(first):
    """In float64, away from the kink; with and without a derivative in x."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        x, kernel, bias = (jnp.asarray(rng.standard_normal(s)) for s in ((2, 4, 5, 2), (2, 2, 2, 3), (3,)))

        def run(*a):
            return jnp.sin(conv_relu(*((x, *a) if first else a)))

        check_grads(run, (kernel, bias) if first else (x, kernel, bias), order=2)


def slopes(function):
    """Second derivatives along x too, through the gradients of a first layer."""

    def run(x, kernel, bias):
        def slope(x):
            return jax.grad(lambda *a: jnp.sin(function(x, *a)).sum(), (0, 1))(kernel, bias)

        return slope(x), jax.jvp(slope, (x,), (x * x,))[1], jax.vjp(slope, x)[1](slope(x))

    return run


TRANSFORMED = {
    "second derivatives": lambda f, *a: slopes(f)(*a),
    "vmap of all": lambda f, *a: jax.vmap(slopes(f))(*(jnp.stack([v, v[::-1]]) for v in a)),
    "vmap of x": lambda f, x, *a: jax.vmap(slopes(f), (0, None, None))(jnp.stack([x, x + 1]), *a),
    "vmap of the bias": lambda f, x, k, b: jax.vmap(slopes(f), (None, None, 0))(x, k, jnp.stack([b, b + 1])),
}


@pytest.mark.parametrize("function", TRANSFORMED.values(), ids=TRANSFORMED)
def test_transformed_it_is_still_the_composition(function):
    values = operands(((2, 6, 7, 3), (3, 3, 3, 16)))
    composed = lambda *a: oracle(*a, (1, 1), "valid", (1, 1))  # noqa: E731
    got, want = (jax.jit(lambda *a, f=f: function(f, *a))(*values) for f in (conv_relu, composed))
    assert_near(jax.tree.leaves(got), jax.tree.leaves(want), 1e-5)


@pytest.mark.parametrize("level", LIBRARIES)
def test_nan_stays_and_the_kink_has_no_slope(level, monkeypatch):
    use(level, monkeypatch)
    x, kernel = jnp.array([jnp.nan, 0.0, 1.0]).reshape(1, 3, 1), jnp.ones((1, 1, 16))

    def run(kernel, bias):
        y, pull = jax.vjp(lambda *a: conv_relu(x, *a), kernel, bias)
        return y, pull(jnp.ones_like(y))[1]

    y, slope = jax.jit(run)(kernel, jnp.zeros(16))
    np.testing.assert_array_equal(y[0, :, 0], [np.nan, 0, 1])
    np.testing.assert_array_equal(slope, np.ones(16))


def test_the_layer_takes_it_where_it_can():
    x = jnp.ones((2, 6, 6, 2))
    cases = {"relu": {}, "tanh": {"activation": "tanh"}, "no bias": {"use_bias": False}, "groups": {"groups": 2}}
    found = {}
    for name, options in cases.items():
        layer = nn.Conv2D(4, 3, **({"activation": "relu"} | options))
        params, state = layer.init(jax.random.key(0), x)
        found[name] = "conv_relu[" in str(jax.make_jaxpr(lambda p, own=layer, s=state: own.apply(p, s, x)[0])(params))
    assert found == {"relu": True, "tanh": False, "no bias": False, "groups": False}


def test_where_the_kernels_are_used():
    window = module.make_window("test", (8, 8), (3, 3), 1, "same")
    images = {c: (2, 8, 8, c) for c in (1, 16, 20, 10**5)}
    assert [conv_native.takes_forward(images[c], (3, 3, c, 8), window) for c in images] == [False, True, True, False]
    assert [conv_native.takes_relu_grad(images[1], images[c], window) for c in (1, 16, 20)] == [False, True, False]


def test_examples_in_the_docstrings():
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
