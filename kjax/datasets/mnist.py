"""MNIST: 70,000 handwritten digits of 28 × 28 pixels (Y. LeCun, C. Cortes, C. J. C. Burges), as Keras gives it."""

import io

import numpy as np

from kjax.datasets import cache

DIGEST = "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16"


def load_data() -> tuple[cache.Split, cache.Split]:
    """`(x_train, y_train), (x_test, y_test)`: 60,000 and 10,000 pictures.

    x is uint8, (n, 28, 28), from 0 to 255; y is uint8, the digit. Downloaded once (11 MB); see
    `kjax.datasets.cache.load` for where it is looked for before.

    Raises:
        DownloadError: it is nowhere and cannot be downloaded.
    """
    return cache.load("mnist", DIGEST, download)


def download(host: str) -> cache.Arrays:
    """The arrays of Keras's file."""
    with np.load(io.BytesIO(cache.fetch(host + "mnist.npz")), allow_pickle=False) as file:
        return {name: file[name] for name in cache.NAMES}
