"""What users pass as data, as arrays that can be trained on; everything that is wrong with it is said here."""

import functools
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kjax.foreign import to_numpy

READY = frozenset(map(np.dtype, ("float32", "int32", "uint8", "bool")))
"""What passes as it is."""
WHOLE = frozenset(map(np.dtype, ("float32", "float64")))
NARROW = {"float64": "float32", "int64": "int32", "uint64": "uint32"}


def as_array(value: Any, name: str) -> Any:
    """A NumPy or JAX array of numbers from an array, a list, a pandas or polars frame, or a tensor.

    64-bit numbers become 32-bit ones, unless JAX's 64-bit mode is on, and all get this machine's byte order.

    Raises:
        TypeError: not numbers: text, objects, None; or a mapped file in another byte order, which is not read whole.
        ValueError: no axis to count examples by, or rows of different lengths.
    """
    if type(value) is np.ndarray and value.dtype in READY and value.ndim:
        return value
    if value is None:
        raise TypeError(f"{name} is None; give an array of examples")
    if isinstance(value, jax.Array):
        array: Any = value
    else:
        array = _numpy(value, name)
    if array.ndim == 0:
        raise ValueError(f"{name} is a single number; give an array whose first axis counts the examples")
    if not is_mapped(array):
        return narrowed(array)
    if not array.dtype.isnative:
        raise TypeError(
            f"{name} is a memory-mapped file of {array.dtype.str}, not this machine's byte order; write it anew "
            f"with .astype({array.dtype.name!r}), or give {name}.astype({array.dtype.name!r}) if it fits in memory"
        )
    return array


def narrowed(array: Any) -> Any:
    """64-bit numbers as 32-bit ones, unless JAX's 64-bit mode is on; all in this machine's byte order."""
    native = array.dtype if array.dtype.isnative else array.dtype.newbyteorder("=")
    return array.astype(native if jax.config.read("jax_enable_x64") else NARROW.get(native.name, native), copy=False)


def as_built(array: Any, built: Any, name: str) -> Any:
    """Floats as those that a network of float32 or float64 was built for; in half precision it may meet wider ones.

    Raises:
        TypeError: a memory-mapped file of others, which is not to be read whole.
    """
    given = jax.dtypes.canonicalize_dtype(array.dtype)
    if given == built or built not in WHOLE or not jnp.issubdtype(given, jnp.floating):
        return array
    if is_mapped(array):
        raise TypeError(
            f"{name} is a memory-mapped file of {array.dtype}, but the network was built for {built}; write it anew "
            f"with .astype({str(built)!r}), or give {name}.astype({str(built)!r}) if it fits in memory"
        )
    return array.astype(built)


