"""What was compiled for a model and why: `model.compile_report()`, and a warning where a step compiles again.

The body of a compiled function runs only when it is traced, so it is there that arguments are looked at: a step
that does not compile pays for one assignment. JAX says when the compilation is done, and whether it was read from
the cache.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.monitoring

FINISHED = "/jax/core/compile/backend_compile_duration"
CACHED = "/jax/compilation_cache/cache_hits"
"""Names of JAX's events."""
SHOWN, LENGTH = 3, 80
"""How many changes a warning shows, and how many characters of a setting."""
LENGTHS = {"train_rows": 1, "eval_rows": 3, "train_step": 1, "eval_step": 1}
"""The functions that depend on the trainer, and how many lengths of data each may meet without a warning:
`evaluate` gets training, validation and test data."""
DATA = ("x", "y", "sample_weight")
NAMES = {"rows": "(steps, batch size)", "self": "optimizer"}
"""What arguments are called for users, where they do not know them by their own name."""
LIBRARIES = (*(f"{pathlib.Path(file).parent}{os.sep}" for file in (__file__, jax.__file__)), contextlib.__file__)
Signature = dict[str, Any]
"""What decides about a compilation: a `Spec` or a `Setting` by name."""


class RecompileWarning(UserWarning):
    """A step compiles again, which takes as long as many steps; the message says what changed and what helps."""


@dataclasses.dataclass(frozen=True)
class Compilation:
    """One program that was made.

    Args:
        function: what it computes: "train_rows" are the steps of `fit`, "eval_rows" those of `evaluate`,
            "train_step" is `train_on_batch`.
        seconds: for tracing, compiling or reading it from the cache.
        cached: whether it came from the cache.
        changes: what made it necessary after an earlier one: "x changed from float32[32,8] to float32[20,8]".
    """

    function: str
    seconds: float
    cached: bool
    changes: tuple[str, ...] = ()


class CompileReport(tuple[Compilation, ...]):
    """The compilations of a model in order; prints as a table."""

    @property
    def seconds(self) -> float:
        """Of all together."""
        return sum(one.seconds for one in self)

    def __repr__(self) -> str:
        lines = [f"{'function':<16}{'seconds':>8}  from       because"]
        for one in self:
            source = "the cache" if one.cached else "compiler"
            lines.append(f"{one.function:<16}{one.seconds:>8.2f}  {source:<9}  {'; '.join(one.changes)}".rstrip())
        return "\n".join([*lines, f"{f'{len(self)} in all':<16}{self.seconds:>8.2f}"])


class Spec(NamedTuple):
    """An array, as far as compiling goes."""

    dtype: str
    shape: tuple[int, ...]
    weak: bool

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]{' of a Python number' if self.weak else ''}"


class Setting(NamedTuple):
    """Something that is no array: equal ones share a compilation."""

    value: Any
    shown: Any

    def __str__(self) -> str:
        text = repr(self.shown)
        return text if len(text) <= LENGTH else f"{text[: LENGTH - 1]}…"


@dataclasses.dataclass
class Pending:
    """A function that is being compiled."""

    log: "CompileLog"
    function: str
    signature: Signature
    began: float
    traced: bool = False
    cached: bool = False


class Here(threading.local):
    """Who calls compiled functions in this thread, and what is being compiled in it: JAX does not pass it on."""

    log: "CompileLog | None" = None
    pending: Pending | None = None


here = Here()


class CompileLog:
    """The compilations of one model; `settings` are what its steps depend on besides their arguments."""

    def __init__(self) -> None:
        self.compilations: list[Compilation] = []
        self.settings: Signature = {}
        self._seen: dict[Any, list[Signature]] = {}

    def calls(self, function: Callable, *first: Any) -> Callable:
        """The function with its first arguments, which has its compilations noted here."""

        def call(*args: Any, **options: Any) -> Any:
            here.log = self
            return function(*first, *args, **options)

        return call

    def listens(self) -> None:
        """What this thread compiles next is noted here: what `calls` does at each call, for those that count in µs."""
        here.log = self

    def expect_changes(self) -> None:
        """Each function may compile once more without a warning: the user asked for something else."""
        self._seen = {}

    def add(self, done: Pending) -> None:
        """Notes what has been compiled, and warns where it is the same function with other arguments."""
        signature = done.signature | (self.settings if done.function in LENGTHS else {})
        seen = self._seen.setdefault(variant(done.function, signature), [])
        old = seen[-1] if seen else signature
        changed = differing(old, signature)
        changes = tuple(
            f"{name} changed from {old.get(name, 'nothing')} to {signature.get(name, 'nothing')}" for name in changed
        )
        seen.append(signature)
        seconds = time.perf_counter() - done.began
        self.compilations.append(Compilation(done.function, seconds, done.cached, changes))
        if changes and not expected(done.function, changed, seen):
            more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
            what = f"{done.function} compiles again ({ordinal(len(seen))} time, {seconds:.1f} s)"
            warn(f"{what}: {', '.join(changes[:SHOWN])}{more}. {advice(done.function, old, signature, changed)}")


def differing(old: Signature, new: Signature) -> list[str]:
    """The names of what has changed; where it is a setting, nothing that follows from it."""
    names = [*new, *(name for name in old if name not in new)]
    settings = [name for name in names if isinstance(new.get(name), Setting) and differs(name, old, new)]
    return settings or [name for name in names if differs(name, old, new)]


