"""What went wrong in a training step that left numbers that are not finite, in words."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from kjax.probes import Place, Seen, Stats, floats, inputs_of, observe, stats
from kjax.train import Trainer, TrainState

SMALLER = "try a smaller learning rate, or clipnorm=1.0 in the optimizer"
EDGE = "a root, a logarithm, a norm or a quotient has no finite derivative at 0: add a small number inside it"
DOMAIN = "see whether it divides by 0, or takes a logarithm or a root of what is not positive"
LARGE = 1e4
"""Values above this are what training that diverges shows."""


class Cause(NamedTuple):
    """What went bad first: the path of the layer ("" where it was none), which examples of the batch, what to say."""

    layer: str
    rows: Any
    said: str
    advice: str


def cause(trainer: Trainer, state: TrainState, batch: Any, valid: Any, after: TrainState) -> Cause:
    """What went bad first in the step from `state`, which is good, to `after`."""
    for name, own in inputs_of(batch).items():
        if bad(own):
            return Cause("", None, f"{name} itself holds {amount(own)}", "clean the data: check_finite=True finds it")
    seen = observed(trainer, state, batch, valid, backwards=False)
    found = forwards(seen)
    if found is None:
        seen = observed(trainer, state, batch, valid, backwards=True)
        found = forwards(seen) or of_loss(trainer, seen) or backwards(trainer, seen) or of_update(seen, after)
    return found


def observed(trainer: Trainer, state: TrainState, batch: Any, valid: Any, backwards: bool) -> Seen:
    """Looks into as many layers as it can: not into one that runs its layers in a loop of its own."""
    for depth in (99, 1):
        try:
            return observe(trainer, state, batch, valid, backwards, depth)
        except Exception:  # whatever a layer of the user's does about being looked into
            continue
    return observe(trainer, state, batch, valid, backwards, 0)


def forwards(seen: Seen) -> Cause | None:
    """The first layer that gave something bad."""
    for number, (place, own) in enumerate(zip(seen.places, seen.values, strict=True)):
        if bad(own):
            given = [
                v for p, v in zip(seen.places[:number], seen.values, strict=False) if p == place._replace(end="in")
            ]
            return of_output(place, own, given[-1] if given else None)
    return None


def of_output(place: Place, own: Sequence[Stats], given: Sequence[Stats] | None) -> Cause:
    if given is None:
        what = f"{amount(own)} went into {shown(place)}, from what {container(place)} computes between its layers"
        return Cause(place.path, rows(own), f"the first bad values are no layer's output: {what}", SMALLER)
    advice = SMALLER if large(given) else f"{DOMAIN}; or {SMALLER}"
    what = f"{amount(own)}, its input was finite with {spread(given)}"
    return Cause(place.path, rows(own), f"the first layer with a bad output is {shown(place)}: {what}", advice)


def of_loss(trainer: Trainer, seen: Seen) -> Cause | None:
    """Where all layers' outputs are good, and the loss is not."""
    heads = zip(trainer.heads, seen.losses, seen.predictions, strict=True)
    for head, value, own in heads:
        if not np.isfinite(value):
            name = getattr(head.loss, "__name__", None) or repr(head.loss)
            where = f" at the output {head.name!r}" if head.name else ""
            said = f"all layers' outputs are finite, but the loss {name}{where} is {value} for predictions with"
            return Cause("", None, f"{said} {spread(own)}", SMALLER if large(own) else f"{DOMAIN}; or {SMALLER}")
    if np.isfinite(seen.loss):
        return None
    what = "compute_loss" if trainer.objective is not None else "a regularizer's penalty, or the sum of the losses,"
    return Cause("", None, f"all layers' outputs are finite, but {what} is {seen.loss}", SMALLER)


