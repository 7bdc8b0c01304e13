"""Metrics against Keras, scikit-learn and float64 NumPy; any split into batches; weights; exact counts."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as sk
from conftest import keras_allowed
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_cases import DATA, WEIGHT, K, N, bound, each_row, run

from kjax import metrics


def result_of(theirs, *batch):
    """Keras's result; compiled as a whole where its variables are there before it sees data."""
    if not theirs.variables:
        theirs.update_state(*map(jnp.asarray, batch[:2]), batch[2])
        return theirs.result()

    @jax.jit
    def run(y_true, y_pred, weight):
        state = theirs.stateless_update_state(theirs.variables, y_true, y_pred, sample_weight=weight)
        return theirs.stateless_result(state)

    return run(*batch)


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
            wanted = np.asarray(result_of(theirs, y_true, y_pred, weight))
        # Keras adds 1e-7 to the divisors of F scores and of the IoU.
        np.testing.assert_allclose(run(metric, y_true, y_pred, weight, (10,)), wanted, rtol=5e-6, atol=1e-6)
    assert metric.name == re.sub(r"_\d+$", "", theirs.name)


@each_row
# Few batch sizes, since every new shape compiles its operations anew.
@settings(derandomize=True, deadline=None, max_examples=2)
@given(splits=st.lists(st.sampled_from([10, 20, 30]), max_size=3))
def test_any_split_into_batches_gives_the_result_of_one(row, splits):
    metric, data, _ = row
    whole = run(metric, *DATA[data], WEIGHT)
    np.testing.assert_allclose(run(metric, *DATA[data], WEIGHT, splits), whole, rtol=3e-6, atol=1e-7)


@each_row
def test_examples_of_weight_zero_count_for_nothing_even_if_nan(row):
    metric, data, _ = row
    y_true, y_pred = DATA[data]
    valid = np.arange(N) % 3 != 0
    padded = y_pred.copy()
    if padded.dtype.kind == "f":
        padded[~valid] = np.nan
    np.testing.assert_allclose(
        run(metric, y_true, padded, valid.astype(np.float32)),
        run(metric, y_true[valid], y_pred[valid]),
        rtol=3e-6,
        atol=1e-7,
    )


@each_row
def test_jit_dtype_and_scan(row):
    metric, data, _ = row
    y_true, y_pred = DATA[data]
    metric = bound(metric, y_true, y_pred)
    state = metric.update(metric.init(), y_true, y_pred)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(state))
    jitted = jax.jit(metric.update)(metric.init(), y_true, y_pred)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), jitted) == jax.tree.map(
        lambda x: (x.shape, x.dtype), metric.init()
    )
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
        (metrics.Precision(), sk.precision_score),
        (metrics.Recall(), sk.recall_score),
        (metrics.F1Score("macro"), sk.f1_score),
        (metrics.Accuracy(), sk.accuracy_score),
    ):
        np.testing.assert_allclose(
            run(metric, y_true, y_pred, weight), function(y, hit, sample_weight=weight), rtol=1e-6
        )


def test_mean_iou_and_r2_are_scikit_learns():
    y, p = DATA["ids"]
    np.testing.assert_allclose(run(metrics.MeanIoU(K), y, p), sk.jaccard_score(y, p, average="macro"), rtol=1e-6)
    t, p = DATA["real"]
    t, p = t + np.float32(1000), p + np.float32(1000)
    wanted = sk.r2_score(t.astype(float), p.astype(float), multioutput="raw_values", sample_weight=WEIGHT)
    found = run(metrics.R2Score(None), t, p, WEIGHT, (10, 20))
    # A float32 mean of numbers near 1000 is off by 1e-4; sums of squares, as in Keras, would lose far more.
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


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
