"""What an error inside a user's code looks like: their line, the place, what to do, and nothing of what lies between."""

import traceback

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kjax
from kjax import layers, nn
from kjax.callbacks import Callback, LambdaCallback

X, Y = np.ones((8, 4), "float32"), np.ones((8, 1), "float32")


class Inner(nn.Layer):
    """Goes wrong inside the network, in one of several ways."""

    how: str

    def call(self, params, state, x, training, key):
        return HOWS[self.how](x), state


HOWS = {  # what a beginner may write, the line that must be seen, what must be said
    "shape": lambda x: x @ jnp.ones((99, 1)),
    "if": lambda x: x if x.sum() > 0 else -x,
    "float": lambda x: x * float(x.sum()),
    "numpy": lambda x: np.sin(x),
    "range": lambda x: sum(x for _ in range(x.sum().astype(int))),
    "mask": lambda x: x[x > 0],
    "text": lambda x: x + "a",
    "attribute": lambda x: x.nosuch,
}
SAID = {
    "shape": "(4,) and (99,)", "if": "jnp.where(condition", "float": "jax.numpy", "numpy": "use jax.numpy",
    "range": "field of the layer", "mask": "jnp.where(mask", "text": "'array' and 'str'", "attribute": "nosuch",
}  # fmt: skip


def model(*inner, loss="mse", metrics=()):
    made = kjax.Sequential([layers.Dense(4, input_shape=(4,)), nn.Serial([*inner], name="block"), layers.Dense(1)])
    made.compile("sgd", loss, metrics=list(metrics))
    return made


def printed(monkeypatch, call, full="0"):
    monkeypatch.setenv("KJAX_FULL_TRACEBACK", full)
    with pytest.raises(Exception) as caught:
        call()
    return "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("how", HOWS)
def test_a_layer(monkeypatch, how):
    said = printed(monkeypatch, lambda: model(Inner(how)).fit(X, Y, verbose=0))
    for part in (
        "test_tracebacks.py",
        f'"{how}": lambda x',
        "In layer 'block/inner' (layer 2 of 3)",
        "float32[1, 4]",
        SAID[how],
    ):
        assert part in said, said
    assert "kjax/" not in said and "site-packages" not in said and "Tracer(" not in said
    assert len(said.splitlines()) < 24, said


class Late(Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            logs["nosuch"]


def bad_loss(y, y_pred):
    return jnp.reshape(y - y_pred, (7, 3))


def bad_metric(y, y_pred):
    return y.nosuch


PLACES = {
    "loss": (lambda: model(loss=bad_loss).fit(X, Y, verbose=0), ["(7, 3))", "In loss 'bad_loss', called with y_true float32[8, 1]"]),
    "metric": (lambda: model(metrics=[bad_metric]).evaluate(X, Y, verbose=0), ["y.nosuch", "In metric 'bad_metric', called with"]),
    "callback": (lambda: model().fit(X, Y, epochs=3, verbose=0, callbacks=Late()), ['logs["nosuch"]', "In the callback Late, on_epoch_end of epoch 1"]),
    "function": (lambda: model().fit(X, Y, verbose=0, callbacks=LambdaCallback(on_train_batch_end=lambda b, logs: 1 / 0)),
                 ["1 / 0", "on_train_batch_end of batch 0"]),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_losses_metrics_and_callbacks(monkeypatch, place):
    call, parts = PLACES[place]
    said = printed(monkeypatch, call)
    assert all(part in said for part in parts), said
    assert "kjax/" not in said and "site-packages" not in said
    assert len(said.splitlines()) < 24, said


def test_a_wrong_argument_shows_the_call_alone(monkeypatch):
    said = printed(monkeypatch, lambda: model().fit(X[:, :2], Y))
    assert "model().fit(X[:, :2], Y)" in said and "kjax/" not in said and "KJAX_FULL_TRACEBACK" not in said


def test_all_is_shown_on_request_and_where_kjax_is_to_blame(monkeypatch):
    assert "kjax/loop.py" in printed(monkeypatch, PLACES["callback"][0], "1")
    monkeypatch.setattr(jax, "block_until_ready", lambda x: x.nosuch)
    assert "kjax/loop.py" in printed(monkeypatch, lambda: model().fit(X, Y, verbose=0))
