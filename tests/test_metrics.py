"""Metrics against Keras, scikit-learn and float64 NumPy; any split into batches; weights; exact counts."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as sk
from conftest import keras_allowed
from hypothesis import given, settings
from hypothesis import strategies as st
from kjax import losses, metrics
from kjax.metrics import registry

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
DATA = {k: (t.astype(np.float32) if t.dtype == np.float64 else t, p if k == "ids" else p.astype(np.float32)) for k, (t, p) in DATA.items()}
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
    (metrics.AUC(summation_method="minoring", from_logits=True), "many", {"summation_method": "minoring", "from_logits": True}),
    (metrics.AUC(thresholds=[0.1, 0.5, 0.8]), "binary", {"thresholds": [0.1, 0.5, 0.8]}),
    (metrics.F1Score(), "hot", {}),
    (metrics.F1Score("macro", threshold=0.4), "many", {"average": "macro", "threshold": 0.4}),
    (metrics.FBetaScore("micro", 2.0, 0.5), "many", {"average": "micro", "beta": 2.0, "threshold": 0.5}),
    (metrics.FBetaScore("weighted", 0.5), "hot", {"average": "weighted", "beta": 0.5}),
    (metrics.MeanIoU(K), "ids", {"num_classes": K}),
    (metrics.MeanIoU(K), "sparse", {"num_classes": K, "sparse_y_pred": False}),
    (metrics.MeanIoU(K, ignore_class=1, sparse_y_true=False), "hot",
     {"num_classes": K, "ignore_class": 1, "sparse_y_pred": False, "sparse_y_true": False}),
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


def run(metric, y_true, y_pred, weight=None, splits=()):
    """The result over batches that end at `splits`."""
    metric = bound(metric, y_true, y_pred)
    state = metric.init()
    ends = [0, *sorted(splits), len(y_true)]
    for a, b in zip(ends, ends[1:], strict=False):
        if a < b:
            state = metric.update(state, y_true[a:b], y_pred[a:b], None if weight is None else weight[a:b])
    return np.asarray(metric.result(state))


@each_row
def test_values_and_names_are_kerass(row):
    import keras

    metric, data, options = row
    if options is None:
        pytest.skip("not in Keras as a class")
    y_true, y_pred = DATA[data]
    for weight in (None, WEIGHT):
        if weight is not None and isinstance(metric, metrics.MeanIoU):
            continue  # Keras keeps weighted counts as integers
        with keras_allowed():
            theirs = getattr(keras.metrics, type(metric).__name__)(**options)
            given = weight[:, None] if weight is not None and data in ("steps",) else weight
            for part in (slice(0, 13), slice(13, N)):
                theirs.update_state(jnp.asarray(y_true[part]), jnp.asarray(y_pred[part]), None if given is None else given[part])
            wanted = np.asarray(theirs.result())
        # Keras adds 1e-7 to the divisors of F scores and of the IoU.
        np.testing.assert_allclose(run(metric, y_true, y_pred, weight, (13,)), wanted, rtol=5e-6, atol=1e-6)
    assert metric.name == theirs.name.removesuffix("_1") or "mean_io_u" in theirs.name


@each_row
@settings(derandomize=True, deadline=None, max_examples=3)
@given(splits=st.lists(st.integers(1, N - 1), max_size=3))
def test_any_split_into_batches_gives_the_result_of_one(row, splits):
    metric, data, _ = row
    for weight in (None, WEIGHT):
        whole = run(metric, *DATA[data], weight)
        np.testing.assert_allclose(run(metric, *DATA[data], weight, splits), whole, rtol=3e-6, atol=1e-7)


@each_row
def test_examples_of_weight_zero_count_for_nothing_even_if_nan(row):
    metric, data, _ = row
    y_true, y_pred = DATA[data]
    valid = np.arange(N) % 3 != 0
    padded = y_pred.copy()
    if padded.dtype.kind == "f":
        padded[~valid] = np.nan
    np.testing.assert_allclose(
        run(metric, y_true, padded, valid.astype(np.float32)), run(metric, y_true[valid], y_pred[valid]), rtol=3e-6, atol=1e-7
    )


@each_row
def test_jit_dtype_and_scan(row):
    metric, data, _ = row
    y_true, y_pred = DATA[data]
    metric = bound(metric, y_true, y_pred)
    state = metric.update(metric.init(), y_true, y_pred)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(state))
    jitted = jax.jit(metric.update)(metric.init(), y_true, y_pred)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), jitted) == jax.tree.map(lambda x: (x.shape, x.dtype), metric.init())
    np.testing.assert_allclose(metric.result(jitted), metric.result(state), rtol=2e-6, atol=1e-6)
    if data != "ids":
        short = jnp.asarray(y_pred, jnp.bfloat16)
        a, b = (metric.update(metric.init(), y_true, p) for p in (short, short.astype(jnp.float32)))
        np.testing.assert_array_equal(metric.result(a), metric.result(b))


def test_vmap_over_models():
    y_true, y_pred = DATA["sparse"]
    metric = metrics.SparseCategoricalAccuracy()
    stack = np.stack([y_pred, y_pred[::-1]])
    together = jax.vmap(lambda p: metric.result(metric.update(metric.init(), y_true, p)))(stack)
    np.testing.assert_allclose(together, [run(metric, y_true, p) for p in stack])


def test_nothing_seen_is_zero():
    for metric in (metrics.MeanSquaredError(), metrics.Precision(), metrics.AUC(), metrics.Mean()):
        assert metric.result(metric.init()) == 0.0


# scikit-learn.


@pytest.mark.parametrize("beta", [1.0, 2.0])
@pytest.mark.parametrize("average", [None, "micro", "macro", "weighted"])
def test_f_scores_are_scikit_learns(average, beta):
    y_true, y_pred = DATA["many"]
    wanted = sk.fbeta_score(y_true, y_pred > 0.5, beta=beta, average=average, zero_division=0)
    np.testing.assert_allclose(run(metrics.FBetaScore(average, beta, 0.5), y_true, y_pred), wanted, rtol=3e-7)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_binary_metrics_are_scikit_learns(weight):
    y_true, y_pred = DATA["binary"]
    y, hit = y_true[:, 0], y_pred[:, 0] > 0.5
    for metric, function in (
        (metrics.Precision(), sk.precision_score), (metrics.Recall(), sk.recall_score),
        (metrics.F1Score("macro"), sk.f1_score), (metrics.Accuracy(), sk.accuracy_score),
    ):
        np.testing.assert_allclose(run(metric, y_true, y_pred, weight), function(y, hit, sample_weight=weight), rtol=1e-6)


def test_mean_iou_and_r2_are_scikit_learns():
    y, p = DATA["ids"]
    np.testing.assert_allclose(run(metrics.MeanIoU(K), y, p), sk.jaccard_score(y, p, average="macro"), rtol=1e-6)
    t, p = DATA["real"]
    far = t.astype(np.float64) + 1000.0
    wanted = sk.r2_score(far.astype(np.float32), p + np.float32(1000), multioutput="raw_values", sample_weight=WEIGHT)
    found = run(metrics.R2Score(None), far.astype(np.float32), p + np.float32(1000), WEIGHT, (7, 20))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("curve", ["ROC", "PR"])
def test_auc_comes_near_the_true_area(curve):
    draw = np.random.default_rng(1)
    y = draw.integers(0, 2, 5000)
    p = np.clip(draw.normal(0.35 + 0.3 * y, 0.2), 0, 1).astype(np.float32)
    exact = sk.roc_auc_score(y, p) if curve == "ROC" else sk.average_precision_score(y, p)
    errors = [abs(run(metrics.AUC(n, curve), y[:, None], p[:, None]) - exact) for n in (10, 200, 2000)]
    assert errors[0] > errors[1] and errors[1] < 1e-3 and errors[2] < 2e-4


# Exactness.


def test_counts_stay_exact_beyond_two_to_the_24():
    mean = metrics.Mean()

    def body(_, state):
        return mean.update(mean.update(state, 1.0, 1.0), 0.0, 4.0)

    # 2**24 + 1 + ... in steps of 1 is where a float32 stops counting.
    state = mean.update(mean.init(), 1.0, 2.0**26)
    state = jax.jit(lambda s: jax.lax.fori_loop(0, 200_000, body, s))(state)
    count = float(state["high"]["count"]) + float(state["low"]["count"])
    total = float(state["high"]["total"]) + float(state["low"]["total"])
    assert (count, total) == (2**26 + 1_000_000, 2**26 + 200_000)
    assert float(mean.result(state)) == np.float32(total / count)
    assert np.float32(2**26) + np.float32(1) == np.float32(2**26), "the test proves nothing"


def test_an_epoch_of_small_values_keeps_its_digits():
    values = np.random.default_rng(2).uniform(size=20_000).astype(np.float32)
    mean = metrics.Mean()
    state = jax.jit(lambda: jax.lax.scan(lambda s, v: (mean.update(s, v, 128.0), None), mean.init(), values)[0])()
    assert float(mean.result(state)) == pytest.approx(values.astype(np.float64).mean(), rel=6e-8)


def test_an_infinite_loss_shows_as_infinite():
    mean = metrics.Mean()
    state = mean.update(mean.update(mean.init(), jnp.inf, 2.0), 1.0, 2.0)
    assert mean.result(state) == jnp.inf
    assert mean.result(mean.update(mean.init(), jnp.nan, 0.0)) == 0.0


# Names, shapes, the user's own.


@pytest.mark.parametrize("name", sorted(registry.NAMES))
def test_get_by_name_keeps_the_name(name):
    if "io_u" in name or "IoU" in name or "iou" in name:
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'num_classes'"):
            metrics.get(name)
        return
    metric = metrics.get(name)
    assert metric.name == name and hash(metric) == hash(metrics.get(name))
    assert pickle.loads(pickle.dumps(metric)) == metric


def test_every_metric_is_tested():
    tested = {type(row[0]).__name__ for row in ROWS}
    assert tested - {"MeanOf"} == set(registry.CLASSES), "a metric without a row"
    assert set(registry.CLASSES) | {"MeanOf", "Mean", "Metric", "MeanMetric"} == {n for n in dir(metrics) if n[0].isupper()}


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
    np.testing.assert_allclose(run(metric, t, p, splits=(7,)), np.square(t - p).mean(), rtol=1e-6)
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
    np.testing.assert_allclose(run(Bias(), t, p, splits=(9,)), (p - t).mean(), rtol=1e-5)
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
        assert run(metric, t, p, step_weight) == pytest.approx(float(run(metric, t.reshape(-1, 1), p.reshape(-1, 1), step_weight.reshape(-1))), rel=1e-5)


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
