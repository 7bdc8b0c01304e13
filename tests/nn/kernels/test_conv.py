"""Convolution against XLA's own in float64: values, derivatives of every mode, vmap, loops, lowerings."""

import doctest
import importlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from kjax import native
from kjax.nn.kernels import conv

module = importlib.import_module("kjax.nn.kernels.conv")

# name: x, kernel, strides, padding, dilation. At least one row for each lowering.
CASES = {
    "few products": ((4, 9, 8, 1), (3, 3, 1, 6), (1, 1), "valid", (1, 1)),
    "few channels": ((2, 11, 10, 3), (5, 4, 3, 6), (2, 1), "same", (1, 1)),
    "many channels": ((3, 7, 8, 12), (3, 3, 12, 10), (1, 1), "same", (1, 1)),
    "strides": ((3, 9, 8, 12), (3, 2, 12, 10), (2, 3), "same", (1, 1)),
    "strides below the taps": ((2, 9, 8, 12), (5, 3, 12, 10), (2, 3), "same", (1, 1)),
    "dilation": ((2, 11, 10, 12), (3, 3, 12, 5), (1, 1), ((1, 2), (0, 3)), (2, 3)),
    "wide padding": ((2, 4, 4, 12), (2, 2, 12, 3), (1, 1), ((3, 4), (2, 5)), (1, 1)),
    "negative padding": ((2, 7, 8, 12), (2, 3, 12, 3), (2, 1), ((-1, 2), (1, -2)), (1, 1)),
    "strides with rest": ((2, 9, 11, 12), (2, 3, 12, 3), (3, 4), "valid", (1, 2)),
    "1x1": ((3, 5, 6, 40), (1, 1, 40, 7), (1, 1), "valid", (1, 1)),
    "1x1 with strides": ((3, 5, 6, 40), (1, 1, 40, 7), (2, 3), "same", (1, 1)),
    "1-D": ((3, 12, 10), (4, 10, 6), (1,), "same", (1,)),
    "1-D causal": ((3, 12, 10), (4, 10, 6), (2,), ((6, 0),), (2,)),
    "3-D": ((2, 5, 6, 4, 10), (2, 3, 2, 10, 3), (1, 1, 1), "same", (1, 1, 1)),
    "3-D with all": ((2, 5, 6, 7, 10), (2, 1, 3, 10, 3), (2, 1, 2), ((1, 0), (0, 0), (2, 1)), (2, 1, 1)),
}


@pytest.fixture(autouse=True)
def no_kernels(monkeypatch):
    """These are the rules in JAX; the kernels in C have tests of their own."""
    monkeypatch.setattr(native, "library", lambda: None)


each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
some_cases = pytest.mark.parametrize("name", ["few products", "many channels", "strides", "1x1", "1-D", "3-D"])


def plain(x, kernel, strides, padding, dilation):
    """XLA's own convolution, whose gradients are JAX's."""
    axes = "DHW"[-len(strides) :]
    padding = padding.upper() if isinstance(padding, str) else padding
    names = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    return lax.conv_general_dilated(x, kernel, strides, padding, rhs_dilation=dilation, dimension_numbers=names)


def operands(case, dtype=jnp.float32, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(rng.standard_normal(shape), dtype) for shape in case[:2])


def curve(function, case):
    """The output and both gradients, all of them depending on both operands."""

    def run(x, kernel):
        y, pull = jax.vjp(lambda x, kernel: function(x, kernel, *case[2:]), x, kernel)
        return y, *pull(jnp.tanh(y))

    return run


def exact(case, values):
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(v, np.float64)) for v in values]
        return [np.asarray(v) for v in jax.jit(curve(plain, case))(*wide)]


def assert_near(got, want, eps):
    """Within some roundings of the largest entry: each is a sum of up to a few hundred products."""
    for a, b in zip(got, want, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=eps * max(np.abs(b).max(), 1e-30))


@each_case
def test_output_and_gradients_are_those_of_float64(case):
    values = operands(case)
    assert_near(jax.jit(curve(conv, case))(*values), exact(case, values), 2e-6)


@st.composite
def random_cases(draw):
    rank, small = draw(st.integers(1, 3)), st.integers(1, 3)
    taps, strides, dilation = (tuple(draw(small) for _ in range(rank)) for _ in range(3))
    size = tuple((k - 1) * d + draw(st.integers(1, 6)) for k, d in zip(taps, dilation, strict=True))
    pairs = st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * rank)
    padding = draw(st.sampled_from(["valid", "SAME"]) | pairs)
    channels = draw(st.sampled_from([1, 3, 9, 16]))
    return (draw(small), *size, channels), (*taps, channels, draw(small)), strides, padding, dilation


@settings(derandomize=True, deadline=None, max_examples=12, database=None)
@given(random_cases())
def test_random_shapes(case):
    values = operands(case)
    assert_near(jax.jit(curve(conv, case))(*values), exact(case, values), 3e-6)


