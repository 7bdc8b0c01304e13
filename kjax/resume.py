"""A run of `fit` as values that a checkpoint holds, and back: all that decides what is still to come."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from kjax.callbacks.base import Callback, keeps_state
from kjax.checkpoints import Checkpoint
from kjax.frozen import Frozen
from kjax.nn.container import all_layers
from kjax.nn.layer import Layer
from kjax.train import STATIC

POSITION = ("epoch", "step", "began", "logs")
"""Attributes of `kjax.loop.Run`."""
FREE = ("epochs", "verbose", "metrics")
"""What callbacks are told that may differ when a run goes on: for how long, what is printed, which logs there are."""

PRINTED = Frozen.__repr__
"""What prints a layer with all its settings."""


class Earlier(NamedTuple):
    """Where an earlier process stood."""

    state: Any
    meta: dict[str, Any]


def taken(run: Any, model: Any) -> dict[str, Any]:
    """Where a run stands, but for the model's state."""
    return {
        "run": {name: getattr(run, name) for name in POSITION},
        "totals": None if run.totals is None else jax.tree.leaves(run.totals),
        "numbers": jax.tree.leaves(model.optimizer),
        "callbacks": [(type(c).__name__, c.get_state()) for c in run.callbacks if keeps_state(c)],
        "stop_training": model.stop_training,
    }


def put_back(earlier: Earlier, run: Any, model: Any) -> None:
    """Has a run, its callbacks and its model stand where the earlier process stood."""
    meta = earlier.meta
    for name in POSITION:
        setattr(run, name, meta["run"][name])
    run.totals, model.stop_training = meta["totals"], meta["stop_training"]
    model.state = earlier.state
    model.optimizer = jax.tree.unflatten(jax.tree.structure(model.optimizer), meta["numbers"])
    keeping = [callback for callback in run.callbacks if keeps_state(callback)]
    for callback, (_, state) in zip(keeping, meta["callbacks"], strict=True):
        callback.set_state(state)


# Whether two scripts are one.


def script(model: Any, params: dict[str, Any], callbacks: Sequence[Callback]) -> dict[str, Any]:
    """What a run is about, as it begins: the settings that decide it, as texts and numbers.

    Args:
        model: the model.
        params: what callbacks are told of the run.
        callbacks: all of them.
    """
    trainer = model.trainer
    settings = {name: told(getattr(trainer, name)) for name in (*STATIC, "optimizer")}
    settings["net"] = network(trainer.net)
    sizes = {name: told(value) for name, value in params.items() if name not in FREE}
    names = ", ".join(type(callback).__name__ for callback in callbacks if keeps_state(callback))
    start = {
        "seed": None if model._drawn_seed else model.seed,
        "steps the model had made before fit": int(model.state.step),
    }
    return {**settings, **sizes, "callbacks": names, **start}


def network(net: Layer) -> str:
    """A network as a text that says everything, that of layers too which are printed in short, graphs among them."""
    short = [(name, layer) for name, layer in [("it", net), *all_layers(net)] if type(layer).__repr__ is not PRINTED]
    fields = [(name, {f.name: getattr(layer, f.name) for f in dataclasses.fields(layer)}) for name, layer in short]
    return "; ".join([told(net), *(f"{name} is {told(own)}" for name, own in fields)])


def told(value: Any) -> Any:
    """A setting as a text that is the same in every process."""
    plain = value is None or isinstance(value, bool | int | str)
    return value if plain else re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs, each as one line."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return [f"{name} was {{}}, is {{}}".format(*apart(before.get(name), now.get(name))) for name in names]


def apart(a: Any, b: Any, around: int = 40) -> tuple[str, str]:
    """Two texts, cut to where they differ.

    >>> apart("x" * 99 + "Dense(3)", "x" * 99 + "Dense(4)", 6)
    ('…Dense(3)', '…Dense(4)')
    """
    a, b = str(a), str(b)
    same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    start, end = max(0, same - around), same + around
    return tuple(("…" if start else "") + s[start:end] + ("…" if len(s) > end else "") for s in (a, b))


def earlier(found: Checkpoint, now: dict[str, Any], model: Any, owner: str) -> Earlier:
    """What a checkpoint says, if this script wrote it.

    Raises:
        ValueError: another one did; names what differs.
    """
    wrong = differences(found.meta["script"], now)
    if wrong:
        raise ValueError(
            f"{owner}: {found.path} is of another run: {'; '.join(wrong)}. Run the script that wrote it to go on, or "
            f"delete {found.path.parent} (or name another folder) to start afresh"
        )
    return Earlier(found.tree(model.state), found.meta)
