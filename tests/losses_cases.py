"""One row per loss and set of options, with the data it takes; shared by the tests of losses."""

import functools
import pathlib

import numpy as np
import pytest

from kjax import losses

N, K = 6, 5


def draw(kind, seed, shape=(N, K)):
    """Random targets or predictions of some kind."""
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
    (
        "categorical_crossentropy",
        "one_hot",
        "logits",
        losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        {"from_logits": True, "label_smoothing": 0.1},
    ),
    ("sparse_categorical_crossentropy", "labels", "classes", losses.SparseCategoricalCrossentropy(), {}),
    (
        "sparse_categorical_crossentropy",
        "labels",
        "logits",
        losses.SparseCategoricalCrossentropy(from_logits=True),
        {"from_logits": True},
    ),
    (
        "sparse_categorical_crossentropy",
        "labels",
        "logits",
        losses.SparseCategoricalCrossentropy(True, ignore_class=2),
        {"from_logits": True, "ignore_class": 2},
    ),
    ("binary_crossentropy", "answers", "unit", losses.BinaryCrossentropy(), {}),
    (
        "binary_crossentropy",
        "answers",
        "logits",
        losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2),
        {"from_logits": True, "label_smoothing": 0.2},
    ),
    ("binary_focal_crossentropy", "answers", "unit", losses.BinaryFocalCrossentropy(), {}),
    (
        "binary_focal_crossentropy",
        "answers",
        "real",
        losses.BinaryFocalCrossentropy(True, alpha=0.3, gamma=1.5, from_logits=True),
        {"apply_class_balancing": True, "alpha": 0.3, "gamma": 1.5, "from_logits": True},
    ),
    ("categorical_focal_crossentropy", "one_hot", "classes", losses.CategoricalFocalCrossentropy(), {}),
    (
        "categorical_focal_crossentropy",
        "one_hot",
        "real",
        losses.CategoricalFocalCrossentropy(0.4, 1.0, from_logits=True, label_smoothing=0.1),
        {"alpha": 0.4, "gamma": 1.0, "from_logits": True, "label_smoothing": 0.1},
    ),
]
IDS = [f"{i}-{row[0]}" for i, row in enumerate(ROWS)]
each_row = pytest.mark.parametrize("row", ROWS, ids=IDS)


def arrays(row, shape=(N, K), dtype=np.float32):
    y_true, y_pred = draw(row[1], 1, shape), draw(row[2], 2, shape)
    return (y_true if row[1] == "labels" else y_true.astype(dtype)), y_pred.astype(dtype)


@functools.cache
def recorded():
    with np.load(pathlib.Path(__file__).parent / "recorded" / "losses.npz", allow_pickle=False) as file:
        return dict(file)
