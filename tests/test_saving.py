"""Whole models in files: what comes back trains on and predicts to the bit, and what is damaged is refused."""

import json
import math
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES
from reliability.fuzz_saving import fuzz

import kjax
from kjax import Model, Sequential, models, nn, optim
from kjax.layers import BatchNormalization, Dense, Dropout, Lambda, SimpleRNN
from kjax.schema import Reader, SavedModelError, Writer, from_config, text, to_config
from kjax.weights import contents, write

X, Y = np.random.RandomState(0).rand(24, 4).astype("float32"), np.random.RandomState(1).rand(24, 2).astype("float32")


def saved(model, path, **options):
    model.save(path / "model.safetensors")
    return kjax.load_model(path / "model.safetensors", **options)


def require_twins(a, b, x, y):
    """The two predict the same, and train on to the same losses and weights, bit by bit."""
    jax.tree.map(np.testing.assert_array_equal, a.predict(x), b.predict(x))
    assert a.net == b.net and a.trainer == b.trainer and a.metrics_names == b.metrics_names
    assert (
        a.fit(x, y, batch_size=8, epochs=2, verbose=0).history == b.fit(x, y, batch_size=8, epochs=2, verbose=0).history
    )
    jax.tree.map(np.testing.assert_array_equal, a.get_weights(), b.get_weights())
    assert (a.name, a.seed, a.sample_weight_mode) == (b.name, b.seed, b.sample_weight_mode)


def small(optimizer="adam", **options):
    made = Sequential([Dense(3, "tanh", input_shape=(4,)), Dense(2)], **options)
    made.compile(optimizer, "mse")
    return made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id[:60])
def test_every_layer_comes_back_from_json(case):
    writer = Writer()
    config = json.loads(text(writer.write(case.layer, "net")))
    back = Reader(writer.custom).read(config, "net")
    assert back == case.layer and repr(back) == repr(case.layer) and type(back) is type(case.layer)


def test_a_sequential_trains_on_with_frozen_layers_dropout_and_statistics(tmp_path):
    made = Sequential(
        [Dense(5, "relu", kernel_regularizer="l2", input_shape=(4,)), BatchNormalization(), Dropout(0.3),
         Dense(3, trainable=False), Dense(2, kernel_constraint="max_norm")], name="five", seed=7,
    )  # fmt: skip
    made.compile(optim.SGD(0.1, momentum=0.9), kjax.losses.Huber(0.5), metrics=["mae"])
    made.fit(X, Y, verbose=0)
    back = saved(made, tmp_path)
    assert type(back) is Sequential and back.input_shape == (None, 4) and back.output_shape == (None, 2)
    require_twins(made, back, X, Y)
    back.add(Dense(1))
    assert back.predict(X).shape == (24, 1)


def test_a_graph_with_shared_layers_and_nested_models_trains_on(tmp_path):
    inner = Sequential([Dense(4, "relu", input_shape=(4,)), Dense(3)], name="inner")
    a, b = kjax.Input(shape=(4,), name="a"), kjax.Input(shape=(4,), name="b")
    shared = Dense(4)
    h = inner(shared(a)) + inner(shared(b)) * 2.0
    outputs = {"first": Dense(2, "softmax")(h), "second": Dense(1)(h[:, :2])}
    made = Model(inputs=[a, b], outputs=outputs)
    made.compile("adam", {"first": "categorical_crossentropy", "second": "mse"}, {"second": ["mae"]}, [1.0, 0.3])
    x, y = {"a": X, "b": X[::-1].copy()}, {"first": np.eye(2)[np.arange(24) % 2], "second": Y[:, :1]}
    made.fit(x, y, verbose=0)
    made.freeze("inner/dense")
    back = saved(made, tmp_path)
    assert list(back.predict(x)) == ["first", "second"] and back.input_names == ("a", "b")
    require_twins(made, back, x, y)


SCHEDULE = optim.schedules.LinearWarmup(optim.schedules.CosineDecay(0.1, 50), 5)
OPTIMIZERS = [cls() for cls in optim.registry.CLASSES] + [
    optim.SGD(SCHEDULE, momentum=0.9, nesterov=True),
    optim.Adam({"dense/*": 0.1, "*": 0.01}, amsgrad=True, weight_decay=0.1, exclude_from_weight_decay=["*bias"]),
    optim.Adam(use_ema=True, ema_overwrite_frequency=2, gradient_accumulation_steps=2),
    optim.Lookahead(optim.SGD(jnp.asarray(0.3), momentum=0.5, use_ema=True), sync_period=2),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: repr(optimizer)[:50])
