"""The contract, whatever the rule: a frozen dataclass, a pytree of its numbers, and pure functions over trees."""

import inspect
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import check_gradients

from kjax import optim
from kjax.optim import (  # fmt: skip
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Ftrl,
    Lamb,
    Lion,
    Muon,
    Nadam,
    RAdam,
    RMSprop,
)

ALL = [
    SGD(0.1), SGD(0.1, 0.9, 0.1, nesterov=True), RMSprop(0.01), Adagrad(0.1), Adadelta(), Adam(0.01),
    Adam(0.01, amsgrad=True), AdamW(0.01, clipnorm=0.5), Adamax(0.01, clipvalue=0.1), Nadam(0.01, global_clipnorm=0.5),
    Lion(0.01, weight_decay=0.1), Ftrl(0.05), RAdam(0.01, 0.8, 0.9), Lamb(0.05), Adafactor(0.05), Muon(0.05),
]  # fmt: skip
every = pytest.mark.parametrize("optimizer", ALL, ids=str)


class Exponential:
    """A schedule as a callable pytree: its rate is a leaf."""

    def __init__(self, lr, rate):
        self.lr, self.rate = lr, rate

    def __call__(self, step):
        return self.lr * self.rate ** step.astype(jnp.float32)


jax.tree_util.register_pytree_node(
    Exponential, lambda s: ((s.lr, s.rate), None), lambda _, leaves: Exponential(*leaves)
)


def trees(seed=0, dtype=jnp.float32):
    """Params and gradients, nested."""
    rng = np.random.default_rng(seed)

    def draw():
        arrays = [jnp.asarray(rng.normal(size=shape), dtype) for shape in [(2, 3), (3,), ()]]
        return {"dense": {"kernel": arrays[0], "bias": arrays[1]}, "more": (arrays[2],)}

    return draw(), draw()


def steps(optimizer, params, n=4):
    """Descends on a bowl, step by step."""
    state = optimizer.init(params)
    for _ in range(n):
        params, state = optimizer.update(jax.tree.map(lambda p: p - 0.3, params), state, params)
    return params, state


def scanned(optimizer, params, n=4):
    """The same in a loop that is compiled."""

    def body(carry, _):
        params, state = carry
        return optimizer.update(jax.tree.map(lambda p: p - 0.3, params), state, params), None

    return jax.lax.scan(body, (params, optimizer.init(params)), length=n)[0]


def close(got, wanted, **tolerance):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **({"rtol": 1e-6, "atol": 1e-7} | tolerance)), got, wanted
    )


def test_every_optimizer_is_here():
    public = {v for v in vars(optim).values() if inspect.isclass(v) and issubclass(v, optim.Optimizer)}
    assert {type(optimizer) for optimizer in ALL} == public - {optim.Optimizer}


# Pure functions over trees.


@every
def test_update_keeps_structure_dtype_and_counts(optimizer):
    params, grads = trees()
    state = optimizer.init(params)
    assert state.step.dtype == jnp.int32 and state.step == 0
    new_params, new_state = optimizer.update(grads, state, params)
    assert jax.tree.map(jnp.shape, new_params) == jax.tree.map(jnp.shape, params)
    assert jax.tree.map(lambda a: a.aval, new_state) == jax.tree.map(lambda a: a.aval, state)
    assert new_state.step == 1


@every
def test_scan_and_jit_equal_the_loop(optimizer):
    params, _ = trees()
    close(jax.jit(lambda params: scanned(optimizer, params))(params), steps(optimizer, params))


@every
def test_a_change_of_numbers_never_recompiles(optimizer):
    traces = []

    @jax.jit
    def update(optimizer, grads, state, params):
        traces.append(1)
        return optimizer.update(grads, state, params)

    params, grads = trees()
    state = optimizer.init(params)
    params, state = update(optimizer, grads, state, params)
    for change in ({"lr": 0.5}, {"lr": 1}, {"lr": np.float64(0.2)}, {"lr": np.float32(0.2)}, {"learning_rate": 0.1}):
        params, state = update(optimizer.replace(**change), grads, state, params)
    update(jax.tree.map(lambda number: number * 0.5, optimizer), grads, state, params)
    assert len(traces) == 1


@every
def test_a_population_equals_a_loop(optimizer):
    params, _ = trees()
    rates = np.array([0.1, 0.01, 0.001], np.float32)
    population = optimizer.replace(lr=jnp.asarray(rates))
    axes = jax.tree.map(lambda a: 0 if jnp.ndim(a) else None, population)
    run = jax.jit(lambda o: scanned(o, params))
    together = jax.jit(jax.vmap(run, in_axes=(axes,)))(population)
    for i, rate in enumerate(rates):
        close(jax.tree.map(lambda a, i=i: a[i], together), run(optimizer.replace(lr=rate)))


