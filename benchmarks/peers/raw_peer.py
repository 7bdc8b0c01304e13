"""JAX without a framework, written by hand: the yardstick of what a framework adds.

One jitted step per batch, its state donated, a loop over shuffled batches on the host, XLA's own lowerings. On an
accelerator the data lies on it, and a step is sent the numbers of its rows.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers.placing import on_accelerator
from benchmarks.peers.raw_layers import apply
from benchmarks.workloads import BETA_1, BETA_2, EPSILON, LEARNING_RATE, Workload


class Peer:
    def __init__(self, workload: Workload):
        self.batch = workload.batch
        params = jax.tree.map(jnp.asarray, workload.weights())
        zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
        self.state = params, *zeros, jnp.int32(0)
        self.step = jax.jit(partial(train_step, workload), donate_argnums=0)
        self.step_on_rows = jax.jit(partial(train_step_on_rows, workload), donate_argnums=0)
        self.forward = jax.jit(lambda params, x: apply(workload.spec, params, x, None))
        self.generator = np.random.default_rng(0)

    def prepare(self, x: np.ndarray, y: np.ndarray) -> Any:
        return on_accelerator(x, y)

    def epoch(self, data: Any, shuffle: bool = True) -> float:
        x, y = data
        order = (self.generator.permutation(len(x)) if shuffle else np.arange(len(x))).astype(np.int32)
        losses = []
        for start in range(0, len(x), self.batch):
            rows = order[start : start + self.batch]
            if isinstance(x, jax.Array):
                self.state, loss = self.step_on_rows(self.state, x, y, rows)
            else:
                self.state, loss = self.step(self.state, x[rows], y[rows])
            losses.append(loss)
        return float(np.mean(jax.device_get(losses)))

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.forward(self.state[0], x))

    def train_on_batch(self, x: np.ndarray, y: np.ndarray) -> float:
        self.state, loss = self.step(self.state, x, y)
        return float(loss)


def train_step_on_rows(workload: Workload, state: Any, x: Any, y: Any, rows: Any) -> Any:
    return train_step(workload, state, x[rows], y[rows])


def train_step(workload: Workload, state: Any, x: Any, y: Any) -> Any:
    params, m, v, step = state
    key = jax.random.fold_in(jax.random.key(0), step)
    loss, grads = jax.value_and_grad(partial(loss_of, workload))(params, x, y, key)
    return (*adam(params, m, v, step + 1, grads), step + 1), loss


def loss_of(workload: Workload, params: Any, x: Any, y: Any, key: Any) -> Any:
    if workload.precision == "bfloat16":
        params = {layer: {name: rounded(name, a) for name, a in own.items()} for layer, own in params.items()}
        x = rounded("x", x)
    return mean_loss(apply(workload.spec, params, x, key).astype(jnp.float32), y)


def rounded(name: str, a: Any) -> Any:
    """In bfloat16, but for the params of norms and integers."""
    keeps = name.startswith(("gamma", "beta")) or a.dtype != jnp.float32
    return a if keeps else a.astype(jnp.bfloat16)


def mean_loss(logits: Any, y: Any) -> Any:
    if logits.shape[-1] == 1:
        return (jnp.logaddexp(0, logits) - y * logits).mean()
    picked = jnp.take_along_axis(logits, y[..., None], -1)[..., 0]
    return (jax.nn.logsumexp(logits, -1) - picked).mean()


def adam(params: Any, m: Any, v: Any, step: Any, grads: Any) -> Any:
    t = step.astype(jnp.float32)
    rate = LEARNING_RATE * jnp.sqrt(1 - BETA_2**t) / (1 - BETA_1**t)
    m = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, m, grads)
    v = jax.tree.map(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, v, grads)
    params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + EPSILON), params, m, v)
    return params, m, v