def test_every_optimizer_goes_on_where_it_stood(optimizer, tmp_path):
    made = small(optimizer)
    for _ in range(3):
        made.train_on_batch(X, Y)  # the three share a compilation with those below
    back = saved(made, tmp_path)
    assert jax.tree.structure(back.state) == jax.tree.structure(made.state)
    assert back.train_on_batch(X, Y) == made.train_on_batch(X, Y)
    state, other = (jax.tree.leaves(model.state.replace(key=None)) for model in (made, back))
    jax.tree.map(np.testing.assert_array_equal, state, other)


class Twice(nn.Layer):
    by: float = 2.0

    def call(self, params, state, x, training, key):
        return self.by * x, state


class Own(Model):
    def __init__(self, units):
        super().__init__(seed=3)
        self.units = units
        self.body, self.heads = Dense(units, "relu"), [Dense(2), Twice(0.5)]

    def call(self, inputs):
        return self.heads[1](self.heads[0](self.body(inputs)))

    def compute_loss(self, x, y, y_pred, sample_weight):
        return jnp.mean((y - y_pred) ** 2) * self.units


class Stack(Sequential):
    def __init__(self, depth):
        super().__init__([Dense(4, input_shape=(4,)) for _ in range(depth)])
        self.depth = depth


def half(x):
    return x / 2


def test_classes_and_functions_of_ones_own(tmp_path):
    made = Own(3)
    made.compile("adam", metrics=["mae"])
    made.fit(X, Y, verbose=0)
    made.freeze("body")
    back = saved(made, tmp_path, custom_objects={"Own": Own, "Twice": Twice})
    assert type(back) is Own and back.units == 3 and back.heads == tuple(made.heads)
    require_twins(made, back, X, Y)
    stack = saved(Stack(2), tmp_path, custom_objects={"Stack": Stack})
    assert type(stack) is Stack and stack.depth == 2 and len(stack.layers) == 2
    net = Sequential([Dense(2, half, input_shape=(4,)), Lambda(half), Twice()])
    net.save(tmp_path / "net")
    path = tmp_path / "net"
    for known, missing in [({}, "'half' is not kjax's own"), ({"half": half}, "'Twice' is not kjax's own")]:
        with pytest.raises(ValueError, match=missing) as caught:
            kjax.load_model(path, custom_objects=known)
        assert "net (Serial).layers[" in str(caught.value) and "custom_objects={" in str(caught.value)
    both = {"half": half, "Twice": Twice}
    np.testing.assert_array_equal(kjax.load_model(path, both).predict(X), net.predict(X))


def test_what_is_not_built_or_not_compiled_is_saved_as_it_is(tmp_path):
    made = Sequential([Dense(3), Dense(2)])
    back = saved(made, tmp_path)
    assert not back.built and back.net == made.net
    np.testing.assert_array_equal(back.predict(X), made.predict(X))
    back = saved(made, tmp_path)
    assert back.built and back._trainer is None
    back = saved(small(), tmp_path, compile=False)
    assert back._trainer is None and back.state.opt_state == ()


def test_what_a_stateful_layer_carries_is_kept(tmp_path):
    made = Sequential([SimpleRNN(2, stateful=True, batch_input_shape=(4, 3, 2))])
    made.compile("sgd", "mse")
    x, y = X[:8].reshape(4, 4, 2)[:, :3], Y[:4]
    made.train_on_batch(x, y)
    back = saved(made, tmp_path)
    assert back.train_on_batch(x, y) == made.train_on_batch(x, y)
    np.testing.assert_array_equal(back.predict_on_batch(x), made.predict_on_batch(x))


