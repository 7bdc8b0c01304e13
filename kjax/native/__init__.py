"""Kernels in C for CPU, where XLA's own are slow, and how a lowering calls them.

Each kernel stands beside a rule in JAX that gives the same numbers up to rounding, on every platform, and is chosen
in its place when a program is lowered: for one CPU, in float32, where the library is there. It is compiled when kjax
is installed (`build.py`); without it, or with the environment variable KJAX_NATIVE=off, all works as before, slower.
"""

import ctypes
import functools
import os
import pathlib
import platform
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import Array

from .build import sources

FOLDER = pathlib.Path(__file__).parent
AVX2 = {"avx2", "fma", "f16c", "bmi1", "bmi2", "movbe", "abm"}
LEVELS = {"x86_64_v4": AVX2 | {"avx512f", "avx512cd", "avx512dq", "avx512bw", "avx512vl"}, "x86_64_v3": AVX2}
"""What a processor must have for each of the libraries, the fastest first; others need nothing."""


def usable(context: Any) -> bool:
    """Whether a program that is being lowered may call kernels: it runs here, on one device alone."""
    module = context.module_context
    axes = module.axis_context
    devices = getattr(axes, "num_devices", None) or getattr(getattr(axes, "mesh", None), "size", None)
    return devices == 1 and not module.lowering_parameters.for_export and library() is not None


def call(
    name: str, results: Sequence[tuple[int, ...]], sizes: Sequence[int], *operands: Array, dtype: Any = np.float32
) -> list[Array]:
    """The results of a kernel, by their shapes; `sizes` are its static sizes, as the kernel reads them."""
    shapes = [jax.ShapeDtypeStruct(shape, dtype) for shape in results]
    return list(jax.ffi.ffi_call(_target(name), shapes)(*operands, sizes=np.asarray(sizes, np.int64)))


@functools.cache
def library() -> ctypes.CDLL | None:
    """The kernels for this processor; None where there are none, or none are wanted."""
    if os.environ.get("KJAX_NATIVE", "").lower() in ("off", "0"):
        return None
    return next(filter(None, map(_load, map(_path, _levels()))), None)


def _load(path: pathlib.Path) -> ctypes.CDLL | None:
    """The library, if it is there and was compiled from these sources."""
    try:
        kernels = ctypes.CDLL(str(path))
        kernels.kjax_sources.restype = ctypes.c_char_p
        made_from = kernels.kjax_sources().decode()
    except (OSError, AttributeError):
        return None
    if made_from == sources():
        return kernels
    warnings.warn(
        f"kjax: {path.name} was compiled from other sources than these, and XLA's own kernels are used instead, which "
        f"are slower; install kjax again (pip install -e . in its folder), or run: python {FOLDER / 'build.py'}",
        RuntimeWarning,
        stacklevel=2,
    )
    return None


def _levels() -> list[str]:
    """The libraries this processor can run, the fastest first; KJAX_NATIVE may name one of them."""
    wanted, found = os.environ.get("KJAX_NATIVE", "").lower(), _found_levels()
    if wanted not in ("", "on", "1", *LEVELS):
        warnings.warn(f"KJAX_NATIVE is {wanted!r}: it is off, on, or one of {', '.join(LEVELS)}", stacklevel=2)
    return [level for level in found if level == wanted] if wanted in LEVELS else found


def _found_levels() -> list[str]:
    machine = platform.machine().lower()
    if machine not in ("x86_64", "amd64"):
        return [machine]
    flags = _processor_flags()
    return [level for level, needed in LEVELS.items() if needed <= flags]


def _processor_flags() -> set[str]:
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    return next((set(line.split(":")[1].split()) for line in text.splitlines() if line.startswith("flags")), set())


def _path(level: str) -> pathlib.Path:
    return FOLDER / f"kernels_{sys.platform}_{level}.library"


@functools.cache
def _target(name: str) -> str:
    """The name under which XLA knows a kernel: a program kept from an earlier build never calls a later one's."""
    kernels = library()
    assert kernels is not None
    target = f"kjax_{name}_{pathlib.Path(kernels._name).stem}_{sources()}"
    jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(kernels, f"kjax_{name}")), platform="cpu")
    return target
