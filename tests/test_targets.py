"""Targets that do not fit a loss are refused with the fix; those that nearly fit are reshaped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kjax import losses
from kjax.losses import registry

# Targets.

LABELS = np.array([0, 3, 9])
HOT = np.eye(10, dtype=np.float32)[LABELS]
WRONG = [
    (
        "categorical_crossentropy",
        LABELS,
        (3, 10),
        "use sparse_categorical_crossentropy, or kjax.utils.to_categorical(y, 10)",
    ),
    ("categorical_crossentropy", LABELS[:, None], (3, 10), "wants one-hot targets of shape (n, 10), but got (n, 1)"),
    ("categorical_hinge", LABELS, (3, 10), "look like class numbers"),
    ("categorical_crossentropy", HOT, (3, 8), "give the last layer 10 units, or targets 8 columns"),
    ("categorical_crossentropy", HOT, (3, 4, 10), "is a Flatten missing"),
    ("categorical_crossentropy", HOT[:, :1], (3, 1), "there is just one: use binary_crossentropy with a sigmoid"),
    (
        "sparse_categorical_crossentropy",
        HOT,
        (3, 10),
        "which look one-hot: use categorical_crossentropy, or y.argmax(-1)",
    ),
    ("sparse_categorical_crossentropy", LABELS, (3, 1), "there is just one: use binary_crossentropy"),
    ("sparse_categorical_crossentropy", LABELS, (3, 7, 10), "wants class numbers of shape (n, 7), but got (n,)"),
    (
        "sparse_categorical_crossentropy",
        LABELS + 0.5,
        (3, 10),
        "wants whole class numbers, but among the targets is 0.5",
    ),
    ("sparse_categorical_crossentropy", LABELS, (3, 5), "run from 0 to 9: give the last layer 10 units"),
    ("sparse_categorical_crossentropy", LABELS + 1, (3, 10), "run from 1 to 10: numbers start at 0: use y - 1"),
    ("sparse_categorical_crossentropy", LABELS - 1, (3, 10), "use y + 1, or ignore_class=-1"),
    ("sparse_categorical_crossentropy", LABELS - 50, (3, 10), "numpy.unique(y, return_inverse=True) renumbers them"),
    (losses.SparseCategoricalCrossentropy(ignore_class=0), LABELS + 5, (3, 10), "run from 5 to 14"),
    ("binary_crossentropy", LABELS, (3, 10), "for class numbers use sparse_categorical_crossentropy with a softmax"),
    ("binary_crossentropy", HOT, (3, 4), "give the last layer 10 units, or targets 4 columns"),
    (
        "binary_crossentropy",
        255 * HOT,
        (3, 10),
        "wants targets from 0 to 1, but they run from 0 to 255: divide them by 255",
    ),
    ("binary_crossentropy", 2 * HOT - 1, (3, 10), "use (y + 1) / 2"),
    (
        "mse",
        np.zeros((3, 2)),
        (3, 4),
        "mean_squared_error wants targets of shape (n, 4) like the outputs, but got (n, 2)",
    ),
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
