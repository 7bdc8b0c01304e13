"""A GAN that learns a ring of eight Gaussians, as pure functions: two networks, two optimizers, one compiled loop.

python examples/gan.py [--steps 4000] [--seed 0]

Prints both losses as training goes on, and how many of the Gaussians the samples reach. I. Goodfellow et al.,
"Generative Adversarial Networks", 2014, https://arxiv.org/abs/1406.2661.
"""

import argparse
import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kjax import nn, optim

MODES, RADIUS, SPREAD, NOISE = 8, 2.0, 0.1, 16
GENERATOR = nn.Serial([nn.Dense(64, activation="relu"), nn.Dense(64, activation="relu"), nn.Dense(2)])
DISCRIMINATOR = nn.Serial([nn.Dense(64, activation="relu"), nn.Dense(64, activation="relu"), nn.Dense(1)])
ADAM = optim.Adam(lr=1e-3, beta_1=0.5)


class Player(NamedTuple):
    """A network's weights, and where its optimizer stands."""

    params: Any
    opt_state: Any


def player(net, key, x):
    params, _ = net.init(key, x)
    return Player(params, ADAM.init(params))


def centres():
    angles = 2 * jnp.pi * jnp.arange(MODES, dtype=float) / MODES
    return RADIUS * jnp.stack([jnp.cos(angles), jnp.sin(angles)], -1)


def real(key, n):
    """`n` points of the ring."""
    which, where = jax.random.split(key)
    return centres()[jax.random.randint(which, (n,), 0, MODES)] + SPREAD * jax.random.normal(where, (n, 2))


def generate(params, key, n):
    """`n` points that the generator makes of noise."""
    return GENERATOR.apply(params, {}, jax.random.normal(key, (n, NOISE)))[0]


def score(params, points):
    """How real points look, as logits."""
    return DISCRIMINATOR.apply(params, {}, points)[0]


def descend(one, loss):
    """The player after a step down its loss, and the loss."""
    value, grads = jax.value_and_grad(loss)(one.params)
    return Player(*ADAM.update(grads, one.opt_state, one.params)), value


@functools.partial(jax.jit, static_argnames=("steps", "batch"))
def train(generator, discriminator, key, steps, batch=256):
    """Both players after some steps, and their losses at each."""

    def step(players, key):
        generator, discriminator = players
        keys = jax.random.split(key, 3)
        shown, made = real(keys[0], batch), generate(generator.params, keys[1], batch)
        discriminator, d_loss = descend(
            discriminator, lambda p: (jax.nn.softplus(-score(p, shown)) + jax.nn.softplus(score(p, made))).mean()
        )
        generator, g_loss = descend(
            generator, lambda p: jax.nn.softplus(-score(discriminator.params, generate(p, keys[2], batch))).mean()
        )
        return (generator, discriminator), (g_loss, d_loss)

    return jax.lax.scan(step, (generator, discriminator), jax.random.split(key, steps))


def reached(points):
    """How many Gaussians have a twentieth of the points or more within three spreads, and the share of all that do."""
    distances = jnp.linalg.norm(points[:, None] - centres()[None], axis=-1)
    near = distances < 3 * SPREAD
    return int((near.mean(0) >= 0.05).sum()), float(near.any(1).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    keys = jax.random.split(jax.random.key(options.seed), 4)
    players = player(GENERATOR, keys[0], jnp.ones((1, NOISE))), player(DISCRIMINATOR, keys[1], jnp.ones((1, 2)))
    began, done, chunk = time.perf_counter(), 0, max(1, options.steps // 8)
    while done < options.steps:
        steps = min(chunk, options.steps - done)
        players, losses = train(*players, jax.random.fold_in(keys[2], done), steps)
        done += steps
        modes, share = reached(generate(players[0].params, keys[3], 2000))
        g_loss, d_loss = (loss[-100:].mean() for loss in losses)
        print(f"step {done:5d}  generator {g_loss:.3f}  discriminator {d_loss:.3f}  {modes} of {MODES} Gaussians")
    print(f"{share:.0%} of the samples lie on a Gaussian, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