def test_a_population_differs_in_every_number():
    params, _ = trees()
    members = [Adam(0.1, 0.9, 0.99), Adam(0.01, 0.5, 0.9, decay=0.1)]
    together = jax.vmap(lambda o: steps(o, params))(jax.tree.map(lambda *a: jnp.stack(a), *members))
    for i, member in enumerate(members):
        close(jax.tree.map(lambda a, i=i: a[i], together), steps(member, params))


def test_an_array_of_rates_needs_vmap():
    params, grads = trees()
    optimizer = SGD(jnp.array([0.1, 0.2]))
    with pytest.raises(ValueError, match=r"lr has shape \(2,\).*one number.*jax.vmap"):
        optimizer.update(grads, optimizer.init(params), params)


@every
def test_hypergradients(optimizer):
    """Of the loss after three steps, by every number of the optimizer."""
    with jax.enable_x64(True):
        params = trees(dtype=jnp.float64)[0]
        optimizer = optimizer.replace(**({"epsilon": 1e-3} if hasattr(optimizer, "epsilon") else {}))
        numbers, treedef = jax.tree.flatten(optimizer)

        def loss(numbers):
            end, _ = scanned(treedef.unflatten(numbers), params, 3)
            return sum(jnp.sum(jnp.square(p)) for p in jax.tree.leaves(end))

        # Away from 0, where sqrt has no slope.
        check_gradients(loss, [np.float64(number + 0.01) for number in numbers], order=1)


@every
def test_donation(optimizer):
    params, grads = trees()
    for init in (optimizer.init, jax.jit(optimizer.init)):
        state = init(params)
        pointers = [a.unsafe_buffer_pointer() for a in jax.tree.leaves(state)]
        assert len(set(pointers)) == len(pointers)
        given = jax.tree.map(jnp.copy, params)
        update = jax.jit(type(optimizer).update, donate_argnums=(2, 3))  # warns, so fails, where a buffer has no use
        given, state = update(optimizer, grads, state, given)
        close(update(optimizer, grads, state, given)[1].step, 2)


@every
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_dtypes(optimizer, dtype):
    """Params and slots keep theirs; a step in half precision is the rounded step of float32."""
    with jax.enable_x64(True):
        params, grads = trees(dtype=dtype)
        state = optimizer.init(params)
        wide = "float64" if dtype == "float64" else "float32"
        for _ in range(3):
            widened = jax.tree.map(lambda a: a.astype(wide) if a.dtype == dtype else a, (grads, state, params))
            wanted = optimizer.update(*widened)
            params, state = optimizer.update(grads, state, params)
            assert {a.dtype for a in jax.tree.leaves((params, state.slots))} == {jnp.dtype(dtype)}
            rounded = jax.tree.map(lambda a, b: a.astype(b.dtype), wanted, (params, state))
            jax.tree.map(np.testing.assert_array_equal, (params, state), rounded)


def test_mixed_dtypes():
    with jax.enable_x64(True):
        params = {
            "a": jnp.ones(2, jnp.bfloat16),
            "b": jnp.ones(2),
            "c": jnp.ones(2, jnp.float64),
            "d": jnp.ones(2, jnp.float32),
        }
        grads = jax.tree.map(lambda p: 0.5 * p.astype(jnp.float32), params)
        for optimizer in (Adam(0.1, clipnorm=0.1), Nadam(0.1, global_clipnorm=0.1), SGD(0.1, 0.9, clipvalue=0.1)):
            state = optimizer.init(params)
            new, state = jax.jit(optimizer.update)(grads, state, params)
            assert jax.tree.map(lambda a: a.dtype, new) == jax.tree.map(lambda a: a.dtype, params)
            close(new["c"], new["d"].astype(jnp.float64))


@every
@pytest.mark.parametrize("params", [{}, (), None, {"frozen": None}], ids=str)
def test_nothing_to_train(optimizer, params):
    state = optimizer.init(params)
    new, state = jax.jit(optimizer.update)(params, state, params)
    assert new == params and state.step == 1


def test_numpy_arrays_and_plain_numbers_are_parameters_too():
    optimizer, params = SGD(0.5, 0.9), {"w": np.ones(2), "b": 1.0}
    params, _ = optimizer.update({"w": np.ones(2), "b": 1.0}, optimizer.init(params), params)
    assert params["w"].tolist() == [0.5, 0.5] and params["b"] == 0.5


# The learning rate.


def test_decay_counts_from_zero():
    optimizer, p = SGD(1.0, decay=0.5), jnp.zeros(())
    state = optimizer.init(p)
    for step in range(5):
        before = p
        p, state = optimizer.update(jnp.ones(()), state, p)
        np.testing.assert_allclose(before - p, 1 / (1 + 0.5 * step), rtol=1e-6)
        np.testing.assert_allclose(optimizer.learning_rate_at(step), 1 / (1 + 0.5 * step), rtol=1e-6)