def differs(name: str, old: Signature, new: Signature) -> bool:
    """Whether something has changed that a program depends on."""
    a, b = old.get(name), new.get(name)
    return a.value != b.value if isinstance(a, Setting) and isinstance(b, Setting) else a != b


def root(name: str) -> str:
    """`x` of `x['digit']`."""
    return re.split(r"[.\[]", name)[0]


def variant(function: str, signature: Signature) -> Any:
    """What naturally has a program of its own: padding, weights, inputs or targets of other names."""
    own = sorted(name for name in signature if root(name) not in ("state", "params", "totals", "optimizer"))
    return function, signature.get("padded"), *own


def expected(function: str, changed: list[str], seen: list[Signature]) -> bool:
    """Whether it is natural that a function has been compiled for all of these."""
    if function not in ("predict", *LENGTHS):
        return True
    free = NAMES["rows"] if function == "eval_rows" else ""  # `fit` and `evaluate` have batch sizes of their own
    if not all(name == free or longer(seen[-2].get(name), seen[-1].get(name)) for name in changed):
        return False
    if function != "predict":
        return len(seen) <= LENGTHS[function]
    batches = {spec.shape[0] for one in seen for name, spec in one.items() if root(name) == "x"}
    return sum(n & (n - 1) != 0 for n in batches) <= 1  # `predict` makes powers of two of what is less than a batch


def longer(old: Any, new: Any) -> bool:
    """Whether two arrays differ in the number of examples alone."""
    return (
        isinstance(old, Spec)
        and isinstance(new, Spec)
        and old._replace(shape=old.shape[1:]) == new._replace(shape=new.shape[1:])
    )


def advice(function: str, old: Signature, new: Signature, changed: list[str]) -> str:
    """What helps against compiling again."""
    specs = [(name, old[name], new[name]) for name in changed if isinstance(old.get(name), Spec) and name in new]
    if "optimizer" in changed:
        return "Numbers of an optimizer change without: model.optimizer = model.optimizer.replace(lr=0.01)."
    if any(a.dtype != b.dtype or a.weak != b.weak for _, a, b in specs):
        return 'Convert it to one dtype beforehand, e.g. x.astype("float32").'
    if any(a.shape[1:] != b.shape[1:] and root(name) in DATA for name, a, b in specs):
        return "Each shape compiles once: pad, crop or resize to few of them."
    if function.endswith("rows") and all(a.shape[1:] == b.shape[1:] for _, a, b in specs):
        each = "Each number of examples compiles once (each power of two, where arrays have less than 1 MiB)"
        return f"{each}: fit in one call, or on parts of equal length."
    return "Each batch size compiles once: leave out a short last batch, or use fit, which pads it."


def ordinal(n: int) -> str:
    """`2nd`.

    >>> [ordinal(n) for n in (1, 2, 3, 4, 11, 22)]
    ['1st', '2nd', '3rd', '4th', '11th', '22nd']
    """
    last = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{last}"


def warn(message: str) -> None:
    """A warning about the line of the user's that has led here."""
    frame: Any = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith(LIBRARIES):
        frame = frame.f_back
    known = frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, RecompileWarning, frame.f_code.co_filename, frame.f_lineno, registry=known)


def signature(arguments: dict[str, Any]) -> Signature:
    """The arguments of a function by name, each array by itself; the parts of a batch under their own names."""
    found: Signature = {}
    for name, value in arguments.items():
        parts = zip(DATA, value, strict=False) if name in ("batch", "data") else [(name, value)]
        for part, tree in parts:
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_array):
                found[NAMES.get(part, part) + jax.tree_util.keystr(path)] = spec(leaf)
    return found


def is_array(tree: Any) -> bool:
    """Whether this is an array, if one of several pieces (`kernels.HostArray`)."""
    return hasattr(tree, "shape")


def spec(leaf: Any) -> Any:
    """What a leaf is to the compiler."""
    if not is_array(leaf):
        return Setting(leaf, leaf)
    return Spec(leaf.dtype.name, leaf.shape, getattr(leaf, "weak_type", False))


@contextlib.contextmanager
def tracing(function: str, **arguments: Any) -> Iterator[None]:
    """Around the body of a compiled function: notes what it is compiled for."""
    log = here.log
    here.pending = pending = Pending(log, function, signature(arguments), time.perf_counter()) if log else None
    yield
    if pending:
        pending.traced = True
        listen()


def finished(event: str, duration_secs: float, **about: Any) -> None:
    """JAX tells that something has been compiled."""
    pending = here.pending
    if event != FINISHED or not pending or not pending.traced:
        return
    name = pending.function
    if about.get("fun_name", name) in (name, f"jit({name})", f"jit_{name}"):  # as versions of JAX have it
        here.pending = None
        pending.log.add(pending)


def happened(event: str, **about: Any) -> None:
    """JAX tells that a program has been found in the cache."""
    if event == CACHED and here.pending:
        here.pending.cached = here.pending.traced


@functools.cache
def listen() -> None:
    """Has JAX tell."""
    jax.monitoring.register_event_duration_secs_listener(finished)
    jax.monitoring.register_event_listener(happened)
