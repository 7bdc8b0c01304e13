"""The gradient check itself: it accepts right derivatives and notices slightly wrong ones."""

import jax
import jax.numpy as jnp
import pytest
from gradients import check_gradients


def cube(x, slope):
    """x**3 whose declared derivative is `slope(x)`."""

    @jax.custom_jvp
    def f(x):
        return x**3

    f.defjvp(lambda primals, tangents: (f(*primals), slope(primals[0]) * tangents[0]))
    return f(x).sum()


@pytest.mark.parametrize("every_mode", [False, True])
def test_right_derivatives_pass(every_mode):
    with jax.enable_x64(True):
        check_gradients(lambda x: cube(x, lambda x: 3 * x**2), jnp.arange(1.0, 4.0), every_mode=every_mode)


@pytest.mark.parametrize(
    ("slope", "which"),
    [(lambda x: 3.0001 * x**2, "forward"), (lambda x: 3 * jax.lax.stop_gradient(x) ** 2, "forward over reverse")],
)
def test_slightly_wrong_derivatives_fail(slope, which):
    with jax.enable_x64(True), pytest.raises(AssertionError, match=rf"\n{which}: "):
        check_gradients(lambda x: cube(x, slope), jnp.arange(1.0, 4.0))