def test_bfloat16_and_the_names_in_the_file(tmp_path):
    made = Sequential([Dense(3, dtype="bfloat16", input_shape=(4,))])
    made.compile(optim.SGD(momentum=0.5), "mse")
    back = saved(made, tmp_path)
    np.testing.assert_array_equal(np.asarray(back.predict(X), "float32"), np.asarray(made.predict(X), "float32"))
    arrays, metadata = contents(tmp_path / "model.safetensors")
    assert {"params/dense/kernel", "opt_state/step", "opt_state/slots/velocity/dense/bias", "step", "key"} <= set(
        arrays
    )
    header = json.loads(metadata["model"])
    assert header["kjax"] == kjax.__version__
    assert header["training"]["loss"] == {"function": "losses.mean_squared_error"}
    made.save_weights(tmp_path / "weights")
    made.load_weights(tmp_path / "weights")


def test_the_architecture_as_json_and_as_a_config():
    made = small(name="little", seed=5)
    for back in (
        models.model_from_json(made.to_json()),
        Sequential.from_config(made.get_config()),
        models.model_from_config(json.loads(json.dumps(made.get_config()))),
    ):
        assert back.net == made.net and (back.name, back.seed) == ("little", 5) and type(back) is Sequential
        np.testing.assert_array_equal(back.predict(X), made.predict(X))


@pytest.mark.parametrize(
    "value",
    [math.inf, -0.0, 1e-300, (1, (2.0, "a")), None, True, ..., np.float32(0.1), np.int64(3), 2**80, slice],
    ids=repr,
)  # fmt: skip
def test_settings_of_every_kind_keep_value_and_type(value):
    if value is slice:
        value = nn.Slice((slice(None), slice(0, 3, 2), ..., -1))
    back = from_config(json.loads(text({"a": to_config(value)}))["a"])
    assert type(back) is type(value) and back == value and repr(back) == repr(value)
    assert math.isnan(from_config(to_config(math.nan)))


def test_the_old_file_stays_if_writing_fails(tmp_path, monkeypatch):
    made, path = small(), tmp_path / "m"
    made.save(path)
    before = path.read_bytes()

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    made.fit(X, Y, verbose=0)
    with pytest.raises(OSError, match="No space left on device: nothing was saved"):
        made.save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()

    def denied(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", denied)
    with pytest.raises(PermissionError, match=r"Permission denied: nothing was saved: '.*m'"):
        made.save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before


def edited(path, change):
    """A model's file after a change of its JSON."""
    arrays, metadata = contents(path)
    header = json.loads(metadata["model"])
    change(header)
    write(path, arrays, model=json.dumps(header))


def _load(change, optimizer="sgd"):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "m")
        small(optimizer).save(path)
        edited(path, change)
        return kjax.load_model(path)


def _first(header):
    return header["model"]["net"]["fields"]["layers"][0]


def _nested(header):
    for _ in range(300):
        header["model"]["net"] = {"class": "nn.Serial", "fields": {"layers": [header["model"]["net"]]}}


def _compiled(**options):
    made = Sequential([Dense(1, input_shape=(4,))])
    made.compile("sgd", **{"loss": "mse", **options})
    return made


def _two_of_one_name():
    def half(x):
        return 0.5 * x

    return Sequential([Lambda(half), Lambda(globals()["half"])])


class Loose(Model):
    def __init__(self):
        super().__init__(Dense(1))
        self.table = {"a": 1}


