"""A siamese network: learns whether two handwritten digits are the same, from pairs.

python examples/siamese.py [--epochs 20] [--pairs 4000] [--seed 0]

One encoder reads both pictures. The contrastive loss draws equal pairs together and pushes others apart. Prints a line
per epoch, and how well codes alone tell the digits of the test set: each by its nearest training digits. R. Hadsell
et al., "Dimensionality Reduction by Learning an Invariant Mapping", 2006, https://doi.org/10.1109/CVPR.2006.100.
"""

import argparse
import time

import jax.numpy as jnp
import numpy as np

from kjax import Model, Sequential
from kjax.datasets import digits
from kjax.layers import Conv2D, Dense, Flatten, Input, Lambda, MaxPooling2D

MARGIN = 1.0


def distance(codes):
    """The Euclidean distance of two codes, (batch, 1); the small number keeps its derivative finite at zero."""
    a, b = codes
    return jnp.sqrt(((a - b) ** 2).sum(-1, keepdims=True) + 1e-9)


def contrastive(same, d):
    """Squared distance for equal pairs; for others, the square of what it lacks to the margin."""
    return (same * d**2 + (1 - same) * jnp.maximum(MARGIN - d, 0) ** 2).mean(-1)


def accuracy(same, d):
    """Whether pairs nearer than half the margin are the equal ones."""
    return ((d < MARGIN / 2) == (same > 0.5)).mean(-1)


def networks(size=16, seed=0):
    """The model for pairs, and the encoder in it."""
    encoder = Sequential(
        [
            Conv2D(16, 3, activation="relu", padding="same", input_shape=(8, 8, 1)),
            MaxPooling2D(2),
            Conv2D(32, 3, activation="relu"),
            Flatten(),
            Dense(size),
        ],
        name="encoder",
    )
    a, b = Input(shape=(8, 8, 1), name="a"), Input(shape=(8, 8, 1), name="b")
    return Model([a, b], Lambda(distance)([encoder(a), encoder(b)]), seed=seed), encoder


def pairs(x, y, n, seed=0):
    """`n` pairs, half of them of equal digits: `({"a", "b"}, same)`."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, len(x), n)
    same = np.arange(n) % 2
    second = [rng.choice(np.flatnonzero((y == y[i]) == s)) for i, s in zip(first, same, strict=True)]
    return {"a": x[first], "b": x[second]}, same[:, None].astype("float32")


def by_neighbours(codes, y, new, k=5):
    """The digit of each new code that is commonest among its k nearest."""
    nearest = ((new[:, None] - codes[None]) ** 2).sum(-1).argsort(1)[:, :k]
    return np.array([np.bincount(row).argmax() for row in y[nearest]])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    (x, y), (x_test, y_test) = digits.load_data()
    x, x_test = x[..., None].astype("float32") / 16, x_test[..., None].astype("float32") / 16
    model, _ = networks(seed=options.seed)
    model.compile("adam", contrastive, metrics=[accuracy])
    test = pairs(x_test, y_test, 1000, options.seed + 1)
    began = time.perf_counter()
    model.fit(*pairs(x, y, options.pairs, options.seed), 32, options.epochs, validation_data=test, verbose=2)
    print(
        f"{model.evaluate(*test, verbose=0)[1]:.1%} of 1000 test pairs told right, {time.perf_counter() - began:.0f} s"
    )
    codes, new = (encode(model, pictures) for pictures in (x, x_test))
    print(f"{(by_neighbours(codes, y, new) == y_test).mean():.1%} of the test digits named by their nearest codes")


def encode(model, x):
    """The codes of pictures: what the encoder inside the trained model gives."""
    return model.activations({"a": x, "b": x}, "encoder")["encoder"]


if __name__ == "__main__":
    main()
