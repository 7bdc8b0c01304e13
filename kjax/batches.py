"""What a batch is to a model: `(x, y)` or `(x, y, sample_weight)`, checked against the network and what it is for."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from kjax import data as arrays
from kjax import losses
from kjax.heads import in_order
from kjax.naming import named_leaves


def checked(model: Any, x: Any, y: Any, sample_weight: Any, names: Sequence[str] = ("x", "y")) -> tuple[Any, ...]:
    """`(x, y)` or `(x, y, weights)` as arrays that fit the model; for several inputs or outputs, tuples of arrays.

    Builds the model if need be.

    Args:
        model: a compiled model.
        x, y, sample_weight: as `fit` takes them.
        names: what messages call x and y.

    Raises:
        ValueError, TypeError: something does not fit.
    """
    x = model._input(x, names[0])
    model._name_outputs()
    trainer = model.trainer
    keys = trainer.output_names
    if not keys:
        output = model._output if hasattr(model._output, "shape") else trainer.outputs_of(model._output)[0]
        y, weight = targets(model, trainer.heads[0], x, y, sample_weight, output, names)
        return (x, y) if weight is None else (x, y, weight)
    shared = not isinstance(sample_weight, dict | list | tuple)
    given: Any = (
        in_order(y, keys, names[1], partial=any(head.loss is None for head in trainer.heads)),
        (sample_weight,) * len(trainer.heads) if shared else in_order(sample_weight, keys, "sample_weight", True),
        trainer.outputs_of(model._output),
    )
    found = [
        targets(model, head, x, own, weight, output, (names[0], f"{names[1]}[{head.name!r}]"))
        for head, own, weight, output in zip(trainer.heads, *given, strict=True)
    ]
    ys, weights = zip(*found, strict=True)
    return (x, ys) if all(weight is None for weight in weights) else (x, ys, weights)


def targets(
    model: Any, head: Any, x: Any, y: Any, weight: Any, output: Any, names: Sequence[str]
) -> tuple[Any, Any]:  # fmt: skip
    """The targets and weights of one output."""
    if y is None and head.loss is None and (head.name or model.trainer.objective):
        return None, None
    y = arrays.as_array(y, names[1])
    weight = None if weight is None else arrays.as_array(weight, "sample_weight").astype(np.float32)
    if weight is not None or not hasattr(x, "shape") or not 0 < x.shape[0] == y.shape[0]:
        arrays.check_lengths(**named_leaves(names[:1], (x,)), **{names[1]: y, "sample_weight": weight})
    if head.loss is not None:
        shape, fitting = (y.shape[0], *output.shape[1:]), (head, y.shape[1:], y.dtype, output)
        (losses.check_values if model._fitting == fitting else losses.check_targets)(head.loss, y, shape)
        model._fitting = fitting
    check_weight(weight, output.shape, model.sample_weight_mode == "temporal")
    return y, weight


def check_weight(weight: Any, output: tuple[int, ...], temporal: bool) -> None:
    """Refuses weights of another rank than `sample_weight_mode` says, or of another length than the output's."""
    if weight is not None and weight.ndim != 1 + temporal:
        hint = "" if temporal else "; for weights per time step compile with sample_weight_mode='temporal'"
        raise ValueError(f"sample_weight must have rank {1 + temporal}; got shape {weight.shape}{hint}")
    if temporal and weight is not None and weight.shape[1:] != output[1:2]:
        raise ValueError(f"sample_weight has {weight.shape[1]} time steps, the network's output {output[1]}")


def class_weighted(model: Any, batch: Any, class_weight: Any) -> Any:
    """The batch with each example's weight multiplied by that of its class."""
    if class_weight is None:
        return batch
    x, y, weight = (*batch, None) if len(batch) == 2 else batch
    keys = model.trainer.output_names
    if not keys:
        return x, y, arrays.class_weights(y, class_weight, weight)
    if not isinstance(class_weight, dict) or not all(key in keys for key in class_weight):
        raise ValueError(f"class_weight for several outputs is a dict by their names, {', '.join(keys)}, of dicts")
    weights = (None,) * len(keys) if weight is None else weight
    own = in_order(class_weight, keys, "class_weight", partial=True)
    return x, y, tuple(map(arrays.class_weights, y, own, weights))


