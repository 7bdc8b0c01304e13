"""An LSTM's step against its formula in float64: values, derivatives to second order, dtypes, vmap."""

import doctest
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from kjax.nn.kernels import lstm_gates

module = importlib.import_module("kjax.nn.kernels.gates")


def formula(sums, c):
    i, f, new, o = jnp.split(sums, 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(new)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def operands(lead, units, dtype=jnp.float32, scale=3.0):
    rng = np.random.default_rng(units)
    return tuple(jnp.asarray(scale * rng.standard_normal((*lead, n)), dtype) for n in (4 * units, units))


def curve(function):
    def run(sums, c):
        out, pull = jax.vjp(function, sums, c)
        moved = jax.jvp(function, (sums, c), (jnp.cos(sums), jnp.sin(c)))[1]
        return *out, *pull(jax.tree.map(jnp.cos, out)), *moved

    return run


def assert_near(got, want, eps):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=0, atol=eps)


@settings(derandomize=True, deadline=None, max_examples=8, database=None)
@given(st.lists(st.integers(1, 5), min_size=0, max_size=2), st.integers(1, 20), st.sampled_from([0.1, 3.0, 100.0]))
def test_random_shapes_agree_with_float64(lead, units, scale):
    values = operands(lead, units, scale=scale)
    with jax.enable_x64(True):
        exact = jax.jit(curve(formula))(*(jnp.asarray(np.asarray(v, np.float64)) for v in values))
    assert_near(jax.jit(curve(lstm_gates))(*values), exact, 1e-6 * max(1, scale))


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float16, jnp.bfloat16], ids=lambda d: d.__name__)
def test_dtypes(dtype):
    with jax.enable_x64(True):
        values = operands((3,), 5, dtype)
        got = jax.jit(curve(lstm_gates))(*values)
        assert {a.dtype for a in got} == {jnp.dtype(dtype)}
        exact = jax.jit(curve(formula))(*(v.astype(jnp.float64) for v in values))
        assert_near(got, exact, 20 * float(jnp.finfo(dtype).eps))


def test_numerical_derivatives_to_second_order():
    with jax.enable_x64(True):
        check_grads(jax.jit(lstm_gates), operands((2,), 2, jnp.float64, 1.0), order=2, modes=("fwd", "rev"), rtol=1e-6)


def test_third_derivatives_are_those_of_the_formula():
    with jax.enable_x64(True):
        values = operands((), 1, jnp.float64, 1.0)
        third = lambda f: jax.jacfwd(jax.hessian(lambda *a: sum(map(jnp.sum, f(*a)))))(*values)  # noqa: E731
        assert_near([third(lstm_gates)], [third(formula)], 1e-12)


def test_vmap_is_a_loop():
    sums, c = operands((3, 2), 4)
    rows = [lstm_gates(sums[i], c[i]) for i in range(3)]
    assert_near(jax.vmap(lstm_gates)(sums, c), [jnp.stack(part) for part in zip(*rows, strict=True)], 1e-6)


def test_docs():
    assert doctest.testmod(module).failed == 0
