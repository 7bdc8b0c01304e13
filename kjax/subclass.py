"""What a subclass of `Model` is as a layer and as a loss: its `call` and `compute_loss`, with its members."""

import inspect
from typing import Any

from kjax.frozen import tuples
from kjax.nn.composite import Body, Objective
from kjax.nn.layer import Layer


def is_model(value: Any) -> bool:
    """Whether this is a `Network`, which imports this module."""
    return hasattr(value, "as_layer")


def members(model: Any) -> dict[str, Any]:
    """The attributes that a subclass gave itself."""
    own = ("name", "seed", "stop_training", "sample_weight_mode")
    return {name: value for name, value in vars(model).items() if name[0] != "_" and name not in own}


def body(model: Any) -> tuple[Layer, dict[str, Any]]:
    """The layer that a subclass with a `call` is, and the models among its members by name."""
    donors = {name: value for name, value in members(model).items() if is_model(value)}
    found = {name: donors[name].as_layer() if name in donors else tuples(v) for name, v in members(model).items()}
    return Body(owner=type(model), members=tuple(found.items())), donors


def override(model: Any) -> Objective | None:
    """The loss that a subclass defines, as a pure function that is equal for equal members."""
    function = getattr(type(model), "compute_loss", None)
    if function is None:
        return None
    known = inspect.signature(function).parameters
    missing = [name for name in ("x", "y", "y_pred", "sample_weight") if name not in known]
    if missing:
        raise TypeError(
            f"{type(model).__name__}.compute_loss takes (self, x, y, y_pred, sample_weight); it lacks "
            f"{', '.join(missing)}"
        )
    plain_ = {name: tuples(v) for name, v in members(model).items() if not is_model(v)}
    return Objective(owner=type(model), members=tuple(plain_.items()))
