"""The logs after each step of a compiled loop: those that one step at a time gives, to the last bit."""

import functools

import jax
import numpy as np
import pytest

import kjax
from kjax import compiled, layers, metrics, nn, optim, reader, steps, train
from kjax.callbacks import BackupAndRestore, Callback

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((75, 4)).astype("float32"), RNG.integers(0, 2, (75, 1)).astype("float32")
WEIGHT = RNG.uniform(0.1, 2.0, 75).astype("float32")


class Look(Callback):
    """Keeps what it is told of each batch, and how far the model was then."""

    saved_attributes = ("seen",)

    def __init__(self, single, stop=None):
        self.between_steps, self.stop = single, stop
        self.seen, self.at = [], set()

    def see(self, hook, batch, logs):
        self.seen.append((hook, batch, dict(logs)))
        logs["added"] = 1.0  # is nobody else's

    def on_train_batch_begin(self, batch, logs=None):
        assert logs == {}

    def on_train_batch_end(self, batch, logs=None):
        self.at.add(int(self.model.state.step))
        self.see("train", batch, logs)
        if self.stop is not None and len(self.seen) == self.stop:
            self.model.stop_training = True

    def on_test_batch_end(self, batch, logs=None):
        self.see("test", batch, logs)


def one(loss="mse", optimizer="sgd", compute=("accuracy",), **options):
    model = kjax.Sequential([layers.Dropout(0.3, input_shape=(4,)), layers.Dense(1, "sigmoid")])
    model.compile(optimizer, loss, metrics=list(compute), **options)
    return model


def more():
    """A network with more that a step keeps."""
    net = [layers.Dense(6, "relu", input_shape=(4,)), layers.BatchNormalization(), layers.Dropout(0.3)]
    model = kjax.Sequential([*net, layers.Dense(1, "sigmoid")])
    model.compile(optim.Adam(0.01), "binary_crossentropy", metrics=["accuracy", "auc"])
    return model


def two():
    given = kjax.Input((4,))
    hidden = layers.Dense(6, "tanh")(given)
    outputs = [layers.Dense(1, "sigmoid", name="yes")(hidden), layers.Dense(4, name="again")(hidden)]
    model = kjax.Model(given, outputs)
    own = {"yes": ["accuracy", metrics.Precision()], "again": [metrics.R2Score()]}
    model.compile("sgd", {"yes": "binary_crossentropy", "again": "mse"}, metrics=own, loss_weights=[1.0, 0.3])
    return model


def whole(y_true, y_pred):
    """A loss that has to see just the batch, so that a short one is not padded."""
    return abs(y_true - y_pred).mean()


def batches(size=6, stop=75):
    return [(X[i : i + size], Y[i : i + size]) for i in range(0, stop, size)]


HELD_OUT = {"validation_data": (X[:70], Y[:70]), "validation_batch_size": 4}
BY_SIX = {"x": X, "y": Y, "batch_size": 6}
CASES = {
    "arrays, the last batch is short": (more, BY_SIX | HELD_OUT),
    "several outputs": (two, BY_SIX | {"y": {"yes": Y, "again": X}}),
    "a short batch that is not padded": (lambda: one(whole, compute=()), BY_SIX | {"shuffle": "batch"}),
    "gradients gathered, in half precision, with weights": (
        lambda: one(optimizer=optim.SGD(0.1, gradient_accumulation_steps=4), precision="mixed_float16"),
        BY_SIX | {"sample_weight": WEIGHT},
    ),
    "a stream": (one, {"x": lambda: iter(batches()), "validation_data": lambda: iter(batches(4, 60))}),
    "some steps of a stream": (one, {"x": lambda: iter(batches()), "steps_per_epoch": 9}),
    "watched": (one, BY_SIX | {"check_finite": True}),
}


