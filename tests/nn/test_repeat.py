"""Repeat: the same numbers as as many layers in a row, compiled as one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kjax import Sequential, nn

X = np.random.default_rng(0).standard_normal((6, 4)).astype("float32")
BLOCK = nn.Serial(
    [
        nn.Dense(4, "tanh", kernel_regularizer="l2", activity_regularizer="l1", kernel_constraint="max_norm"),
        nn.BatchNormalization(momentum=0.5),
        nn.Dropout(0.3),
    ]
)


def stacked(tree):
    """What a `Serial` of equal layers has, as `Repeat` has it."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *tree.values())


def equal(a, b, rtol=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-7), a, b)


def test_it_is_a_serial_of_as_many_layers():
    repeat, serial = nn.Repeat(BLOCK, 3), nn.Serial([BLOCK] * 3)
    params, state = jax.jit(serial.init)(jax.random.key(0), X)
    equal(jax.jit(repeat.init)(jax.random.key(0), X), (stacked(params), stacked(state)), rtol=0)
    # A row is padding: it must neither move the statistics nor cost.
    x, key = nn.Masked(jnp.asarray(X), jnp.arange(6) < 5), jax.random.key(1)
    assert repeat.needs_rows and repeat.draws

    def run(net, params, state):
        y, new_state = net.apply(params, state, x, True, key)
        return jnp.sin(y.value[:5]).sum() + net.penalty(params, new_state), new_state

    grads, new_state = jax.jit(jax.grad(run, 1, has_aux=True), static_argnums=0)(serial, params, state)
    ours, moved = jax.jit(jax.grad(run, 1, has_aux=True), static_argnums=0)(repeat, stacked(params), stacked(state))
    equal(ours, stacked(grads), rtol=1e-5)
    equal(moved, stacked(new_state), rtol=1e-5)
    large = jax.tree.map(lambda a: 5 * a, params)
    equal(repeat.constrain(stacked(large)), stacked(serial.constrain(large)))


def test_the_layer_is_traced_once_however_often_it_is_repeated():
    traces = []

    class Counted(nn.Layer):
        def call(self, params, state, x, training, key):
            traces.append(x)
            return jnp.sin(x), state

    programs = [str(jax.make_jaxpr(lambda x, n=n: nn.Repeat(Counted(), n).apply({}, {}, x)[0])(X)) for n in (2, 300)]
    assert len(traces) <= 4 and len(programs[0]) == pytest.approx(len(programs[1]), abs=10)


def test_a_population_of_deep_nets_is_a_loop_over_them():
    net = nn.Repeat(nn.Dense(4, "tanh"), 3)
    params = jax.jit(jax.vmap(lambda key: net.init(key, X)[0]))(jax.random.split(jax.random.key(0), 2))
    run = jax.jit(lambda params: net.apply(params, {}, X)[0])
    both = jax.jit(jax.vmap(run))(params)
    for i in range(2):
        np.testing.assert_allclose(both[i], run(jax.tree.map(lambda a, i=i: np.asarray(a)[i], params)), rtol=2e-6)


def test_masks_and_frozen_parts_go_through():
    block = nn.Serial([nn.Dense(4, trainable=False), nn.Dense(4, name="head")])
    net, mask = nn.Repeat(block, 2), jnp.ones((6, 1), bool)
    x = nn.Masked(jnp.asarray(X[:, None]), mask)
    params, state = net.init(jax.random.key(0), x)
    y, _ = net.apply(params, state, x)
    np.testing.assert_array_equal(y.mask, mask)
    trainable, frozen = net.partition(params)
    assert (set(trainable), set(frozen)) == ({"head"}, {"dense"})


def test_a_model_with_it_trains_and_keeps_kernel_before_bias():
    model = Sequential([nn.Repeat(nn.Residual([nn.Dense(4, "tanh")]), 2), nn.Dense(1)], seed=0)
    model.compile("adam", "mse")
    history = model.fit(X, X[:, :1] ** 2, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert [a.shape for a in model.get_weights()] == [(2, 4, 4), (2, 4), (4, 1), (1,)]


def test_padding_reaches_residual_blocks():
    net = nn.Residual([nn.Dense(4, name="a"), nn.Dense(4)])
    params, state = net.init(jax.random.key(0), X)
    y, _ = net.apply(params, state, nn.Masked(X, jnp.arange(6) < 2))
    inner, _ = nn.Serial(net.layers).apply(params, state, X)
    np.testing.assert_allclose(y.value, X + inner, rtol=1e-6)
    np.testing.assert_array_equal(y.mask, jnp.arange(6) < 2)
