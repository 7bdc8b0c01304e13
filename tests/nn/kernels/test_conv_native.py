"""Convolution by the kernels in C against XLA's own in float64, with each library that this processor can run."""

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_conv import assert_near, exact, operands

from kjax import native
from kjax.nn.kernels import conv_native
from kjax.nn.kernels.conv import make_window

# name: x, kernel, strides, padding, dilation.
CASES = {
    "tiles and blocks with rest": ((2, 9, 31, 5), (3, 3, 5, 49), (1, 1), "same", (1, 1)),
    "bands with rest": ((1, 23, 19, 40), (3, 3, 40, 33), (1, 1), "valid", (1, 1)),
    "strides": ((3, 10, 13, 12), (3, 3, 12, 17), (2, 3), "same", (1, 1)),
    "strides beyond the taps": ((2, 11, 9, 6), (1, 2, 6, 9), (2, 3), "valid", (1, 1)),
    "strides beyond x": ((2, 3, 2, 6), (2, 2, 6, 9), (4, 4), "same", (1, 1)),
    "dilation and strides": ((2, 13, 14, 7), (3, 2, 7, 8), (2, 2), ((1, 2), (0, 3)), (2, 3)),
    "wide and negative padding": ((2, 7, 8, 12), (2, 3, 12, 3), (1, 2), ((5, -1), (-2, 6)), (1, 1)),
    "1-D": ((3, 40, 10), (4, 10, 6), (2,), ((6, 0),), (2,)),
    "one of each": ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1), "valid", (1, 1)),
}
LIBRARIES = [level for level in native._found_levels() if native._path(level).exists()]


@pytest.fixture(params=LIBRARIES)
def library(request, monkeypatch):
    """A level's library in the place of the fastest."""
    found = native._load(native._path(request.param))
    monkeypatch.setattr(native, "library", lambda: found)
    monkeypatch.setattr(native, "_target", native._target.__wrapped__)
    return found


def by_kernels(case):
    """What `exact` of the tests of `conv` gives, by the kernels alone, whatever a lowering would choose."""
    (_, *size, _), (*taps, _, _), strides, padding, dilation = case
    window = make_window("test", tuple(size), tuple(taps), strides, padding, dilation)

    @jax.jit
    def run(x, kernel):
        y = conv_native.forward(x, kernel, window)
        g = jnp.tanh(y)
        return y, conv_native.input_grad(g, kernel, window), conv_native.kernel_grad(x, g, window)

    return run


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_output_and_gradients_are_those_of_float64(case):
    values = operands(case)
    assert_near(by_kernels(case)(*values), exact(case, values), 2e-6)


@st.composite
def random_cases(draw):
    rank, small = draw(st.integers(1, 2)), st.integers(1, 4)
    taps, strides, dilation = (tuple(draw(small) for _ in range(rank)) for _ in range(3))
    size = tuple((k - 1) * d + draw(st.integers(3, 33)) for k, d in zip(taps, dilation, strict=True))
    padding = draw(st.sampled_from(["valid", "same"]) | st.tuples(*[st.tuples(*[st.integers(-1, 3)] * 2)] * rank))
    batch, channels, filters = draw(small), draw(st.integers(1, 40)), draw(st.integers(1, 70))
    return (batch, *size, channels), (*taps, channels, filters), strides, padding, dilation


@settings(derandomize=True, deadline=None, max_examples=25, database=None)
@given(random_cases(), st.sampled_from(LIBRARIES))
def test_random_shapes(case, level):
    with pytest.MonkeyPatch.context() as patch:
        found = native._load(native._path(level))
        patch.setattr(native, "library", lambda: found)
        patch.setattr(native, "_target", native._target.__wrapped__)
        values = operands(case)
        assert_near(by_kernels(case)(*values), exact(case, values), 2e-6)
