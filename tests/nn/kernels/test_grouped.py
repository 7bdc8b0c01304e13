"""Grouped convolution against XLA's own in float64, and against one convolution per group."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from kjax.nn.kernels import conv, grouped_conv

# name: x, kernel, groups, strides, padding, dilation
CASES = {
    "groups": ((2, 7, 6, 8), (3, 2, 4, 6), 2, (1, 1), "same", (1, 1)),
    "groups with strides": ((2, 7, 6, 9), (3, 3, 3, 6), 3, (2, 1), "valid", (1, 1)),
    "depthwise": ((2, 7, 6, 5), (3, 3, 1, 5), 5, (1, 1), "same", (1, 1)),
    "depthwise with strides": ((2, 9, 8, 5), (3, 3, 1, 10), 5, (2, 2), "same", (1, 1)),
    "depthwise with dilation": ((2, 9, 8, 3), (3, 2, 1, 6), 3, (1, 1), "valid", (2, 1)),
    "1-D causal": ((2, 9, 4), (3, 1, 4), 4, (2,), ((2, 0),), (1,)),
    "3-D": ((1, 4, 5, 4, 4), (2, 2, 2, 2, 4), 2, (1, 2, 1), "same", (1, 1, 1)),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def plain(x, kernel, groups, strides, padding, dilation):
    axes = "DHW"[-len(strides) :]
    padding = padding.upper() if isinstance(padding, str) else padding
    names = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    return lax.conv_general_dilated(
        x, kernel, strides, padding, rhs_dilation=dilation, dimension_numbers=names, feature_group_count=groups
    )


def operands(case, dtype):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in case[:2]]


def curve(function, case):
    def run(x, kernel):
        y, pull = jax.vjp(lambda x, kernel: function(x, kernel, *case[2:]), x, kernel)
        return y, *pull(jnp.tanh(y))

    return jax.jit(run)


def assert_same(case, dtype, tolerance):
    with jax.enable_x64(True):
        wanted = curve(plain, case)(*operands(case, jnp.float64))
        for got, want in zip(curve(grouped_conv, case)(*operands(case, dtype)), wanted, strict=True):
            assert got.dtype == dtype and got.shape == want.shape
            np.testing.assert_allclose(got.astype(jnp.float64), want, rtol=0, atol=tolerance * np.abs(want).max())


@each_case
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float64, 1e-13), (jnp.float32, 2e-6), (jnp.bfloat16, 3e-2)])
def test_output_and_gradients_are_xlas(case, dtype, tolerance):
    assert_same(case, dtype, tolerance)


@st.composite
def random_cases(draw):
    rank, small = draw(st.integers(1, 2)), st.integers(1, 3)
    taps, strides, dilation = (tuple(draw(small) for _ in range(rank)) for _ in range(3))
    size = tuple((k - 1) * d + draw(st.integers(1, 5)) for k, d in zip(taps, dilation, strict=True))
    groups, own, filters = draw(st.integers(2, 4)), draw(small), draw(small)
    padding = draw(st.sampled_from(["valid", "same"]))
    kernel = (*taps, own, groups * filters)
    return (draw(small), *size, groups * own), kernel, groups, strides, padding, dilation


@settings(derandomize=True, deadline=None, max_examples=10, database=None)
@given(random_cases())
def test_random_shapes(case):
    assert_same(case, jnp.float64, 1e-13)


@pytest.mark.parametrize("name", ["groups", "depthwise with strides"])
def test_derivatives_to_second_order_and_vmap(name):
    case = CASES[name]
    with jax.enable_x64(True):
        x, kernel = operands(case, jnp.float64)
        check_gradients(lambda x, k: jnp.sin(grouped_conv(x, k, *case[2:])).sum(), x, kernel)
        many = jax.jit(jax.vmap(lambda k: grouped_conv(x, k, *case[2:])))(jnp.stack([kernel, -kernel]))
        np.testing.assert_allclose(many[1], -many[0], rtol=1e-13)


def test_one_group_is_a_convolution_and_causal_sees_only_the_past():
    x, kernel = operands(((2, 6, 6, 4), (3, 3, 4, 2)), jnp.float32)
    np.testing.assert_array_equal(grouped_conv(x, kernel, 1), conv(x, kernel))
    x, kernel = operands(((1, 8, 4), (3, 1, 4)), jnp.float32)
    run = jax.jit(lambda x: grouped_conv(x, kernel, 4, padding="causal"))
    np.testing.assert_allclose(run(x.at[:, 5:].set(9.0))[:, :5], run(x)[:, :5], rtol=1e-6)
    assert run(x).shape == (1, 8, 4)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_other_platforms_get_one_grouped_convolution(platform):
    x, kernel = operands(CASES["depthwise with strides"], jnp.float32)
    run = jax.jit(lambda x, k: grouped_conv(x, k, *CASES["depthwise with strides"][2:]))
    text = run.trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
    assert re.findall(r"feature_group_count = (\d+)", text) == ["5"]


@pytest.mark.parametrize("shapes", [((1, 4, 4, 6), (3, 3, 2, 6)), ((1, 4, 4, 6), (3, 3, 3, 5))])
def test_groups_that_do_not_divide_are_refused(shapes):
    with pytest.raises(ValueError, match="groups divides both; got 2 groups"):
        grouped_conv(*(jnp.zeros(shape) for shape in shapes), 2)
