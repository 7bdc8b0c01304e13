"""The classical Keras example: a convolutional network that reads handwritten digits at 99 %.

python examples/mnist_cnn.py [--epochs 12] [--seed 0] [--output mnist_cnn.png]

Prints a line per epoch and a table for the documentation, and draws the learning curves. About half a minute
per epoch on two cores.
"""

import argparse
import time

import kjax
from kjax.datasets import mnist
from kjax.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D


def network(seed):
    return kjax.Sequential(
        [
            Conv2D(32, (3, 3), activation="relu", input_shape=(28, 28, 1)),
            Conv2D(64, (3, 3), activation="relu"),
            MaxPooling2D((2, 2)),
            Dropout(0.25),
            Flatten(),
            Dense(128, activation="relu"),
            Dropout(0.5),
            Dense(10, activation="softmax"),
        ],
        seed=seed,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="mnist_cnn.png")
    options = parser.parse_args()

    (x_train, y_train), (x_test, y_test) = mnist.load_data()
    x_train, x_test = (x[..., None].astype("float32") / 255 for x in (x_train, x_test))
    model = network(options.seed)
    model.compile(loss="sparse_categorical_crossentropy", optimizer=kjax.optim.Adam(lr=0.001), metrics=["accuracy"])
    began = time.perf_counter()
    history = model.fit(
        x_train, y_train, batch_size=128, epochs=options.epochs, validation_data=(x_test, y_test), verbose=2
    )
    seconds = time.perf_counter() - began
    print(f"\n{options.epochs} epochs in {seconds:.0f} s, {seconds / options.epochs:.1f} s each, seed {options.seed}\n")
    print("| epoch | training loss | training accuracy | test loss | test accuracy |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    columns = (history.history[name] for name in ("loss", "accuracy", "val_loss", "val_accuracy"))
    for epoch, row in enumerate(zip(*columns, strict=True), start=1):
        print(f"| {epoch} | {row[0]:.4f} | {row[1]:.2%} | {row[2]:.4f} | {row[3]:.2%} |")
    history.plot(title="MNIST, the classical convolutional network").savefig(options.output, dpi=110)


if __name__ == "__main__":
    main()