READING = {
    "an unknown layer": (lambda h: _first(h).update({"class": "nn.Dence"}), ["net (Serial).layers[0]", "no class 'nn.Dence'", "Did you mean 'nn.Dense'?"]),
    "an unknown field": (lambda h: _first(h)["fields"].update(unit=3), ["net (Serial).layers[0] (Dense)", "'unit'", "Did you mean 'units'?"]),
    "a field of a wrong type": (lambda h: _first(h)["fields"].update(units="3"), ["layers[0] (Dense)", "units must be an integer", "'3'"]),
    "a function of another library": (lambda h: _first(h)["fields"].update(activation={"function": "os.system"}), ["Dense).activation", "no function 'os.system'"]),
    "a function that is a class": (lambda h: _first(h)["fields"].update(activation={"function": "nn.Dense"}), ["activation", "is no function"]),
    "a custom object that is not given": (lambda h: _first(h)["fields"].update(activation={"function": "mine"}), ["activation", "'mine' is not kjax's own", "custom_objects={'mine': …}"]),
    "a vocabulary out of a file": (lambda h: _first(h).update({"class": "nn.IntegerLookup", "fields": {"vocabulary": "/etc/passwd"}}), ["IntegerLookup).vocabulary", "names a file"]),
    "shapes larger than the file": (lambda h: _first(h)["fields"].update(units=10**12), ["params/dense/kernel has shape (4, 3)", "1000000000000"]),
    "inputs larger than the file": (lambda h: h["input"].update(shape=[1, 10**9]), ["params/dense/kernel has shape (4, 3)"]),
    "an input of no shape": (lambda h: h["input"].update(shape=[-1]), ["input", "[-1]", "no shape"]),
    "deep nesting": (_nested, ["nested more than 200 deep"]),
    "another format": (lambda h: h.update(format=99), ["format 99", "reads format 1"]),
    "an unknown entry": (lambda h: h.update(trainin=None), ["'trainin'", "Did you mean 'training'?"]),
    "an optimizer of other slots": (lambda h: h["training"].update(optimizer={"class": "optim.Adam"}), ["opt_state/slots/m", "is missing"]),
    "no network": (lambda h: h["model"].update(net=3), ["net", "3"]),
    "a class that is no model": (lambda h: h["model"].update(kind="nn.Dense"), ["nn.Dense", "not one derived from kjax.Model"]),
    "a seed of text": (lambda h: h["model"].update(seed="x"), ["seed an integer", "'x'"]),
    "an unknown random generator": (lambda h: h.update(key="dice"), ["dice"]),
    "an unknown kind of value": (lambda h: _first(h)["fields"].update(units={"python": "1"}), ["Dense).units", "python"]),
    "a method overwritten": (lambda h: h["model"].update(members={"fit": 1}), ["members", "'fit'"]),
}  # fmt: skip

WRITING = {
    "a lambda as a layer": (lambda: Sequential([Lambda(lambda x: x)]).save("m"), ["net (Serial).layers[0] (Lambda).function is a lambda", "def name(…)", "custom_objects"]),
    "a lambda as a loss": (lambda: _compiled(loss=lambda y, p: (y - p)[:, 0] ** 2).save("m"), ["compile: loss is a lambda"]),
    "a lambda as a rate": (lambda: small(optim.SGD(lambda step: 0.1)).save("m"), ["compile: optimizer (SGD).lr is a lambda"]),
    "two functions of one name": (lambda: _two_of_one_name().save("m"), ["same name", "rename one"]),
    "no layers": (lambda: Sequential().save("m"), ["no layers"]),
    "an attribute that is no setting": (lambda: Loose().save("m"), ["self.table", "_table"]),
    "custom objects in a list": (lambda: kjax.load_model("m", custom_objects=[Twice]), ["custom_objects is a dict"]),
    "no JSON": (lambda: models.model_from_json("{"), ["json_string", "no JSON"]),
    "no text": (lambda: models.model_from_json(3), ["json_string", "no JSON"]),
    "JSON of something else": (lambda: models.model_from_json("[]"), ["json_string", "table"]),
}  # fmt: skip


@pytest.mark.parametrize("name", READING)
def test_a_file_that_says_nonsense_is_refused(name):
    change, parts = READING[name]
    with pytest.raises(SavedModelError) as caught:
        _load(change)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


@pytest.mark.parametrize("name", WRITING)
def test_what_cannot_be_saved_is_refused_before_a_file_is_touched(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, TypeError)) as caught:
        WRITING[name][0]()
    assert all(part in str(caught.value) for part in WRITING[name][1]), str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_damaged_and_other_files_are_refused(tmp_path):
    path = tmp_path / "m"
    made = small()
    made.save(path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:7], whole[:-1], whole[:200], b"\xff" * 8 + whole[8:], whole + b"x", b"PK" + whole):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="no whole safetensors file"):
            kjax.load_model(path)
    made.save_weights(path)
    with pytest.raises(ValueError, match="holds weights without a model"):
        kjax.load_model(path)
    made.save(path)
    with pytest.raises(ValueError, match="whole model, not weights alone"):
        made.load_weights(path)
    with pytest.raises(FileNotFoundError):
        kjax.load_model(tmp_path / "nothing")


def test_damaged_files_are_refused_or_are_models():
    got = fuzz(200)
    assert got["crashes"] == [] and got["refused"] + got["loaded"] == 200 and got["refused"] > 150