def is_mapped(array: Any) -> bool:
    """Whether a NumPy array is a memory-mapped file, or a view of one: it is not to be read whole."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False


def _numpy(value: Any, name: str) -> np.ndarray:
    try:
        array = to_numpy(value)
    except ValueError as error:
        raise ValueError(f"{name} has rows of different lengths ({error}); pad them to one length first") from None
    if array.dtype.kind == "O":
        array = _from_objects(array, value, name)
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise TypeError(f"{name} holds {_kind(array)}, not numbers (dtype {array.dtype}); turn it into numbers first")
    return array


def _from_objects(array: np.ndarray, value: Any, name: str) -> np.ndarray:
    """Objects that are all numbers, as numbers: a frame of mixed columns arrives so."""
    text = next((v for v in array.ravel() if isinstance(v, str)), None)
    if text is None:
        try:
            return array.astype("float64")
        except (TypeError, ValueError):
            pass
    columns = text_columns(value)
    where = f" in column {', '.join(columns)}" if columns else ""
    what = f"text ({text!r})" if text is not None else "objects that are no numbers"
    raise TypeError(f"{name} holds {what}{where}; turn it into numbers first, e.g. codes for categories")


def text_columns(frame: Any) -> list[str]:
    """The columns of a pandas or polars frame that hold no numbers; none of anything else."""
    if type(frame).__module__.startswith("polars"):
        return [name for name, dtype in frame.schema.items() if not (dtype.is_numeric() or str(dtype) == "Boolean")]
    if not hasattr(frame, "dtypes") or frame.ndim != 2:
        return []
    return [str(name) for name, dtype in frame.dtypes.items() if dtype.kind not in "biuf"]


def _kind(array: np.ndarray) -> str:
    return {"U": "text", "S": "bytes", "M": "dates", "m": "time spans", "c": "complex numbers"}.get(
        array.dtype.kind, "something"
    )


def check_lengths(**arrays: Any) -> int:
    """The common number of examples.

    Raises:
        ValueError: no examples, or different numbers of them.
    """
    lengths = {name: a.shape[0] for name, a in arrays.items() if a is not None}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise ValueError(f"different numbers of examples: {said}; the first axis must count the same examples")
    n = next(iter(lengths.values()))
    if n == 0:
        raise ValueError(f"{next(iter(lengths))} is empty: there are no examples")
    return n


def rows(tree: Any) -> int:
    """The number of examples in arrays that have been checked."""
    return jax.tree.leaves(tree)[0].shape[0]


def fetched(tree: Any) -> Any:
    """Arrays of the device as NumPy's, fetched explicitly, which JAX's transfer guard lets pass.

    On CPU, where nothing is moved, this would take 13 µs more than it takes.
    """
    if not on_cpu():
        return jax.device_get(tree)
    return np.asarray(tree) if hasattr(tree, "__array__") else jax.tree.map(np.asarray, tree)


@functools.cache
def on_cpu() -> bool:
    """Whether the device that JAX takes by itself is the CPU."""
    return jax.default_backend() == "cpu"


def spec(array: Any, n: int) -> jax.ShapeDtypeStruct:
    """What `n` rows of an array are on the device: without the 64-bit mode, float64 is float32 there."""
    return jax.ShapeDtypeStruct((n, *array.shape[1:]), jax.dtypes.canonicalize_dtype(array.dtype))


def cut(tree: Any, start: int, stop: int) -> Any:
    """Some examples of all arrays."""
    return jax.tree.map(lambda a: a[start:stop], tree)


def check_rows(x: Any) -> int:
    """The number of examples in one array or several.

    Raises:
        ValueError: there are none, or different numbers of them.
    """
    if hasattr(x, "shape") and x.shape[0]:
        return x.shape[0]
    named = {"x": x} if hasattr(x, "shape") else x if isinstance(x, dict) else {f"x[{i}]": a for i, a in enumerate(x)}
    return check_lengths(**named)


def check_input(x: Any, wanted: tuple[int | None, ...], name: str = "x") -> None:
    """Refuses inputs of another shape than the network was built for.

    Raises:
        ValueError: names both shapes and, where it can, what to do.
    """
    got = tuple(x.shape[1:])
    if len(got) == len(wanted) and all(w in (None, g) for w, g in zip(wanted, got, strict=True)):
        return
    hint = ""
    if got == wanted[:-1] and wanted[-1] == 1:
        hint = f"; add the channel axis: {name}[..., None]"
    elif tuple(x.shape) == wanted:
        hint = f"; a single example needs a batch axis: {name}[None]"
    elif len(wanted) == 1 and None not in wanted and np.prod(got) == wanted[0]:
        hint = f"; flatten it: {name}.reshape(len({name}), -1)"
    raise ValueError(f"{name} has examples of shape {got}, but the network takes {wanted}{hint}")


def check_finite(**arrays: Any) -> None:
    """Refuses NaN and infinity, naming the first row that holds one.

    Raises:
        ValueError: names the array, the row and how many there are.
    """
    for name, array in arrays.items():
        if array is None or not jnp.issubdtype(array.dtype, jnp.floating):
            continue
        bad = not_finite(np.asarray(array))
        if bad.any():
            raise ValueError(
                f"{name} holds NaN or infinity in {bad.sum()} of {len(bad)} examples, the first in row {bad.argmax()}"
            )


def not_finite(array: np.ndarray) -> np.ndarray:
    """Which rows hold NaN or infinity; reads about 16 MiB at a time, for a memory-mapped file may not fit at once."""
    size = max(1, (1 << 22) // max(1, array[:1].size))
    parts = (array[i : i + size] for i in range(0, len(array), size))
    wrong = [~np.isfinite(np.asarray(part, np.float32)).reshape(len(part), -1).all(axis=1) for part in parts]
    return np.concatenate(wrong or [np.zeros(0, bool)])


def class_weights(y: Any, class_weight: dict[int, float] | None, sample_weight: Any) -> Any:
    """One weight per example: `sample_weight` times the weight of the example's class (classes not named weigh 1).

    Raises:
        TypeError: class_weight is no dict of numbers.
        ValueError: targets without classes, or a class that does not occur.
    """
    if class_weight is None:
        return sample_weight
    if not isinstance(class_weight, dict):
        raise TypeError(f"class_weight is a dict from class to weight, e.g. {{0: 1.0, 1: 5.0}}; got {class_weight!r}")
    for label, weight in class_weight.items():
        if not all(isinstance(v, int | float | np.number) for v in (label, weight)):
            raise TypeError(f"class_weight is a dict from class numbers to weights; got {label!r}: {weight!r}")
    y = np.asarray(y)
    classes = y.argmax(-1) if y.ndim > 1 and y.shape[-1] > 1 else y.reshape(len(y))
    if classes.ndim > 1:
        raise ValueError(f"class_weight needs one class per example; y has shape {y.shape}: use sample_weight instead")
    unknown = [c for c in class_weight if not 0 <= c < (y.shape[-1] if y.ndim > 1 and y.shape[-1] > 1 else np.inf)]
    if unknown:
        raise ValueError(f"class_weight names class {unknown[0]!r}, which y does not have")
    weights = np.ones(len(y), np.float32)
    for label, weight in class_weight.items():
        weights[classes == label] = weight
    return weights if sample_weight is None else weights.reshape(-1, *(1,) * (sample_weight.ndim - 1)) * sample_weight


def batch_rows(n: int, batch_size: int, order: Any = None, pad: bool = True) -> list[np.ndarray]:
    """The row numbers of each batch, int32 (steps, batch), the last short batch filled with -1.

    With `pad=False` the last short batch is a block of its own, which compiles on its own.

    >>> [block.tolist() for block in batch_rows(5, 2)]
    [[[0, 1], [2, 3], [4, -1]]]
    >>> [block.tolist() for block in batch_rows(5, 2, pad=False)]
    [[[0, 1], [2, 3]], [[4]]]
    """
    rows = np.arange(n, dtype=np.int32) if order is None else np.asarray(order, np.int32)
    full, rest = n // batch_size * batch_size, n % batch_size
    if pad and rest:
        rows, full, rest = np.pad(rows, (0, batch_size - rest), constant_values=-1), full + batch_size, 0
    blocks = [rows[:full].reshape(-1, batch_size), rows[full:].reshape(1, rest)]
    return [block for block in blocks if block.size]


def generator(key: Any) -> np.random.Generator:
    """NumPy's random numbers that a key of JAX decides."""
    return np.random.default_rng(jax.device_get(_numbers(key)))