@pytest.mark.parametrize("name", ["few products", "1-D causal"])
def test_numerical_derivatives_to_second_order(name):
    case = CASES[name]
    batch_of_one = ((1, *case[0][1:]), (*case[1][:-1], 2), *case[2:])

    def f(x, kernel):
        return conv(x, kernel, *case[2:])

    with jax.enable_x64(True):
        x, kernel = operands(batch_of_one, jnp.float64)
        weight = np.random.default_rng(2).standard_normal(jax.eval_shape(f, x, kernel).shape)
        check_gradients(lambda *a: jnp.vdot(weight, f(*a)), x, kernel, rtol=1e-7, every_mode=True)


@some_cases
def test_forward_over_reverse_and_reverse_over_reverse(name):
    case, values, moves = CASES[name], operands(CASES[name]), operands(CASES[name], seed=1)

    def second(function):
        def slope(x, kernel):
            return jax.grad(lambda *a: jnp.sum(jnp.sin(function(*a, *case[2:]))), argnums=(0, 1))(x, kernel)

        def along(x, kernel):
            return sum(jnp.sum(g * m) for g, m in zip(slope(x, kernel), moves, strict=True))

        return lambda *a: (*jax.jvp(slope, a, moves)[1], *jax.grad(along, argnums=(0, 1))(*a))

    assert_near(jax.jit(second(conv))(*values), jax.jit(second(plain))(*values), 2e-5)


def test_hessian_of_a_kernel():
    case = ((2, 4, 5, 2), (2, 2, 2, 2), (1, 1), "same", (1, 1))
    x, kernel = operands(case)
    of = lambda f: jax.hessian(lambda k: jnp.sum(f(x, k, *case[2:]) ** 3))(kernel)  # noqa: E731
    assert_near([of(conv)], [of(plain)], 1e-5)


@pytest.mark.parametrize("name", ["few products", "many channels", "strides"])
@pytest.mark.parametrize("mapped", [(0, None), (None, 0), (1, -1)], ids=["x", "kernel", "both"])
def test_vmap_is_a_loop(name, mapped):
    case, run = CASES[name], curve(conv, CASES[name])
    members = [operands(case, seed=seed) for seed in range(3)]
    stacks = [
        members[0][i] if axis is None else jnp.stack([m[i] for m in members], axis) for i, axis in enumerate(mapped)
    ]
    got = jax.jit(jax.vmap(run, mapped))(*stacks)
    one = jax.jit(run)
    rows = [[members[0 if a is None else m][i] for i, a in enumerate(mapped)] for m in range(3)]
    want = [jnp.stack(parts) for parts in zip(*(one(*row) for row in rows), strict=True)]
    assert_near(got, want, 2e-6)


def test_vmap_of_vmap_and_gradient_of_vmap():
    case = CASES["many channels"]
    x, kernel = (jnp.stack([v, 2 * v, v - 1]) for v in operands(case))
    both = jax.vmap(lambda x, k: conv(x, k, *case[2:]))
    nested = jax.vmap(both)(jnp.stack([x, x + 1]), jnp.stack([kernel, -kernel]))
    assert_near([nested[1]], [both(x + 1, -kernel)], 2e-6)
    grids = jax.vmap(jax.vmap(lambda x, k: conv(x, k, *case[2:]), (None, 0)), (0, None))(x, kernel)
    assert_near([grids[1, 2]], [conv(x[1], kernel[2], *case[2:])], 2e-6)
    outside = jax.vmap(both, (None, 0))(x, jnp.stack([kernel, -kernel]))
    assert_near([outside[1]], [both(x, -kernel)], 2e-6)
    got = jax.grad(lambda x, k: jnp.sum(jnp.sin(both(x, k))), (0, 1))(x, kernel)
    want = jax.vmap(jax.grad(lambda x, k: jnp.sum(jnp.sin(conv(x, k, *case[2:]))), (0, 1)))(x, kernel)
    assert_near(got, want, 2e-6)


@some_cases
def test_in_a_loop_eagerly_and_rematerialised_it_is_the_same(name):
    values, run = operands(CASES[name]), curve(conv, CASES[name])

    def steps(x, kernel):
        def step(_, carry):
            _, dx, dkernel = run(*carry)
            return carry[0] - 0.01 * dx, carry[1] - 0.01 * dkernel

        return step, (x, kernel)

    def looped(x, kernel):
        return lax.fori_loop(0, 2, *steps(x, kernel))

    step, carry = steps(*values)
    assert_near(jax.jit(looped)(*values), step(1, step(0, carry)), 2e-6)
    with jax.disable_jit():
        assert_near(run(*values), jax.jit(jax.checkpoint(run))(*values), 2e-6)


