"""Losses against Keras, PyTorch (recorded) and float64 formulas; gradients; extremes; weights; wrong targets."""

import functools
import pathlib
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import keras_allowed
from jax.test_util import check_grads
from kjax import activations, losses
from kjax.losses import registry

N, K = 6, 5


def draw(kind, seed, shape=(N, K)):
    """Random targets or predictions: real numbers, numbers in (0, 1), class probabilities, counts, labels …"""
    rng = np.random.default_rng(seed)
    return {
        "real": lambda: rng.normal(size=shape),
        "logits": lambda: 5 * rng.normal(size=shape),
        "unit": lambda: rng.uniform(0.05, 0.95, size=shape),
        "rates": lambda: rng.uniform(0.1, 4.0, size=shape),
        "counts": lambda: rng.poisson(2.0, size=shape),
        "signs": lambda: rng.choice([-1, 1], size=shape),
        "answers": lambda: rng.integers(0, 2, size=shape),
        "classes": lambda: rng.dirichlet(np.ones(shape[-1]) * 3, size=shape[:-1]),
        "labels": lambda: rng.integers(0, shape[-1], size=shape[:-1]),
        "one_hot": lambda: np.eye(shape[-1])[rng.integers(0, shape[-1], size=shape[:-1])],
    }[kind]()


# name in Keras, kind of y_true, kind of y_pred, our loss, options of Keras's
ROWS = [
    ("mean_squared_error", "real", "real", losses.MeanSquaredError(), {}),
    ("mean_absolute_error", "real", "real", losses.MeanAbsoluteError(), {}),
    ("mean_absolute_percentage_error", "rates", "rates", losses.MeanAbsolutePercentageError(), {}),
    ("mean_squared_logarithmic_error", "rates", "rates", losses.MeanSquaredLogarithmicError(), {}),
    ("log_cosh", "real", "logits", losses.LogCosh(), {}),
    ("huber", "real", "logits", losses.Huber(), {}),
    ("huber", "real", "logits", losses.Huber(delta=2.5), {"delta": 2.5}),
    ("hinge", "signs", "real", losses.Hinge(), {}),
    ("hinge", "answers", "real", losses.Hinge(), {}),
    ("squared_hinge", "signs", "real", losses.SquaredHinge(), {}),
    ("categorical_hinge", "one_hot", "real", losses.CategoricalHinge(), {}),
    ("poisson", "counts", "rates", losses.Poisson(), {}),
    ("kl_divergence", "classes", "classes", losses.KLDivergence(), {}),
    ("cosine_similarity", "real", "real", losses.CosineSimilarity(), {}),
    ("cosine_similarity", "real", "real", losses.CosineSimilarity(axis=0), {"axis": 0}),
    ("dice", "answers", "unit", losses.Dice(), {"axis": 1}),
    ("tversky", "answers", "unit", losses.Tversky(alpha=0.3, beta=0.6), {"axis": 1, "alpha": 0.3, "beta": 0.6}),
    ("categorical_crossentropy", "one_hot", "classes", losses.CategoricalCrossentropy(), {}),
    ("categorical_crossentropy", "classes", "unit", losses.CategoricalCrossentropy(), {}),
    ("categorical_crossentropy", "one_hot", "logits", losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
     {"from_logits": True, "label_smoothing": 0.1}),
    ("sparse_categorical_crossentropy", "labels", "classes", losses.SparseCategoricalCrossentropy(), {}),
    ("sparse_categorical_crossentropy", "labels", "logits", losses.SparseCategoricalCrossentropy(from_logits=True),
     {"from_logits": True}),
    ("sparse_categorical_crossentropy", "labels", "logits", losses.SparseCategoricalCrossentropy(True, ignore_class=2),
     {"from_logits": True, "ignore_class": 2}),
    ("binary_crossentropy", "answers", "unit", losses.BinaryCrossentropy(), {}),
    ("binary_crossentropy", "answers", "logits", losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2),
     {"from_logits": True, "label_smoothing": 0.2}),
    ("binary_focal_crossentropy", "answers", "unit", losses.BinaryFocalCrossentropy(), {}),
    ("binary_focal_crossentropy", "answers", "real",
     losses.BinaryFocalCrossentropy(True, alpha=0.3, gamma=1.5, from_logits=True),
     {"apply_class_balancing": True, "alpha": 0.3, "gamma": 1.5, "from_logits": True}),
    ("categorical_focal_crossentropy", "one_hot", "classes", losses.CategoricalFocalCrossentropy(), {}),
    ("categorical_focal_crossentropy", "one_hot", "real",
     losses.CategoricalFocalCrossentropy(0.4, 1.0, from_logits=True, label_smoothing=0.1),
     {"alpha": 0.4, "gamma": 1.0, "from_logits": True, "label_smoothing": 0.1}),
]
IDS = [f"{i}-{row[0]}" for i, row in enumerate(ROWS)]
each_row = pytest.mark.parametrize("row", ROWS, ids=IDS)