def backwards(trainer: Trainer, seen: Seen) -> Cause | None:
    """The first layer, from the loss backwards, whose derivatives are bad."""
    for place, own in reversed(list(zip(seen.places, seen.gradients, strict=True))):
        weights = seen.weights.get(place.path, []) if place.end == "in" else []
        if bad(own) or bad(weights):
            return of_gradient(place, own if bad(own) else weights, "its input" if bad(own) else "its weights", seen)
    left = {path: own for path, own in seen.weights.items() if bad(own)}
    for path, own in left.items():
        said = f"the loss is finite, but its gradient for the weights of {path or 'the network'!r} holds {amount(own)}"
        return Cause(path, None, said, f"{SMALLER}; {EDGE}")
    return None


def of_gradient(place: Place, own: Sequence[Stats], what: str, seen: Seen) -> Cause:
    if place.end == "out":
        where = "what follows it" if place.path else "the loss"
        said = (
            f"the first bad gradient, from the loss backwards, is that for the output of {shown(place)}, from {where}"
        )
        return Cause(place.path, rows(own), f"{said}: {amount(own)}", f"{EDGE}; or {SMALLER}")
    values = next(v for p, v in zip(seen.places, seen.values, strict=True) if p == place)
    said = f"the first layer with a bad gradient, from the loss backwards, is {shown(place)}"
    return Cause(
        place.path, rows(own), f"{said}: {amount(own)} for {what}, which had {spread(values)}", f"{EDGE}; or {SMALLER}"
    )


def of_update(seen: Seen, after: TrainState) -> Cause:
    """Where the loss and all gradients are finite."""
    found = bad_weights(after)
    if found is None:
        return Cause(
            "", None, "run by itself the step shows nothing: the numbers are at the edge of their range", SMALLER
        )
    largest = max((max(abs(s.low), abs(s.high)) for own in seen.weights.values() for s in own), default=0.0)
    said = f"loss and gradients are finite (the largest is {largest:.3g}), but not the step that the optimizer takes"
    return Cause(found[0], None, f"{said}: {found[1]}", SMALLER)


def bad_weights(state: TrainState) -> tuple[str, str] | None:
    """The path of the first layer whose weights or state are not finite, and what is bad there."""
    for tree in (state.params, state.state):
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            own = [jax.device_get(stats(a)) for a in floats(leaf)]
            if bad(own):
                name = "/".join(str(getattr(key, "key", key)) for key in path)
                return name.rpartition("/")[0], f"{name!r} holds {amount(own)}"
    return None


def bad(own: Sequence[Stats]) -> bool:
    """Whether anything among them is not finite."""
    return any(s.bad for s in own)


def rows(own: Sequence[Stats]) -> Any:
    """Which examples of the batch are bad, as numbers of rows; None where that cannot be told."""
    found = [s.rows for s in own if s.bad]
    return None if any(r is None for r in found) else np.flatnonzero(np.logical_or.reduce(found))


def large(own: Sequence[Stats]) -> bool:
    """Whether the values are as large as where training diverges."""
    return any(max(abs(s.low), abs(s.high)) > LARGE for s in own)


def amount(own: Sequence[Stats]) -> str:
    """`inf in 3 of 640 values`."""
    nan, inf, size = (sum(int(getattr(s, name)) for s in own) for name in ("nan", "inf", "size"))
    what = "nan and inf" if nan and inf else "nan" if nan else "inf"
    return f"{what} in {nan + inf} of {size} values"


def spread(own: Sequence[Stats]) -> str:
    """`values from -3 to 5`."""
    held = [s for s in own if np.isfinite(s.low)]
    if not held:
        return "no numbers" if own else "integers"
    return f"values from {float(min(s.low for s in held)):.3g} to {float(max(s.high for s in held)):.3g}"


def shown(place: Place) -> str:
    """`'block/dense_2' (Dense(3))`."""
    return f"{place.path!r} ({place.layer!r})" if place.path else f"the network ({place.layer!r})"


def container(place: Place) -> str:
    """What is around a layer."""
    outer = place.path.rpartition("/")[0]
    return repr(outer) if outer else "the network"
