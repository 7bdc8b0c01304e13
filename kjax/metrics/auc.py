"""Area under the ROC or the precision-recall curve."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from kjax.frozen import require_int
from kjax.metrics.confusion import Confusion
from kjax.metrics.metric import Sums, ratio

HEIGHTS: dict[str, Callable[..., jax.Array]] = {
    "interpolation": lambda a, b: (a + b) / 2.0,
    "minoring": jnp.minimum,
    "majoring": jnp.maximum,
}


class AUC(Confusion):
    """Area under recall over the false positive rate ("ROC"), or under precision over recall ("PR").

    The curve has one point for each of `num_thresholds` evenly spaced thresholds, so the area is that of the
    outputs rounded to 1 / (num_thresholds - 1): more of them come nearer to the true area.

    Args:
        num_thresholds: how many, at least 2, the two ends included.
        curve: "ROC" or "PR".
        summation_method: "interpolation" (straight between points; for PR by Davis & Goadrich), "minoring" or
            "majoring".
        thresholds: thresholds in [0, 1] in place of the even ones.
        from_logits: outputs are the numbers before the sigmoid.

    Targets are 0 or 1, in the outputs' shape; several outputs count as so many more examples.
    Source: Davis & Goadrich, The relationship between precision-recall and ROC curves, 2006; Keras.
    """

    num_thresholds: int = 200
    curve: str = "ROC"
    summation_method: str = "interpolation"
    thresholds: tuple[float, ...] | None = None
    from_logits: bool = False

    def validate(self) -> None:
        require_int(self.num_thresholds, "num_thresholds", "AUC", 2)
        if self.curve not in ("ROC", "PR"):
            raise ValueError(f"AUC: curve is 'ROC' or 'PR'; got {self.curve!r}")
        if self.summation_method not in HEIGHTS:
            raise ValueError(f"AUC: summation_method is one of {', '.join(HEIGHTS)}; got {self.summation_method!r}")
        if self.thresholds is not None and not all(0 <= t <= 1 for t in self.thresholds):
            raise ValueError(f"AUC: thresholds must be in [0, 1]; got {self.thresholds!r}")

    def levels(self) -> tuple[float, ...]:
        n = self.num_thresholds
        inner = sorted(self.thresholds) if self.thresholds is not None else [i / (n - 1) for i in range(1, n - 1)]
        return (-1e-7, *inner, 1.0 + 1e-7)

    def select(self, y_true: jax.Array, y_pred: jax.Array) -> tuple[jax.Array, jax.Array]:
        return y_true, jax.nn.sigmoid(y_pred) if self.from_logits else jnp.clip(y_pred, 0.0, 1.0)

    def summarize(self, sums: Sums) -> jax.Array:
        hits, alarms, quiet, misses = (sums[name] for name in self.wanted)
        if self.curve == "PR" and self.summation_method == "interpolation":
            return interpolated_pr(hits, alarms, misses)
        recall = ratio(hits, hits + misses)
        x, y = (ratio(alarms, alarms + quiet), recall) if self.curve == "ROC" else (recall, ratio(hits, hits + alarms))
        return jnp.sum((x[:-1] - x[1:]) * HEIGHTS[self.summation_method](y[:-1], y[1:]))


def interpolated_pr(hits: jax.Array, alarms: jax.Array, misses: jax.Array) -> jax.Array:
    """The area where hits and false alarms, not precision, go straight from threshold to threshold."""
    found = hits + alarms
    gained = hits[:-1] - hits[1:]
    slope = ratio(gained, jnp.maximum(found[:-1] - found[1:], 0.0))
    intercept = hits[1:] - slope * found[1:]
    both = (found[:-1] > 0) & (found[1:] > 0)
    growth = jnp.where(both, ratio(found[:-1], found[1:]), jnp.ones_like(slope))
    return jnp.sum(ratio(slope * (gained + intercept * jnp.log(growth)), hits[1:] + misses[1:]))