_numbers = jax.jit(jax.random.key_data)
"""As one program it takes 9 µs, for 50."""


def split_validation(arrays: Sequence[Any], fraction: float) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The first part for training, the last `fraction` of the examples for validation, as Keras splits.

    Raises:
        ValueError: a fraction that leaves either part empty.
    """
    n = rows(arrays)
    if not (isinstance(fraction, int | float) and 0 < fraction < 1):
        raise ValueError(f"validation_split must be between 0 and 1; got {fraction!r}")
    at = int(n * (1 - fraction))
    if at in (0, n):
        raise ValueError(f"validation_split={fraction} of {n} examples leaves one part empty")
    first, last = (jax.tree.map(lambda a, part=part: a[part], tuple(arrays)) for part in (slice(at), slice(at, None)))
    return first, last


def power_of_two(n: int, most: int = sys.maxsize) -> int:
    """The next power of two, at most `most`: few shapes, so few compilations, for batches of any size."""
    return min(1 << (n - 1).bit_length(), most)


def pad_rows(x: Any, n: int) -> Any:
    """`x` with its last row repeated up to `n` rows."""
    missing = n - rows(x)
    if missing == 0:
        return x
    return jax.tree.map(lambda a: np.concatenate([np.asarray(a), np.repeat(np.asarray(a[-1:]), missing, axis=0)]), x)