def arrays(row, shape=(N, K), dtype=np.float32):
    y_true, y_pred = draw(row[1], 1, shape), draw(row[2], 2, shape)
    return (y_true if row[1] == "labels" else y_true.astype(dtype)), y_pred.astype(dtype)


@each_row
def test_values_are_kerass(row):
    import keras

    keras_name, _, _, loss, options = row
    for shape in ((N, K), (2, 3, K)):
        y_true, y_pred = arrays(row, shape)
        if "axis" in options and len(shape) > 2:
            continue
        with keras_allowed():
            wanted = getattr(keras.losses, keras_name)(jnp.asarray(y_true), jnp.asarray(y_pred), **options)
        found = loss(y_true, y_pred)
        assert found.dtype == jnp.float32
        # Both round in float32; log_cosh and crossentropies cancel digits near 0.
        np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=2e-7 * max(1, np.abs(y_pred).max()))


@each_row
def test_every_loss_in_float32_matches_float64(row):
    y_true, y_pred = arrays(row)
    with jax.enable_x64(True):
        exact = row[3](y_true.astype(np.float64) if row[1] != "labels" else y_true, y_pred.astype(np.float64))
        assert exact.dtype == jnp.float64
    np.testing.assert_allclose(row[3](y_true, y_pred), exact, rtol=3e-6, atol=2e-7 * max(1, np.abs(y_pred).max()))


@each_row
def test_gradients_to_second_order(row):
    with jax.enable_x64(True):
        y_true, y_pred = arrays(row, (2, 3), dtype=np.float64)
        check_grads(lambda p: row[3](y_true, p), (jnp.asarray(y_pred),), order=2, modes=("fwd", "rev"))


