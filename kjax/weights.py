"""A network's arrays in the order and under the names that people know: layer after layer, kernel before bias."""

import os
import pathlib
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

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

    jax.eval_shape(record, jax.random.key(0))
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


def write(path: str | os.PathLike[str], arrays: dict[str, Any]) -> None:
    """Writes a safetensors file whole or not at all."""
    from safetensors.numpy import save

    data = save({n: np.ascontiguousarray(a) for n, a in arrays.items()}, {"format": "kjax", "kjax": __version__})
    target = pathlib.Path(path)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def read(path: str | os.PathLike[str], shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file that holds just these names and shapes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no safetensors file, or one that does not fit: lists what differs.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(pathlib.Path(path).read_bytes())
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)} is no whole safetensors file ({error}): save the weights again") from None
    wrong = [f"{n} is missing{suggest(n, arrays) if arrays else ''}" for n in shapes if n not in arrays]
    wrong += [f"{n} is not in the model" for n in arrays if n not in shapes]
    both = [n for n in shapes if n in arrays and arrays[n].shape != shapes[n]]
    wrong += [f"{n} has shape {arrays[n].shape}, the model's {shapes[n]}" for n in both]
    if wrong:
        raise ValueError(f"{os.fspath(path)} does not fit this model: {'; '.join(wrong)}")
    return arrays
