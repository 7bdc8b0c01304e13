"""Metrics by name and by shape, metrics of the user's own, and what is refused."""

import pickle

import jax.numpy as jnp
import numpy as np
import pytest
from metrics_cases import DATA, ROWS, WEIGHT, N, run

from kjax import losses, metrics
from kjax.metrics import registry

# Names, shapes, the user's own.


@pytest.mark.parametrize("name", sorted(registry.NAMES))
def test_get_by_name_keeps_the_name(name):
    if "io_u" in name or "IoU" in name or "iou" in name:
        with pytest.raises(TypeError, match="missing 1 required argument: 'num_classes'"):
            metrics.get(name)
        return
    metric = metrics.get(name)
    assert metric.name == name and hash(metric) == hash(metrics.get(name))
    assert pickle.loads(pickle.dumps(metric)) == metric


def test_every_metric_is_tested():
    tested = {type(row[0]).__name__ for row in ROWS}
    assert tested - {"MeanOf"} == set(registry.CLASSES), "a metric without a row"
    assert set(registry.CLASSES) | {"MeanOf", "Mean", "Metric", "MeanMetric"} == {
        n for n in dir(metrics) if n[0].isupper()
    }


def test_get_takes_losses_classes_and_functions():
    def mine(y_true, y_pred):
        return jnp.abs(y_true - y_pred)[:, 0]

    assert metrics.get(None) is None and metrics.get(metrics.AUC) == metrics.AUC() == metrics.get(metrics.AUC())
    assert metrics.get(losses.mse) == metrics.MeanOf(losses.mean_squared_error)
    assert metrics.get(losses.Huber(2.0)).name == "huber" and metrics.get(losses.Huber).function == losses.Huber()
    assert metrics.get(mine).name == "mine" and metrics.get(lambda t, p: t).name == "metric"
    t, p = DATA["real"]
    np.testing.assert_allclose(run(metrics.get(mine), t, p), np.abs(t - p)[:, 0].mean(), rtol=1e-6)


def test_a_function_that_reduces_counts_by_batch_size():
    t, p = DATA["real"]
    metric = metrics.get(lambda t, p: jnp.mean(jnp.square(t - p)))
    np.testing.assert_allclose(run(metric, t, p, splits=(10,)), np.square(t - p).mean(), rtol=1e-6)
    with pytest.raises(ValueError, match="'metric' gave one number for a batch, so weights cannot be applied"):
        run(metric, t, p, WEIGHT)


def test_a_metric_of_the_users_own_class():
    class Bias(metrics.Metric):
        def parts(self):
            return {"total": (), "count": ()}

        def measure(self, y_true, y_pred, weight):
            return {"total": jnp.sum(y_pred - y_true), "count": jnp.float32(y_true.size)}

        def summarize(self, sums):
            return sums["total"] / sums["count"]

    t, p = DATA["real"]
    np.testing.assert_allclose(run(Bias(), t, p, splits=(10,)), (p - t).mean(), rtol=1e-5, atol=1e-7)
    assert Bias().name == "bias"


@pytest.mark.parametrize(
    ("y_true", "y_pred", "loss", "wanted"),
    [
        ((8, 1), (8, 1), None, metrics.BinaryAccuracy(name="acc")),
        ((8,), (8, 1), "binary_crossentropy", metrics.BinaryAccuracy(name="acc")),
        ((8,), (8, 1), losses.BinaryCrossentropy(from_logits=True), metrics.BinaryAccuracy(0.0, name="acc")),
        ((8,), (8, 1), "hinge", metrics.BinaryAccuracy(0.0, name="acc")),
        ((8, 10), (8, 10), None, metrics.CategoricalAccuracy(name="acc")),
        ((8,), (8, 10), None, metrics.SparseCategoricalAccuracy(name="acc")),
        ((8, 1), (8, 10), None, metrics.SparseCategoricalAccuracy(name="acc")),
        ((8, 7), (8, 7, 10), None, metrics.SparseCategoricalAccuracy(name="acc")),
    ],
)
def test_accuracy_goes_by_shape(y_true, y_pred, loss, wanted):
    assert metrics.get("acc").bind(y_true, y_pred, losses.get(loss)) == wanted


