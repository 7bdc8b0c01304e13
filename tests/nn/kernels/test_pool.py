"""Pooling against plain NumPy loops and Keras: values, ties, derivatives, vmap, loops, lowerings."""

import doctest
import importlib
import itertools
import os
import re

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from kjax.nn.kernels import avg_pool, max_pool

module = importlib.import_module("kjax.nn.kernels.pool")

# name: x, window, strides, padding
CASES = {
    "side by side": ((2, 6, 8, 3), (2, 2), (2, 2), "valid"),
    "side by side with rest": ((2, 7, 8, 3), (2, 3), (2, 3), "valid"),
    "side by side, same": ((2, 7, 8, 3), (2, 3), (2, 3), "same"),
    "overlapping": ((2, 7, 8, 3), (3, 3), (2, 2), "same"),
    "dense": ((1, 5, 6, 2), (3, 2), (1, 1), "same"),
    "gaps": ((2, 7, 9, 2), (2, 2), (3, 4), "valid"),
    "pairs": ((2, 6, 5, 2), (3, 3), (2, 3), ((1, 2), (2, 0))),
    "everything": ((2, 4, 5, 2), (4, 5), (4, 5), "valid"),
    "1-D": ((2, 9, 3), (3,), (2,), "same"),
    "3-D": ((2, 4, 5, 6, 2), (2, 3, 2), (2, 2, 2), "same"),
    "long": ((2, 19, 3), (9,), (9,), "valid"),
    "long, same": ((2, 17, 9, 2), (8, 9), (8, 9), "same"),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_pool = pytest.mark.parametrize("pool", [max_pool, avg_pool])


def pads(shape, window, strides, padding):
    if not isinstance(padding, str):
        return padding
    if padding.lower() == "valid":
        return [(0, 0)] * len(window)
    totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(shape[1:-1], window, strides, strict=True)]
    return [(t // 2, t - t // 2) for t in totals]


def windows(shape, window, strides, padding):
    """For each output cell, row by row: its index, and the indices of the real cells it sees, row by row."""
    edges, size = pads(shape, window, strides, padding), shape[1:-1]
    axes = list(zip(size, window, strides, edges, strict=True))
    out = [(n + sum(pad) - k) // s + 1 for n, k, s, pad in axes]
    for place in itertools.product(*map(range, out)):
        lines = [range(o * s - p[0], o * s - p[0] + k) for o, (_, k, s, p) in zip(place, axes, strict=True)]
        seen = itertools.product(*([i for i in line if 0 <= i < n] for line, n in zip(lines, size, strict=True)))
        yield place, [(slice(None), *cell) for cell in seen]


def naive(pool, x, g, case):
    """The output, and the gradient of the sum of g times it, in float64."""
    x, dx, outputs = np.asarray(x, np.float64), np.zeros(x.shape), []
    for place, seen in windows(*case):
        cells, slope = np.stack([x[c] for c in seen]), np.asarray(g, np.float64)[(slice(None), *place)]
        outputs.append(cells.max(0) if pool is max_pool else cells.mean(0))
        first = cells.argmax(0)
        for i, cell in enumerate(seen):
            dx[cell] += slope * (first == i) if pool is max_pool else slope / len(seen)
    return np.stack(outputs, 1).reshape(g.shape), dx


def both(pool, case):
    def run(x, g):
        y, pull = jax.vjp(lambda x: pool(x, *case[1:]), x)
        return y, pull(g)[0]

    return run


def operands(pool, case, dtype=jnp.float32, seed=0, levels=None):
    """x and a gradient of the output; few `levels` make ties."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(case[0]) if levels is None else rng.integers(levels, size=case[0])
    x = jnp.asarray(x, dtype)
    return x, jnp.asarray(rng.standard_normal(jax.eval_shape(lambda x: pool(x, *case[1:]), x).shape), dtype)


def assert_near(got, want, eps=1e-6):
    for a, b in zip(got, want, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=0, atol=eps * max(1, np.abs(b).max()))


@each_case
@pytest.mark.parametrize(
    ("pool", "levels"),
    [(avg_pool, None), (max_pool, None), (max_pool, 2), (max_pool, 1)],
    ids=["avg", "max", "max of ties", "max of equals"],
)
def test_a_loop_over_windows(pool, case, levels):
    x, g = operands(pool, case, levels=levels)
    got = jax.jit(both(pool, case))(x, g)
    assert_near(got, naive(pool, x, g, case))
    np.testing.assert_allclose(got[1].sum(), g.sum(), rtol=1e-4, atol=1e-4)  # nothing lost, nothing doubled


@st.composite
def random_cases(draw):
    rank, small = draw(st.integers(1, 3)), st.integers(1, 3)
    window, strides = (tuple(draw(small) for _ in range(rank)) for _ in range(2))
    size = tuple(k + draw(st.integers(0, 4)) for k in window)
    pairs = st.tuples(*(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)) for k in window))
    return (2, *size, 2), window, strides, draw(st.sampled_from(["VALID", "same"]) | pairs)


@settings(derandomize=True, deadline=None, max_examples=12, database=None)
@given(random_cases(), st.sampled_from([max_pool, avg_pool]), st.sampled_from([None, 3]))
def test_random_shapes(case, pool, levels):
    x, g = operands(pool, case, levels=levels)
    assert_near(jax.jit(both(pool, case))(x, g), naive(pool, x, g, case))


@pytest.mark.parametrize("name", ["side by side, same", "overlapping", "gaps", "3-D", "long, same"])
def test_keras_agrees(name):
    case = CASES[name]
    from keras import ops

    x, _ = operands(max_pool, case)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        largest, mean = (f(x, *case[1:]) for f in (ops.max_pool, ops.average_pool))
    assert_near([max_pool(x, *case[1:]), avg_pool(x, *case[1:])], [largest, mean])


@pytest.mark.parametrize(("pool", "name"), [(max_pool, "overlapping"), (max_pool, "long"), (avg_pool, "3-D")])
def test_numerical_derivatives_to_second_order(pool, name):
    case = CASES[name]
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).permutation(np.prod(case[0])).reshape(case[0]) / 10.0)
        weight = np.random.default_rng(1).standard_normal(jax.eval_shape(lambda x: pool(x, *case[1:]), x).shape)
        check_gradients(lambda x: jnp.vdot(weight, pool(jnp.sin(x), *case[1:])), x, every_mode=True)


@each_pool
def test_hessian(pool):
    x, g = operands(pool, ((1, 4, 4, 1), (3, 3), (1, 1), "valid"))
    hessian = jax.jit(jax.hessian(lambda x: jnp.sum(g * pool(x, (3, 3), 1) ** 2)))(x).reshape(16, 16)
    rows = jax.jacfwd(lambda x: pool(x, (3, 3), 1))(x).reshape(4, 16)
    assert_near([hessian], [rows.T @ (2 * g.reshape(4, 1) * rows)])


@each_pool
@pytest.mark.parametrize("name", ["side by side", "overlapping"])
def test_vmap_loops_and_eager_are_the_same(pool, name):
    case, run = CASES[name], both(pool, CASES[name])
    xs, gs = (jnp.stack(v) for v in zip(*(operands(pool, case, seed=s) for s in range(3)), strict=True))
    want = [jnp.stack(v) for v in zip(*(run(x, g) for x, g in zip(xs, gs, strict=True)), strict=True)]
    assert_near(jax.jit(jax.vmap(run))(xs, gs), want)
    assert_near(jax.jit(lambda xs, gs: lax.map(lambda pair: run(*pair), (xs, gs)))(xs, gs), want)


@each_pool
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_dtypes(pool, dtype):
    case = CASES["overlapping"]
    with jax.enable_x64(dtype == "float64"):
        x, g = operands(pool, case, dtype)
        got = jax.jit(both(pool, case))(x, g)
        assert [v.dtype.name for v in got] == [dtype] * 2
        eps = 2 * float(jnp.finfo(dtype).eps)
    assert_near(got, naive(pool, x, g, case), eps)


def test_not_a_number_is_the_largest():
    x = jnp.asarray([1.0, np.nan, 2.0, 3.0]).reshape(1, 4, 1)
    np.testing.assert_array_equal(max_pool(x, 2).ravel(), [np.nan, 3.0])


@each_case
@each_pool
def test_no_gradient_scatters(pool, case):
    text = jax.jit(both(pool, case)).lower(*operands(pool, case)).as_text()
    assert "scatter" not in text and "reduce_window" not in text


@each_pool
@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((2, 4), (2,), "x is (batch, *spatial, channels)"),
        ((2, 4, 4, 1), ((2, 2, 2),), "window is one positive integer, or one for each of 2"),
        ((2, 4, 4, 1), (2, 0), "strides is one positive integer"),
        ((2, 4, 4, 1), (5,), "try padding='same'"),
        ((2, 4, 4, 1), (2, 2, "full"), "not full"),
        ((2, 4, 4, 1), (2, 2, ((2, 0), (0, 0))), "nothing but padding"),
    ],
)
def test_errors_say_what_is_wrong(pool, shape, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        pool(jnp.zeros(shape), *arguments)


def test_whole_numbers_are_refused():
    with pytest.raises(ValueError, match=r"floating point; got .* of int32"):
        max_pool(jnp.zeros((1, 4, 1), jnp.int32), 2)


def test_examples_in_the_docstrings():
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
