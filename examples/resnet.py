"""ResNet-20 and ResNet-50 by the functional API; trains ResNet-20 on handwritten digits.

python examples/resnet.py [--epochs 6] [--size 16] [--seed 0]

The digits come with the package; they are enlarged to --size pixels, a multiple of 8. Prints a line per epoch. K. He et
al., "Deep Residual Learning for Image Recognition", 2016, https://arxiv.org/abs/1512.03385.
"""

import argparse
import time

from kjax import Model, optim
from kjax.datasets import digits
from kjax.layers import (
    Activation,
    Add,
    BatchNormalization,
    Conv2D,
    Dense,
    GlobalAveragePooling2D,
    Input,
    MaxPooling2D,
    ZeroPadding2D,
)

OWN, KERAS = {"momentum": 0.9}, {"epsilon": 1.001e-5}
"""Batch normalization for a short training, and as Keras has it in its ResNet-50."""


def normalized(x, filters, kernel_size, strides=1, norm=KERAS, **options):
    """A convolution and batch normalization, which makes the convolution's bias superfluous."""
    x = Conv2D(filters, kernel_size, strides=strides, padding="same", kernel_initializer="he_normal", **options)(x)
    return BatchNormalization(**norm)(x)


def plain_block(x, filters, strides):
    """Two convolutions around which x goes; where its shape changes, through a projection (He's option B)."""
    y = Activation("relu")(normalized(x, filters, 3, strides, OWN, use_bias=False))
    y = normalized(y, filters, 3, 1, OWN, use_bias=False)
    if strides > 1 or x.shape[-1] != filters:
        x = normalized(x, filters, 1, strides, OWN, use_bias=False)
    return Activation("relu")(Add()([x, y]))


def resnet20(input_shape=(32, 32, 3), classes=10, widths=(16, 32, 64), blocks=3):
    """The network for small pictures: 6 * blocks + 2 layers deep, 0.27 million weights."""
    pictures = Input(shape=input_shape)
    x = Activation("relu")(normalized(pictures, widths[0], 3, 1, OWN, use_bias=False))
    for stage, width in enumerate(widths):
        for block in range(blocks):
            x = plain_block(x, width, 2 if stage > 0 and block == 0 else 1)
    return Model(pictures, Dense(classes, activation="softmax")(GlobalAveragePooling2D()(x)), name="resnet20")


def bottleneck(x, filters, strides, project):
    """Narrow, convolve, widen to four times the filters; with biases and strides where Keras has them."""
    past = normalized(x, 4 * filters, 1, strides) if project else x
    x = Activation("relu")(normalized(x, filters, 1, strides))
    x = Activation("relu")(normalized(x, filters, 3))
    return Activation("relu")(Add()([past, normalized(x, 4 * filters, 1)]))


def resnet50(input_shape=(224, 224, 3), classes=1000):
    """The network for ImageNet: 50 layers, 25,636,712 numbers, moving statistics included."""
    pictures = Input(shape=input_shape)
    x = Conv2D(64, 7, strides=2, kernel_initializer="he_normal")(ZeroPadding2D(3)(pictures))
    x = ZeroPadding2D(1)(Activation("relu")(BatchNormalization(**KERAS)(x)))
    x = MaxPooling2D(3, strides=2)(x)
    for stage, (width, blocks) in enumerate(zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True)):
        for block in range(blocks):
            x = bottleneck(x, width, 2 if stage > 0 and block == 0 else 1, project=block == 0)
    return Model(pictures, Dense(classes, activation="softmax")(GlobalAveragePooling2D()(x)), name="resnet50")


def enlarged(x, size):
    """Digits as pictures of size × size pixels between 0 and 1."""
    times = size // x.shape[1]
    return x.repeat(times, axis=1).repeat(times, axis=2)[..., None].astype("float32") / 16


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    (x_train, y_train), (x_test, y_test) = digits.load_data()
    x_train, x_test = enlarged(x_train, options.size), enlarged(x_test, options.size)
    model = resnet20(x_train.shape[1:])
    model.seed = options.seed
    print(f"ResNet-20: {model.count_params():,} numbers")
    rate = optim.schedules.CosineDecay(0.1, options.epochs * -(-len(x_train) // 64))
    model.compile(optim.SGD(rate, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    began = time.perf_counter()
    model.fit(x_train, y_train, 64, options.epochs, validation_data=(x_test, y_test), verbose=2)
    accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
    print(f"{accuracy:.1%} of {len(x_test)} test digits read right, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
