"""Products with a matrix against plain ones in float64: values, derivatives of every mode, vmap, dtypes, lowerings."""

import doctest
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from kjax.nn.kernels import product

module = importlib.import_module("kjax.nn.kernels.product")


def operands(*shapes, dtype=jnp.float32, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes)


def curve(function):
    """The output and both gradients, all of them depending on both operands."""

    def run(x, kernel):
        y, pull = jax.vjp(function, x, kernel)
        return y, *pull(jnp.tanh(y))

    return run


def assert_near(got, want, eps):
    for a, b in zip(got, want, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=eps * max(np.abs(b).max(initial=0), 1e-30))


sizes = st.integers(1, 40)


@settings(derandomize=True, deadline=None, max_examples=12, database=None)
@given(st.lists(st.integers(0, 5), min_size=0, max_size=3), sizes, sizes)
def test_random_shapes_agree_with_float64(lead, features, units):
    values = operands((*lead, features), (features, units))
    wide = [np.asarray(v, np.float64) for v in values]
    y = wide[0] @ wide[1]
    g = np.tanh(y)
    rows = np.reshape(wide[0], (-1, features)), g.reshape(-1, units)
    assert_near(jax.jit(curve(product))(*values), [y, g @ wide[1].T, rows[0].T @ rows[1]], 2e-6)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float16, jnp.bfloat16], ids=lambda d: d.__name__)
def test_dtypes(dtype):
    with jax.enable_x64(True):
        values = operands((3, 5), (5, 7), dtype=dtype)
        got, want = (jax.jit(curve(f))(*values) for f in (product, jnp.matmul))
        assert [a.dtype for a in got] == [dtype] * 3
        assert_near(got, want, 2 * float(jnp.finfo(dtype).eps))


def test_other_operands_are_multiplied_as_ever():
    whole = jnp.arange(6).reshape(2, 3)
    assert product(whole, whole.T).tolist() == (np.arange(6).reshape(2, 3) @ np.arange(6).reshape(2, 3).T).tolist()
    assert product(jnp.ones((4, 2, 3)), jnp.ones((4, 3, 5))).shape == (4, 2, 5)


def test_numerical_derivatives_to_second_order():
    with jax.enable_x64(True):
        values = operands((2, 3, 4), (4, 2), dtype=jnp.float64)
        check_grads(jax.jit(lambda x, k: jnp.sin(product(x, k))), values, order=2, modes=("fwd", "rev"), rtol=1e-6)


def test_hessians():
    values = operands((3, 4), (4, 2))
    of = lambda f: jax.hessian(lambda *a: jnp.sum(f(*a) ** 3), argnums=(0, 1))(*values)  # noqa: E731
    assert_near(jax.tree.leaves(of(product)), jax.tree.leaves(of(jnp.matmul)), 1e-5)


@pytest.mark.parametrize("mapped", [(0, None), (None, 0), (1, -1)], ids=["x", "kernel", "both"])
def test_vmap_is_a_loop_also_when_nested(mapped):
    members = [operands((5, 4), (4, 3), seed=seed) for seed in range(3)]
    stacks = [members[0][i] if a is None else jnp.stack([m[i] for m in members], a) for i, a in enumerate(mapped)]
    rows = [curve(product)(*(members[0 if a is None else m][i] for i, a in enumerate(mapped))) for m in range(3)]
    want = [jnp.stack(parts) for parts in zip(*rows, strict=True)]
    mapped_once = jax.vmap(curve(product), mapped)
    assert_near(jax.jit(mapped_once)(*stacks), want, 2e-6)
    twice = jax.vmap(mapped_once, (0, None))(jnp.stack([stacks[0]] * 2), stacks[1])
    assert_near([a[1] for a in twice], want, 2e-6)


@pytest.mark.parametrize("rows", [8, 1000], ids=["few rows", "many rows"])
def test_both_platforms_compute_the_same(rows):
    x, kernel, g = operands((rows, 6), (6, 4), (rows, 4))
    pairs = [
        (module.input_grad(g, kernel), module.input_grad_cpu(g, kernel)),
        (module.kernel_grad(x, g), module.kernel_grad_cpu(x, g)),
    ]
    for plain, cpu in pairs:
        assert_near([plain], [cpu], 2e-6)


def test_a_gpu_gets_plain_products():
    grads = jax.jit(jax.grad(lambda *a: product(*a).sum(), argnums=(0, 1)))
    traced = grads.trace(*operands((8, 6), (6, 4)))
    assert "optimization_barrier" in traced.lower(lowering_platforms=("cpu",)).as_text()
    assert "optimization_barrier" not in traced.lower(lowering_platforms=("cuda",)).as_text()


def test_docs():
    assert doctest.testmod(module).failed == 0
