"""Models of any shape: against Keras step by step, and what only they can do."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import keras_allowed

import kjax
from kjax import layers, nn
from kjax.layers import Dense

RNG = np.random.default_rng(0)
A, B = RNG.standard_normal((12, 4)).astype("float32"), RNG.standard_normal((12, 3)).astype("float32")
DIGIT = RNG.integers(0, 3, 12)
SIZE = RNG.standard_normal((12, 1)).astype("float32")
X, Y = {"a": A, "b": B}, {"digit": DIGIT, "size": SIZE}


def joined(module):
    """The same model of two inputs and two outputs, with a shared layer and a skip connection, in either library."""
    k = module.layers
    a, b = module.Input(shape=(4,), name="a"), module.Input(shape=(3,), name="b")
    shared = k.Dense(4, activation="tanh", name="shared")
    h = shared(a) + shared(k.Dense(4, name="widen")(b)) * 0.5
    outputs = [k.Dense(3, activation="softmax", name="digit")(h + a), k.Dense(1, name="size")(h[:, 1:])]
    return module.Model(inputs=[a, b], outputs=outputs)


HOW = {
    "loss": {"digit": "sparse_categorical_crossentropy", "size": "mse"},
    "loss_weights": {"digit": 1.0, "size": 0.2},
    "metrics": {"digit": ["accuracy"], "size": ["mae"]},
}


@pytest.fixture
def model():
    model = joined(kjax)
    model.compile(optimizer=kjax.optim.SGD(0.1), **HOW)
    return model


def rows(tree, part):
    return jax.tree.map(lambda a: a[part], tree)


def test_two_outputs_train_as_in_keras(model):
    import keras

    with keras_allowed():
        theirs = joined(keras)
        theirs.set_weights(model.get_weights())
        theirs.compile(optimizer=keras.optimizers.SGD(0.1), **HOW)
        for step in range(12):
            part = slice(4 * (step % 3), 4 * (step % 3) + 4)
            theirs.reset_metrics()
            wanted = theirs.train_on_batch(rows(X, part), rows(Y, part), return_dict=True)
            ours = model.train_on_batch(rows(X, part), rows(Y, part), return_dict=True)
            assert set(wanted) == set(ours)
            for name, value in ours.items():
                np.testing.assert_allclose(value, wanted[name], rtol=2e-5, err_msg=f"{name} at step {step}")
        for ours, wanted in zip(model.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_allclose(ours, wanted, rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(model.predict(X)[0], theirs.predict(X, verbose=0)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", ["lists", "dicts"])
@pytest.mark.parametrize("batch_size", [4, 5])
def test_fit_takes_lists_and_dicts_and_short_batches_count_right(model, shape, batch_size):
    x, y = (X, Y) if shape == "dicts" else ([A, B], [DIGIT, SIZE])
    weights = {"digit": np.linspace(0, 1, 12), "size": np.ones(12)}
    given = weights if shape == "dicts" else list(weights.values())
    before = model.evaluate(x, y, batch_size, 0, sample_weight=given, return_dict=True)
    p_digit, p_size = model.predict(x, batch_size)
    crossentropy = -np.log(p_digit[np.arange(12), DIGIT]) * weights["digit"]
    np.testing.assert_allclose(before["digit_loss"], crossentropy.mean(), rtol=1e-5)
    np.testing.assert_allclose(before["size_loss"], ((p_size - SIZE) ** 2).mean(), rtol=1e-5)
    np.testing.assert_allclose(before["loss"], before["digit_loss"] + 0.2 * before["size_loss"], rtol=1e-6)
    np.testing.assert_allclose(before["size_mae"], np.abs(p_size - SIZE).mean(), rtol=1e-5)
    assert before["digit_accuracy"] == pytest.approx((p_digit.argmax(1) == DIGIT).mean())
    history = model.fit(x, y, batch_size, epochs=30, verbose=0, sample_weight=given, validation_data=(x, y))
    assert history.history["loss"][-1] < before["loss"] and "val_size_mae" in history.history


def test_class_weights_of_one_output_multiply_its_sample_weights(model):
    own = {0: 0.5, 1: 2.0, 2: 0.0}
    weights = {"digit": np.linspace(0, 1, 12).astype("float32")}
    expected = {"digit": weights["digit"] * np.array([own[d] for d in DIGIT], "float32")}
    twin = copy.deepcopy(model)
    ours = model.train_on_batch(X, Y, sample_weight=weights, class_weight={"digit": own})
    assert ours == twin.train_on_batch(X, Y, sample_weight=expected)


def test_an_output_without_a_loss_needs_no_targets(model):
    model.compile(optimizer="sgd", loss={"digit": "sparse_categorical_crossentropy"}, metrics={"digit": "accuracy"})
    history = model.fit(X, {"digit": DIGIT}, epochs=2, verbose=0)
    assert sorted(history.history) == ["digit_accuracy", "digit_loss", "loss"]
    assert model.predict(X)[1].shape == (12, 1)


@pytest.mark.exact
def test_single_steps_and_whole_epochs_give_the_same_bits(model):
    twin = copy.deepcopy(model)
    model.fit(X, Y, 4, epochs=1, shuffle=False, verbose=0)
    for part in (slice(0, 4), slice(4, 8), slice(8, 12)):
        twin.train_on_batch(rows(X, part), rows(Y, part))
    for ours, theirs in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_graph_built_twice_is_equal_and_shares_its_compilation(model):
    twin = joined(kjax)
    assert twin.net == model.net and hash(twin.net) == hash(model.net)
    assert pickle.loads(pickle.dumps(model.net)) == model.net
    model.predict(X), twin.predict(X)
    assert "predict" not in [one.function for one in twin.compile_report()]
    restored = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(restored.predict(X)[0], model.predict(X)[0])


def test_equal_layers_are_two_and_one_layer_called_twice_is_one():
    x = nn.Input(shape=(3,))
    apart = kjax.Model(x, Dense(3)(Dense(3)(x)))
    dense = Dense(3)
    together = kjax.Model(x, dense(dense(x)))
    assert len(apart.get_weights()) == 4 and len(together.get_weights()) == 2


def test_a_shared_block_pays_for_its_activity_at_each_call():
    x = nn.Input(shape=(4,))
    block = nn.Serial([nn.Activation("linear"), Dense(4, activity_regularizer="l2")], name="block")
    net = nn.Graph(x, block(block(x)))
    params, state = net.init(jax.random.key(0), jnp.asarray(A))
    _, state = net.apply(params, state, A)
    first, _ = block.apply(params["block"], {}, A)
    second, _ = block.apply(params["block"], {}, first)
    expected = 0.01 * (jnp.sum(first**2) + jnp.sum(second**2)) / 12
    np.testing.assert_allclose(net.penalty(params, state), expected, rtol=1e-5)


def test_dicts_of_outputs_come_back_as_dicts():
    x = kjax.Input(shape=(4,))
    model = kjax.Model(x, {"twice": x * 2, "sum": Dense(1)(x)})
    found = model.predict(A)
    np.testing.assert_allclose(found["twice"], A * 2)
    model.compile(loss={"sum": "mse"}, optimizer="sgd")
    assert "sum_loss" in model.fit(A, {"sum": SIZE}, verbose=0).history


# Transfer.


def base():
    return kjax.Sequential(
        [Dense(6, activation="relu", input_shape=(4,)), layers.BatchNormalization(), Dense(2)], name="base"
    )


@pytest.mark.parametrize("build", ["graph", "sequential"])
def test_a_trained_model_used_as_a_layer_brings_its_weights(build):
    inner = base()
    inner.compile("sgd", "mse")
    inner.fit(A, A[:, :2], epochs=2, verbose=0)
    if build == "graph":
        x = kjax.Input(shape=(4,))
        outer = kjax.Model(x, Dense(1)(inner(x)))
    else:
        outer = kjax.Sequential([inner, Dense(1)])
    for ours, theirs in zip(outer.get_weights(), inner.get_weights(), strict=False):
        np.testing.assert_array_equal(ours, theirs)
    # Training the larger one leaves the smaller one alone.
    kept = inner.get_weights()
    outer.compile("sgd", "mse")
    outer.fit(A, SIZE, verbose=0)
    for before, after in zip(kept, inner.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_frozen_layers_keep_their_weights_and_cost_no_gradient_and_no_slots():
    model = kjax.Sequential([base(), Dense(1, name="head")])
    model.freeze("base*")
    model.compile(kjax.optim.Adam(0.1), "mse")
    before = model.state
    slots = sum(leaf.size for leaf in jax.tree.leaves(before.opt_state) if leaf.ndim)
    assert slots == 2 * 3  # Adam's two moments of the head's three numbers
    kept = jax.tree.map(np.array, before.params)
    step = model.trainer.train_step
    flops = jax.jit(step).lower(before, (A, SIZE)).compile().cost_analysis()["flops"]
    model.fit(A, SIZE, epochs=3, verbose=0)
    after = model.state.params
    jax.tree.map(np.testing.assert_array_equal, kept["base"], after["base"])
    assert (kept["head"]["kernel"] != after["head"]["kernel"]).any()
    model.unfreeze("base/dense")
    everything = jax.jit(model.trainer.train_step).lower(model.state, (A, SIZE)).compile().cost_analysis()["flops"]
    assert flops < 0.75 * everything
    model.fit(A, SIZE, epochs=1, verbose=0)
    moved = {name: (kept["base"][name]["kernel"] != model.state.params["base"][name]["kernel"]).any()
             for name in ("dense", "dense_1")}  # fmt: skip
    assert moved == {"dense": True, "dense_1": False}


def test_a_layers_trainable_can_be_set_as_in_keras():
    model = base()
    model.layers[0].trainable = False
    assert not model.layers[0].trainable and model.layers[2].trainable
    model.trainable = False
    assert model.net.partition(model.state.params)[0] == {}


def test_activations_gives_every_layers_output(model):
    found = model.activations(X)
    np.testing.assert_array_equal(found["digit"], model.predict(X)[0])
    assert list(model.activations(X, "sh*")) == ["shared"] and found["shared"].shape == (12, 4)
    nested = kjax.Sequential([base(), Dense(1)])
    found = nested.activations(A, ["base/dense", "base"])
    assert {name: a.shape for name, a in found.items()} == {"base/dense": (12, 6), "base": (12, 2)}


# Subclasses.


class Twice(kjax.Model):
    def __init__(self, units, **options):
        super().__init__(**options)
        self.body = Dense(units, activation="relu")
        self.heads = [Dense(2), Dense(1)]
        self.factor = 2.0

    def call(self, x, training=False):
        h = self.body(x)
        return [head(h) * (self.factor if training else 1.0) for head in self.heads]


def test_a_subclass_finds_its_layers_and_trains():
    model = Twice(5)
    model.compile("sgd", ["mse", "mae"])
    history = model.fit(A, [A[:, :2], SIZE], epochs=2, verbose=0)
    assert sorted(history.history) == ["loss", "output_1_loss", "output_2_loss"]
    assert list(model.state.params) == ["body", "heads_0", "heads_1"]
    again = Twice(5)
    again.compile("sgd", ["mse", "mae"])
    assert again.net == model.net
    assert [y.shape for y in model.predict(A)] == [(12, 2), (12, 1)]


class FromDict(kjax.Model):
    def __init__(self):
        super().__init__()
        self.dense = Dense(1)

    def call(self, x):
        return self.dense(x["a"]) * x["b"][:, :1]


def test_a_subclass_may_take_a_dict():
    model = FromDict()
    model.compile("sgd", "mse")
    model.fit(X, SIZE, batch_size=5, epochs=2, verbose=0)
    assert model.predict(X).shape == (12, 1)
    assert "body of FromDict" in repr(model.trainer)


class Regressor(kjax.Model):
    def __init__(self):
        super().__init__()
        self.dense = Dense(1)
        self.power = 4

    def call(self, x):
        return self.dense(x)

    def compute_loss(self, x, y, y_pred, sample_weight):
        return jnp.mean((y - y_pred) ** self.power) + 0.1 * jnp.mean(x**2)


def test_a_loss_of_ones_own_trains_and_short_batches_see_just_themselves():
    model = Regressor()
    model.compile(kjax.optim.SGD(0.0), metrics=["mae"])
    logs = model.fit(A, SIZE, 5, shuffle=False, verbose=0).history
    parts = [slice(0, 5), slice(5, 10), slice(10, 12)]
    y = model.predict(A)
    values = [np.mean((SIZE[p] - y[p]) ** 4) + 0.1 * np.mean(A[p] ** 2) for p in parts]
    np.testing.assert_allclose(logs["loss"], [np.average(values, weights=[5, 5, 2])], rtol=1e-5)
    np.testing.assert_allclose(logs["mae"], [np.abs(SIZE - y).mean()], rtol=1e-5)
    again = Regressor()
    again.compile(kjax.optim.SGD(0.0), metrics=["mae"])
    assert hash(again.trainer.objective) == hash(model.trainer.objective)


def test_a_loss_of_ones_own_gets_names_and_needs_no_targets():
    seen = {}

    def objective(x, y, y_pred, sample_weight):
        seen.update(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)
        return jnp.mean(y_pred["size"] ** 2)

    net = joined(kjax).net
    trainer = kjax.train.Trainer(net, None, "sgd", objective=objective)
    state = trainer.init(jax.random.key(0), net.specs())
    _, logs = trainer.train_step(state, ((A, B), None))
    assert set(seen["x"]) == {"a", "b"} and set(seen["y_pred"]) == set(seen["y"]) == {"digit", "size"}
    size = net.apply(state.params, state.state, (A, B))[0][1]
    np.testing.assert_allclose(logs["loss"], jnp.mean(size**2), rtol=1e-6)


class Halves(Regressor):
    def call(self, x):
        return {"left": self.dense(x), "all": x}

    def compute_loss(self, x, y, y_pred, sample_weight):
        return jnp.mean((y_pred["left"] - y_pred["all"]) ** 2)


def test_a_loss_of_ones_own_learns_the_outputs_names_from_the_network():
    model = Halves()
    model.compile(kjax.optim.SGD(0.1))
    assert model.fit(A, epochs=2, verbose=0).history["loss"][-1] < model.evaluate(A[::-1], verbose=0) * 10
    assert sorted(model.trainer.output_names) == ["all", "left"]
    logs = model.fit(A, {"left": SIZE}, verbose=0, validation_data=(A, None)).history
    assert sorted(logs) == ["loss", "val_loss"]


def test_one_loss_for_several_outputs_is_refused_by_their_names():
    class Two(kjax.Model):
        def call(self, x):
            return {"left": x, "right": x}

    model = Two()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"2 outputs, 'left', 'right': give a loss for each"):
        model.fit(A, A, verbose=0)


# Size.


def test_a_deep_graph_needs_no_recursion_and_traces_each_layer_once_per_use():
    x = kjax.Input(shape=(2,))
    h = x
    for _ in range(1500):
        h = h * 1.0
    assert len(nn.Graph(x, h).layers) == 1500


def test_summary_says_what_feeds_what(model):
    said = []
    model.freeze("widen")
    model.summary(print_fn=said.append)
    assert "Connected to" in said[0] and "frozen" in said[0] and "shared" in said[0]
    line = next(line for line in said[0].splitlines() if line.startswith("shared"))
    assert "a, widen" in line
