"""Records what PyTorch's losses give, for tests/test_losses.py: run it by hand in an environment with torch.

    python tests/recorded/record_losses.py

Each case has the inputs, the values per example in float64, and the gradient of their sum by y_pred.
"""

import pathlib

import numpy as np
import torch
import torch.nn.functional as F

rng = np.random.default_rng(0)
REAL, REAL2 = rng.normal(size=(2, 7, 5))
UNIT = rng.uniform(0.02, 0.98, size=(7, 5))
PROBABILITIES, PROBABILITIES2 = rng.dirichlet(np.ones(5), size=(2, 7))
LABELS = rng.integers(0, 5, size=7)
IGNORED = np.where(np.arange(7) % 3 == 0, -1, LABELS)
ANSWERS = rng.integers(0, 2, size=(7, 5)).astype(float)
RATES = rng.uniform(0.2, 4.0, size=(7, 5))
COUNTS = rng.poisson(2.0, size=(7, 5)).astype(float)


def by_row(loss, **options):
    return lambda p, t: loss(p, t, reduction="none", **options).mean(-1)


CASES = {
    "mean_squared_error": (REAL, REAL2, by_row(F.mse_loss)),
    "mean_absolute_error": (REAL, REAL2, by_row(F.l1_loss)),
    "huber": (REAL, REAL2, by_row(F.huber_loss)),
    "huber_2": (REAL, 3 * REAL2, by_row(F.huber_loss, delta=2.0)),
    "poisson": (COUNTS, RATES, by_row(F.poisson_nll_loss, log_input=False, eps=1e-7)),
    "kl_divergence": (PROBABILITIES, PROBABILITIES2, lambda p, t: F.kl_div(p.log(), t, reduction="none").sum(-1)),
    "cosine_similarity": (REAL, REAL2, lambda p, t: -F.cosine_similarity(p, t, dim=-1)),
    "binary_crossentropy": (ANSWERS, UNIT, by_row(F.binary_cross_entropy)),
    "binary_crossentropy_logits": (ANSWERS, 5 * REAL, by_row(F.binary_cross_entropy_with_logits)),
    "categorical_crossentropy_logits": (PROBABILITIES, 5 * REAL, lambda p, t: F.cross_entropy(p, t, reduction="none")),
    "categorical_crossentropy_smooth": (
        np.eye(5)[LABELS],
        5 * REAL,
        lambda p, t: F.cross_entropy(p, t, reduction="none", label_smoothing=0.1),
    ),
    "sparse_categorical_crossentropy": (LABELS, PROBABILITIES, lambda p, t: F.nll_loss(p.log(), t, reduction="none")),
    "sparse_categorical_crossentropy_logits": (LABELS, 5 * REAL, lambda p, t: F.cross_entropy(p, t, reduction="none")),
    "sparse_categorical_crossentropy_ignore": (
        IGNORED,
        5 * REAL,
        lambda p, t: F.cross_entropy(p, t, reduction="none", ignore_index=-1),
    ),
    "hinge": (2 * ANSWERS - 1, REAL, lambda p, t: torch.clamp(1 - p * t, min=0).mean(-1)),
}


def main():
    found = {}
    for name, (y_true, y_pred, loss) in CASES.items():
        p = torch.tensor(y_pred, requires_grad=True)
        values = loss(p, torch.tensor(y_true))
        values.sum().backward()
        found |= {
            f"{name}/{key}": value
            for key, value in (
                ("y_true", y_true),
                ("y_pred", y_pred),
                ("values", values.detach().numpy()),
                ("grad", p.grad.numpy()),
            )
        }
    np.savez_compressed(pathlib.Path(__file__).with_name("losses.npz"), **found)


if __name__ == "__main__":
    main()