@pytest.mark.parametrize("wrapped", [lambda f: f, jax.tree_util.Partial], ids=["function", "pytree"])
def test_lr_as_a_function_of_the_step(wrapped):
    seen = []

    def lr(step):
        seen.append((step.dtype, int(step)))
        return 1.0 if step == 0 else jnp.float32(0.25)

    optimizer, p = SGD(wrapped(lr)), jnp.zeros(())
    p, state = optimizer.update(jnp.ones(()), optimizer.init(p), p)
    assert p == -1
    p, state = optimizer.update(jnp.ones(()), state, p)
    assert p == -1.25 and seen == [(jnp.int32, 0), (jnp.int32, 1)]


def test_a_schedule_is_a_tree_of_leaves():
    optimizer = SGD(Exponential(1.0, 0.5))
    assert jax.tree.leaves(optimizer) == [1.0, 0.5, 0.0]
    assert jax.tree.leaves(SGD(np.cos)) == [0.0]
    traces = []

    @jax.jit
    def update(optimizer, g, state, p):
        traces.append(1)
        return optimizer.update(g, state, p)

    p = jnp.zeros(())
    p, state = update(optimizer, jnp.ones(()), optimizer.init(p), p)
    p, state = update(SGD(Exponential(1.0, 0.25)), jnp.ones(()), state, p)
    assert p == -1.25 and len(traces) == 1


# An optimizer as an object and as a tree.


@every
def test_an_object_like_others(optimizer):
    copy = pickle.loads(pickle.dumps(optimizer))
    assert copy == optimizer and hash(copy) == hash(optimizer) and copy is not optimizer
    assert eval(repr(optimizer)) == optimizer
    assert optimizer.replace(lr=0.7) != optimizer and optimizer != "sgd"
    assert optimizer.learning_rate == optimizer.lr == type(optimizer)(learning_rate=optimizer.lr).lr
    assert jax.tree.structure(copy) == jax.tree.structure(optimizer)
    with pytest.raises(AttributeError):
        optimizer.lr = 1.0


@every
def test_leaves_are_the_numbers(optimizer):
    flat, treedef = jax.tree_util.tree_flatten_with_path(optimizer)
    names = {path[0].name for path, _ in flat}
    assert all(len(path) == 1 and getattr(optimizer, path[0].name) == leaf for path, leaf in flat)
    assert "lr" in names and not names & {"nesterov", "amsgrad"}
    assert [leaf for _, leaf in flat] == jax.tree.leaves(optimizer)
    assert treedef.unflatten([leaf for _, leaf in flat]) == optimizer
    strange = treedef.unflatten([object() for _ in flat])
    assert jax.tree.structure(strange) == treedef
    assert "object" in repr(strange) and strange == strange


def test_absences_are_static():
    assert len(jax.tree.leaves(SGD(0.1))) == 2 and len(jax.tree.leaves(SGD(0.1, 0.9))) == 3
    assert len(jax.tree.leaves(SGD(0.1, clipnorm=1))) == 3
    assert len(jax.tree.leaves(SGD(0.1, jnp.float32(0)))) == 3
    zeroed = jax.tree.map(lambda _: 0, SGD(0.1, 0.9))
    assert jax.tree.structure(zeroed) == jax.tree.structure(SGD(0.1, 0.9)) != jax.tree.structure(SGD(0.1))
    assert SGD(0.1, 0.9).replace(momentum=0).init(jnp.ones(2)).slots == {}


def test_arrays_compare_and_print():
    one = Adam(jnp.array([0.1, 0.2]))
    assert one == Adam(jnp.array([0.1, 0.2])) and hash(one) == hash(Adam(jnp.array([0.1, 0.2])))
    assert one != Adam(jnp.array([0.1, 0.3])) and one != Adam(0.1)
    assert repr(one) == "Adam(lr=Array([0.1, 0.2], dtype=float32))"
    assert repr(jax.eval_shape(lambda o: o, Adam(0.1))).startswith("Adam(lr=ShapeDtypeStruct")


def test_a_traced_number_passes():
    def end(lr, momentum):
        return steps(SGD(lr, momentum=momentum, clipnorm=lr), jnp.ones(2))[0]

    close(jax.jit(end)(0.1, 0.5), end(0.1, 0.5))


def test_a_rule_of_ones_own():
    class Heavy(optim.Optimizer):
        friction: float = 0.5
        steps: int = 3

        def slots(self):
            return ("velocity",)

        def rule(self, g, p, slots, lr, t):
            v = (1 - self.friction) * slots["velocity"] - lr * g
            return p + jnp.where(t > self.steps, v, 0), {"velocity": v}

    assert repr(Heavy(0.1, 0.25)) == "Heavy(lr=0.1, friction=0.25)" and optim.get(Heavy) == Heavy()
    close(steps(Heavy(0.1, 0.9), jnp.ones(2), 3)[0], jnp.ones(2))
    assert (steps(Heavy(0.1, 0.9), jnp.ones(2), 4)[0] < 1).all()