def told(model, single, **options):
    """What a callback is told, the history and the weights; and whether loops had more than one step."""
    look = Look(single)
    history = model.fit(**options, epochs=3, verbose=0, callbacks=look).history
    steps = [batch for hook, batch, _ in look.seen if hook == "train"]
    return (look.seen, history, [np.asarray(a) for a in jax.tree.leaves(model.state.params)]), len(steps) - len(look.at)


@pytest.mark.exact
@pytest.mark.parametrize("name", CASES)
def test_the_logs_of_each_batch_are_those_of_single_steps(name, monkeypatch):
    monkeypatch.setattr(reader, "BLOCK_BYTES", 5 * 6 * 5 * 4)  # five steps of a stream
    make, options = CASES[name]
    (wanted, history, weights), none = told(make(), True, **options)
    (seen, found, same), saved = told(make(), False, **options)
    assert seen == wanted and found == history and none == 0 < saved
    assert all((a == b).all() for a, b in zip(weights, same, strict=True))
    ends = [seen[i][2] for i in range(len(seen)) if i + 1 == len(seen) or seen[i + 1][1] == 0]
    assert [logs["loss"] for logs in ends] == [v for pair in zip(*found_losses(found), strict=True) for v in pair]


def found_losses(history):
    return [history[name] for name in ("loss", "val_loss") if name in history]


def test_an_evaluation_tells_of_each_batch_too():
    looks = [Look(True), Look(False)]
    model = more()
    means = [model.evaluate(X, Y, 4, verbose=0, callbacks=look, return_dict=True) for look in looks]
    assert looks[0].seen == looks[1].seen and len(looks[0].seen) == 19
    assert means[0] == means[1] == looks[1].seen[-1][2] != looks[1].seen[-2][2]


def test_what_is_mixed_is_single():
    """A callback that acts between the steps has all the others told between them."""
    looks = [Look(False), Look(True)]
    one().fit(X, Y, 6, verbose=0, callbacks=looks)
    assert looks[1].at == looks[0].at == set(range(1, 14))


# What it compiles.


@pytest.fixture
def calls(monkeypatch):
    """The loops that were run: their numbers of steps and their options."""
    found, function = [], compiled.Compiled._function

    def counted(self, name, donated):
        run = function(self, name, donated)

        def call(*args, **options):
            if name == "train_rows":
                found.append((int(args[7]) - int(args[6]), sorted(options)))
            return run(*args, **options)

        return call

    monkeypatch.setattr(compiled.Compiled, "_function", counted)
    return found


def compilations(model):
    return [one.function for one in model.compile_report()].count("train_rows")


def test_other_numbers_of_steps_compile_nothing(calls):
    model = one(loss="mae")  # of this test alone
    for epochs in (3, 1):
        model.fit(X, Y, 6, epochs=epochs, verbose=0, callbacks=Look(False))
    assert len({n for n, _ in calls}) > 2 and compilations(model) == 1
    assert all(options == ["logs", "padded"] for _, options in calls)
    model.fit(X, Y, 6, verbose=0)  # without a callback it is another program, and no warning
    model.fit(X, Y, 6, verbose=0, callbacks=Look(False))
    assert compilations(model) == 2


def without(*hooks):
    """A callback with these hooks alone, none of which wants logs."""
    return type(
        "Some", (Callback,), {"between_steps": False} | {name: lambda self, n, logs=None: None for name in hooks}
    )()


PLAIN = {
    "nothing": [],
    "epochs": [without("on_epoch_begin", "on_epoch_end")],
    "beginnings": [without("on_train_batch_begin")],
    "tests": [without("on_test_batch_end")],
    "single steps": [Look(True)],
}


@pytest.mark.parametrize("name", PLAIN)
def test_who_does_not_ask_pays_nothing(name, calls):
    one().fit(X, Y, 6, verbose=0, callbacks=PLAIN[name])
    assert all(options == ["padded"] for _, options in calls)


@pytest.fixture(scope="module")
def pure():
    trainer = train.Trainer(nn.Dense(1), "mse", optim.SGD(0.01), metrics=["mae"])
    state, (x, y) = trainer.init(jax.random.key(0), X[:1]), jax.device_put((X, Y))
    return trainer, state, (x, y), trainer.shapes(state, (x[:5], y[:5])), np.arange(75, dtype=np.int32).reshape(15, 5)


