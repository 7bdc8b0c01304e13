"""The coefficient of determination."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from kjax.losses.arrays import aligned
from kjax.metrics.confusion import flat_weights
from kjax.metrics.metric import Metric, Shape, State, Sums, ratio, weigh


class R2Score(Metric):
    """1 - residual sum of squares / total sum of squares: 1 is perfect, 0 as good as the mean of the targets.

    Args:
        class_aggregation: "uniform_average" of the outputs' scores, "variance_weighted_average", or None for
            all of them.
        outputs: the number of outputs; `bind` fills it in.

    Targets and outputs have shape (batch, outputs). Mean and sum of squares are merged batch by batch (Chan
    et al., Updating formulae and a pairwise algorithm for computing sample variances, 1979), so targets far
    from 0 lose no digits. Targets that are all equal score 0, as in Keras.
    """

    class_aggregation: str | None = "uniform_average"
    outputs: int | None = dataclasses.field(default=None, kw_only=True)

    def validate(self) -> None:
        if self.class_aggregation not in (None, "uniform_average", "variance_weighted_average"):
            raise ValueError(
                "R2Score: class_aggregation is None, 'uniform_average' or 'variance_weighted_average'; "
                f"got {self.class_aggregation!r}"
            )

    def bind(self, y_true_shape: Shape, y_pred_shape: Shape, loss: Any = None) -> Any:
        if len(y_pred_shape) != 2:
            raise ValueError(f"R2Score wants outputs of shape (batch, outputs); got {tuple(y_pred_shape)}")
        return self.replace(outputs=y_pred_shape[-1])

    def parts(self) -> dict[str, Shape]:
        if self.outputs is None:
            raise ValueError(
                f"{self!r} does not know the number of outputs: call bind(y_true_shape, y_pred_shape) first"
            )
        return dict.fromkeys(("count", "mean", "spread", "residual"), (self.outputs,))

    def measure(self, y_true: jax.Array, y_pred: jax.Array, weight: jax.Array | None) -> Sums:
        y_true, y_pred = aligned(y_true, y_pred, "R2Score")
        weights = flat_weights(weight, y_pred.shape)
        count = jnp.sum(weights, axis=0)
        mean = ratio(jnp.sum(weigh(y_true, weights), axis=0), count)
        spread = jnp.sum(weigh(jnp.square(y_true - mean[None]), weights), axis=0)
        residual = jnp.sum(weigh(jnp.square(y_true - y_pred), weights), axis=0)
        return {"count": count, "mean": mean, "spread": spread, "residual": residual}

    def add(self, state: State, sums: Sums) -> State:
        """Merges means and sums of squares; what is added stays a sum, so rounding is compensated as ever."""
        count = state["high"]["count"] + state["low"]["count"]
        mean = state["high"]["mean"] + state["low"]["mean"]
        step, share = sums["mean"] - mean, ratio(sums["count"], count + sums["count"])
        between = jnp.square(step) * count * share
        return super().add(state, {**sums, "mean": step * share, "spread": sums["spread"] + between})

    def summarize(self, sums: Sums) -> jax.Array:
        scores = jnp.where(
            sums["spread"] == 0, jnp.zeros_like(sums["spread"]), 1.0 - ratio(sums["residual"], sums["spread"])
        )
        if self.class_aggregation is None:
            return scores
        if self.class_aggregation == "uniform_average":
            return jnp.mean(scores)
        return ratio(jnp.sum(scores * sums["spread"]), jnp.sum(sums["spread"]))
