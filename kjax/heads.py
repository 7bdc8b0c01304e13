"""What a network is trained for at each of its outputs: a loss, its weight, metrics."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kjax import losses, metrics
from kjax.dtypes import widened
from kjax.frozen import suggest
from kjax.nn.compose import Serial, split_activation
from kjax.nn.errors import noting, shapes
from kjax.nn.graph import Graph, headless
from kjax.nn.layer import Layer
from kjax.nn.mask import on_values, unmask


class Head(NamedTuple):
    """One output: its name ("" where there is just one), loss (None: it is not trained for), weight, metrics."""

    name: str
    loss: Any
    weight: float
    metrics: tuple[Any, ...]

    @property
    def metric_names(self) -> list[str]:
        """The names in logs: `accuracy`, or `digit_accuracy` where there are several outputs."""
        return [f"{self.name}_{name}" if self.name else name for name in unique([m.name for m in self.metrics])]

    def bound(self, y: Any, y_pred: Any) -> dict[str, Any]:
        """The metrics by name in logs, as these shapes make them."""
        made = [m.bind(y.shape, y_pred.shape, self.loss) for m in self.metrics]
        return dict(zip(self.metric_names, made, strict=True))

    def matched(self, y: Any, y_pred: Any) -> Any:
        """The targets in the shape that the loss takes."""
        return y if y is None else losses.match_targets(self.loss, y, y_pred.shape)

    def value(self, y: Any, output: Any, activation: Any, weight: Any, valid: Any) -> tuple[jax.Array, Any, Any]:
        """The mean loss; the predictions, `activation` of the output; which of them count (None: all).

        The loss is computed on logits where it has such a form.
        """
        value, mask = unmask(output)
        y_pred, counted = activation(value) if activation else value, real(valid, mask, value)
        if self.loss is None:
            return jnp.zeros((), jnp.float32), y_pred, counted
        on_logits = activation and losses.on_logits(self.loss, activation)
        given = value if on_logits else y_pred
        with self.noting("loss", self.loss, y, y_pred):
            return losses.mean_loss(on_logits or self.loss, y, given, weight, counted), y_pred, counted

    def noting(self, what: str, function: Any, y: Any, y_pred: Any) -> Any:
        """Lets errors say that they arose in this loss or metric."""
        name = getattr(function, "__name__", None) or repr(function)
        where = f" of the output {self.name!r}" if self.name else ""
        return noting(lambda: f"{what} {name!r}{where}, called with y_true {shapes(y)}, y_pred {shapes(y_pred)}")

    def updated(self, metric: Any, total: Any, y: Any, y_pred: Any, weight: Any) -> Any:
        """A metric's sums after one more batch."""
        with self.noting("metric", getattr(metric, "function", None) or metric, y, y_pred):
            return metric.update(total, y, y_pred, weight)

    def by_rows(self, y: Any, y_pred: Any, bound: dict[str, Any]) -> bool:
        """Whether the loss and the metrics that are means give a value per example."""
        means = [
            ("metric", m.function if hasattr(m, "function") else m, m.values)
            for m in bound.values()
            if isinstance(m, metrics.MeanMetric)
        ]
        for what, named, function in [*([] if self.loss is None else [("loss", self.loss, self.loss)]), *means]:
            with self.noting(what, named, y, y_pred):
                if jax.eval_shape(function, y, y_pred).ndim == 0:
                    return False
        return True


def real(valid: Any, mask: Any, y: Any) -> Any:
    """Which values of a loss or metric count: those of real rows, and of real time steps where outputs have them."""
    if mask is None or not 1 < mask.ndim < y.ndim:
        return valid
    return mask if valid is None else mask & jnp.expand_dims(valid, tuple(range(1, mask.ndim)))


def split_outputs(net: Layer) -> tuple[Layer, Sequence[Any]]:
    """The network whose outputs lost their last activations, and these (None where there was none)."""
    if isinstance(net, Graph):
        return headless(net)
    if isinstance(net, Serial) and net.layers and isinstance(net.layers[-1], Graph):
        last, activations = headless(net.layers[-1])
        return net.replace(layers=(*net.layers[:-1], last.replace(name=net.names[-1]))), activations
    split, activation = split_activation(net)
    return split, (activation,)


def in_precision(net: Layer, precision: Any) -> Any:
    """The network as it computes in a `kjax.precision.Precision`; as it is for None."""
    return net if precision is None else net.with_dtype(precision.name)


def predict(net: Layer, precision: Any, params: Any, state: Any, x: Any) -> Any:
    """The network's outputs; where it has a precision, the last activations are computed in float32 at least."""
    if precision is None:
        return net.apply(params, state, x)[0]
    split, activations = split_outputs(in_precision(net, precision))
    output = split.apply(params, state, x)[0]
    if len(activations) != (len(output) if isinstance(output, dict | tuple) else 1):
        return widened(output)
    if isinstance(output, dict):
        return dict(zip(output, map(activated, output.values(), activations), strict=True))
    if isinstance(output, tuple):
        return tuple(map(activated, output, activations))
    return activated(output, activations[0])


def activated(output: Any, activation: Any) -> Any:
    """An output in float32 at least, after its activation if it has one; a mask stays."""
    return widened(output) if activation is None else on_values(activation, widened(output))