@each_row
def test_jit_vmap_and_bfloat16(row):
    y_true, y_pred = map(jnp.asarray, arrays(row))
    loss, wanted = row[3], row[3](y_true, y_pred)
    np.testing.assert_allclose(jax.jit(loss)(y_true, y_pred), wanted, rtol=2e-6, atol=1e-6)
    if getattr(loss, "axis", -1) == -1:
        np.testing.assert_allclose(jax.vmap(loss)(y_true, y_pred), wanted, rtol=2e-6, atol=1e-6)
    short = loss(y_true, y_pred.astype(jnp.bfloat16))
    assert short.dtype == jnp.bfloat16
    # bfloat16 has 8 bits: each prediction is off by up to 0.4 %, which steep losses enlarge.
    np.testing.assert_allclose(short.astype(jnp.float32), wanted, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@each_row
def test_values_and_gradients_are_finite_at_the_extremes(row, dtype):
    _, y_kind, p_kind, loss, _ = row
    extremes = {"real": (0, -100, 100), "logits": (0, -1e4, 1e4), "rates": (0, 100), "classes": (0, 1), "unit": (0, 1)}[p_kind]
    pairs = np.array([[b, a, a, a, a] for a in extremes for b in extremes])
    y_true = draw(y_kind, 1, pairs.shape)
    value, pull = jax.vjp(lambda p: loss(y_true, p), jnp.asarray(pairs, dtype))
    assert value.dtype == dtype
    assert jnp.isfinite(value).all() and jnp.isfinite(pull(jnp.ones_like(value))[0]).all()


def test_clipping_is_at_1e_minus_7():
    p = jnp.array([[0.0], [1.0]])
    np.testing.assert_allclose(losses.binary_crossentropy(jnp.array([[1], [0]]), p), -np.log(1e-7), rtol=1e-6)
    sure = jnp.array([[1.0, 0.0]])
    np.testing.assert_allclose(losses.categorical_crossentropy(sure[:, ::-1], sure), -np.log(1e-7), rtol=1e-6)


@functools.cache
def recorded():
    with np.load(pathlib.Path(__file__).parent / "recorded" / "losses.npz", allow_pickle=False) as file:
        return dict(file)


TORCH = {
    "mean_squared_error": losses.mean_squared_error,
    "mean_absolute_error": losses.mean_absolute_error,
    "huber": losses.huber,
    "huber_2": losses.Huber(2.0),
    "poisson": losses.poisson,
    "kl_divergence": losses.kl_divergence,
    "cosine_similarity": losses.cosine_similarity,
    "binary_crossentropy": losses.binary_crossentropy,
    "binary_crossentropy_logits": losses.BinaryCrossentropy(from_logits=True),
    "categorical_crossentropy_logits": losses.CategoricalCrossentropy(from_logits=True),
    "categorical_crossentropy_smooth": losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
    "sparse_categorical_crossentropy": losses.sparse_categorical_crossentropy,
    "sparse_categorical_crossentropy_logits": losses.SparseCategoricalCrossentropy(from_logits=True),
    "sparse_categorical_crossentropy_ignore": losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1),
    "hinge": losses.hinge,
}


@pytest.mark.parametrize("case", sorted({key.split("/")[0] for key in recorded()}))
def test_values_and_gradients_are_pytorchs(case):
    y_true, y_pred, values, gradient = (recorded()[f"{case}/{key}"] for key in ("y_true", "y_pred", "values", "grad"))
    with jax.enable_x64(True):
        found, pull = jax.vjp(lambda p: TORCH[case](y_true, p), jnp.asarray(y_pred))
        np.testing.assert_allclose(found, values, rtol=1e-12, atol=1e-12)
        if case != "sparse_categorical_crossentropy":  # Keras divides probabilities by their sum, which has a gradient
            np.testing.assert_allclose(pull(jnp.ones_like(found))[0], gradient, rtol=1e-10, atol=1e-12)


def test_keras_2_names_and_signs():
    t, p = arrays(ROWS[0])
    assert losses.cosine_proximity(t, t) == pytest.approx(-1.0, abs=1e-6)
    assert losses.logcosh is losses.log_cosh and losses.kullback_leibler_divergence is losses.kld
    assert losses.mse is losses.MSE is losses.mean_squared_error
    np.testing.assert_array_equal(losses.huber(t, p, delta=0.5), losses.Huber(delta=0.5)(t, p))


def test_class_numbers_in_every_shape_and_dtype():
    p = jnp.asarray(draw("classes", 3, (2, 3, K)), jnp.float32)
    labels = draw("labels", 4, (2, 3, K))
    wanted = losses.categorical_crossentropy(np.eye(K)[labels], p)
    for y in (labels, labels[..., None], labels.astype(np.uint8), labels.astype(np.float32), jnp.asarray(labels)):
        np.testing.assert_allclose(losses.sparse_categorical_crossentropy(y, p), wanted, rtol=1e-6)
    first = losses.sparse_categorical_crossentropy(labels, jnp.moveaxis(p, -1, 1), axis=1)
    np.testing.assert_allclose(first, wanted, rtol=1e-6)


def test_a_label_that_is_no_class_gives_nan():
    p = jnp.full((3, 2), 0.5)
    assert jnp.isnan(losses.sparse_categorical_crossentropy(jnp.array([-1, 2, 0]), p)).tolist() == [True, True, False]


def test_nothing_is_broadcast():
    with pytest.raises(ValueError, match=r"mean_squared_error: y_true has shape \(3, 1\), but y_pred has \(3, 2\)"):
        losses.mean_squared_error(np.zeros((3, 1)), np.zeros((3, 2)))
    assert losses.mean_squared_error(np.zeros(3), np.ones((3, 1))).shape == (3,)


