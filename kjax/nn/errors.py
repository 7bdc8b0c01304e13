"""Errors that say in which layer of a network they arose."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax

NOTE = "In layer "


class LayerError(ValueError):
    """A layer was given what it cannot take. `path` names the layers from the outermost container inwards.

    >>> error = LayerError("expected rank 4")
    >>> error.path.insert(0, "conv2d (layer 1 of 3)")
    >>> str(error)
    "layer 'conv2d (layer 1 of 3)': expected rank 4"
    """

    def __init__(self, message: str):
        super().__init__(message)
        self.message = message
        self.path: list[str] = []

    def __str__(self) -> str:
        return f"layer '{' / '.join(self.path)}': {self.message}" if self.path else self.message


@contextlib.contextmanager
def inside(name: str, position: str, layer: Any, x: Any) -> Iterator[None]:
    """Adds where it happened to whatever is raised within: to the message of our own errors, as a note to others."""
    try:
        yield
    except LayerError as error:
        error.path.insert(0, f"{name} ({position})")
        raise
    except Exception as error:
        path = [name, *getattr(error, "layer_path", [])]
        error.layer_path = path  # type: ignore[attr-defined]
        if len(path) == 1:
            error.layer_called = f"{layer!r}, called with {shapes(x)}"  # type: ignore[attr-defined]
        notes = [note for note in getattr(error, "__notes__", []) if not note.startswith(NOTE)]
        error.__notes__ = [*notes, f"{NOTE}'{'/'.join(path)}' ({position}): {error.layer_called}"]  # type: ignore[attr-defined]
        raise


@contextlib.contextmanager
def noting(place: Callable[[], str]) -> Iterator[None]:
    """Adds where it happened, as a note, to whatever is raised within."""
    try:
        yield
    except Exception as error:
        error.add_note(f"In {place()}")
        raise


def shapes(x: Any) -> str:
    """The shapes and dtypes of arrays as people write them: `float32[32, 28, 28, 1]`."""
    leaves = [f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(x)]
    return leaves[0] if len(leaves) == 1 else f"({', '.join(leaves)})"
