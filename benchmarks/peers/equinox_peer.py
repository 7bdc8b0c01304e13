"""Equinox with optax as its users write it: modules for one example, `vmap` over the batch, a jitted step."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax

from benchmarks.peers.channels import images
from benchmarks.peers.equinox_layers import network
from benchmarks.workloads import BETA_1, BETA_2, EPSILON, LEARNING_RATE, Workload

ADAM = optax.adam(LEARNING_RATE, BETA_1, BETA_2, EPSILON)


class Peer:
    def __init__(self, workload: Workload):
        self.batch = workload.batch
        self.model, self.state = eqx.nn.make_with_state(network)(workload)
        self.opt_state = ADAM.init(eqx.filter(self.model, eqx.is_inexact_array))
        self.key, self.generator = jax.random.key(0), np.random.default_rng(0)

    def prepare(self, x: np.ndarray, y: np.ndarray) -> Any:
        return images(x), y

    def epoch(self, data: Any, shuffle: bool = True) -> float:
        x, y = data
        order = self.generator.permutation(len(x)) if shuffle else np.arange(len(x))
        losses = [self.step((x[r], y[r])) for r in np.split(order, range(self.batch, len(x), self.batch))]
        return float(np.mean(jax.device_get(losses)))

    def step(self, batch: Any) -> Any:
        trained = self.model, self.state, self.opt_state, self.key
        (self.model, self.state, self.opt_state, self.key), loss = train_step(batch, trained)
        return loss


@eqx.filter_jit(donate="all-except-first")
def train_step(batch: Any, trained: Any) -> Any:
    model, state, opt_state, key = trained
    key, own = jax.random.split(key)
    (loss, state), grads = eqx.filter_value_and_grad(mean_loss, has_aux=True)(model, state, own, *batch)
    updates, opt_state = ADAM.update(grads, opt_state)
    return (eqx.apply_updates(model, updates), state, opt_state, key), loss


def mean_loss(model: Any, state: Any, key: Any, x: Any, y: Any) -> Any:
    keys = jax.random.split(key, len(x))
    logits, state = jax.vmap(model, axis_name="batch", in_axes=(0, None, 0), out_axes=(0, None))(x, state, keys)
    if logits.shape[-1] == 1:
        return optax.sigmoid_binary_cross_entropy(logits, y).mean(), state
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), state
