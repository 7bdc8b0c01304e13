"""What a batch is to a model: `(x, y)` or `(x, y, sample_weight)`, checked against the network and what it is for."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from kjax import data as arrays
from kjax import losses
from kjax.heads import in_order


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
    trainer, keys = model.trainer, model.trainer.output_names
    shared = not isinstance(sample_weight, dict | list | tuple)
    given: Any = (
        in_order(y, keys, names[1], partial=any(head.loss is None for head in trainer.heads)),
        (sample_weight,) * len(trainer.heads) if shared else in_order(sample_weight, keys, "sample_weight", True),
        trainer.outputs_of(model._output),
    )
    found = [
        targets(model, head, x, own, weight, output, (names[0], f"{names[1]}[{head.name!r}]" if keys else names[1]))
        for head, own, weight, output in zip(trainer.heads, *given, strict=True)
    ]
    if not keys:
        return (x, *found[0]) if found[0][1] is not None else (x, found[0][0])
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
    arrays.check_lengths(**named_leaves(names[:1], (x,)), **{names[1]: y, "sample_weight": weight})
    if head.loss is not None:
        losses.check_targets(head.loss, y, (y.shape[0], *output.shape[1:]))
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


def check_finite(batch: Any) -> None:
    """Refuses NaN and infinity in a checked batch."""
    arrays.check_finite(**named_leaves(("x", "y", "sample_weight"), batch))


def named_leaves(names: Sequence[str], trees: Sequence[Any]) -> dict[str, Any]:
    """All arrays under the names of what they are part of."""
    found = {}
    for name, tree in zip(names, trees, strict=False):
        leaves = jax.tree.leaves(tree)
        found.update({name: tree} if hasattr(tree, "shape") else {f"{name}[{i}]": a for i, a in enumerate(leaves)})
    return found
