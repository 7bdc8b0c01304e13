"""A small GPT that learns to write Shakespeare, character by character, in 2,000 steps.

python examples/gpt_tinyshakespeare.py TEXT [--steps 2000] [--batch 12] [--seed 0] [--write 500] [--curve curve.png]

TEXT is any text file; Karpathy's "tinyshakespeare" (1.1 MB) is the classical one, of which nanoGPT's like network
reaches a validation loss of 1.88 nats per character on a laptop. The first nine tenths are for training. The
path may also stand in the environment variable KJAX_TINYSHAKESPEARE.
"""

import argparse
import functools
import os
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np

from kjax import losses, nn, optim
from kjax.train import Trainer

CONTEXT, BATCH = 64, 12


class GPT(nn.Composite):
    """Characters, as integers, to scores for the next one; the embedding's table also makes the scores."""

    vocabulary: int
    context: int = CONTEXT
    units: int = 128
    depth: int = 4
    heads: int = 4

    def parts(self):
        return {
            "characters": nn.ReversibleEmbedding(self.vocabulary, self.units, embeddings_initializer="normal"),
            "positions": nn.PositionEmbedding(self.context),
            "blocks": nn.Repeat(nn.TransformerBlock(self.units, self.heads, use_causal_mask=True), self.depth),
            "norm": nn.LayerNormalization(),
        }

    def forward(self, text):
        x = self.characters(text)
        return self.characters(self.norm(self.blocks(x + self.positions(x))))


def trainer_of(vocabulary, steps, context=CONTEXT):
    rate = optim.schedules.CosineDecay(0.0, steps * 19 // 20, alpha=0.1, warmup_target=1e-3, warmup_steps=steps / 20)
    optimizer = optim.AdamW(rate, 0.1, 0.9, 0.99, 1e-8, exclude_from_weight_decay=["*bias", "*gamma", "*beta"])
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    return Trainer(GPT(vocabulary, context), loss, optimizer)


@functools.partial(jax.jit, static_argnames=("steps", "batch"))
def train(trainer, state, text, steps, batch=BATCH):
    """The state after some steps on random pieces of the text, and the loss of each."""
    context = trainer.net.context

    def step(state, _):
        starts = jax.random.randint(jax.random.fold_in(state.key, state.step), (batch,), 0, len(text) - context)
        pieces = text[starts[:, None] + jnp.arange(context + 1)[None]]
        state, logs = trainer.train_step(state, (pieces[:, :-1], pieces[:, 1:]))
        return state, logs["loss"]

    return jax.lax.scan(step, state, length=steps)


@jax.jit
def evaluate(trainer, state, text):
    """The mean loss over all of the text, cut into pieces."""
    context = trainer.net.context
    pieces = text[jnp.arange(0, len(text) - context, context)[:, None] + jnp.arange(context + 1)[None]]
    return jax.lax.map(lambda p: trainer.eval_step(state, (p[None, :-1], p[None, 1:]))["loss"], pieces).mean()


@functools.partial(jax.jit, static_argnames=("net", "length"))
def write(net, state, start, key, length):
    """The characters that follow `start`, which has as many as the context, drawn from what the network predicts."""

    def step(window, key):
        scores, _ = net.apply(state.params, state.state, window[None])
        window = jnp.append(window[1:], jax.random.categorical(key, scores[0, -1]).astype(window.dtype))
        return window, window[-1]

    return jax.lax.scan(step, start, jax.random.split(key, length))[1]


def draw(curve, path):
    """The losses over the steps, as a picture."""
    from kjax.plots import HELD_OUT, TRAIN, new_figure

    figure = new_figure(5.5, 3.4)
    axes = figure.subplots()
    steps, training, held_out = zip(*curve, strict=True)
    axes.plot(steps, training, color=TRAIN, label="training")
    axes.plot(steps, held_out, "--", color=HELD_OUT, label="held out")
    axes.set(xlabel="step", ylabel="nats per character")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", nargs="?", default=os.environ.get("KJAX_TINYSHAKESPEARE"), help="a text file")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=BATCH, help="pieces of text per step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=int, default=500, help="how many characters to write at the end")
    parser.add_argument("--curve", help="where to draw the losses, a picture's path")
    options = parser.parse_args()
    if options.text is None:
        parser.error("which text? Give the path of a file")

    text = pathlib.Path(options.text).read_text(encoding="utf-8")
    characters = sorted(set(text))
    number = {character: i for i, character in enumerate(characters)}
    learned, held_out = np.split(np.array([number[c] for c in text], np.int32), [len(text) * 9 // 10])
    trainer = trainer_of(len(characters), options.steps)
    state = trainer.init(jax.random.key(options.seed), learned[None, :CONTEXT])
    print(f"{sum(a.size for a in jax.tree.leaves(state.params)):,} weights, {len(characters)} characters")
    curve = []
    began, chunk = time.perf_counter(), max(1, options.steps // 20)
    while state.step < options.steps:
        size = min(chunk, options.steps - int(state.step))
        state, found = train(trainer, state, jnp.asarray(learned), size, options.batch)
        curve.append(
            (int(state.step), float(found[-100:].mean()), float(evaluate(trainer, state, jnp.asarray(held_out))))
        )
        seconds = time.perf_counter() - began
        print("step {:5d}  loss {:.3f}  validation loss {:.4f}".format(*curve[-1]), f" {seconds:.0f} s", flush=True)
    if options.curve:
        draw(curve, options.curve)
    written = write(trainer.net, state, held_out[:CONTEXT], jax.random.key(options.seed), options.write)
    print("".join(characters[i] for i in np.asarray(written)))


if __name__ == "__main__":
    main()
