"""What it costs to watch for numbers that are not finite while nothing is wrong: epochs with and without it in turns.

python tests/reliability/fault_cost.py [pairs]
"""

import sys
import time
from typing import Any

import numpy as np

import kjax
from kjax import layers

Case = tuple[str, Any, int, int, int]


def net(sizes: tuple[int, ...], rate: float) -> Any:
    hidden = [layer for n in sizes[1:] for layer in (layers.Dense(n, "relu"), layers.Dropout(rate))]
    model = kjax.Sequential(
        [layers.Dense(sizes[1], "relu", input_shape=(sizes[0],)), *hidden[1:], layers.Dense(10, "softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def cases() -> list[Case]:
    """A name, the model, the number of examples, of a batch's, of epochs in a measurement."""
    tiny, mnist = net((64, 64, 32), 0.0), net((784, 512, 512), 0.2)
    return [
        ("tiny MLP, 32 steps", tiny, 1024, 32, 150),
        ("tiny MLP, 1024 steps", tiny, 32768, 32, 6),
        ("MNIST MLP, 100 steps", mnist, 12800, 128, 4),
    ]


def ratio(case: Case, pairs: int) -> tuple[float, float]:
    """Seconds of an epoch without watching, and the median of the ratios with it to without."""
    _, model, n, batch_size, epochs = case
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, model.input_shape[1])).astype("float32"), rng.integers(0, 10, n)
    times: dict[bool, list[float]] = {False: [], True: []}
    for pair in range(-1, pairs):
        for watched in (False, True) if pair % 2 else (True, False):
            own, began = [kjax.callbacks.TerminateOnNaN()] if watched else [], time.perf_counter()
            model.fit(x, y, batch_size, epochs, verbose=0, callbacks=own)
            if pair >= 0:
                times[watched].append((time.perf_counter() - began) / epochs)
    off, on = np.array(times[False]), np.array(times[True])
    return float(np.median(off)), float(np.median(on / off))


def main(pairs: int = 9) -> None:
    for case in cases():
        seconds, found = ratio(case, pairs)
        print(f"| {case[0]} | {seconds * 1e3:.2f} ms | {100 * (found - 1):+.1f} % |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
