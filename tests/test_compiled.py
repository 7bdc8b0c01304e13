"""What is compiled for a network: equal ones share it, numbers are data, and nothing is kept for ever."""

import gc
import weakref

import jax
import jax.numpy as jnp
import pytest

from kjax import compiled, faults, nn, optim
from kjax.train import Trainer

SPEC, BATCH = jax.ShapeDtypeStruct((1, 2), jnp.float32), (jnp.ones((4, 2)), jnp.ones((4, 3)))


def trainer_of(lr=0.1):
    return Trainer(nn.Dense(3), "mse", optim.Adam(lr))


def init(trainer):
    return compiled.first_state(trainer.net, trainer, 0, SPEC)


def init_optimizer(trainer):
    return compiled.first_optimizer_state(trainer, {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)})


def totals(trainer):
    sums = compiled.Sums(trainer, trainer.init(jax.random.key(0), SPEC), BATCH)
    return sums.logs(sums.empty())


@pytest.mark.parametrize(
    ("call", "kept"),
    [(init, compiled._init), (init_optimizer, compiled._init_optimizer), (totals, compiled._totals)],
)  # fmt: skip
def test_equal_networks_share_a_program_and_one_that_is_dropped_frees_its_network(call, kept):
    kept.cache_clear()
    trainer = trainer_of()
    net = weakref.ref(trainer.net)
    for same in (trainer, trainer_of(), trainer_of(lr=0.2)):
        call(same)
    assert kept.cache_info()[1:] == (1, compiled.KEPT, 1)
    del trainer, same
    kept.cache_clear()
    gc.collect()
    assert net() is None


def test_copies_of_states_are_made_by_a_limited_number_of_programs():
    faults._snapshot.cache_clear()
    states = [trainer_of().init(jax.random.key(0), SPEC)] * 2
    copies = [faults.snapshot(state, jnp.ones(())) for state in states]
    assert all(bool(good) for _, good in copies) and copies[0][0].params["kernel"] is not states[0].params["kernel"]
    assert faults._snapshot.cache_info()[1:] == (1, compiled.KEPT, 1)
    program = weakref.ref(faults._snapshot(compiled.kind((states[0], jnp.ones(())))))
    faults._snapshot.cache_clear()
    gc.collect()
    assert program() is None
