"""1,797 real handwritten digits of 8 × 8 pixels; they come with the package.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
https://doi.org/10.24432/C50P49, the part of 13 writers; licence CC BY 4.0. Also `sklearn.datasets.load_digits`.
"""

import pathlib

import numpy as np

Split = tuple[np.ndarray, np.ndarray]
TRAIN = 1437


def load_data() -> tuple[Split, Split]:
    """`(x_train, y_train), (x_test, y_test)`: 1,437 and 360 pictures.

    x is uint8, (n, 8, 8), from 0 (paper) to 16 (ink); y is uint8, the digit. The split is fixed, and has each digit in
    the same share on both sides.

    >>> (x_train, y_train), (x_test, y_test) = load_data()
    >>> x_train.shape, x_test.shape, y_train[:5].shape, int(x_train.max())
    ((1437, 8, 8), (360, 8, 8), (5,), 16)
    """
    with np.load(pathlib.Path(__file__).with_name("digits.npz"), allow_pickle=False) as arrays:
        x, y = arrays["x"], arrays["y"]
    return (x[:TRAIN], y[:TRAIN]), (x[TRAIN:], y[TRAIN:])
