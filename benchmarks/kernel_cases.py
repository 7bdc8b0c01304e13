"""What is timed of kjax's kernels: each operation on the shapes at which it occurs in the workloads.

Those of GRU and SimpleRNN, which no workload has, are timed on the LSTM's.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import kernel_plain as plain
from benchmarks.kernel_timing import Case, Numbers
from kjax import nn
from kjax.nn import kernels
from kjax.nn.kernels.lstm import forward as recurrent_in_jax

Shape = tuple[int, ...]

CONVOLUTIONS = (
    (128, 28, 1, 32, 3, 1, "valid"),
    (128, 26, 32, 64, 3, 1, "valid"),
    (32, 32, 3, 32, 3, 1, "same"),
    (32, 32, 32, 32, 3, 1, "valid"),
    (32, 15, 32, 64, 3, 1, "same"),
    (32, 15, 64, 64, 3, 1, "valid"),
    (32, 32, 3, 16, 3, 1, "same"),
    (32, 32, 16, 16, 3, 1, "same"),
    (32, 32, 16, 32, 3, 2, "same"),
    (32, 32, 16, 32, 1, 2, "same"),
    (32, 16, 32, 32, 3, 1, "same"),
    (32, 16, 32, 64, 3, 2, "same"),
    (32, 16, 32, 64, 1, 2, "same"),
    (32, 8, 64, 64, 3, 1, "same"),
)
"""Batch, rows and columns, channels, filters, taps, strides, padding: of the CNNs, then of ResNet-20."""
WITH_RELU = CONVOLUTIONS[:6]
"""Those with a bias and relu, which ResNet's do not have."""
PRODUCTS = (
    *[(1, 64, 64), (32, 64, 64), (32, 64, 32), (32, 32, 10)],
    *[(128, 784, 512), (128, 512, 512), (128, 512, 10), (128, 9216, 128), (32, 2304, 512)],
    *[(1024, 128, 384), (1024, 128, 128), (1024, 128, 512), (1024, 512, 128), (1024, 128, 65), (2560, 128, 512)],
)
"""Rows, inputs, units: `predict` of one row and the MLPs, the CNNs, the GPT, the LSTM's inputs."""
BATCH_NORMS = ((32, 32, 32, 16), (32, 16, 16, 32), (32, 8, 8, 64))
BIASES = ((32, 64), (32, 10), (128, 512), (1024, 128), (1024, 512), (128, 26, 26, 64), (32, 30, 30, 32))
ROWS = ((131072, 64, 32), (49152, 784, 128), (2048, 784, 128), (3072, 128))
"""Examples, numbers of one, and how many are taken."""
POOLS = ((128, 24, 24, 64), (32, 30, 30, 32), (32, 13, 13, 64))
DROPOUTS = ((128, 512), (128, 12, 12, 64), (32, 15, 15, 32))
STEPS, BATCH, UNITS = 80, 32, 128
"""Of the recurrent layers."""


def cases() -> Iterator[Case]:
    for convolution in CONVOLUTIONS:
        yield from of_convolution(*convolution)
    for sizes in PRODUCTS:
        yield from of_product(*sizes)
    yield from of_attention()
    yield from of_recurrence()
    yield from of_norms()
    yield from of_batches()
    yield from of_pictures()


def floats(*shape: int, mean: float = 0.0) -> Numbers:
    return Numbers(shape, mean=mean)


def whole(below: int, *shape: int, dtype: Any = np.int32) -> Numbers:
    return Numbers(shape, dtype, below=below)


def with_gradients(function: Callable, *floating: int) -> Callable:
    """The result, and the gradients by those operands; its own comes as the last operand."""

    def run(*operands: Any) -> Any:
        *operands, g = operands

        def of(*moved: Any) -> Any:
            own = dict(zip(floating, moved, strict=True))
            return function(*(own.get(i, x) for i, x in enumerate(operands)))

        y, pull = jax.vjp(of, *(operands[i] for i in floating))
        return y, pull(g)

    return run


def gradient(function: Callable, by: int) -> Callable:
    """The gradient by one operand alone, without the result."""
    return lambda *operands: with_gradients(function, by)(*operands)[1]


def both(
    family: str, title: str, ours: Callable, theirs: Callable, operands: Any, *floating: int, **more: Any
) -> Iterator[Case]:
    """The operation, and with its gradients by the operands that are named."""
    yield Case(family, title, ours, theirs, operands, **more)
    y = jax.eval_shape(theirs, *operands)
    functions = (with_gradients(function, *floating) for function in (ours, theirs))
    yield Case(family, f"{title}, with gradients", *functions, (*operands, floats(*y.shape)), **more)


def of_convolution(batch: int, size: int, channels: int, filters: int, taps: int, strides: int, padding: str) -> Any:
    family = "Convolution"
    title = f"{batch}×{size}×{size}×{channels} to {filters}, {taps}×{taps}, stride {strides}, {padding}"
    operands = floats(batch, size, size, channels), floats(taps, taps, channels, filters)
    settings = {"strides": strides, "padding": padding}
    ours, theirs = partial(kernels.conv, **settings), partial(plain.conv, **settings)
    yield Case(family, title, ours, theirs, operands, lowered=True)
    given = (*operands, floats(*jax.eval_shape(theirs, *operands).shape))
    for what, by in (("input", 0), ("kernel", 1)):
        if by or channels > 3:  # the first layer's input has no gradient
            functions = gradient(ours, by), gradient(theirs, by)
            yield Case(family, f"{title}: gradient of the {what}", *functions, given, looped=False, lowered=True)
    if (batch, size, channels, filters, taps, strides, padding) in WITH_RELU:
        functions = partial(kernels.conv_relu, padding=padding), partial(plain.conv_relu, padding=padding)
        operands = (*operands, floats(filters))
        yield Case(family, f"{title}, bias, relu", *functions, operands, lowered=True)
        functions = (with_gradients(function, *range(channels <= 3, 3)) for function in functions)
        given = (*operands, given[-1])
        yield Case(family, f"{title}, bias, relu, with gradients", *functions, given, looped=False, lowered=True)


