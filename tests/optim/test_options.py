"""What every optimizer can do beside its rule: weight decay, rates by path, gathered gradients, averages."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import keras_allowed

import kjax
from kjax import layers, optim
from kjax.optim import SGD, Adam, AdamW, Lookahead, Nadam, schedules

PARAMS = {
    "body": {"bias": np.array([0.5, -1.0]), "kernel": np.array([[1.0, 2.0], [-3.0, 0.25]])},
    "head": {"bias": np.array([2.0]), "kernel": np.array([[0.5], [-0.75]])},
}
NAMES = ["body/bias", "body/kernel", "head/bias", "head/kernel"]
STEPS = 12


def tree(dtype=np.float32):
    return jax.tree.map(lambda a: jnp.asarray(a, dtype), PARAMS)


def gradients(seed=0, steps=STEPS, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=(steps, *a.shape)), dtype), PARAMS)


def run(optimizer, grads, params):
    """The params after each step, by name, and the last state."""

    def step(carry, g):
        params, state = optimizer.update(g, carry[1], carry[0])
        return (params, state), params

    (_, state), history = jax.jit(lambda c, g: jax.lax.scan(step, c, g))((params, optimizer.init(params)), grads)
    return dict(zip(NAMES, jax.tree.leaves(history), strict=True)), state


def close(got, wanted, **tolerance):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **({"rtol": 3e-6, "atol": 3e-6} | tolerance)), got, wanted
    )


# Against Keras 3.

KERAS = {
    "excluded": (
        AdamW(0.05, 0.3, exclude_from_weight_decay=["*bias", "head*"]),
        lambda k: k.AdamW(0.05, 0.3),
        ["bias", "head"],
    ),
    "gathered": (
        Adam(schedules.ExponentialDecay(0.05, 1, 0.5), epsilon=1e-7, gradient_accumulation_steps=3, weight_decay=0.1),
        # Keras's schedules count the gradients, three for a step.
        lambda k: k.Adam(
            k.schedules.ExponentialDecay(0.05, 3, 0.5, staircase=True), gradient_accumulation_steps=3, weight_decay=0.1
        ),
    ),
    "overwritten": (
        SGD(0.1, 0.9, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=5),
        lambda k: k.SGD(0.1, 0.9, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=5),
    ),
}


@pytest.mark.parametrize("name", KERAS)
def test_keras(name):
    import keras

    ours, make, *excluded = KERAS[name]
    grads = gradients()
    got, state = run(ours, grads, tree())
    with keras_allowed():
        variables = [
            keras.Variable(p, name=n.replace("/", "_")) for n, p in zip(NAMES, jax.tree.leaves(tree()), strict=True)
        ]
        optimizer = make(keras.optimizers)
        if excluded:
            optimizer.exclude_from_weight_decay(var_names=excluded[0])
        for i in range(STEPS):
            optimizer.apply([g[i] for g in jax.tree.leaves(grads)], variables)
            for n, v in zip(NAMES, variables, strict=True):
                np.testing.assert_allclose(got[n][i], np.asarray(v), rtol=3e-6, atol=3e-6, err_msg=f"{n} at {i}")
        if ours.use_ema:
            averages = ours.averaged(state, tree())
            close(jax.tree.leaves(averages), [np.asarray(a) for a in optimizer._model_variables_moving_average])


# Gathered gradients.


@pytest.mark.parametrize("optimizer", [Nadam(0.05), AdamW(0.05, global_clipnorm=1.0)], ids=str)
def test_gathered_gradients_are_those_of_a_big_batch(optimizer):
    with jax.enable_x64(True):
        small = gradients(dtype=np.float64)
        big = jax.tree.map(lambda g: g.reshape(-1, 4, *g.shape[1:]).mean(1), small)
        wanted, _ = run(optimizer, big, tree(np.float64))
        got, state = run(optimizer.replace(gradient_accumulation_steps=4), small, tree(np.float64))
        for name in NAMES:
            np.testing.assert_allclose(got[name][3::4], wanted[name], rtol=1e-12, atol=1e-14)
            np.testing.assert_array_equal(got[name][4:7], got[name][3:6])  # between two steps nothing moves
        assert state.step == STEPS // 4 and state.scalars["gradients"] == 0


def test_a_model_that_gathers_equals_one_with_bigger_batches():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 5)), rng.normal(size=(64, 2))
    weights = []
    for optimizer, batch_size in [(Adam(0.01, gradient_accumulation_steps=4), 8), (Adam(0.01), 32)]:
        model = kjax.Sequential([layers.Dense(7, activation="tanh"), layers.Dense(2, kernel_regularizer="l2")])
        model.compile(optimizer=optimizer, loss="mse")
        model.fit(x, y, batch_size=batch_size, epochs=5, shuffle=False, verbose=0)
        weights.append(model.get_weights())
        assert model.state.opt_state.step == 10
    close(*weights, rtol=1e-5, atol=1e-6)


def test_half_precision_gathers_and_averages_in_float32():
    optimizer, p = SGD(1.0, gradient_accumulation_steps=300, use_ema=True), jnp.zeros(2, jnp.bfloat16)
    state = optimizer.init(p)
    assert {a.dtype for a in state.slots.values()} == {jnp.dtype("float32")}
    update = jax.jit(optimizer.update)
    for _ in range(300):
        p, state = update(jnp.full(2, -1, jnp.bfloat16), state, p)
    assert p.dtype == jnp.bfloat16 and p.tolist() == [1, 1]  # a sum in bfloat16 ends at 256
    assert optimizer.averaged(state, p).dtype == jnp.bfloat16


# Averages.


def test_averages_on_demand():
    x, y = np.ones((8, 1), "float32"), np.zeros((8, 1), "float32")
    model = kjax.Sequential([layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    model.compile(optimizer=SGD(0.25, use_ema=True, ema_momentum=0.5), loss="mse")
    assert SGD(use_ema=True).averaged(SGD(use_ema=True).init(x), x).tolist() == x.tolist()
    model.fit(x, y, batch_size=8, epochs=3, verbose=0)  # halves the weight: 0.5, 0.25, 0.125
    plain = model.evaluate(x, y, verbose=0)
    with model.averaged_weights():
        assert model.evaluate(x, y, verbose=0) == pytest.approx(0.25**2)  # ((0.5 + 0.25) / 2 + 0.125) / 2
        assert model.predict(x, verbose=0)[0, 0] == pytest.approx(0.25)
    assert model.evaluate(x, y, verbose=0) == plain == pytest.approx(0.125**2)
    model.compile(optimizer="sgd", loss="mse")
    with pytest.raises(ValueError, match="SGD keeps no average of the weights: give it use_ema=True"):
        model.averaged_weights().__enter__()


# By path.


def test_a_rate_for_each_pattern():
    optimizer = Nadam({"head/*": 0.1, "*bias": 0.0, "*": schedules.ExponentialDecay(0.1, 1, 0.5)})
    got, _ = run(optimizer, gradients(), tree())
    head, _ = run(Nadam(0.1), gradients(), tree())
    body, _ = run(Nadam(schedules.ExponentialDecay(0.1, 1, 0.5)), gradients(), tree())
    close(got["head/kernel"], head["head/kernel"])
    close(got["head/bias"], head["head/bias"])
    close(got["body/kernel"], body["body/kernel"])
    assert (np.asarray(got["body/bias"]) == PARAMS["body"]["bias"].astype(np.float32)).all()
    assert eval(repr(SGD({"a": 0.1, "*": 1}))) == SGD({"a": 0.1, "*": 1.0})
    rates = optimizer.learning_rate_at(1)
    assert {name: round(float(rate), 6) for name, rate in rates.items()} == {"head/*": 0.1, "*bias": 0.0, "*": 0.05}


def test_rates_by_pattern_never_recompile():
    traces = []

    @jax.jit
    def update(optimizer, grads, state, params):
        traces.append(1)
        return optimizer.update(grads, state, params)

    params = tree()
    for rates in ({"head*": 0.1, "*": 0.2}, {"head*": 1, "*": 0.3}):
        optimizer = SGD(rates, weight_decay=rates["*"], exclude_from_weight_decay="*bias")
        update(optimizer, params, optimizer.init(params), params)
    assert len(traces) == 1


def test_frozen_layers_have_no_path():
    x, y = np.ones((4, 3), "float32"), np.ones((4, 1), "float32")
    model = kjax.Sequential([layers.Dense(2, name="body"), layers.Dense(1, name="head")])
    model.compile(optimizer=SGD({"head*": 0.1, "body*": 0.0}, weight_decay=0.5), loss="mse")
    model.fit(x, y, verbose=0)
    with pytest.raises(ValueError, match=r"no pattern for body/bias, body/kernel, only 'head\*': add '\*' as its last"):
        model.compile(optimizer=SGD({"head*": 0.1}), loss="mse")
    frozen = kjax.Sequential([layers.Dense(2, name="body", trainable=False), layers.Dense(1, name="head")])
    frozen.compile(optimizer=SGD({"head*": 0.1}), loss="mse")
    frozen.fit(x, y, verbose=0)
    with pytest.raises(ValueError, match=r"'body\*' matches no parameter that is trained.*: head/bias, head/kernel\."):
        frozen.compile(optimizer=SGD({"body*": 0.1, "*": 0.1}), loss="mse")


def test_muon_leaves_to_adam_what_is_excluded():
    params = {"embedding": jnp.ones((3, 2)), "hidden": jnp.ones((3, 2)), "output": jnp.ones((3, 2))}
    optimizer = optim.Muon(0.1, exclude_layers=["output*"], weight_decay=0.5)
    state = optimizer.init(params)
    assert {name: v.shape for name, v in state.slots["v"].items()} == {
        "embedding": (3, 2), "hidden": (), "output": (3, 2)
    }  # fmt: skip
    new, _ = optimizer.update(params, state, params)
    adam = AdamW(0.1)
    wanted, _ = adam.update(params, adam.init(params), params)
    close({**new, "hidden": 0}, {**wanted, "hidden": 0})
    # All of the rank-one gradient's length goes into its one direction, at the root mean square of 0.2.
    np.testing.assert_allclose((0.95 - new["hidden"]) / 0.1, 0.2 * np.sqrt(3) / np.sqrt(6), rtol=0.35)


# Lookahead.


def test_lookahead_by_its_formula():
    with jax.enable_x64(True):
        grads, fast = gradients(dtype=np.float64), dict.fromkeys(NAMES, 0.0)
        got, state = run(Lookahead(SGD(0.1), 5, 0.3), grads, tree(np.float64))
        start = dict(zip(NAMES, jax.tree.leaves(PARAMS), strict=True))
        for name, own in zip(NAMES, jax.tree.leaves(grads), strict=True):
            fast = slow = start[name]
            for i in range(STEPS):
                fast = fast - 0.1 * np.asarray(own[i])
                if (i + 1) % 5 == 0:
                    fast = slow = slow + 0.3 * (fast - slow)
                np.testing.assert_allclose(got[name][i], fast, rtol=1e-12, atol=1e-14)
        assert state.step == STEPS


def test_lookahead_is_an_optimizer_like_others():
    optimizer = Lookahead(Adam(0.1, gradient_accumulation_steps=2, use_ema=True, ema_momentum=0.5), sync_period=3)
    assert optim.get("lookahead") == Lookahead("adam") == Lookahead()
    assert optimizer.lr == optimizer.learning_rate == 0.1 and optimizer.learning_rate_at(0) == jnp.float32(0.1)
    slower = optimizer.replace(lr=0.2, slow_step_size=0.1)
    assert slower.lr == 0.2 and slower.optimizer.beta_1 == 0.9 and slower.slow_step_size == 0.1
    assert pickle.loads(pickle.dumps(optimizer)) == optimizer == eval(repr(optimizer))
    assert jax.tree.structure(slower) == jax.tree.structure(optimizer)
    x, y = np.ones((8, 3), "float32"), np.ones((8, 1), "float32")
    model = kjax.Sequential([layers.Dense(1)])
    model.compile(optimizer=optimizer, loss="mse")
    history = model.fit(x, y, batch_size=2, epochs=20, verbose=0)  # donates: each array has a buffer of its own
    assert history.history["loss"][-1] < 0.1 * history.history["loss"][0]
    with model.averaged_weights():
        assert model.evaluate(x, y, verbose=0) < 1


def test_all_options_at_once_keep_the_dtype():
    with jax.enable_x64(True):
        for dtype in ("float16", "float64"):
            optimizer = AdamW(
                {"head*": 0.01, "*": 0.1}, exclude_from_weight_decay="*bias", gradient_accumulation_steps=2,
                use_ema=True, ema_overwrite_frequency=3, global_clipnorm=1.0,
            )  # fmt: skip
            got, state = run(Lookahead(optimizer), gradients(dtype=dtype), tree(dtype))
            assert (
                {a.dtype for a in got.values()} == {a.dtype for a in jax.tree.leaves(state.slow)} == {jnp.dtype(dtype)}
            )
            assert all(np.isfinite(np.asarray(a, "float32")).all() for a in got.values())


REFUSED = [
    (lambda: SGD({"a": "x"}), TypeError, "SGD: lr must be a number or a function of the step; got 'x'"),
    (lambda: SGD({"a": -1}), ValueError, r"SGD: lr must be in \[0, inf\); got -1.0"),
    (lambda: SGD({1: 0.1}), TypeError, "SGD: a pattern is a text such as '\\*bias'; got 1"),
    (lambda: SGD(exclude_from_weight_decay=[1]), TypeError, "SGD: a pattern is a text such as '\\*bias'; got 1"),
    (lambda: SGD({"haed*": 0.1, "*": 1}).init(tree()), ValueError, "SGD: lr: .*'haed\\*' .* Did you mean 'head'"),
    (lambda: SGD({"*": 0.1, "head*": 1}).init(tree()), ValueError, r"'head\*' stands behind '\*'.*: put it first"),
    (lambda: AdamW(exclude_from_weight_decay="*beta").init(tree()), ValueError, r"'\*beta' matches no parameter"),
    (lambda: SGD(weight_decay=-1), ValueError, r"SGD: weight_decay must be in \[0, inf\); got -1.0"),
    (lambda: SGD(gradient_accumulation_steps=0), ValueError, "gradient_accumulation_steps must be an integer of at le"),
    (lambda: SGD(gradient_accumulation_steps=2.5), ValueError, "gradient_accumulation_steps must be an integer of at"),
    (lambda: SGD(use_ema=1), TypeError, "SGD: use_ema must be True or False; got 1"),
    (lambda: SGD(ema_momentum=1), ValueError, r"SGD: ema_momentum must be in \[0, 1\); got 1.0"),
    (lambda: SGD(ema_overwrite_frequency=0), ValueError, "ema_overwrite_frequency must be an integer of at least 1"),
    (lambda: Lookahead("adm"), ValueError, "unknown optimizer 'adm'. Did you mean 'Adam'"),
    (lambda: Lookahead(slow_step_size=2), ValueError, r"slow_step_size must be in \(0, 1\]; got 2.0"),
    (lambda: Lookahead(sync_period=0), ValueError, "Lookahead: sync_period must be an integer of at least 1; got 0"),
    (lambda: Lookahead().replace(rho=0.5), TypeError, "Adam has no argument 'rho'|unexpected keyword argument 'rho'"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "error", "message"), REFUSED, ids=[row[2] for row in REFUSED])
def test_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_last_star_may_be_left_with_nothing():
    """As where all but the head is frozen."""
    head = {"head": {"kernel": jnp.ones(3)}}
    optimizer = SGD({"head*": 0.5, "*": 0.1})
    params, _ = optimizer.update(head, optimizer.init(head), head)
    np.testing.assert_array_equal(params["head"]["kernel"], np.full(3, 0.5, np.float32))
