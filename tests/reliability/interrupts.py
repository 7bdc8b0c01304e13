"""Presses Ctrl-C at random moments of building, compiling, training, validating, saving, predicting; then looks whether
the model can be used, and has the weights of a finished step.

    python tests/reliability/interrupts.py [interrupts] [seed]

Every third interrupt is followed by a second one within 20 ms.
"""

import collections
import contextlib
import io
import pathlib
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import kjax
from kjax import callbacks, compiled, layers

X = np.random.default_rng(0).standard_normal((512, 8)).astype("float32")
Y = X[:, :1] * 2 - X[:, 1:2]
EPOCHS = 40
BATCH = 16


def made() -> Any:
    """A model that has not been built."""
    model = kjax.Sequential(
        [layers.Dense(16, "relu"), layers.Dropout(0.2), layers.BatchNormalization(), layers.Dense(1)]
    )
    model.compile("adam", "mse", metrics=["mae"])
    return model


def fit(model: Any, folder: pathlib.Path, **options: Any) -> None:
    model.fit(X, Y, BATCH, EPOCHS, verbose=0, **options)


class Steps(callbacks.Callback):
    """Must act between the steps; takes note of the weights if asked to."""

    def __init__(self, seen: dict[int, list[np.ndarray]] | None = None):
        self.seen = seen

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.seen is not None:
            self.seen[int(self.model.state.step)] = self.model.get_weights()


def fit_and_save(model: Any, folder: pathlib.Path) -> None:
    checkpoint = callbacks.ModelCheckpoint(folder / "model", "loss")
    fit(model, folder, validation_data=(X, Y), callbacks=[checkpoint, callbacks.CSVLogger(folder / "log")])


def train_on_batches(model: Any, folder: pathlib.Path) -> None:
    for _ in range(150):
        model.train_on_batch(X, Y)


def look(model: Any, folder: pathlib.Path) -> None:
    for _ in range(15):
        model.evaluate(X, Y, BATCH, verbose=0)
        model.predict(X, BATCH)


def shape(model: Any, folder: pathlib.Path) -> None:
    for _ in range(3):
        model.build((None, 8))
        model.compile("sgd", "mse")
        model.freeze("dense*")
        model.unfreeze()
        model.compile("adam", "mse", metrics=["mae"])


SCENES: dict[str, Callable] = {
    "fit": fit,
    "fit, steps one by one": lambda model, folder: fit(model, folder, callbacks=[Steps()]),
    "fit, checked": lambda model, folder: fit(model, folder, check_finite=True),
    "fit, validated and saved": fit_and_save,
    "train_on_batch": train_on_batches,
    "evaluate and predict": look,
    "build, compile, freeze": shape,
}


def cold() -> None:
    """Forgets all that is compiled."""
    jax.clear_caches()
    for function in (compiled._method, compiled.outputs, compiled.inner_outputs):
        function.cache_clear()


def interrupted(run: Callable, delays: list[float]) -> bool:
    """Runs something that is interrupted after some time, and perhaps again; whether that came in time."""
    main, done = threading.main_thread().ident, threading.Event()

    def press() -> None:
        for delay in delays:
            time.sleep(delay)
            if not done.is_set():
                signal.pthread_kill(main, signal.SIGINT)  # type: ignore[arg-type]

    thread, in_time = threading.Thread(target=press), False
    thread.start()
    with contextlib.suppress(KeyboardInterrupt):
        try:
            run()
            in_time = not thread.is_alive()
            done.set()
        except KeyboardInterrupt:
            in_time = True
    done.set()
    while thread.is_alive():
        with contextlib.suppress(KeyboardInterrupt):
            thread.join()
    return in_time


def check(model: Any, folder: pathlib.Path, steps: dict[int, list[np.ndarray]] | None) -> str:
    """What is wrong with a model after an interrupt; "" if nothing is."""
    if steps is not None and model.built:
        step = int(model.state.step)
        wanted = steps.get(step, steps.get(0) if step == 0 else None)
        if wanted is None or not all((a == b).all() for a, b in zip(model.get_weights(), wanted, strict=True)):
            return f"the weights are not those of step {step}"
    if (folder / "model").exists():
        kjax.load_model(folder / "model")
    if model.built:
        model.predict(X[:40], 8)
        model.evaluate(X, Y, 32, verbose=0)
    model.fit(X, Y, 32, verbose=0)
    finite = all(np.isfinite(w).all() for w in model.get_weights())
    return "" if finite else "the weights are not finite"


def trajectory() -> dict[int, list[np.ndarray]]:
    """The weights after each step of an uninterrupted run."""
    model = made()
    model.build((None, 8))
    seen = {0: model.get_weights()}
    model.fit(X, Y, BATCH, EPOCHS, verbose=0, callbacks=[Steps(seen)])
    return seen


def durations() -> dict[tuple[str, bool], float]:
    """How long each scene takes, compiled and not yet compiled."""
    found = {}
    for name, scene in SCENES.items():
        for is_cold in (True, False):
            with tempfile.TemporaryDirectory() as folder:
                if is_cold:
                    cold()
                began = time.perf_counter()
                scene(made(), pathlib.Path(folder))
                found[name, is_cold] = time.perf_counter() - began
    return found


def main(times: int = 100, seed: int = 0) -> int:
    rng, steps, lasting = random.Random(seed), trajectory(), durations()
    tried: collections.Counter[str] = collections.Counter()
    landed: collections.Counter[str] = collections.Counter()
    wrong, began, doubles = [], time.perf_counter(), 0
    for number in range(times):
        name = list(SCENES)[number % len(SCENES)]
        is_cold = rng.random() < 0.5
        if is_cold:
            cold()
        delays = [rng.uniform(0, lasting[name, is_cold]), *([rng.uniform(0, 0.02)] if number % 3 == 0 else [])]
        model = made()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()) as said:
            place = pathlib.Path(folder)
            hit = interrupted(lambda name=name, model=model, place=place: SCENES[name](model, place), delays)
            try:
                problem = check(model, place, steps if name.startswith("fit") else None)
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
        tried[name] += 1
        landed[name] += hit or "Interrupted" in said.getvalue()
        doubles += len(delays) > 1
        if problem:
            wrong.append(f"{number} ({name}, after {delays} s): {problem}")
    for name in tried:
        print(f"{name:30} {tried[name]:4} interrupts, {landed[name]:4} of them before the end")
    seconds = time.perf_counter() - began
    print(f"{times} interrupts ({doubles} of them twice) in {seconds:.0f} s, {len(wrong)} models spoilt")
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