# Names.


@pytest.mark.parametrize("name", sorted(registry.FUNCTIONS))
def test_functions_by_name(name):
    assert losses.get(name) is registry.FUNCTIONS[name]
    assert getattr(losses, name, None) is losses.get(name) or name in ("huber_loss",)


@pytest.mark.parametrize("name", sorted(registry.CLASSES))
def test_objects_by_name_hash_and_pickle(name):
    loss = losses.get(name)
    assert loss == getattr(losses, name)() == losses.get(getattr(losses, name)) and hash(loss) == hash(losses.get(name))
    assert pickle.loads(pickle.dumps(loss)) == loss
    assert losses.name(loss) == loss.of.__name__ == losses.name(loss.of)


def test_every_loss_is_tested():
    tested = {type(row[3]).__name__ for row in ROWS}
    assert tested == set(registry.CLASSES), "a loss without a row"
    assert {cls.of for cls in registry.CLASSES.values()} | {losses.cosine_proximity} == set(registry.FUNCTIONS.values())
    assert {key.split("/")[0] for key in recorded()} == set(TORCH)


def test_get_and_name_of_the_users_own():
    def mine(y_true, y_pred):
        return y_pred

    partial = functools.partial(losses.huber, delta=2.0)
    assert losses.get(None) is None and losses.get(mine) is mine
    assert [losses.name(x) for x in (mine, lambda t, p: p, partial, losses.Huber(name="h"))] == ["mine", "loss", "huber", "h"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.get("mean_squared_eror"), "unknown loss 'mean_squared_eror'. Did you mean 'mean_squared_error'?"),
        (lambda: losses.get(3), "a loss is a name, a function of (y_true, y_pred), or a loss object; got 3"),
        (lambda: losses.Huber(delta=0.0), "Huber: delta must be above 0; got 0.0"),
        (lambda: losses.CategoricalCrossentropy(label_smoothing=1.0), "label_smoothing must be in [0.0, 1.0); got 1.0"),
        (lambda: losses.Huber(reduction="sum"), "Huber: reduction='sum' is not offered"),
        (lambda: losses.BinaryCrossentropy(logits=True), "has no argument 'logits'. Did you mean 'from_logits'?"),
        (lambda: losses.Loss()(1, 2), "Loss defines no __call__(self, y_true, y_pred)"),
    ],
)
def test_wrong_settings_name_the_fix(make, message):
    with pytest.raises((TypeError, ValueError, NotImplementedError)) as caught:
        make()
    assert message in str(caught.value)


def test_a_loss_of_the_users_own_class():
    class Weighted(losses.Loss):
        factor: float = 2.0

        def __call__(self, y_true, y_pred):
            return self.factor * losses.mean_squared_error(y_true, y_pred)

    assert losses.name(Weighted()) == "weighted" and losses.get(Weighted) == Weighted()
    assert losses.mean_loss(Weighted(3.0), jnp.zeros(2), jnp.ones((2, 1))) == 3.0
    assert losses.on_logits(Weighted(), activations.softmax) is None
    assert losses.Huber(reduction="sum_over_batch_size") == losses.Huber()


# On logits.

PAIRS = [
    ("categorical_crossentropy", "softmax", "one_hot"),
    ("sparse_categorical_crossentropy", "softmax", "labels"),
    ("categorical_focal_crossentropy", "softmax", "one_hot"),
    ("binary_crossentropy", "sigmoid", "answers"),
    ("binary_focal_crossentropy", "sigmoid", "answers"),
]


@pytest.mark.parametrize(("name", "activation", "kind"), PAIRS)
def test_on_logits_gives_the_same_values_and_gradients(name, activation, kind):
    apply = getattr(activations, activation)
    z, y = jnp.asarray(draw("real", 5), jnp.float32), draw(kind, 6)
    for loss in (losses.get(name), next(c for c in registry.CLASSES.values() if c.of is losses.get(name))()):
        twin = losses.on_logits(loss, apply)
        assert losses.name(twin) == name and losses.on_logits(twin, apply) is None
        np.testing.assert_allclose(twin(y, z), loss(y, apply(z)), rtol=5e-6, atol=1e-6)
        a, b = (jax.grad(lambda z, f=f: f(z).sum())(z) for f in (lambda z: twin(y, z), lambda z: loss(y, apply(z))))  # noqa: B023
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6)


