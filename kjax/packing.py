"""Values as JSON with the arrays beside it, and back, exactly: types, dtypes, keys of random numbers, NaN.

Numbers, texts, None, lists, tuples and dicts by text stand for themselves, in JSON; arrays are named.
"""

import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kjax.weights import DTYPES


def is_array(value: Any) -> bool:
    """Whether this is an array, or a NumPy scalar."""
    return isinstance(value, jax.Array | np.ndarray | np.generic)


def is_key(array: Any) -> bool:
    """Whether this is an array of keys of random numbers, or the shape of one."""
    return jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


class Packer:
    """Makes JSON of values; `arrays` gathers what is no JSON, by name."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def pack(self, value: Any, name: str) -> Any:
        """The JSON of a value that errors call `name`.

        Raises:
            TypeError: it is none of those that can be kept; says which.
        """
        if is_array(value):
            return self._array(value, name)
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if type(value) is list:
            return [self.pack(v, f"{name}/{i}") for i, v in enumerate(value)]
        if type(value) is tuple:
            return {"tuple": [self.pack(v, f"{name}/{i}") for i, v in enumerate(value)]}
        if isinstance(value, dict) and all(type(key) is str for key in value):
            return {"dict": {key: self.pack(v, f"{name}/{key}") for key, v in value.items()}}
        raise TypeError(
            f"{name} is {value!r:.80}, which no checkpoint can hold: numbers, texts, arrays, None, and lists, tuples "
            "and dicts (by text) of them"
        )

    def _array(self, value: Any, name: str) -> dict[str, Any]:
        found: dict[str, Any] = {"array": name, "kind": kind(value)}
        while found["array"] in self.arrays:
            found["array"] += "'"
        if isinstance(value, jax.Array) and is_key(value):
            found["key"], value = str(jax.random.key_impl(value)), jax.random.key_data(value)
        if getattr(value, "weak_type", False):
            found["weak"] = True
        array = np.asarray(value)
        if array.dtype.hasobject or array.dtype.names:
            raise TypeError(f"{name} is an array of dtype {array.dtype}, which no checkpoint can hold")
        if str(array.dtype) not in DTYPES.values():  # complex, float8: as bytes
            found |= {"dtype": str(array.dtype), "shape": list(array.shape)}
            array = np.frombuffer(array.tobytes(), np.uint8)
        self.arrays[found["array"]] = array
        return found


def kind(value: Any) -> str:
    """Whose array this is."""
    return "jax" if isinstance(value, jax.Array) else "numpy" if isinstance(value, np.ndarray) else "scalar"


class Unpacker:
    """Makes values of what `Packer` made."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        self.arrays = arrays

    def unpack(self, data: Any) -> Any:
        """The value of some JSON; arrays are copies of their own."""
        if isinstance(data, list):
            return [self.unpack(v) for v in data]
        if not isinstance(data, dict):
            return data
        if "float" in data:
            return float(data["float"])
        if "tuple" in data:
            return tuple(self.unpack(v) for v in data["tuple"])
        if "dict" in data:
            return {key: self.unpack(v) for key, v in data["dict"].items()}
        array = self.array(data)
        return placed(array, data) if data["kind"] == "jax" else array[()] if data["kind"] == "scalar" else array.copy()

    def array(self, data: dict[str, Any]) -> np.ndarray:
        """The numbers of an array; of keys, their data."""
        array = self.arrays[data["array"]]
        return array.view(jnp.dtype(data["dtype"])).reshape(data["shape"]) if "dtype" in data else array


def placed(array: np.ndarray, data: dict[str, Any], like: Any = None) -> jax.Array:
    """An array on the device, a copy that training may overwrite; as weakly typed, and where, as it was.

    Raises:
        ValueError: its dtype cannot be had here.
    """
    if data.get("weak") and array.ndim == 0:
        return jnp.asarray(array.item())
    where = like.sharding if getattr(like, "committed", False) and not is_key(like) else None
    found = jnp.array(array) if where is None else jax.device_put(array, where, may_alias=False)
    if found.dtype != array.dtype:
        raise ValueError(f"an array of {array.dtype} was kept, which takes jax.config.update('jax_enable_x64', True)")
    return jax.random.wrap_key_data(found, impl=data["key"]) if "key" in data else found


def describe(leaf: Any) -> str:
    """A leaf's type and shape, for comparisons and errors.

    >>> describe(np.zeros((2, 3), "float32")), describe(0.5)
    ('float32 (2, 3)', 'a float')
    """
    if not hasattr(leaf, "dtype"):
        return f"a {type(leaf).__name__}"
    dtype = re.sub(r"key<(\w+)>", r"a key of \1", str(leaf.dtype))
    return f"{dtype} {tuple(leaf.shape)}"
