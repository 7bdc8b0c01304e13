"""What `fit` and `evaluate` run over, from what they were given: arrays, or a stream of batches."""

import functools
from typing import Any

from kjax import batches
from kjax import data as arrays
from kjax.frozen import require_int
from kjax.sources import ArraySource, Source
from kjax.streams import StreamSource, is_stream
from kjax.supply import supply


def for_fit(
    model: Any, x: Any, y: Any, sample_weight: Any, batch_size: int | None, epochs: int, shuffle: Any,
    class_weight: Any, finite: bool, split: float, steps: int | None, workers: int,
) -> tuple[Source, Any]:  # fmt: skip
    """The data to train on, and the arrays that `validation_split` holds out; the arguments are `fit`'s.

    Raises:
        ValueError, TypeError: something does not fit, or goes with the other kind of data.
    """
    if not is_stream(x):
        return for_fit_on_arrays(model, x, y, sample_weight, batch_size, shuffle, class_weight, finite, split, steps)
    refuse_beside_stream("fit", x, y=y, sample_weight=sample_weight, validation_split=split or None)
    refuse_used_up(x, epochs, steps, "steps_per_epoch", "fit(batches) instead of fit(batches())")
    prepare = functools.partial(batches.from_stream, model, class_weight=class_weight, finite=finite)
    found = supply(x, steps, shuffle, True, workers, batch_size)
    return StreamSource(found, prepare, "x", steps), None


def for_fit_on_arrays(
    model: Any, x: Any, y: Any, sample_weight: Any, batch_size: int | None, shuffle: Any, class_weight: Any,
    finite: bool, split: float, steps: int | None,
) -> tuple[Source, Any]:  # fmt: skip
    """The same for arrays."""
    data, held_out = batches.checked(model, x, y, sample_weight), None
    if split:
        data, held_out = arrays.split_validation(data, split)
    data = batches.class_weighted(model, data, class_weight)
    if finite:
        batches.check_finite(data)
    return ArraySource(data, batch_size or 32, shuffle, steps), held_out


def for_validation(
    model: Any, data: Any, batch_size: int | None, own_size: int | None, steps: int | None, passes: int, finite: bool
) -> Source:
    """What to validate on, in so many passes.

    Args:
        batch_size: for arrays.
        own_size: what was said about validation alone, if anything.
    """
    if is_stream(data):
        refuse_used_up(data, passes, steps, "validation_steps", "validation_data=batches instead of batches()")
        return stream(model, data, "validation_data", own_size, steps, "validation_steps", 1, finite)
    if not isinstance(data, list | tuple) or len(data) not in (2, 3):
        raise ValueError(
            "validation_data is (x, y) or (x, y, sample_weight), or a generator or loader of such batches; got "
            f"{type(data).__name__}{f' of {len(data)}' if isinstance(data, list | tuple) else ''}"
        )
    x, y, weight = (*data, None)[:3]
    found = batches.checked(model, x, y, weight, ("validation x", "validation y"))
    if finite:
        batches.check_finite(found, "validation ")
    return ArraySource(found, batch_size or 32, False, steps, "validation_steps")


def for_evaluate(
    model: Any, x: Any, y: Any, sample_weight: Any, batch_size: int | None, steps: int | None, workers: int
) -> Source:
    """The data that `evaluate` is given."""
    if not is_stream(x):
        return ArraySource(batches.checked(model, x, y, sample_weight), batch_size or 32, False, steps, "steps")
    refuse_beside_stream("evaluate", x, y=y, sample_weight=sample_weight)
    return stream(model, x, "x", batch_size, steps, "steps", workers)


def stream(
    model: Any, data: Any, name: str, batch_size: int | None, steps: int | None, steps_name: str, workers: int,
    finite: bool = False,
) -> StreamSource:  # fmt: skip
    """A stream of batches that are not to be trained on."""
    prepare = functools.partial(batches.from_stream, model, finite=finite)
    return StreamSource(supply(data, steps, False, False, workers, batch_size), prepare, name, steps, steps_name)


def refuse_used_up(data: Any, passes: int, steps: int | None, steps_name: str, instead: str) -> None:
    """Refuses a generator where there are to be several passes."""
    if passes > 1 and steps is None and hasattr(data, "__next__"):
        raise ValueError(
            f"fit: a generator gives its batches once, but there are to be {passes} passes over them: say how many "
            f"steps make one, {steps_name}=…, or give the function that makes it, {instead}"
        )


def refuse_beside_stream(owner: str, x: Any, **given: Any) -> None:
    """Refuses arguments that go with arrays only."""
    fixes = {
        "y": "the targets come with the batches, (x, y)",
        "sample_weight": "weights come with the batches, (x, y, sample_weight)",
        "validation_split": "which examples are the last is not known: give validation_data",
    }
    for name, value in given.items():
        if value is not None:
            kind = type(x).__name__
            raise ValueError(f"{owner}: {name} goes with arrays, but x is a {kind} that gives batches; {fixes[name]}")


def refuse_without_validation(**given: Any) -> None:
    """Refuses what is about a validation where there is none."""
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"fit: {name}={value!r}, but there is nothing to validate on: give validation_data or validation_split"
            )


def check_counts(owner: str, **given: Any) -> None:
    """Refuses numbers of steps, batch sizes or workers that are none; None is what is not given."""
    for name, value in given.items():
        if value is not None:
            require_int(value, name, owner)
