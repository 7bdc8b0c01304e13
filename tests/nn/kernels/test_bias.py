"""A bias's gradient, natively and in XLA: against float64, in every mode."""

import doctest
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kjax import native
from kjax.nn.kernels import spread

module = importlib.import_module("kjax.nn.kernels.bias")


def gradient(x, shape):
    bias = jnp.zeros(shape, x.dtype)
    return jax.jit(lambda x: jax.vjp(lambda bias: spread(bias, x.shape), bias)[1](x)[0])


@pytest.mark.parametrize("shape", [(2000, 24), (9, 11, 13, 7), (3, 5), (40, 64, 4, 33), (70, 2048), (0, 3)], ids=str)
def test_gradient_is_the_sum_over_rows(shape):
    own = shape[-2:] if shape[-2] == 4 else shape[-1:]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    run = gradient(x, own)
    assert ("kjax_column_sum" in run.lower(x).as_text()) == (native.library() is not None and x.size > 0)
    want = x.astype(np.float64).reshape(-1, *own).sum(0)
    np.testing.assert_allclose(run(x), want, rtol=1e-6, atol=1e-5)


def test_own_axes_of_one_are_summed_over_too():
    x = np.random.default_rng(0).standard_normal((5, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(gradient(x, (3, 1))(x), x.sum((0, 2))[:, None], rtol=1e-6, atol=1e-6)


def test_every_mode_and_order():
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).standard_normal((3, 2, 4)))
        bias = x[0, 0]
        check_grads(lambda bias: jnp.sin(spread(bias, x.shape) * x), (bias,), order=2, modes=("fwd", "rev"))
        want = jax.vmap(jax.grad(lambda bias, x: jnp.sin((bias + x) * x).sum()))(x[0], x[:, 0, :][:2])
        got = jax.vmap(jax.grad(lambda bias, x: jnp.sin((spread(bias, x.shape) + x) * x).sum()))(x[0], x[:, 0, :][:2])
        np.testing.assert_allclose(got, want, rtol=1e-13)


def test_examples_in_the_docstrings():
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
