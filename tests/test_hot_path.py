"""What a call that trains or predicts moves between host and device: what was asked for, and nothing else.

JAX's guard tells transfers to the device. It says nothing of those from a CPU, which are no copies there: they are
counted where NumPy and JAX make them.
"""

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.array import ArrayImpl

import kjax
from kjax import data
from kjax.layers import Dense, Dropout

X, Y = np.random.default_rng(0).random((96, 8), np.float32), np.arange(96, dtype=np.int32) % 3


@pytest.fixture
def fetched(monkeypatch):
    """The shapes of the arrays that were fetched from the device, in order."""
    found, fetching = [], []

    def counted(original):
        def fetch(array, *args, **options):
            if not isinstance(array, jax.Array) or fetching:  # on a GPU one way calls another
                return original(array, *args, **options)
            found.append(array.shape)
            fetching.append(array)
            try:
                return original(array, *args, **options)
            finally:
                fetching.clear()

        return fetch

    for owner, name in ((np, "asarray"), (np, "array"), (ArrayImpl, "item"), (ArrayImpl, "tolist")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    monkeypatch.setattr(ArrayImpl, "_value", property(counted(ArrayImpl._value.fget)))
    return found


@pytest.mark.parametrize(
    "fetch",
    [
        float, jax.device_get, bool, "{}".format, lambda a: np.asarray(a), lambda a: np.array(a), lambda a: a.item(),
        lambda a: a.tolist(),
    ],
)  # fmt: skip
def test_every_way_to_fetch_is_counted(fetch, fetched):
    array = jnp.ones(())
    fetched.clear()
    fetch(array)
    assert fetched


@pytest.fixture
def implicit(fetched, monkeypatch):
    """The shapes of those that were fetched otherwise than by `jax.device_get`, on what kjax takes for a GPU."""
    found, original = [], jax.device_get

    def device_get(tree):
        found.extend(fetched)
        fetched.clear()
        value = original(tree)
        fetched.clear()
        return value

    monkeypatch.setattr(jax, "device_get", device_get)
    monkeypatch.setattr(data, "on_cpu", lambda: False)
    return lambda: [*found, *fetched]


@pytest.fixture(scope="module")
def model():
    made = kjax.Sequential([Dense(7, input_shape=(8,)), Dropout(0.5), Dense(3, activation="softmax")])
    made.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


class Losses(kjax.callbacks.Callback):
    """Wants the logs of each batch, and not between the steps."""

    between_steps = False

    def on_train_batch_end(self, batch, logs=None):
        self.loss = logs["loss"]


ROW = jax.device_put(X[:1])
EPOCHS = [(), (2,), (), ()] * 2
"""For each epoch the number of steps so far and the key, which decide its order, and the means."""
NOTED = [(), (2,), (4096,), (4096,)]
"""For an epoch in one loop, instead of the means, the loss and the metric after each step, and the room for more."""
CALLS = {
    "a step": (lambda m, x, y: m.train_on_batch(x, y), [(), ()]),  # the loss and the metric
    "a test": (lambda m, x, y: m.test_on_batch(x, y), [(), ()]),
    "a row": (lambda m, x, y: m.predict(ROW), [(1, 3)]),
    "a batch": (lambda m, x, y: m.predict_on_batch(x), [(96, 3)]),
    "epochs": (lambda m, x, y: m.fit(x, y, 32, epochs=2, verbose=0), EPOCHS),
    "more steps": (lambda m, x, y: m.fit(x, y, 8, epochs=2, verbose=0), EPOCHS),
    "batches' logs": (lambda m, x, y: m.fit(x, y, 8, verbose=0, callbacks=Losses()), NOTED),
    "an evaluation": (lambda m, x, y: m.evaluate(x, y, 8, verbose=0), [(), ()]),
}


@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_moved_or_compiled_that_was_not_asked_for(name, model, fetched):
    call, wanted = CALLS[name]
    x, y = jax.device_put((X, Y))
    call(model, x, y)
    compiled = len(model.compile_report())
    fetched.clear()
    with jax.transfer_guard_host_to_device("disallow"):
        call(model, x, y)
    assert fetched == wanted and len(model.compile_report()) == compiled


def test_an_epoch_sends_its_order_alone_and_runs_nothing_by_itself(model, monkeypatch):
    """Each of these takes 30 to 60 µs, which data of a few steps would feel."""
    sent, eager = [], []
    put, bind = jax.device_put, jax.extend.core.Primitive.bind
    model.fit(X, Y, 32, epochs=2, verbose=0)
    monkeypatch.setattr(jax, "device_put", lambda tree: sent.append(len(jax.tree.leaves(tree))) or put(tree))
    monkeypatch.setattr(
        jax.extend.core.Primitive, "bind", lambda own, *a, **o: eager.append(own.name) or bind(own, *a, **o)
    )
    model.fit(X, Y, 32, epochs=2, verbose=0)
    assert sent == [2, 1, 1] and set(eager) <= {"device_put"}  # the data once, and the rows of each step


@pytest.mark.parametrize("name", CALLS)
def test_what_is_fetched_is_asked_for_by_name(name, model, implicit):
    """JAX's guard refuses everything else on a GPU."""
    CALLS[name][0](model, *jax.device_put((X, Y)))
    assert implicit() == []


def test_another_way_to_fetch_is_told(implicit):
    array = jax.device_get(jnp.ones(3)) + jnp.ones(3)
    assert implicit() == []
    assert float(array[0]) == 2 and implicit() == [()]


def test_only_the_batch_is_sent(model):
    """NumPy's arrays go to the device with the call; JAX's are there."""
    model.train_on_batch(X, Y)
    with jax.transfer_guard_host_to_device("disallow"):
        model.train_on_batch(*jax.device_put((X, Y)))
        with pytest.raises(jax.errors.JaxRuntimeError, match=r"host-to-device .*float32\[96,8"):
            model.train_on_batch(X, Y)