def test_on_logits_keeps_settings_and_leaves_other_pairs_alone():
    smooth = losses.CategoricalCrossentropy(label_smoothing=0.1, name="x")
    assert losses.on_logits(smooth, activations.softmax) == smooth.replace(from_logits=True)
    for loss, activation in (
        ("mse", activations.softmax), ("binary_crossentropy", activations.softmax), ("binary_crossentropy", None),
        ("categorical_crossentropy", activations.sigmoid), ("categorical_crossentropy", jnp.tanh),
        (losses.CategoricalCrossentropy(axis=1), activations.softmax), (lambda t, p: p, activations.softmax),
    ):
        assert losses.on_logits(losses.get(loss), activation) is None


# Reduction.


def test_the_divisor_is_the_number_of_real_elements():
    values, weight = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([1.0, 0.0, 2.0, 5.0])
    assert losses.weighted_mean(values) == 2.5
    assert losses.weighted_mean(values, weight) == 27 / 4
    assert losses.weighted_mean(values, weight, jnp.array([True, True, True, False])) == 7 / 3
    assert losses.weighted_mean(values, valid=jnp.zeros(4, bool)) == 0.0
    assert losses.weighted_mean(values, 2 * np.ones((4, 1), np.int32)) == 5.0


def test_weighted_mean_is_kerass():
    import keras

    t, p = (jnp.asarray(draw("real", s, (4, 3, 2)), jnp.float32) for s in (1, 2))
    values = losses.mean_squared_error(t, p)
    for weight in (None, draw("rates", 3, (4,)), draw("rates", 4, (4, 3))):
        with keras_allowed():
            # Keras takes (batch,) weights of (batch, time) values for a mistake of ranks; hence the axis.
            given = weight if weight is None or weight.ndim == 2 else weight[:, None]
            wanted = keras.losses.MeanSquaredError()(t, p, sample_weight=given)
        np.testing.assert_allclose(losses.weighted_mean(values, weight), wanted, rtol=1e-6)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_padding_and_weights_of_zero_silence_nan_and_keep_gradients_finite(bad):
    values = jnp.array([[1.0, 2.0], [bad, bad], [3.0, bad]])
    valid, weight = jnp.array([True, False, True]), jnp.array([[1.0, 1.0], [bad, bad], [1.0, 0.0]])
    value, grads = jax.value_and_grad(losses.weighted_mean, argnums=(0, 1))(values, weight, valid)
    assert value == 6 / 4 and jnp.isfinite(grads[0]).all()
    np.testing.assert_array_equal(grads[0], [[0.25, 0.25], [0, 0], [0.25, 0]])
    assert jnp.isnan(losses.weighted_mean(values, valid=valid)) or bad == jnp.inf


def test_the_gradient_of_a_weight_of_zero_is_the_value():
    grad = jax.grad(lambda w: losses.weighted_mean(jnp.array([4.0, 2.0]), w))(jnp.array([0.0, 1.0]))
    np.testing.assert_array_equal(grad, [2.0, 1.0])


def test_the_mean_of_short_floats_is_in_float32():
    values = jnp.ones(1000, jnp.bfloat16)
    assert losses.weighted_mean(values, valid=jnp.ones(1000, bool)) == 1.0
    assert losses.weighted_mean(values).dtype == jnp.float32
    assert losses.weighted_mean(jnp.bfloat16(2.0)).dtype == jnp.float32


def test_padded_batches_have_the_loss_and_gradient_of_short_ones():
    def objective(p, y, valid=None):
        return losses.mean_loss(losses.categorical_crossentropy, y, jax.nn.softmax(p), valid=valid)

    p, y = jnp.asarray(draw("real", 1), jnp.float32), jnp.asarray(draw("one_hot", 2), jnp.float32)
    valid = jnp.arange(N) < 4
    padded = jax.value_and_grad(objective)(jnp.where(valid[:, None], p, 0.0), y, valid)
    short = jax.value_and_grad(objective)(p[:4], y[:4])
    np.testing.assert_allclose(padded[0], short[0], rtol=1e-6)
    np.testing.assert_allclose(padded[1][:4], short[1], rtol=1e-6)


