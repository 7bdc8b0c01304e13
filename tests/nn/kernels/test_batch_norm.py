"""Batch norm and its written-out derivatives against the formula, natively and in XLA, to second order."""

import doctest
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from kjax import native
from kjax.nn.kernels import batch_norm

module = importlib.import_module("kjax.nn.kernels.batch_norm")
EPSILON = 1e-3
PHASES = Phase.explicit, Phase.generate  # shrinking would compile hundreds of programs


def formula(x, scale, offset):
    """As the paper has it."""
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (
        (scale.reshape(mean.shape) * (x - mean) / jnp.sqrt(variance + EPSILON) + offset.reshape(mean.shape)),
        mean,
        variance,
    )


def kernel(x, scale, offset):
    return batch_norm(x, scale, offset, tuple(range(x.ndim - 1)), EPSILON)


def operands(shape, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(3 * rng.standard_normal(s) + 2, dtype) for s in (shape, shape[-1:], shape[-1:]))


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


@settings(derandomize=True, deadline=None, max_examples=12, database=None, phases=PHASES)
@example((700, 50), 0)  # lines of several rows, two tasks, rows left over
@example((3, 7), 0)  # no line is full
@given(st.lists(st.integers(1, 24), min_size=2, max_size=4).map(tuple), st.integers(0, 9))
def test_natively_as_near_to_float64_as_in_xla(shape, seed):
    if np.prod(shape[:-1]) < 2:  # one row: all is 0 but for rounding
        shape = (2, *shape)
    values = operands(shape, seed=seed)
    assert_near(jax.jit(curve(kernel))(*values), in_float64(curve(formula), *values), 2e-6)


@pytest.mark.parametrize("level", ["off", *native.LEVELS])
def test_all_levels_agree(level, monkeypatch):
    monkeypatch.setenv("KJAX_NATIVE", level)
    native.library.cache_clear(), native._target.cache_clear()
    values = operands((3, 50, 11, 24))
    try:
        run = jax.jit(curve(kernel)).lower(*values)
        assert ("kjax_batch_norm" in run.as_text()) == (native.library() is not None)
        got = run.compile()(*values)
    finally:
        monkeypatch.undo()
        native.library.cache_clear(), native._target.cache_clear()
    assert_near(got, in_float64(curve(formula), *values), 2e-6)


def test_far_from_zero_nothing_is_lost():
    """Numbers near 10,000 that differ by about 1, in a drift of as much: a chunk's mean is not that of all."""
    rng = np.random.default_rng(0)
    x = (1e4 + rng.standard_normal((4096, 24)) + np.linspace(-3, 3, 4096)[:, None]).astype(np.float32)
    values = jnp.asarray(x), *operands((1, 24))[1:]
    assert_near(jax.jit(curve(kernel))(*values), in_float64(curve(formula), *values), 2e-6)


def test_float64_numerically_to_second_order():
    with jax.enable_x64(True):
        values = operands((4, 3, 2), np.float64)
        assert_near(jax.jit(curve(kernel))(*values), jax.jit(curve(formula))(*values), 1e-13)
        check_grads(jax.jit(kernel), values, order=2, modes=("fwd", "rev"), rtol=1e-6)


def test_second_derivatives_and_vmap_are_those_of_the_formula():
    x, scale, offset = operands((4, 3))

    def hessian(function):
        return jax.hessian(lambda x, scale: sum(jnp.sum(r**2) for r in function(x, scale, offset)), (0, 1))

    stack = jnp.stack([x, x + 1, 2 * x])
    got, want = (jax.tree.leaves(jax.jit(jax.vmap(hessian(f), (0, None)))(stack, scale)) for f in (kernel, formula))
    assert_near(got, want, 2e-5)


def test_without_scale_and_offset_and_over_other_axes():
    x, scale, offset = operands((4, 3, 5))
    y, mean, variance = batch_norm(x.swapaxes(1, 2), scale[:3], offset[:3], (0, 1), EPSILON)
    want = formula(x.swapaxes(1, 2), scale[:3], offset[:3])
    assert_near((y, mean, variance), want, 2e-6)
    assert_near(batch_norm(x, None, None, (0, 1), EPSILON), formula(x, jnp.ones(5), jnp.zeros(5)), 2e-6)
    first = batch_norm(x.swapaxes(1, 2), scale[:3], offset[:3], (0, 1), EPSILON)[0]
    assert_near((batch_norm(x, scale[:3], offset[:3], (0, 2), EPSILON)[0],), (first.swapaxes(1, 2),), 2e-6)


def test_gradient_is_one_pass_of_the_kernel():
    """Both sums and the gradient of x come from one call."""
    text = (
        jax.jit(jax.grad(lambda *v: jnp.sin(kernel(*v)[0]).sum(), (0, 1, 2))).lower(*operands((8, 6, 5, 7))).as_text()
    )
    names = ["kjax_batch_norm_grad_", "kjax_batch_norm_"]
    assert [text.count(f"@{name}") for name in names] == ([1, 2] if native.library() else [0, 0])


def test_examples_in_the_docstrings():
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
