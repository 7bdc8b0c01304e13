"""Convolution by the kernels in C against XLA's own in float64, with each library that this processor can run."""

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_conv import assert_near, exact, operands

from kjax import native
from kjax.nn.kernels import conv_native
from kjax.nn.kernels.conv import conv, make_window

# name: x, kernel, strides, padding, dilation.
CASES = {
    "tiles and blocks with rest": ((2, 9, 31, 5), (3, 3, 5, 49), (1, 1), "same", (1, 1)),
    "bands with rest": ((1, 23, 19, 40), (3, 3, 40, 33), (1, 1), "valid", (1, 1)),
    "strides": ((3, 10, 13, 12), (3, 3, 12, 17), (2, 3), "same", (1, 1)),
    "strides beyond the taps": ((2, 11, 9, 6), (1, 2, 6, 9), (2, 3), "valid", (1, 1)),
    "strides beyond x": ((2, 3, 2, 6), (2, 2, 6, 9), (4, 4), "same", (1, 1)),
    "dilation and strides": ((2, 13, 14, 7), (3, 2, 7, 8), (2, 2), ((1, 2), (0, 3)), (2, 3)),
    "wide and negative padding": ((2, 7, 8, 12), (2, 3, 12, 3), (1, 2), ((5, -1), (-2, 6)), (1, 1)),
    "rows in pieces": ((1, 6, 720, 12), (3, 3, 12, 18), (1, 1), "same", (1, 1)),
    "long rows in pieces, with strides": ((1, 5, 1100, 20), (2, 3, 20, 3), (1, 2), "same", (1, 2)),
    "1-D, in pieces": ((1, 1300, 40), (5, 40, 33), (1,), "same", (1,)),
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


def test_small_maps_are_left_to_xla():
    """Few products to sum over, few channels of x; and what no task has room for."""
    window = make_window("test", (8, 8), (3, 3), 1, "same")
    takes = [rule.takes for rule in (conv_native.FORWARD, conv_native.INPUT_GRAD, conv_native.KERNEL_GRAD)]
    images = {c: (2, 8, 8, c) for c in (1, 3, 8, 10**5)}
    assert [takes[0](images[c], (3, 3, c, 8), window) for c in images] == [False, True, True, False]
    assert [takes[1](images[8], (3, 3, c, 8), window) for c in images] == [False, False, True, True]
    assert [takes[2](images[c], images[8], window) for c in images] == [True, True, True, False]


def second_derivatives(x, kernel, dx, dkernel):
    def slope(x, kernel):
        return jax.grad(lambda *a: jnp.sum(jnp.sin(conv(*a, strides=2, padding="same"))), argnums=(0, 1))(x, kernel)

    value, along = jax.jvp(slope, (x, kernel), (dx, dkernel))
    _, back = jax.vjp(slope, x, kernel)
    return value, along, back((dx, dkernel))


def in_a_loop(x, kernel, dx, dkernel):
    def step(_, carry):
        return tuple(a - 0.1 * b for a, b in zip(carry, second_derivatives(*carry, dx, dkernel)[0], strict=True))

    return jax.lax.fori_loop(0, 2, step, (x, kernel))


TRANSFORMED = {
    "second derivatives": second_derivatives,
    "vmap of both": lambda *a: jax.vmap(second_derivatives)(*(jnp.stack([v, v[::-1]]) for v in a)),
    "vmap of one": lambda x, *a: jax.vmap(second_derivatives, (0, None, None, None))(jnp.stack([x, x + 1]), *a),
    "in a loop": in_a_loop,
}


@pytest.mark.parametrize("function", TRANSFORMED.values(), ids=TRANSFORMED)
def test_transformed_they_give_what_the_rules_in_jax_give(monkeypatch, function):
    case = ((3, 7, 8, 10), (3, 3, 10, 18))
    values = [*operands(case), *operands(case, seed=1)]
    program = jax.jit(lambda *a: function(*a)).lower(*values)
    assert "kjax_conv_kernel_grad" in program.as_text()
    got = program.compile()(*values)
    monkeypatch.setattr(native, "library", lambda: None)
    plain = jax.jit(lambda *a: function(*a)).lower(*values)
    assert "kjax_" not in plain.as_text()
    assert_near(jax.tree.leaves(got), jax.tree.leaves(plain.compile()(*values)), 1e-5)


def test_an_image_of_no_rows_has_a_gradient_of_none():
    x, kernel = jnp.ones((1, 0, 4, 8)), jnp.ones((3, 3, 8, 16))
    run = jax.grad(lambda x: conv(x, kernel, padding=((2, 2), (2, 2))).sum())
    assert run(x).shape == x.shape


def test_a_batch_of_none_has_a_gradient_of_zeros():
    x, kernel = jnp.ones((0, 6, 6, 8)), jnp.ones((3, 3, 8, 16))
    run = jax.grad(lambda *a: conv(*a, padding="same").sum(), (0, 1))
    for values, gradients in ((x, kernel), run), ((x[None], kernel[None]), jax.vmap(run)):
        dx, dkernel = gradients(*values)
        assert (dx.shape, dkernel.shape) == tuple(v.shape for v in values) and not dkernel.any()


def test_strides_beyond_what_is_worth_listing_are_left_to_jax():
    window = make_window("conv", (512, 512), (16, 16), 256, "valid")
    assert not conv_native.takes_input_grad((1, 2, 2, 8), (16, 16, 8, 8), window)
