"""One row per metric and set of options, with the data it takes; shared by the tests of metrics."""

import functools
import itertools

import jax
import numpy as np
import pytest

from kjax import losses, metrics

N, K = 40, 4
rng = np.random.default_rng(0)
LABELS = rng.integers(0, K, N)
DATA = {
    "sparse": (LABELS, rng.dirichlet(np.ones(K), N)),
    "hot": (np.eye(K)[LABELS], rng.dirichlet(np.ones(K), N)),
    "many": (rng.integers(0, 2, (N, K)), rng.uniform(size=(N, K))),
    "binary": (rng.integers(0, 2, (N, 1)), rng.uniform(size=(N, 1))),
    "real": (rng.normal(size=(N, 3)), rng.normal(size=(N, 3))),
    "rates": (rng.poisson(2.0, (N, 3)), rng.uniform(0.1, 4.0, (N, 3))),
    "classes": (rng.dirichlet(np.ones(K), N), rng.dirichlet(np.ones(K), N)),
    "ids": (LABELS, rng.integers(0, K, N)),
    "steps": (rng.integers(0, 2, (N, 3, 1)), rng.uniform(size=(N, 3, 1))),
}
DATA = {
    k: (t.astype(np.float32) if t.dtype == np.float64 else t, p if k == "ids" else p.astype(np.float32))
    for k, (t, p) in DATA.items()
}
WEIGHT = rng.uniform(0.1, 3.0, N).astype(np.float32)

# our metric, data, Keras's class and options (None: the same class and fields)
ROWS = [
    (metrics.BinaryAccuracy(), "binary", {}),
    (metrics.BinaryAccuracy(0.3), "many", {"threshold": 0.3}),
    (metrics.CategoricalAccuracy(), "hot", {}),
    (metrics.SparseCategoricalAccuracy(), "sparse", {}),
    (metrics.TopKCategoricalAccuracy(k=2), "hot", {"k": 2}),
    (metrics.SparseTopKCategoricalAccuracy(k=2), "sparse", {"k": 2}),
    (metrics.MeanSquaredError(), "real", {}),
    (metrics.RootMeanSquaredError(), "real", {}),
    (metrics.MeanAbsoluteError(), "real", {}),
    (metrics.MeanAbsolutePercentageError(), "real", {}),
    (metrics.MeanSquaredLogarithmicError(), "rates", {}),
    (metrics.LogCoshError(), "real", {}),
    (metrics.Hinge(), "many", {}),
    (metrics.SquaredHinge(), "many", {}),
    (metrics.CategoricalHinge(), "hot", {}),
    (metrics.Poisson(), "rates", {}),
    (metrics.KLDivergence(), "classes", {}),
    (metrics.CosineSimilarity(), "real", {}),
    (metrics.BinaryCrossentropy(), "many", {}),
    (metrics.BinaryCrossentropy(True, 0.1), "many", {"from_logits": True, "label_smoothing": 0.1}),
    (metrics.CategoricalCrossentropy(label_smoothing=0.1), "hot", {"label_smoothing": 0.1}),
    (metrics.SparseCategoricalCrossentropy(from_logits=True), "sparse", {"from_logits": True}),
    (metrics.TruePositives(), "many", {}),
    (metrics.FalsePositives(0.3), "many", {"thresholds": 0.3}),
    (metrics.TrueNegatives(), "binary", {}),
    (metrics.FalseNegatives([0.2, 0.7]), "many", {"thresholds": [0.2, 0.7]}),
    (metrics.Precision(), "binary", {}),
    (metrics.Precision([0.1, 0.6]), "many", {"thresholds": [0.1, 0.6]}),
    (metrics.Precision(top_k=2), "many", {"top_k": 2}),
    (metrics.Precision(class_id=1), "hot", {"class_id": 1}),
    (metrics.Recall(), "binary", {}),
    (metrics.Recall(top_k=2, class_id=3), "many", {"top_k": 2, "class_id": 3}),
    (metrics.Recall(0.4), "many", {"thresholds": 0.4}),
    (metrics.AUC(), "binary", {}),
    (metrics.AUC(50, "PR"), "binary", {"num_thresholds": 50, "curve": "PR"}),
    (metrics.AUC(curve="PR", summation_method="majoring"), "many", {"curve": "PR", "summation_method": "majoring"}),
    (
        metrics.AUC(summation_method="minoring", from_logits=True),
        "many",
        {"summation_method": "minoring", "from_logits": True},
    ),
    (metrics.AUC(thresholds=[0.1, 0.5, 0.8]), "binary", {"thresholds": [0.1, 0.5, 0.8]}),
    (metrics.F1Score(), "hot", {}),
    (metrics.F1Score("macro", threshold=0.4), "many", {"average": "macro", "threshold": 0.4}),
    (metrics.FBetaScore("micro", 2.0, 0.5), "many", {"average": "micro", "beta": 2.0, "threshold": 0.5}),
    (metrics.FBetaScore("weighted", 0.5), "hot", {"average": "weighted", "beta": 0.5}),
    (metrics.MeanIoU(K), "ids", {"num_classes": K}),
    (metrics.MeanIoU(K), "sparse", {"num_classes": K, "sparse_y_pred": False}),
    (
        metrics.MeanIoU(K, ignore_class=1, sparse_y_true=False),
        "hot",
        {"num_classes": K, "ignore_class": 1, "sparse_y_pred": False, "sparse_y_true": False},
    ),
    (metrics.R2Score(), "real", {}),
    (metrics.R2Score(None), "real", {"class_aggregation": None}),
    (metrics.R2Score("variance_weighted_average"), "real", {"class_aggregation": "variance_weighted_average"}),
    (metrics.Accuracy(), "binary", None),
    (metrics.MeanOf(losses.Huber(2.0)), "real", None),
]
IDS = [f"{i}-{row[0]!r}"[:40] for i, row in enumerate(ROWS)]
each_row = pytest.mark.parametrize("row", ROWS, ids=IDS)


def bound(metric, y_true, y_pred):
    return metric.bind(y_true.shape, y_pred.shape)


@functools.partial(jax.jit, static_argnums=0)
def update(metric, state, *batch):
    return metric.update(state, *batch)


@functools.partial(jax.jit, static_argnums=0)
def result(metric, state):
    return metric.result(state)


def run(metric, y_true, y_pred, weight=None, splits=()):
    """The result over batches that end at `splits`."""
    metric = bound(metric, y_true, y_pred)
    state = metric.init()
    ends = [0, *sorted(splits), len(y_true)]
    for a, b in itertools.pairwise(ends):
        if a < b:
            state = update(metric, state, y_true[a:b], y_pred[a:b], None if weight is None else weight[a:b])
    return np.asarray(result(metric, state))
