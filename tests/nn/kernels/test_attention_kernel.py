"""Attention as one map, and its written-out derivatives: against JAX's own attention in float64, to second order."""

import doctest
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import keras_allowed
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from kjax import native
from kjax.nn.kernels import attend

module = importlib.import_module("kjax.nn.kernels.attention")
PHASES = Phase.explicit, Phase.generate  # shrinking would compile hundreds of programs


@pytest.fixture(autouse=True, scope="module")
def small_ones_too():
    """The kernel takes what is too small to gain by it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LEAST", 0)
        yield


def operands(batch, steps, seen, heads, groups, size, wide, dtype=np.float32, seed=0):
    """Query, key, value, and a gradient of the means."""
    rng = np.random.default_rng(seed)
    shapes = (batch, steps, heads, size), (batch, seen, groups, size), (batch, seen, groups, wide)
    return [jnp.asarray(rng.standard_normal(s), dtype) for s in (*shapes, (batch, steps, heads, wide))]


def formula(causal=False, window=None):
    """JAX's own, which wants keys and values of one size: zeros change nothing."""
    near = None if window is None else (window - 1, window - 1)

    def run(query, key, value):
        size, wide = query.shape[-1], value.shape[-1]
        query, key, value = (
            jnp.pad(x, [(0, 0)] * 3 + [(0, max(size, wide) - x.shape[-1])]) for x in (query, key, value)
        )
        options = {"is_causal": causal, "local_window_size": near, "scale": size**-0.5}
        with keras_allowed():  # JAX's own relies on implicit promotion, too
            return jax.nn.dot_product_attention(query, key, value, **options)[..., :wide]

    return run


def kernel(causal=False, window=None):
    return lambda query, key, value: attend(query, key, value, causal=causal, window=window)[0]


def curve(function):
    """The means, and what goes back from them."""

    def run(query, key, value, g):
        y, pull = jax.vjp(function, query, key, value)
        return y, *pull(g)

    return run


def in_float64(function, values):
    with jax.enable_x64(True):
        return [np.asarray(a) for a in jax.jit(function)(*(jnp.asarray(np.asarray(v, np.float64)) for v in values))]


def assert_near(got, want, eps):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=eps, atol=eps * max(1, np.abs(b).max()))


def assert_exact(values, causal=False, window=None, eps=3e-6):
    run = jax.jit(curve(kernel(causal, window)))
    assert "kjax_attention_grad" in run.lower(*values).as_text() or native.library() is None
    assert_near(run(*values), in_float64(curve(formula(causal, window)), values), eps)


@settings(derandomize=True, deadline=None, max_examples=12, database=None, phases=PHASES)
@example((1, 600, 600, 1, 1, 16, 48), True, None)  # rows of weights in several blocks
@example((2, 9, 33, 4, 2, 32, 16), False, None)  # groups, and keys that fill no vector
@example((1, 70, 70, 2, 1, 16, 16), True, 20)  # a band, with rows left over
@given(
    st.tuples(*map(st.integers, (1, 1, 8), (3, 40, 40))).flatmap(
        lambda n: st.sampled_from([(*n, 1, 1, 16, 16), (*n, 4, 2, 32, 48), (*n, 3, 1, 48, 32)])
    ),
    st.booleans(),
    st.sampled_from([None, None, 5]),
)
def test_as_near_to_float64_as_float32_can_be(shape, causal, window):
    batch, steps, seen, *rest = shape
    seen = max(steps, seen) if window else seen  # else there are steps that see nothing
    assert_exact(operands(batch, steps, seen, *rest), causal, window)


@pytest.mark.parametrize("level", ["off", *native.LEVELS])
def test_all_levels_agree(level, monkeypatch):
    monkeypatch.setenv("KJAX_NATIVE", level)
    native.library.cache_clear(), native._target.cache_clear()
    values = operands(2, 37, 37, 4, 2, 16, 32)
    try:
        run = jax.jit(curve(kernel(True))).lower(*values)
        assert ("kjax_attention_grad" in run.as_text()) == (native.library() is not None)
        got = run.compile()(*values)
    finally:
        monkeypatch.undo()
        native.library.cache_clear(), native._target.cache_clear()
    assert_near(got, in_float64(curve(formula(True)), values), 3e-6)


def test_the_weights_too_and_what_goes_back_from_them():
    query, key, value, _ = operands(2, 5, 5, 2, 2, 16, 16)
    mix = jnp.asarray(np.random.default_rng(1).standard_normal((2, 2, 5, 5)), jnp.float32)

    def total(run):
        return lambda *values: sum(jnp.sum(a * b) for a, b in zip(run(*values), (1, mix), strict=True))

    found, plain = (
        jax.jit(jax.grad(total(run), (0, 1, 2)))(query, key, value)
        for run in (
            lambda *values: attend(*values, causal=True),
            lambda *values: attend(*values, module.band(5, 5, True)),
        )
    )
    assert_near(found, plain, 2e-6)
    assert jax.jit(lambda *values: attend(*values, causal=True)[1])(query, key, value)[0, 0, 1, 2:].tolist() == [0] * 3


