"""Losses by name, loss objects, and their twins on logits."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from losses_cases import draw

from kjax import activations, losses
from kjax.losses import registry

# Names.


@pytest.mark.parametrize("name", sorted(registry.FUNCTIONS))
def test_functions_by_name(name):
    assert losses.get(name) is registry.FUNCTIONS[name]
    assert getattr(losses, name, None) is losses.get(name) or name in ("huber_loss",)


@pytest.mark.parametrize("name", sorted(registry.CLASSES))
def test_objects_by_name_hash_and_pickle(name):
    loss = losses.get(name)
    assert loss == getattr(losses, name)() == losses.get(getattr(losses, name)) and hash(loss) == hash(losses.get(name))
    assert pickle.loads(pickle.dumps(loss)) == loss
    assert losses.name(loss) == loss.of.__name__ == losses.name(loss.of)


def test_get_and_name_of_the_users_own():
    def mine(y_true, y_pred):
        return y_pred

    partial = functools.partial(losses.huber, delta=2.0)
    assert losses.get(None) is None and losses.get(mine) is mine
    assert [losses.name(x) for x in (mine, lambda t, p: p, partial, losses.Huber(name="h"))] == [
        "mine",
        "loss",
        "huber",
        "h",
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: losses.get("mean_squared_eror"),
            "unknown loss 'mean_squared_eror'. Did you mean 'mean_squared_error'?",
        ),
        (lambda: losses.get(3), "a loss is a name, a function of (y_true, y_pred), or a loss object; got 3"),
        (lambda: losses.Huber(delta=0.0), "Huber: delta must be above 0; got 0.0"),
        (lambda: losses.CategoricalCrossentropy(label_smoothing=1.0), "label_smoothing must be in [0.0, 1.0); got 1.0"),
        (lambda: losses.Huber(reduction="sum"), "Huber: reduction='sum' is not offered"),
        (lambda: losses.BinaryCrossentropy(logits=True), "has no argument 'logits'. Did you mean 'from_logits'?"),
        (lambda: losses.Loss()(1, 2), "Loss defines no __call__(self, y_true, y_pred)"),
    ],
)
def test_wrong_settings_name_the_fix(make, message):
    with pytest.raises((TypeError, ValueError, NotImplementedError)) as caught:
        make()
    assert message in str(caught.value)


def test_a_loss_of_the_users_own_class():
    class Weighted(losses.Loss):
        factor: float = 2.0

        def __call__(self, y_true, y_pred):
            return self.factor * losses.mean_squared_error(y_true, y_pred)

    assert losses.name(Weighted()) == "weighted" and losses.get(Weighted) == Weighted()
    assert losses.mean_loss(Weighted(3.0), jnp.zeros(2), jnp.ones((2, 1))) == 3.0
    assert losses.on_logits(Weighted(), activations.softmax) is None
    assert losses.Huber(reduction="sum_over_batch_size") == losses.Huber()


# On logits.

PAIRS = [
    ("categorical_crossentropy", "softmax", "one_hot"),
    ("sparse_categorical_crossentropy", "softmax", "labels"),
    ("categorical_focal_crossentropy", "softmax", "one_hot"),
    ("binary_crossentropy", "sigmoid", "answers"),
    ("binary_focal_crossentropy", "sigmoid", "answers"),
]


@pytest.mark.parametrize(("name", "activation", "kind"), PAIRS)
def test_on_logits_gives_the_same_values_and_gradients(name, activation, kind):
    apply = getattr(activations, activation)
    z, y = jnp.asarray(draw("real", 5), jnp.float32), draw(kind, 6)
    for loss in (losses.get(name), next(c for c in registry.CLASSES.values() if c.of is losses.get(name))()):
        twin = losses.on_logits(loss, apply)
        assert losses.name(twin) == name and losses.on_logits(twin, apply) is None
        np.testing.assert_allclose(twin(y, z), loss(y, apply(z)), rtol=5e-6, atol=1e-6)
        a = jax.grad(lambda z, f=twin: f(y, z).sum())(z)
        b = jax.grad(lambda z, f=loss: f(y, apply(z)).sum())(z)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6)


def test_on_logits_keeps_settings_and_leaves_other_pairs_alone():
    smooth = losses.CategoricalCrossentropy(label_smoothing=0.1, name="x")
    assert losses.on_logits(smooth, activations.softmax) == smooth.replace(from_logits=True)
    for loss, activation in (
        ("mse", activations.softmax),
        ("binary_crossentropy", activations.softmax),
        ("binary_crossentropy", None),
        ("categorical_crossentropy", activations.sigmoid),
        ("categorical_crossentropy", jnp.tanh),
        (losses.CategoricalCrossentropy(axis=1), activations.softmax),
        (lambda t, p: p, activations.softmax),
    ):
        assert losses.on_logits(losses.get(loss), activation) is None
