"""A network's arrays in the order and under the names that people know: layer after layer, kernel before bias."""

import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kjax.files import write_whole
from kjax.frozen import suggest
from kjax.nn.layer import Layer
from kjax.version import __version__

Path = tuple[str, ...]
"""Where an array lies: ("params", "dense", "kernel")."""


def weight_paths(net: Layer, spec: Any) -> list[Path]:
    """Where all arrays of `net` lie, in layer order, a layer's params before its state.

    JAX sorts the keys of dicts; what `init` returns while it is traced still has the layer's own order.
    """
    found: list[Path] = []

    def record(key: jax.Array) -> Any:
        params, state = net.init(key, spec)
        found.extend(ordered(params, state))
        return params, state

    jax.eval_shape(record, jax.eval_shape(lambda: jax.random.key(0)))
    return found


def ordered(params: Any, state: Any, inner: Path = ()) -> Iterable[Path]:
    """The paths of two nested dicts, walked side by side. Penalties and carries are no weights."""
    for name, value in params.items():
        if not isinstance(value, dict):
            yield ("params", *inner, name)
    for name, value in state.items():
        if not isinstance(value, dict) and name not in ("penalty", "carry"):
            yield ("state", *inner, name)
    for name in [*params, *(n for n in state if n not in params)]:
        below = [b if isinstance(b, dict) else {} for b in (params.get(name), state.get(name))]
        if any(below):
            yield from ordered(below[0], below[1], (*inner, name))


def label(path: Path) -> str:
    """The name in a file: `dense/kernel`."""
    return "/".join(path[1:])


def look_up(tree: Any, path: Path) -> Any:
    """The array at a path."""
    for name in path:
        tree = tree[name]
    return tree


def put(tree: Any, path: Path, value: Any) -> Any:
    """A copy of nested dicts with one array exchanged."""
    if not path:
        return value
    return {**tree, path[0]: put(tree[path[0]], path[1:], value)}


def fitted(values: Sequence[Any], old: Sequence[Any], names: Sequence[str]) -> list[jax.Array]:
    """The new arrays in the old ones' dtype.

    Raises:
        ValueError: another number of arrays, or other shapes: lists every difference.
    """
    if len(values) != len(old):
        wanted = ", ".join(f"{n} {tuple(o.shape)}" for n, o in zip(names, old, strict=True))
        raise ValueError(f"got {len(values)} weight arrays, but there are {len(old)}: {wanted}")
    arrays = [np.asarray(v) for v in values]
    wrong = [
        f"{n} is {o.shape}, got {a.shape}" for n, o, a in zip(names, old, arrays, strict=True) if o.shape != a.shape
    ]
    if wrong:
        raise ValueError(f"weights of wrong shapes: {'; '.join(wrong)}")
    return [jax.numpy.array(a, o.dtype) for a, o in zip(arrays, old, strict=True)]


DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
}  # fmt: skip
"""What safetensors calls the dtypes that networks have."""


def write(path: str | os.PathLike[str], arrays: dict[str, Any], **metadata: str) -> None:
    """Writes a safetensors file whole or not at all.

    Raises:
        OSError: it cannot be written; says why, and an older file is as it was.
    """
    write_whole(path, serialized(arrays, **metadata))


def serialized(arrays: dict[str, Any], **metadata: str) -> tuple[bytes, memoryview]:
    """The header of a safetensors file, and the numbers. Equal arrays and metadata give equal bytes: the library
    orders the metadata anew in each process."""
    from safetensors.numpy import save

    told = {"format": "kjax", "kjax": __version__, **metadata}
    data = save({n: np.ascontiguousarray(a).reshape(np.shape(a)) for n, a in arrays.items()}, told)
    head, body = halves(data)
    text = json.dumps({**json.loads(head[8:]), "__metadata__": told}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, body


def halves(data: bytes) -> tuple[bytes, memoryview]:
    """The header of a safetensors file, and the numbers."""
    end = 8 + int.from_bytes(data[:8], "little")
    return data[:end], memoryview(data)[min(end, len(data)) :]


def contents(path: str | os.PathLike[str], what: str = "weights") -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of a safetensors file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no safetensors file, or a damaged one.
    """
    return parsed(pathlib.Path(path).read_bytes(), path, what)


def parsed(data: bytes, path: str | os.PathLike[str], what: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """What is in the bytes of a safetensors file; the path is named in errors."""
    from safetensors import SafetensorError, deserialize

    try:
        arrays = {
            name: np.frombuffer(found["data"], jnp.dtype(DTYPES[found["dtype"]])).reshape(found["shape"])
            for name, found in deserialize(data)
        }
        # The library has checked the header by now.
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__") or {}
    except (SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)} is no whole safetensors file ({error}): save the {what} again") from None
    return arrays, metadata


def read(path: str | os.PathLike[str], shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file that holds just these names and shapes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no safetensors file, or one that does not fit: lists what differs.
    """
    arrays, metadata = contents(path)
    if "model" in metadata:
        raise ValueError(f"{os.fspath(path)} is a whole model, not weights alone: kjax.load_model reads it")
    refuse_others(path, arrays, shapes)
    return arrays


def refuse_others(path: Any, arrays: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]) -> None:
    """Raises `ValueError` for arrays of other names or shapes, and lists what differs."""
    wrong = [f"{n} is missing{suggest(n, arrays) if arrays else ''}" for n in shapes if n not in arrays]
    wrong += [f"{n} is not in the model" for n in arrays if n not in shapes]
    both = [n for n in shapes if n in arrays and arrays[n].shape != shapes[n]]
    wrong += [f"{n} has shape {arrays[n].shape}, the model's {shapes[n]}" for n in both]
    if wrong:
        raise ValueError(f"{os.fspath(path)} does not fit this model: {'; '.join(wrong)}")
