"""A variational autoencoder of handwritten digits: a model with a loss of its own.

python examples/vae.py [--epochs 60] [--latent 8] [--seed 0]

Prints the two parts of the evidence lower bound before and after training, and draws new digits as text. D. Kingma and
M. Welling, "Auto-Encoding Variational Bayes", 2014, https://arxiv.org/abs/1312.6114.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

import kjax
from kjax import nn
from kjax.datasets import digits
from kjax.layers import Dense


class Sample(nn.Layer):
    """Draws from a Gaussian in training, and gives its mean otherwise: `mean + exp(log_variance / 2) * noise`."""

    draws = True

    def call(self, params, state, x, training, key):
        mean, log_variance = x
        if training:
            mean += jnp.exp(log_variance / 2) * jax.random.normal(key, mean.shape, mean.dtype)
        return mean, state


def lost(x, logits):
    """Minus the log likelihood of each picture, whose pixels are shares of ink: nats."""
    return (jax.nn.softplus(logits) - x * logits).sum(-1)


def divergence(mean, log_variance):
    """Of each code's Gaussian from the standard one, KL(q(z|x) || p(z)): nats."""
    return 0.5 * (jnp.exp(log_variance) + mean**2 - 1 - log_variance).sum(-1)


class VAE(kjax.Model):
    """Gives the pixels' logits and the Gaussian of the code."""

    def __init__(self, latent=8, hidden=128, **options):
        super().__init__(**options)
        self.read = Dense(hidden, activation="relu")
        self.mean, self.log_variance = Dense(latent), Dense(latent)
        self.sample = Sample()
        self.decoder = nn.Serial([Dense(hidden, activation="relu"), Dense(64)])

    def call(self, x):
        h = self.read(x)
        mean, log_variance = self.mean(h), self.log_variance(h)
        return {"logits": self.decoder(self.sample(mean, log_variance)), "mean": mean, "log_variance": log_variance}

    def compute_loss(self, x, y, y_pred, sample_weight):
        return (lost(x, y_pred["logits"]) + divergence(y_pred["mean"], y_pred["log_variance"])).mean()


def parts(model, x):
    """Means of what reconstruction and divergence cost per picture; minus their sum is the bound."""
    found = model.predict(x)
    return float(lost(x, found["logits"]).mean()), float(divergence(found["mean"], found["log_variance"]).mean())


def dream(model, n, latent, seed):
    """`n` new digits as text: decoded from codes of the standard Gaussian."""
    codes = jax.random.normal(jax.random.key(seed), (n, latent))
    logits, _ = model.net.parts()["decoder"].apply(model.state.params["decoder"], {}, codes)
    ink = np.asarray(jax.nn.sigmoid(logits)).reshape(n, 8, 8)
    return "\n".join("   ".join("".join(" .:*#"[int(p * 4.99)] * 2 for p in row) for row in line)
                     for line in ink.swapaxes(0, 1))  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--latent", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    train, test = (x.reshape(-1, 64).astype("float32") / 16 for x, _ in digits.load_data())
    model = VAE(options.latent, seed=options.seed)
    model.compile(kjax.optim.Adam(lr=0.002))
    began = time.perf_counter()
    for said in ("before", "after"):
        reconstruction, kl = parts(model, test)
        print(f"{said:>6} training: reconstruction {reconstruction:.2f} + KL {kl:.2f} nats per test digit")
        if said == "before":
            loss = model.fit(train, batch_size=32, epochs=options.epochs, verbose=0).history["loss"]
            print(f"{options.epochs} epochs, {time.perf_counter() - began:.0f} s; "
                  f"minus the bound in training: {loss[0]:.2f} -> {loss[-1]:.2f} nats")  # fmt: skip
    print(f"\nnew digits:\n{dream(model, 5, options.latent, options.seed)}")


if __name__ == "__main__":
    main()
