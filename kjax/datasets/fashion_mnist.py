"""Fashion-MNIST: 70,000 pictures of clothes, 28 × 28, ten kinds (H. Xiao, K. Rasul, R. Vollgraf, 2017; MIT licence)."""

import gzip

import numpy as np

from kjax.datasets import cache

DIGEST = "ca3ab2a37f845e1b8ae23cab1b51749a3011ba3bf1d9016176d75cbaabac376f"
FILES = {
    "x_train": "train-images-idx3-ubyte.gz",
    "y_train": "train-labels-idx1-ubyte.gz",
    "x_test": "t10k-images-idx3-ubyte.gz",
    "y_test": "t10k-labels-idx1-ubyte.gz",
}


def load_data() -> tuple[cache.Split, cache.Split]:
    """`(x_train, y_train), (x_test, y_test)`: 60,000 and 10,000 pictures.

    x is uint8, (n, 28, 28), from 0 to 255; y is uint8: 0 T-shirt, 1 trouser, 2 pullover, 3 dress, 4 coat, 5 sandal,
    6 shirt, 7 sneaker, 8 bag, 9 ankle boot. Downloaded once (30 MB); see `kjax.datasets.cache.load` for where it is
    looked for before.

    Raises:
        DownloadError: it is nowhere and cannot be downloaded.
    """
    return cache.load("fashion_mnist", DIGEST, download)


def download(host: str) -> cache.Arrays:
    """The arrays of the four original files."""
    return {name: from_idx(gzip.decompress(cache.fetch(host + file))) for name, file in FILES.items()}


def from_idx(data: bytes) -> np.ndarray:
    """The array of an IDX file of bytes: two zeros, type 8, the rank, the sizes as big-endian int32, then the bytes.

    >>> from_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9])).tolist()
    [7, 9]
    """
    if data[:3] != b"\0\0\x08":
        raise ValueError("no IDX file of bytes")
    rank = data[3]
    shape = np.frombuffer(data, ">i4", rank, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)
