"""Metrics by name."""

from typing import Any

from kjax import losses
from kjax.frozen import snake_case, suggest
from kjax.losses.registry import FUNCTIONS
from kjax.metrics import accuracy, auc, confusion, mean, r2, scores
from kjax.metrics.mean import MeanOf
from kjax.metrics.metric import Accumulator, Metric

BASES = (Metric, confusion.Confusion, confusion.Thresholded, mean.MeanMetric, MeanOf)
CLASSES: dict[str, type[Metric]] = {
    name: value
    for module in (accuracy, mean, confusion, scores, auc, r2)
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, Metric) and value not in BASES
}
NAMES: dict[str, Any] = {snake_case(name): cls for name, cls in CLASSES.items()}
NAMES.update(CLASSES)
NAMES.update(acc=accuracy.Accuracy, rmse=mean.RootMeanSquaredError, RMSE=mean.RootMeanSquaredError)
NAMES.update(fbeta_score=scores.FBetaScore)
NAMES.update({name: value for name, value in FUNCTIONS.items() if name not in NAMES})
"""Losses under all their names; where a metric has the name too, as `cosine_similarity`, it is the metric."""


def get(identifier: Any) -> Any:
    """The metric that `identifier` means.

    Args:
        identifier: "accuracy" or "acc" (the shapes decide which), the name of a metric or a loss ("AUC",
            "mse"; its name in logs is as written here), a metric, a class of them, a loss, or a function of
            `(y_true, y_pred)` that gives one value per example, or one for the whole batch; None stays None.

    Raises:
        ValueError: no metric has that name.
        TypeError: `identifier` is nothing of the kind.

    >>> get("acc"), get("mse").name, get(accuracy.BinaryAccuracy)
    (Accuracy(name='acc'), 'mse', BinaryAccuracy())
    """
    if isinstance(identifier, str):
        if identifier not in NAMES:
            raise ValueError(f"unknown metric {identifier!r}.{suggest(identifier, NAMES)}")
        found = NAMES[identifier]
        return found(name=identifier) if isinstance(found, type) else MeanOf(found, name=identifier)
    if isinstance(identifier, type) and issubclass(identifier, Accumulator | losses.Loss):
        return get(identifier())
    if identifier is None or isinstance(identifier, Accumulator):
        return identifier
    if callable(identifier):
        return MeanOf(identifier)
    raise TypeError(f"a metric is a name, a metric object, or a function of (y_true, y_pred); got {identifier!r}")
