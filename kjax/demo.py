"""The demonstration: a small convolutional network on real pictures, its accuracy, its picture, where the time went."""

import time
from typing import Any

import numpy as np

import kjax
from kjax.layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, MaxPooling2D

CLASSES = {
    "fashion_mnist": ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
}


def network(input_shape: tuple[int, ...], seed: int) -> kjax.Sequential:
    """Two convolutions, a pooling layer and two dense layers."""
    return kjax.Sequential(
        [
            Conv2D(32, (3, 3), padding="same", activation="relu", input_shape=input_shape),
            BatchNormalization(momentum=0.9),
            Conv2D(32, (3, 3), activation="relu"),
            MaxPooling2D((2, 2)),
            Dropout(0.25),
            Flatten(),
            Dense(64, activation="relu"),
            Dropout(0.4),
            Dense(10, activation="softmax"),
        ],
        name="demo",
        seed=seed,
    )


def load(dataset: str) -> tuple[Any, Any]:
    """Pictures in [0, 1] with a channel axis, and labels: for training, for testing."""
    (x, y), (x_test, y_test) = getattr(kjax.datasets, dataset).load_data()
    top = np.float32(x.max())
    return (x[..., None] / top, y), (x_test[..., None] / top, y_test)


class Stopwatch(kjax.callbacks.Callback):
    """How long it took until the first step was done, which is mostly compilation, and until the last."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.epochs: list[float] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append(time.perf_counter())

    def report(self, import_seconds: float) -> str:
        """Where the time went, from the import to now."""
        now, first, last = time.perf_counter(), self.epochs[0], self.epochs[-1]
        epoch = (last - first) / max(1, len(self.epochs) - 1)
        compiling = max(0.0, first - epoch - self.began)
        train, rest = last - self.began - compiling, now - last
        return (
            f"time: import {import_seconds:.1f} s, build and compile {compiling:.1f} s, train {train:.1f} s "
            f"({epoch:.2f} s per epoch), evaluate and draw {rest:.1f} s"
        )


def run(dataset: str, epochs: int | None, seed: int, output: str, import_seconds: float = 0.0) -> int:
    """Trains, reports, draws; returns the exit status."""
    (x, y), (x_test, y_test) = load(dataset)
    epochs = epochs or (30 if dataset == "digits" else 3)
    print(f"{dataset}: {len(x):,} pictures to train on, {len(x_test):,} held out\n")
    watch = Stopwatch()
    model = network(x.shape[1:], seed)
    model.compile(optimizer=kjax.optim.Adam(lr=0.002), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.summary()
    print()
    history = model.fit(x, y, batch_size=64, epochs=epochs, validation_data=(x_test, y_test), callbacks=[watch])
    if not history.epoch:
        return 130
    accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
    print(f"\nheld-out accuracy: {accuracy:.2%} ({round(accuracy * len(x_test)):,} of {len(x_test):,})")
    draw(history, x_test[..., 0], y_test, model.predict(x_test), CLASSES.get(dataset), output)
    print(watch.report(import_seconds))
    print(f"learning curves and predictions: {output}")
    return 0


def draw(history: Any, pictures: Any, labels: Any, probabilities: Any, classes: Any, output: str) -> None:
    """One picture with the learning curves and some predictions."""
    from kjax.plots import demo_figure

    demo_figure(history.history, history.epoch, pictures, labels, probabilities, classes).savefig(output, dpi=120)
