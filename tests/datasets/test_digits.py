"""The digits that come with the package are the ones that scikit-learn has."""

import numpy as np
from sklearn.datasets import load_digits

from kjax.datasets import digits


def test_every_picture_of_scikit_learn_once():
    (x, y), (x_test, y_test) = digits.load_data()
    assert x.dtype == y.dtype == np.uint8 and len(x) == 1437 and len(x_test) == 360
    ours = sorted((*picture.ravel(), label) for picture, label in zip([*x, *x_test], [*y, *y_test], strict=True))
    known = load_digits()
    assert ours == sorted(
        (*picture.ravel().astype(int), label) for picture, label in zip(known.images, known.target, strict=True)
    )


def test_the_split_is_stratified_and_fixed():
    (_, y), (_, y_test) = digits.load_data()
    np.testing.assert_allclose(np.bincount(y) / len(y), np.bincount(y_test) / len(y_test), atol=0.003)
    assert y_test[:10].tolist() == digits.load_data()[1][1][:10].tolist()