def test_steps_that_see_nothing_get_zeros():
    query, key, value, g = operands(1, 20, 4, 1, 1, 16, 16)
    y, *back = jax.jit(curve(kernel(window=3)))(query, key, value, g)
    assert not y[0, 6:].any() and not back[0][0, 6:].any() and y[0, 5].any()
    assert all(np.isfinite(a).all() for a in back)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_is_not_lost_and_stays_in_its_place(wrong):
    query, key, value, _ = operands(2, 30, 30, 1, 1, 16, 16)
    run = jax.jit(kernel(True))
    seen = run(query.at[0, 7, 0, 3].set(wrong), key, value)
    assert np.isnan(seen[0, 7]).all() and np.isfinite(seen[0, :7]).all() and np.isfinite(seen[1]).all()
    seen = run(query, key.at[1, 20, 0, 3].set(np.nan), value)
    assert np.isnan(seen[1, 20:]).all() and np.isfinite(seen[1, :16]).all() and np.isfinite(seen[0]).all()
    seen = run(query, key, value.at[1, 29, 0, 3].set(wrong))
    assert not np.isfinite(seen[1, 29, 0, 3]) and np.isfinite(seen[1, :16]).all()


def test_scores_far_apart_neither_overflow_nor_vanish():
    query, key, value, g = operands(1, 20, 20, 1, 1, 16, 16)
    assert_exact([30 * query, 30 * key, value, g], eps=2e-4)  # scores of hundreds have errors of 1e-5, for exp to scale


def test_float64_numerically_to_second_order():
    with jax.enable_x64(True):
        values = operands(1, 3, 3, 2, 1, 16, 16, np.float64)[:3]
        values = [0.5 * v for v in values]
        # The primitives' plain rules, which float64 takes otherwise only where autodiff has derived them.
        run = jax.jit(lambda *v: module.attention_p.bind(*v, causal=True, window=None, precision=None)[0])
        check_grads(run, values, order=2, modes=("fwd", "rev"), rtol=1e-6)


def test_second_derivatives_and_vmap_are_those_of_the_formula():
    query, key, value, _ = operands(1, 3, 3, 2, 1, 16, 16)
    along = jnp.asarray(np.random.default_rng(2).standard_normal((3, *query.shape)), jnp.float32)

    def product(function):
        def hessian(query, key, along):
            slope = jax.grad(lambda q, k: jnp.sum(function(q, k, value) ** 2), (0, 1))
            return jax.jvp(lambda q: slope(q, key), (query,), (along,))[1]

        return jax.jit(jax.vmap(hessian, (None, None, 0)))

    assert_near(product(kernel(True))(query, key, along), product(formula(True))(query, key, along), 1e-5)


@pytest.mark.parametrize("axes", [(0, None, None), (1, 1, 1), (None, 0, 2)])
def test_vmap_takes_the_kernel_whichever_operands_are_mapped(axes):
    parts = [operands(2, 9, 9, 2, 2, 16, 16, seed=seed)[:3] for seed in range(3)]
    stacked = [
        own[0] if axis is None else jnp.stack(own, axis)
        for own, axis in zip(zip(*parts, strict=True), axes, strict=True)
    ]
    run = jax.jit(jax.vmap(kernel(True), axes))
    assert "kjax_attention" in run.lower(*stacked).as_text() or native.library() is None
    own = (
        [first if axis is None else v for v, first, axis in zip(part, parts[0], axes, strict=True)] for part in parts
    )
    assert_near(run(*stacked), [kernel(True)(*values) for values in own], 1e-6)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1, 64, 64, 4, 4, 20, 20), np.float32),
        ((1, 64, 64, 4, 4, 16, 16), jnp.bfloat16),
        ((1, 9, 2100, 1, 1, 16, 16), np.float32),
    ],
)
def test_other_operands_are_as_before(shape, dtype):
    query, key, value, _ = operands(*shape, dtype=dtype)
    assert "kjax_attention" not in jax.jit(kernel()).lower(query, key, value).as_text()
    eps = 2e-6 if dtype == np.float32 else 2e-2
    got = kernel()(query, key, value).astype(jnp.float32)
    assert_near([got], in_float64(lambda *v: [formula()(*v)], (query, key, value)), eps)


def test_small_ones_go_the_usual_way(monkeypatch):
    monkeypatch.setattr(module, "LEAST", 2**19)
    values = operands(1, 32, 32, 4, 4, 32, 32)[:3]
    assert "kjax_attention" not in jax.jit(kernel()).lower(*values).as_text()


def test_examples():
    assert doctest.testmod(module).failed == 0