@pytest.mark.parametrize("trains", [True, False])
def test_without_logs_a_loop_is_nothing_but_its_steps(trains, pure):
    trainer, state, data, shapes, rows = pure
    totals = trainer.init_totals(*shapes)

    def step(state, batch):
        return (
            trainer._step(state, batch, None)
            if trains
            else (state, trainer._objective(state.params, state, batch, None, False))
        )

    def plain(state, totals, data, rows, start, stop):
        def body(i, carry):
            batch, _ = steps.take_rows(data, rows[i], False)
            new, outcome = step(carry[0] if trains else state, batch)
            sums = trainer._accumulate(carry[1] if trains else carry, batch, outcome, None)
            return (new, sums) if trains else sums

        return jax.lax.fori_loop(start, stop, body, (state, totals) if trains else totals)

    run = trainer.train_rows if trains else trainer.eval_rows
    arguments = state, totals, data, rows, np.int32(0), np.int32(3)
    wanted = str(jax.make_jaxpr(plain)(*arguments))
    assert str(jax.make_jaxpr(run)(*arguments)) == wanted
    logs = trainer.init_logs(8, *shapes)
    assert str(jax.make_jaxpr(functools.partial(run, logs=logs))(*arguments)) != wanted


def test_pure_functions_note_logs_from_any_step_on(pure):
    trainer, state, data, shapes, rows = pure
    run, totals, wanted = jax.jit(trainer.train_rows), trainer.init_totals(*shapes), []
    room = trainer.init_logs(8, *shapes)
    assert {name: (a.shape, a.dtype.name) for name, a in room.items()} == {
        "loss": ((8,), "float32"),
        "mae": ((8,), "float32"),
    }
    for i in range(11):
        *now, logs = run(state, totals, data, rows, np.int32(i), np.int32(i + 1), logs=room)
        if i == 2:
            *_, several = run(state, totals, data, rows, np.int32(2), np.int32(10), logs=room)
        state, totals = now
        wanted.append(jax.device_get(jax.jit(lambda t: trainer.results(t, *shapes))(totals)))
        assert all(logs[name][0] == wanted[-1][name] and not logs[name][1:].any() for name in room)
    for name in room:
        np.testing.assert_array_equal(several[name], [logs[name] for logs in wanted[2:10]])


# How it ends.


def test_loops_are_no_longer_than_there_is_room(monkeypatch, calls):
    monkeypatch.setattr(compiled, "NOTED", 3)
    look, alone = Look(False), Look(True)
    for watch in (look, alone):
        model = one(loss="logcosh")  # of this test alone
        model.fit(X, Y, 6, epochs=3, verbose=0, callbacks=watch)
    assert {n for n, _ in calls} == {1, 2, 3} and look.seen == alone.seen


def test_a_hook_that_stops_training_ends_it_with_the_loop():
    look = Look(False, stop=7)
    model = one()
    model.fit(X, Y, 6, epochs=9, verbose=0, callbacks=look)
    stopped = int(model.state.step)
    assert 7 < stopped < 26 and [batch for _, batch, _ in look.seen] == list(range(stopped))


class Killed(Exception):
    """What stands in for the end of a process."""


def test_a_run_that_goes_on_tells_of_the_batches_that_were_left(tmp_path):
    class Kill(Callback):
        def on_run_rest(self, run):
            if run.step > 2:
                assert run.step < 38
                raise Killed

    def fit(folder, *hooks):
        look, backup = Look(False), BackupAndRestore(tmp_path / folder, save_freq=1)
        one().fit(X, Y, 2, epochs=3, verbose=0, callbacks=[look, backup, *hooks])
        return look.seen

    with pytest.raises(Killed):
        fit("broken", Kill())
    assert fit("broken") == fit("whole")