def check_finite(batch: Any, prefix: str = "") -> None:
    """Refuses NaN and infinity in a checked batch."""
    names = tuple(prefix + name for name in ("x", "y", "sample_weight"))
    arrays.check_finite(**named_leaves(names, batch))


def from_stream(model: Any, raw: Any, class_weight: Any = None, finite: bool = False) -> tuple[Any, ...]:
    """A checked batch of what a generator or loader gave.

    Raises:
        ValueError, TypeError: it does not fit, or what is the target in it is not clear.
    """
    batch = class_weighted(model, checked(model, *parts(model, raw)), class_weight)
    if finite:
        check_finite(batch)
    return jax.tree.map(np.asarray, batch)


def parts(model: Any, raw: Any) -> tuple[Any, Any, Any]:
    """x, y and sample_weight of a batch: a tuple or list of two or three, or a dict that says which is which.

    Raises:
        ValueError: anything else.
    """
    if isinstance(raw, dict):
        return named_parts(raw, model.input_names, model.trainer.output_names)
    if not isinstance(raw, list | tuple) or not 1 <= len(raw) <= 3:
        got = f"{type(raw).__name__} of {len(raw)}" if isinstance(raw, list | tuple) else type(raw).__name__
        raise ValueError(f"a batch is (x, y) or (x, y, sample_weight); got {got}")
    x, y, weight = (*raw, None, None)[:3]
    if y is not None and not isinstance(y, dict | list | tuple) and np.shape(y) == ():
        raise ValueError(
            "y is a single number, so this looks like one example and no batch: join them to batches, as "
            "torch.utils.data.DataLoader(data, batch_size=32) or a data set's .batch(32) does"
        )
    return x, y, weight


def named_parts(raw: dict[str, Any], inputs: Sequence[str], outputs: Sequence[str]) -> tuple[Any, Any, Any]:
    """The parts of a dict: it has x and y (and sample_weight), or the names of the model's inputs and outputs."""
    if {"x", "y"} <= set(raw) <= {"x", "y", "sample_weight"}:
        return raw["x"], raw["y"], raw.get("sample_weight")
    xs, ys = ({name: raw[name] for name in names if name in raw} for names in (inputs, outputs))
    rest = [name for name in raw if name not in (*inputs, *outputs)]
    if not set(xs) & set(ys):
        if xs and ys and not rest:
            return xs, ys, None
        if len(rest) == 1 and (xs or ys) and not (inputs and outputs):
            return (xs, raw[rest[0]], None) if xs else (raw[rest[0]], ys, None)
    names = list(map(str, raw))
    pair = (names * 2)[:2]
    raise ValueError(
        f"a batch is (x, y), but this is a dict of {', '.join(map(repr, names))}, which does not say what is the "
        f'target: name them "x" and "y" (of a Hugging Face data set: data.select_columns({pair}).rename_columns('
        f'{{"{pair[0]}": "x", "{pair[1]}": "y"}})), or make pairs: fit(lambda: ((b["{pair[0]}"], b["{pair[1]}"]) '
        "for b in data))"
    )


def inputs_of(model: Any, raw: Any) -> Any:
    """The inputs in a batch that `predict` gets: of `(x, y)` and `(x, y, sample_weight)` the first."""
    if isinstance(raw, dict):
        names = model.input_names
        return {name: raw[name] for name in names if name in raw} if names else raw.get("x", raw)
    several = len(model.input_names)
    if isinstance(raw, tuple) or (isinstance(raw, list) and len(raw) != several and is_batch(raw)):
        return raw[0]
    return raw


def is_batch(raw: Any) -> bool:
    """Whether a list holds the arrays of a batch, as PyTorch's loaders give them, rather than numbers."""
    return 1 <= len(raw) <= 3 and all(hasattr(part, "shape") and len(part.shape) for part in raw)
