"""A U-Net that says of every pixel whether it belongs to a disc, a square or the ground.

python examples/unet.py [--epochs 8] [--pictures 1024] [--seed 0]

The pictures are made here: discs and squares of one brightness under noise. Prints a line per epoch, then how well
each class is found. O. Ronneberger et al., "U-Net", 2015, https://arxiv.org/abs/1505.04597.
"""

import argparse
import time

import numpy as np

from kjax import Model
from kjax.layers import BatchNormalization, Concatenate, Conv2D, Conv2DTranspose, Input, MaxPooling2D

CLASSES = ("ground", "disc", "square")


def shapes(n, size=32, seed=0):
    """`n` noisy pictures, (n, size, size, 1), and the class of each of their pixels, (n, size, size)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    y = np.zeros((n, size, size), "int32")
    for picture in y:
        for kind in rng.integers(1, 3, 3):
            radius = rng.uniform(0.1, 0.2) * size
            down, across = (abs(axis - rng.uniform(radius, size - radius)) for axis in (rows, columns))
            distance = np.hypot(down, across) if kind == 1 else np.maximum(down, across)
            picture[distance < radius] = kind
    x = (y > 0) + rng.normal(0, 0.3, y.shape)
    return x[..., None].astype("float32"), y


def convolved(x, filters):
    for _ in range(2):
        x = BatchNormalization(momentum=0.9)(Conv2D(filters, 3, padding="same", activation="relu")(x))
    return x


def unet(input_shape=(32, 32, 1), classes=3, width=8, depth=3):
    """Halves the picture `depth` times and enlarges it again; what was seen on the way down joins on the way up."""
    pictures = x = Input(shape=input_shape)
    skipped = []
    for level in range(depth):
        x = convolved(x, width << level)
        skipped.append(x)
        x = MaxPooling2D(2)(x)
    x = convolved(x, width << depth)
    for level in reversed(range(depth)):
        x = Conv2DTranspose(width << level, 2, strides=2)(x)
        x = convolved(Concatenate()([x, skipped[level]]), width << level)
    return Model(pictures, Conv2D(classes, 1, activation="softmax")(x), name="unet")


def overlaps(y, found):
    """For each class the pixels that are in both, divided by those in either."""
    return [((y == c) & (found == c)).sum() / max(1, ((y == c) | (found == c)).sum()) for c in range(len(CLASSES))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    x, y = shapes(options.pictures, seed=options.seed)
    x_test, y_test = shapes(256, seed=options.seed + 1)
    model = unet()
    model.seed = options.seed
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    began = time.perf_counter()
    model.fit(x, y, batch_size=32, epochs=options.epochs, validation_data=(x_test, y_test), verbose=2)
    found = overlaps(y_test, model.predict(x_test).argmax(-1))
    for name, overlap in zip(CLASSES, found, strict=True):
        print(f"{name:>6}: intersection over union {overlap:.3f} on 256 new pictures")
    print(f"mean {np.mean(found):.3f}, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