@pytest.mark.parametrize("name", ["few products", "many channels", "strides"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_dtypes(name, dtype):
    with jax.enable_x64(dtype == "float64"):
        values = operands(CASES[name], dtype)
        got = jax.jit(curve(conv, CASES[name]))(*values)
        assert [v.dtype.name for v in got] == [dtype] * 3
        eps = max(10 * float(jnp.finfo(dtype).eps), 1e-14)
    assert_near(got, exact(CASES[name], values), eps)


def lowered(case, platform, function=conv):
    run = jax.jit(curve(function, case)).trace(*operands(case))
    return run.lower(lowering_platforms=(platform,)).as_text()


CONVOLUTION = r"stablehlo\.convolution\(.*?dim_numbers = (\S+ ?.*?), window"


@each_case
def test_on_cpu_no_gradient_permutes_dimensions(case):
    """Permuted convolutions are the ones that XLA's CPU backend runs slowly in a loop."""
    for layout in re.findall(CONVOLUTION, lowered(case, "cpu")):
        assert re.fullmatch(r"\[b, (\d, )*f\]x\[(\d, )*i, o\]->\[b, (\d, )*f\]", layout), layout


@some_cases
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_other_platforms_get_plain_convolutions(name, platform):
    found = [
        re.findall(r"stablehlo\.convolution\(.*?\).*?(dim_numbers.*)", lowered(CASES[name], platform, f))
        for f in (conv, plain)
    ]
    assert len(found[0]) == 3 and found[0] == found[1]


@pytest.mark.parametrize(
    ("shapes", "padding", "spread"),
    [
        (((2, 9, 8, 16), (3, 3, 16, 16)), "same", False),
        (((2, 9, 8, 16), (3, 3, 16, 17)), "same", True),
        (((2, 9, 8, 32), (3, 3, 32, 32)), "valid", True),
        (((2, 9, 8, 32), (3, 3, 32, 32)), ((2, 2), (2, 2)), False),
    ],
    ids=["few channels and filters", "17 filters", "many", "an output larger than the input"],
)
def test_what_the_library_refuses_anyway_is_left_as_it_is(shapes, padding, spread):
    run = jax.jit(lambda x, kernel: conv(x, kernel, padding=padding))
    text = run.trace(*(jnp.zeros(shape) for shape in shapes)).lower(lowering_platforms=("cpu",)).as_text()
    assert ("lhs_dilate = [1, 2]" in text) == spread


def test_the_input_of_a_layer_is_computed_once():
    """Not again before the transpose that the kernel's gradient needs."""

    def loss(kernel, x):
        return jnp.sum(conv(x * 3.71875, kernel) ** 2)

    kernel, x = jnp.zeros((3, 3, 17, 18)), jnp.zeros((4, 9, 8, 17))
    assert jax.jit(jax.grad(loss)).lower(kernel, x).compile().as_text().count("constant(3.71875)") == 1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_stored_is_the_same_array(dtype):
    x = jnp.asarray([0.0, -1.5, jnp.inf, -jnp.inf, jnp.nan], dtype)
    np.testing.assert_array_equal(*(np.asarray(a, np.float32) for a in (jax.jit(module.stored)(x), x)))


def test_the_layout_pattern_finds_permuted_convolutions():
    layouts = re.findall(CONVOLUTION, lowered(CASES["many channels"], "cpu", plain))
    assert len(layouts) == 3 and "[f, 0, 1, b]x[i, 0, 1, o]->[0, 1, b, f]" in layouts


@pytest.mark.parametrize(
    ("shapes", "arguments", "message"),
    [
        (((1, 4, 4, 3), (3, 3, 2, 8)), {}, "got x (1, 4, 4, 3) and kernel (3, 3, 2, 8)"),
        (((4, 4, 3), (3, 3, 3, 8)), {}, "with as many axes"),
        (((1, 4, 4, 3), (3, 3, 3, 8)), {"strides": (1, 1, 1)}, "strides is one positive integer, or one for each of 2"),
        (((1, 4, 4, 3), (3, 3, 3, 8)), {"dilation": 0}, "dilation is one positive integer"),
        (((1, 4, 4, 3), (3, 3, 3, 8)), {"padding": "full"}, "not full"),
        (((1, 4, 4, 3), (3, 3, 3, 8)), {"padding": ((1, 1),)}, "or 2 pairs (before, after)"),
        (((1, 4, 4, 3), (5, 3, 3, 8)), {}, "try padding='same'"),
    ],
)
def test_errors_say_what_is_wrong(shapes, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        conv(*(jnp.zeros(shape) for shape in shapes), **arguments)


def test_operands_of_two_dtypes_are_refused():
    with pytest.raises(TypeError, match="x is float32 and the kernel bfloat16"):
        conv(jnp.zeros((1, 4, 4, 3)), jnp.zeros((3, 3, 3, 8), jnp.bfloat16))


def test_examples_in_the_docstrings():
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