def output_names(net: Layer, losses_: Any = None) -> tuple[str, ...]:
    """The names of a network's outputs; () where there is just one. Where the net cannot tell, the losses do."""
    if isinstance(net, Graph):
        return () if net.gives == "one" else net.output_names
    if isinstance(net, Serial):
        return output_names(net.layers[-1], losses_) if net.layers else ()
    return tuple(losses_) if isinstance(losses_, dict) else names_in(losses_)


def names_in(output: Any) -> tuple[str, ...]:
    """The names of what a network gave: a dict's keys, numbers for a list or tuple; () where that is one array."""
    if not isinstance(output, dict | list | tuple) or len(output) < 2:
        return ()
    return tuple(output) if isinstance(output, dict) else tuple(f"output_{i + 1}" for i in range(len(output)))


def input_names(net: Layer) -> tuple[str, ...]:
    """The names of a network's inputs; () where there is just one, or where the net cannot tell."""
    if isinstance(net, Serial):
        return input_names(net.layers[0]) if net.layers else ()
    return net.input_names if isinstance(net, Graph) and net.takes != "one" else ()


def per_output(value: Any, names: Sequence[str], get: Callable, what: str) -> Any:
    """`get` of a setting, or a tuple of it for each output where there are several.

    Args:
        value: one for all outputs, a list in their order, or a dict by their names (others get None).
        names: the outputs' names; () for a single one.
        get: makes the setting for one output from what is given for it.
        what: what messages call it.

    Raises:
        ValueError: a name or a number of them that the network does not have.
    """
    if isinstance(value, dict):
        return tuple(get(v) for v in by_name(value, names, what, partial=True)) if names else get(only(value, what))
    if not names:
        return get(value)
    if not isinstance(value, list | tuple):
        return tuple(get(value) for _ in names)
    if len(value) != len(names):
        raise ValueError(
            f"{what}: the network has {len(names)} outputs ({', '.join(names)}), but the list has {len(value)}; "
            "give one for each, None for none, or a dict by name"
        )
    return tuple(get(v) for v in value)


def only(value: dict[str, Any], what: str) -> Any:
    """The single value of a dict, for a network of one output."""
    if len(value) != 1:
        raise ValueError(f"{what} names {', '.join(map(repr, value))}, but the network has one output")
    return next(iter(value.values()))


def by_name(value: dict[str, Any], names: Sequence[str], what: str, partial: bool = False) -> tuple[Any, ...]:
    """The values of a dict in the order of the names; `partial` allows some to be left out, as None.

    Raises:
        ValueError: unknown or missing names.
    """
    for name in value:
        if name not in names:
            raise ValueError(f"{what} names {name!r}, which the network does not have.{suggest(str(name), names)}")
    missing = [] if partial else [name for name in names if name not in value]
    if missing:
        raise ValueError(f"{what} lacks {', '.join(map(repr, missing))}; the network has {', '.join(map(repr, names))}")
    return tuple(value.get(name) for name in names)


def in_order(value: Any, names: Sequence[str], what: str, partial: bool = False) -> tuple[Any, ...]:
    """What was given for several inputs or outputs, as a list or a dict, in order; `(value,)` for a single one.

    Raises:
        ValueError: another number or other names than the network has.
    """
    if not names:
        return (value,)
    if isinstance(value, dict):
        return by_name(value, names, what, partial)
    if value is None and partial:
        return (None,) * len(names)
    if not isinstance(value, list | tuple) or len(value) != len(names):
        got = f"a list of {len(value)}" if isinstance(value, list | tuple) else type(value).__name__
        raise ValueError(
            f"{what} takes {len(names)} arrays, as a list or a dict, for {', '.join(map(repr, names))}; got {got}"
        )
    return tuple(value)


def get_metrics(identifiers: Any) -> tuple[Any, ...]:
    """The metric objects for a list of names, functions or objects (or one of them)."""
    single = identifiers is not None and not isinstance(identifiers, list | tuple)
    return tuple(metrics.get(m) for m in ([identifiers] if single else identifiers or ()))


def metrics_per_output(value: Any, names: Sequence[str]) -> tuple[Any, ...]:
    """The metrics of each output. A flat list goes to all of them, as in Keras; a list of lists one by one."""
    nested = isinstance(value, list | tuple) and any(v is None or isinstance(v, list | tuple) for v in value)
    if names and not nested and not isinstance(value, dict):
        return (get_metrics(value),) * len(names)
    return per_output(value, names, get_metrics, "metrics")


def number_of(value: Any) -> float:
    """The weight of a loss.

    Raises:
        ValueError: no number.
    """
    if value is None:
        return 1.0
    value = value[0] if isinstance(value, list | tuple) and len(value) == 1 else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(
            "loss_weights is a number (or a list of one) for a model with one output, and a list or dict of numbers "
            f"for one with several; got {value!r}"
        )
    return float(value)


def unique(names: Sequence[str]) -> list[str]:
    """The names with a number behind those that came before.

    >>> unique(["a", "b", "a"])
    ['a', 'b', 'a_1']
    """
    return [f"{n}_{names[:i].count(n)}" if n in names[:i] else n for i, n in enumerate(names)]