def of_product(rows: int, inputs: int, units: int) -> Iterator[Case]:
    operands = floats(rows, inputs), floats(inputs, units)
    title = f"{rows}×{inputs} by {inputs}×{units}"
    yield Case("Products", title, kernels.tensordot, jnp.matmul, operands)
    if rows > 1:
        given = (*operands, floats(rows, units))
        for what, by in (("rows", 0), ("kernel", 1)):
            functions = gradient(kernels.tensordot, by), gradient(jnp.matmul, by)
            yield Case("Products", f"{title}: gradient of the {what}", *functions, given)


def of_attention() -> Iterator[Case]:
    operands = [floats(16, 64, 4, 32)] * 3
    title = "16 rows of 64 steps, 4 heads of 32, causal"

    def ours(*operands: Any) -> Any:
        return kernels.attend(*operands, causal=True)[0]

    yield from both("Attention", title, ours, plain.attention, operands, 0, 1, 2)


def of_recurrence() -> Iterator[Case]:
    state = floats(BATCH, UNITS)

    def sums(gates: int) -> tuple[Numbers, Numbers]:
        return floats(STEPS, BATCH, gates * UNITS), floats(UNITS, gates * UNITS)

    def ours(loop: Callable, *operands: Any) -> Any:
        return loop(*operands, None, False)[0]

    def generic(*operands: Any) -> Any:
        return recurrent_in_jax(*operands, jnp.ones((STEPS, BATCH)), backwards=False)[0]

    run = partial(both, "Recurrent layers")
    title = f"{STEPS} steps of {BATCH} rows, {UNITS} units"
    operands = (*sums(4), state, state)
    yield from run(f"LSTM, {title}", partial(ours, kernels.lstm), plain.lstm, operands, 0, 1)
    yield from run(f"any cell (an LSTM), {title}", generic, plain.lstm, operands, 0, 1, lowered=True)
    operands = (*sums(3), floats(3 * UNITS), state)
    yield from run(f"GRU, {title}", partial(ours, kernels.gru), plain.gru, operands, 0, 1, 2)
    yield from run(f"SimpleRNN, {title}", partial(ours, kernels.simple_rnn), plain.simple_rnn, (*sums(1), state), 0, 1)


def of_norms() -> Iterator[Case]:
    for shape in (*BATCH_NORMS, (16, 64, 128)):
        axes = (0, 1, 2) if len(shape) == 4 else (2,)
        kind, ones = "batch" if len(shape) == 4 else "layer", (*[1] * (len(shape) - 1), shape[-1])
        operands = floats(*shape), floats(*ones, mean=1.0), floats(*ones)
        functions = (lambda *x, axes=axes: kernels.norm(*x, axes, 1e-5)[0], partial(plain.norm, axes=axes))
        yield from both("Normalisation", f"{kind} norm, {by(shape)}", *functions, operands, 0, 1, 2)
    for shape in BIASES:
        functions = (lambda b, shape=shape: kernels.spread(b, shape), partial(jnp.broadcast_to, shape=shape))
        operands = floats(shape[-1]), floats(*shape)
        yield Case("Normalisation", f"a bias's gradient, {by(shape)}", *(gradient(f, 0) for f in functions), operands)


def of_batches() -> Iterator[Case]:
    for examples, *numbers, taken in ROWS:
        array = floats(examples, *numbers) if numbers else whole(10, examples)
        operands = array, whole(examples, taken)
        title = f"{taken} of {examples}{f'×{numbers[0]}' if numbers else ', integers'}"
        yield Case("Rows and draws", f"rows, {title}", kernels.take_rows, plain.take, operands)
        if numbers:
            functions = (lambda held, rows: held.take(rows)), plain.take
            yield Case("Rows and draws", f"rows where NumPy has them, {title}", *functions, operands, kernels.hosted)
    operands = floats(20000, UNITS), whole(20000, BATCH, STEPS)
    layer = nn.Embedding(20000, UNITS)
    functions = (lambda table, x: layer.apply({"embeddings": table}, {}, x)[0]), plain.take
    yield from both("Rows and draws", f"embedding of 20000×{UNITS}, {BATCH}×{STEPS}", *functions, operands, 0)


def of_pictures() -> Iterator[Case]:
    pool = partial(kernels.max_pool, window=2)
    for shape in POOLS:
        title = f"maximum of 2×2, {by(shape)}"
        yield from both("Pooling", title, pool, plain.max_pool, (floats(*shape),), 0, lowered=True)
    key = whole(2**32, 2, dtype=np.uint32)
    for shape in DROPOUTS:
        functions = partial(dropped, kernels.keep_mask), partial(dropped, plain.keep_mask)
        title = f"dropout of a quarter, {by(shape)}"
        yield Case("Rows and draws", title, *functions, (floats(*shape), key), lowered=True)
    functions = partial(drawn, kernels.quick), partial(drawn, lambda key: key)
    yield Case("Rows and draws", "first weights, 784×512", *functions, (key,))


def dropped(keep: Callable, x: Any, key: Any) -> Any:
    return jnp.where(keep(key, 0.25, x.shape), x / 0.75, 0)


def drawn(prepared: Callable, key: Any) -> Any:
    return jax.random.uniform(prepared(jax.random.wrap_key_data(key)), (784, 512))


def by(shape: Shape) -> str:
    return "×".join(map(str, shape))