def test_ignored_labels_are_left_out_of_the_mean_as_in_pytorch():
    y, z, values = (recorded()[f"sparse_categorical_crossentropy_ignore/{k}"] for k in ("y_true", "y_pred", "values"))
    loss = losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    mean = losses.mean_loss(loss, y, jnp.asarray(z, jnp.float32))
    np.testing.assert_allclose(mean, values[y != -1].mean(), rtol=1e-6)
    half = losses.mean_loss(loss, y[:, None], jnp.asarray(z, jnp.float32), valid=jnp.arange(7) < 4)
    np.testing.assert_allclose(half, values[:4][y[:4] != -1].mean(), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.weighted_mean(jnp.ones(()), jnp.ones(3)), "one number for a whole batch, so weight cannot be applied"),
        (lambda: losses.weighted_mean(jnp.ones(()), None, jnp.ones(3, bool)), "so valid cannot be applied"),
        (lambda: losses.weighted_mean(jnp.ones(3), jnp.ones(4)), "weight has shape (4,), but the values (3,): give it shape (3,)"),
        (lambda: losses.weighted_mean(jnp.ones((3, 2)), jnp.ones(2)), "weight has shape (2,), but the values (3, 2): give it shape (3,) or (3, 2)"),
        (lambda: losses.weighted_mean(jnp.ones(3), jnp.ones((3, 2))), "weight has shape (3, 2), but the values (3,)"),
        (lambda: losses.weighted_mean(jnp.ones(3), 1.0), "weight has shape (), but the values (3,)"),
    ],
)
def test_weights_that_do_not_fit(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert message in str(caught.value)


def test_a_loss_that_reduces_by_itself_passes():
    assert losses.mean_loss(lambda t, p: jnp.mean(jnp.square(t - p)), jnp.zeros((3, 1)), 2 * jnp.ones((3, 1))) == 4.0


# Targets.

LABELS = np.array([0, 3, 9])
HOT = np.eye(10, dtype=np.float32)[LABELS]
WRONG = [
    ("categorical_crossentropy", LABELS, (3, 10), "use sparse_categorical_crossentropy, or kjax.utils.to_categorical(y, 10)"),
    ("categorical_crossentropy", LABELS[:, None], (3, 10), "wants one-hot targets of shape (n, 10), but got (n, 1)"),
    ("categorical_hinge", LABELS, (3, 10), "look like class numbers"),
    ("categorical_crossentropy", HOT, (3, 8), "give the last layer 10 units, or targets 8 columns"),
    ("categorical_crossentropy", HOT, (3, 4, 10), "is a Flatten missing"),
    ("categorical_crossentropy", HOT[:, :1], (3, 1), "there is just one: use binary_crossentropy with a sigmoid"),
    ("sparse_categorical_crossentropy", HOT, (3, 10), "which look one-hot: use categorical_crossentropy, or y.argmax(-1)"),
    ("sparse_categorical_crossentropy", LABELS, (3, 1), "there is just one: use binary_crossentropy"),
    ("sparse_categorical_crossentropy", LABELS, (3, 7, 10), "wants class numbers of shape (n, 7), but got (n,)"),
    ("sparse_categorical_crossentropy", LABELS + 0.5, (3, 10), "wants whole class numbers, but among the targets is 0.5"),
    ("sparse_categorical_crossentropy", LABELS, (3, 5), "run from 0 to 9: give the last layer 10 units"),
    ("sparse_categorical_crossentropy", LABELS + 1, (3, 10), "run from 1 to 10: numbers start at 0: use y - 1"),
    ("sparse_categorical_crossentropy", LABELS - 1, (3, 10), "use y + 1, or ignore_class=-1"),
    ("sparse_categorical_crossentropy", LABELS - 50, (3, 10), "numpy.unique(y, return_inverse=True) renumbers them"),
    (losses.SparseCategoricalCrossentropy(ignore_class=0), LABELS + 5, (3, 10), "run from 5 to 14"),
    ("binary_crossentropy", LABELS, (3, 10), "for class numbers use sparse_categorical_crossentropy with a softmax"),
    ("binary_crossentropy", HOT, (3, 4), "give the last layer 10 units, or targets 4 columns"),
    ("binary_crossentropy", 255 * HOT, (3, 10), "wants targets from 0 to 1, but they run from 0 to 255: divide them by 255"),
    ("binary_crossentropy", 2 * HOT - 1, (3, 10), "use (y + 1) / 2"),
    ("mse", np.zeros((3, 2)), (3, 4), "mean_squared_error wants targets of shape (n, 4) like the outputs, but got (n, 2)"),
    ("mae", np.zeros(3), (3, 4), "like the outputs, but got (n,)"),
    ("mse", np.array(["a", "b"]), (2, 1), "targets must be numbers, but their dtype is <U1"),
    ("mse", np.array([None, 1]), (2, 1), "targets must be numbers, but their dtype is object"),
]


@pytest.mark.parametrize(("loss", "y", "shape", "message"), WRONG)
def test_wrong_targets_name_the_fix(loss, y, shape, message):
    with pytest.raises(ValueError) as caught:
        losses.check_targets(losses.get(loss), y, shape)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("loss", "y", "shape"),
    [
        ("categorical_crossentropy", HOT, (None, 10)),
        ("categorical_crossentropy", HOT.astype(jnp.bfloat16), (None, 10)),
        ("sparse_categorical_crossentropy", LABELS, (3, 10)),
        ("sparse_categorical_crossentropy", LABELS[:, None].astype(np.float32), (3, 10)),
        ("sparse_categorical_crossentropy", jax.ShapeDtypeStruct((3,), jnp.int32), (3, 2)),
        (losses.SparseCategoricalCrossentropy(ignore_class=255), np.array([0, 255]), (2, 3)),
        (losses.SparseCategoricalCrossentropy(axis=1), np.zeros((2, 4), int), (2, 3, 4)),
        ("binary_crossentropy", np.array([True, False]), (2, 1)),
        ("binary_crossentropy", jnp.array([1, 0]), (2, 1)),
        ("mse", np.zeros(3), (3, 1)),
        ("mse", np.zeros((3, 1)), (3,)),
        (losses.Huber(), np.zeros((3, 2)), (3, 2)),
        (lambda t, p: p, np.zeros((7, 7)), (3, 2)),
        ("sparse_categorical_crossentropy", np.zeros(0, int), (0, 3)),
    ],
)
def test_targets_that_fit(loss, y, shape):
    losses.check_targets(losses.get(loss), y, shape)