def test_hinge_labels_and_time_steps():
    metric = metrics.BinaryAccuracy(0.0)
    assert run(metric, np.array([-1, 1, 1, -1]), np.array([[-2.0], [0.3], [-0.1], [-1.0]])) == 0.75
    t, p = DATA["steps"]
    step_weight = np.random.default_rng(5).uniform(size=(N, 3)).astype(np.float32)
    right = (t == (p > 0.5))[..., 0]
    wanted = np.average(right, weights=step_weight)
    np.testing.assert_allclose(run(metrics.get("accuracy"), t, p, step_weight), wanted, rtol=1e-6)
    for metric in (metrics.Precision(), metrics.AUC()):
        assert run(metric, t, p, step_weight) == pytest.approx(
            float(run(metric, t.reshape(-1, 1), p.reshape(-1, 1), step_weight.reshape(-1))), rel=1e-5
        )


def test_ignored_labels_do_not_count():
    y, p = DATA["sparse"]
    metric = metrics.SparseCategoricalCrossentropy(ignore_class=1)
    wanted = run(metrics.SparseCategoricalCrossentropy(), y[y != 1], p[y != 1])
    for m in (metric, metrics.MeanOf(losses.SparseCategoricalCrossentropy(ignore_class=1))):
        np.testing.assert_allclose(run(m, y, p), wanted, rtol=1e-6)


def test_top_k_counts_neither_nan_nor_wrong_labels():
    p = jnp.array([[0.1, 0.9], [jnp.nan, jnp.nan], [0.5, 0.5]])
    assert metrics.sparse_top_k_categorical_accuracy(jnp.array([0, 0, 7]), p, k=2).tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: metrics.get("acuracy"), "unknown metric 'acuracy'. Did you mean 'accuracy'?"),
        (lambda: metrics.get(7), "a metric is a name, a metric object, or a function of (y_true, y_pred); got 7"),
        (lambda: metrics.MeanOf(), "MeanOf takes a function of (y_true, y_pred); got None"),
        (lambda: metrics.AUC(curve="roc"), "AUC: curve is 'ROC' or 'PR'; got 'roc'"),
        (lambda: metrics.AUC(1), "AUC: num_thresholds must be an integer of at least 2; got 1"),
        (lambda: metrics.AUC(thresholds=[2.0]), "AUC: thresholds must be in [0, 1]"),
        (lambda: metrics.Precision(1.5), "Precision: thresholds must be in [0.0, 1.0]; got 1.5"),
        (lambda: metrics.Recall(top_k=0), "Recall: top_k must be an integer of at least 1; got 0"),
        (lambda: metrics.Recall(class_id=4).bind((8, 4), (8, 4)), "Recall: class_id=4, but there are 4 outputs"),
        (lambda: metrics.Precision().bind((8,), (8, 10)), "train on kjax.utils.to_categorical(y)"),
        (lambda: metrics.F1Score().bind((8,), (8, 10)), "F1Score wants a yes or no for each output"),
        (lambda: metrics.F1Score().init(), "does not know the number of classes: call bind"),
        (lambda: metrics.F1Score("mean"), "'macro' or 'weighted'; got 'mean'"),
        (lambda: metrics.FBetaScore(beta=0.0), "FBetaScore: beta must be above 0; got 0.0"),
        (lambda: metrics.R2Score("mean"), "got 'mean'"),
        (lambda: metrics.R2Score().init(), "does not know the number of outputs"),
        (lambda: metrics.TopKCategoricalAccuracy(k=0), "k must be an integer of at least 1"),
        (lambda: run(metrics.get("mse"), *DATA["real"], np.ones(7)), "weight has shape (7,), but the values (40,)"),
    ],
)
def test_wrong_settings_name_the_fix(make, message):
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert message in str(caught.value)
