"""Batch and layer norm and their written-out derivatives against the formula, natively and in XLA, to second order."""

import doctest
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import check_gradients, directions, dot
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from kjax import native
from kjax.nn.kernels import norm

module = importlib.import_module("kjax.nn.kernels.norm")
EPSILON = 1e-3
PHASES = Phase.explicit, Phase.generate  # shrinking would compile hundreds of programs
kinds = pytest.mark.parametrize("kind", ["batch", "layer"])


def axes_of(x, kind):
    return tuple(range(x.ndim - 1)) if kind == "batch" else (x.ndim - 1,)


def formula(kind):
    """As the papers have it."""

    def run(x, scale, offset):
        axes = axes_of(x, kind)
        mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        return scale * (x - mean) / jnp.sqrt(variance + EPSILON) + offset, mean, variance

    return run


def kernel(kind):
    return lambda x, scale, offset: norm(x, scale, offset, axes_of(x, kind), EPSILON)


def operands(shape, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    weights = (*[1] * (len(shape) - 1), shape[-1])
    return tuple(jnp.asarray(3 * rng.standard_normal(s) + 2, dtype) for s in (shape, weights, weights))


def curve(function):
    """The three results, and what goes back from all of them."""

    def run(*values):
        results, pull = jax.vjp(function, *values)
        back = (np.random.default_rng(1).standard_normal(r.shape, np.float32) for r in results)
        return *results, *pull(tuple(jnp.asarray(b, r.dtype) for b, r in zip(back, results, strict=True)))

    return run


def in_float64(function, *values):
    with jax.enable_x64(True):
        return [np.asarray(a) for a in jax.jit(function)(*(jnp.asarray(np.asarray(v, np.float64)) for v in values))]


def assert_near(got, want, eps):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=eps, atol=eps * max(1, np.abs(b).max()))


def assert_exact(kind, values, eps=2e-6):
    assert_near(jax.jit(curve(kernel(kind)))(*values), in_float64(curve(formula(kind)), *values), eps)


@settings(derandomize=True, deadline=None, max_examples=16, database=None, phases=PHASES)
@example((700, 50), "batch", 0)  # lines of several rows, two tasks, rows left over
@example((3, 7), "batch", 0)  # no line is full
@example((300, 117), "layer", 0)  # two tasks, several chunks, vectors by fours, by one and a rest
@given(
    st.lists(st.integers(2, 24), min_size=2, max_size=4).map(tuple),
    st.sampled_from(["batch", "layer"]),
    st.integers(0, 9),
)
def test_as_near_to_float64_as_float32_can_be(shape, kind, seed):
    x, *weights = operands(shape, seed=seed)
    # A variance near 0 would enlarge what is rounded in x.
    assert_exact(kind, (x + jnp.asarray(10 * (np.indices(shape).sum(0) % 2), x.dtype), *weights))


@kinds
@pytest.mark.parametrize("level", ["off", *native.LEVELS])
def test_all_levels_agree(level, kind, monkeypatch):
    monkeypatch.setenv("KJAX_NATIVE", level)
    native.library.cache_clear(), native._target.cache_clear()
    values = operands((3, 50, 11, 24))
    try:
        run = jax.jit(curve(kernel(kind))).lower(*values)
        assert (f"kjax_{kind}_norm" in run.as_text()) == (native.library() is not None)
        got = run.compile()(*values)
    finally:
        monkeypatch.undo()
        native.library.cache_clear(), native._target.cache_clear()
    assert_near(got, in_float64(curve(formula(kind)), *values), 2e-6)


@kinds
def test_far_from_zero_nothing_is_lost(kind):
    """Numbers near 10,000 that differ by about 1, in a drift of as much: a chunk's mean is not that of all."""
    rng = np.random.default_rng(0)
    x = 1e4 + rng.standard_normal((4096, 24)) + np.linspace(-3, 3, 4096)[:, None]
    assert_exact(kind, (jnp.asarray(x, np.float32), *operands((1, 24))[1:]))


@kinds
def test_float64_numerically_to_second_order(kind):
    with jax.enable_x64(True):
        values = operands((4, 3, 2), np.float64) if kind == "batch" else operands((2, 2, 5), np.float64)
        assert_near(jax.jit(curve(kernel(kind)))(*values), jax.jit(curve(formula(kind)))(*values), 1e-13)
        weights = directions(jax.eval_shape(kernel(kind), *values))
        check_gradients(lambda *values: dot(weights, kernel(kind)(*values)), *values, every_mode=True)


@kinds
def test_second_derivatives_and_vmap_are_those_of_the_formula(kind):
    x, scale, offset = operands((4, 3))

    def hessian(function):
        return jax.hessian(lambda x, scale: sum(jnp.sum(r**2) for r in function(x, scale, offset)), (0, 1))

    stack = jnp.stack([x, x + 1, 2 * x])
    run = [jax.jit(jax.vmap(hessian(f(kind)), (0, None))) for f in (kernel, formula)]
    assert_near(*(jax.tree.leaves(f(stack, scale)) for f in run), 2e-5)


def test_without_weights_and_over_other_axes():
    x, scale, offset = operands((4, 3, 5))
    want = formula("batch")(x, jnp.ones_like(scale), jnp.zeros_like(offset))
    assert_near(norm(x, None, None, (0, 1), EPSILON), want, 2e-6)
    first = [v.swapaxes(1, 2) for v in (x, scale, offset)]
    got = norm(*first, (0, 2), EPSILON)
    assert_near([v.swapaxes(1, 2) for v in got], formula("batch")(x, scale, offset), 2e-6)


@kinds
def test_gradient_is_one_call_of_the_kernel(kind):
    """The sums that the weights need and the gradient of x come from one pass."""
    loss = lambda *v: jnp.sin(kernel(kind)(*v)[0]).sum()  # noqa: E731
    text = jax.jit(jax.grad(loss, (0, 1, 2))).lower(*operands((8, 6, 5, 7))).as_text()
    counts = [text.count(f"@kjax_{kind}_norm{part}_") for part in ("_grad", "")]
    assert counts == ([1, 2] if native.library() else [0, 0])


def test_examples_in_the_docstrings():
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


def test_a_scale_of_another_dtype_is_left_to_jax():
    x, scale = jax.random.normal(jax.random.key(0), (64, 16)), jnp.full((1, 16), 2, jnp.bfloat16)
    run = jax.jit(lambda x, scale: norm(x, scale, None, (0,), EPSILON)[0])
    with jax.numpy_dtype_promotion("standard"):
        assert "kjax_" not in run.lower(x, scale).as_text()
        np.testing.assert_allclose(run(x, scale), 2 * norm(x, None, None, (0,), EPSILON)[0], rtol=1e-5, atol=1e-6)
