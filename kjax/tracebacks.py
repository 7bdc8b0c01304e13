"""Errors as users want to see them: their own lines, without the frames of kjax and JAX that lie between.

`KJAX_FULL_TRACEBACK=1` in the environment leaves everything as it is.
"""

import contextlib
import functools
import linecache
import os
import re
from types import TracebackType
from typing import Any

HINT = "KJAX_FULL_TRACEBACK=1 in the environment shows the lines of kjax and JAX between these, too."
TRACER = re.compile(r"(?:\w*Tracer|Traced)[<(](?:~)?(\w+\[[\d, ]*\])(?:\([^()]*\))?[>)](?:with<\w+>)?")
NAME = re.compile(r"\b\w+Tracer\b")
ADVICE = {
    "TracerBoolConversionError": "`if`, `while`, `and`, `not` on an array: the network is compiled for all values at "
    "once, so write jnp.where(condition, a, b), & and ~, or make the condition a field of the layer",
    "TracerIntegerConversionError": "an array where Python needs a whole number (a range, an index, a shape): the "
    "network is compiled for all values at once, so make the number a field of the layer, or use jnp.take, jnp.arange",
    "TracerArrayConversionError": "NumPy was called on an array of the network: use jax.numpy, which has the same "
    "functions (import jax.numpy as jnp); what must run in NumPy goes through jax.pure_callback",
    "ConcretizationTypeError": "a Python number (float(), int(), .item(), a shape) was made of an array: the network "
    "is compiled for all values at once, so compute with jax.numpy, and print with jax.debug.print",
    "NonConcreteBooleanIndexError": "x[mask] has a shape that depends on the values: use jnp.where(mask, x, 0)",
    "UnexpectedTracerError": "an array of the network was kept (in an attribute, a global, a list) while it was "
    "compiled, and used later: return it instead, or keep it in the layer's state",
}
"""What to do about the errors that JAX raises where Python meets an array whose values are not known yet."""


def shorten(error: BaseException) -> None:
    """Takes the frames of kjax and JAX out of an error's traceback, and tracers out of its message.

    They stay where no line of the user's is left and the error was not raised on purpose: that is a bug of kjax.
    """
    if os.environ.get("KJAX_FULL_TRACEBACK", "0") not in ("", "0"):
        return
    seen: set[int] = set()
    last, one = error, cause(error)
    _shorten_one(error)
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        following = cause(one)
        _shorten_one(one)
        if one.__traceback__ is None:  # it was JAX's own affair
            last.__cause__ = following
        else:
            last = one
        one = following


def cause(error: BaseException) -> BaseException | None:
    """The error that is printed before this one."""
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _shorten_one(error: BaseException) -> None:
    frames = list(chain(error.__traceback__))
    own = [tb for tb in frames if owner(tb) == ""]
    advice = next((ADVICE[c.__name__] for c in type(error).__mro__ if c.__name__ in ADVICE), None)
    meant = bool(frames) and owner(frames[-1]) == "kjax" and raises(frames[-1])
    kept = own if own or meant or advice else [tb for tb in frames if owner(tb) != "jax"]
    error.__traceback__ = linked(kept)
    notes = [note for note in getattr(error, "__notes__", []) if "JAX has removed its internal frames" not in note]
    notes = [note for note in notes if set(note) != {"-"}]
    readable(error)
    new = [*([advice] if advice else []), *([] if meant or len(kept) == len(frames) else [HINT])]
    with contextlib.suppress(AttributeError):
        error.__notes__ = [*notes, *(note for note in new if note not in notes)]


def chain(tb: TracebackType | None) -> Any:
    """The frames of a traceback, outermost first."""
    while tb is not None:
        yield tb
        tb = tb.tb_next


def linked(frames: list[TracebackType]) -> TracebackType | None:
    """A traceback of some frames."""
    return functools.reduce(
        lambda rest, tb: TracebackType(rest, tb.tb_frame, tb.tb_lasti, tb.tb_lineno), reversed(frames), None
    )


def owner(tb: TracebackType) -> str:
    """Whose frame it is: "kjax", "jax" (with what of Python these go through), or "" for the user's."""
    file = tb.tb_frame.f_code.co_filename
    return next((name for name, folders in _folders() if file.startswith(folders)), "")


@functools.cache
def _folders() -> tuple[tuple[str, tuple[str, ...]], ...]:
    import jax
    import jaxlib

    of = [os.path.dirname(str(package.__file__)) + os.sep for package in (jax, jaxlib)]
    between = [contextlib.__file__, functools.__file__, "<string>", "<frozen"]
    return ("kjax", (os.path.dirname(__file__) + os.sep,)), ("jax", (*of, *between))


def raises(tb: TracebackType) -> bool:
    """Whether a frame's line raises: it means to."""
    return linecache.getline(tb.tb_frame.f_code.co_filename, tb.tb_lineno).lstrip().startswith("raise ")


def readable(error: BaseException) -> None:
    """An error whose message shows arrays by dtype and shape, `float32[32,10]`, and of JAX's essays the first line."""
    if not error.args or not isinstance(error.args[0], str):
        return
    said = NAME.sub("array", TRACER.sub(r"\1", error.args[0]))
    if any(c.__name__ in ADVICE for c in type(error).__mro__):
        said = said.partition("\n")[0]
    if said != error.args[0]:
        error.args = (said, *error.args[1:])