@pytest.mark.parametrize(
    ("loss", "y", "outputs", "wanted"),
    [
        ("mse", (3,), (3, 1), (3, 1)),
        ("mse", (3, 1), (3,), (3,)),
        ("mse", (3, 4), (3, 4, 1), (3, 4, 1)),
        ("mse", (3,), (3, 2), (3,)),
        ("binary_crossentropy", (3,), (8, 1), (3, 1)),
        ("sparse_categorical_crossentropy", (3, 1), (3, 5), (3, 1)),
        ("sparse_categorical_crossentropy", (3,), (3, 1), (3,)),
        (lambda t, p: p, (3,), (3, 1), (3, 1)),
    ],
)
def test_match_targets(loss, y, outputs, wanted):
    loss = losses.get(loss)
    assert losses.match_targets(loss, np.zeros(y), outputs).shape == wanted
    assert jax.eval_shape(lambda y: losses.match_targets(loss, y, outputs), jnp.zeros(y)).shape == wanted


def test_every_function_has_its_check():
    from kjax.losses import targets

    kinds = [targets.CLASSES, targets.LABELS, targets.ANSWERS, targets.NUMBERS]
    assert set(sum(kinds, ())) == set(registry.FUNCTIONS.values()) and len(sum(kinds, ())) == len(set(sum(kinds, ())))
