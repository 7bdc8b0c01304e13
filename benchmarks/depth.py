"""How long a train step takes to trace and to compile as the network gets deeper; writes docs/compile_time.md.

python -m benchmarks.depth

Each figure is the least of several, in seconds of processor time, which other programs on the machine disturb little.
"""

import os
import pathlib
import time

import jax
import jax.numpy as jnp

from kjax import nn, optim
from kjax.train import Trainer

DEPTHS, ROUNDS = (10, 50, 200), 3
PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "compile_time.md"
LAYERS = {
    "Dense(32)": (lambda: nn.Dense(32, activation="relu"), (32,)),
    "Conv2D(8, 3)": (lambda: nn.Conv2D(8, 3, padding="same", activation="relu"), (8, 8, 8)),
}


def graph(layers, shape):
    x = node = nn.Input(shape=shape)
    for layer in layers:
        node = layer(node)
    return nn.Graph(x, node)


KINDS = {
    "Serial": lambda layer, n, shape: nn.Serial([layer() for _ in range(n)]),
    "Graph": lambda layer, n, shape: graph([layer() for _ in range(n)], shape),
    "Repeat": lambda layer, n, shape: nn.Repeat(layer(), n),
}


def measured(kind, layer, shape, n):
    """Seconds to make the network and its shapes, to trace a step, and to compile it."""
    jax.clear_caches()
    began = time.process_time()
    trainer = Trainer(KINDS[kind](layer, n, shape), "mse", optim.SGD(lr=0.1, momentum=0.9))
    x = jax.ShapeDtypeStruct((32, *shape), jnp.float32)
    state = jax.eval_shape(trainer.init, jax.random.key(0), x)
    made = time.process_time()
    lowered = jax.jit(trainer.train_step).lower(state, (x, x))
    traced = time.process_time()
    lowered.compile()
    return made - began, traced - made, time.process_time() - traced


def table():
    """Rows of (layer, kind, depth, seconds …)."""
    for name, (layer, shape) in LAYERS.items():
        for kind in KINDS:
            for n in DEPTHS:
                runs = [measured(kind, layer, shape, n) for _ in range(ROUNDS)]
                row = name, kind, n, *map(min, zip(*runs, strict=True))
                print(row, flush=True)
                yield row


def machine():
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} CPU cores, {memory:.0f} GiB of memory, JAX {jax.__version__}"


TEXT = """# Compile time

What one waits for before the first step of a deep network: making it (the network, and the shapes of its weights),
tracing the train step (SGD with momentum, mean squared error, 32 examples), and XLA's compilation. A `Serial` or a
`Graph` is unrolled, so all three grow with the depth, in proportion; `nn.Repeat` of the same layer is a loop, which
takes as long for 200 layers as for ten. The last column is the sum per layer: where it does not rise, nothing grows
faster than the depth.

Seconds of processor time, the least of {rounds}, on {machine}
(`python -m benchmarks.depth` writes this page).

| layer | network | layers | make | trace | compile | sum | per layer |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |
{rows}
"""


def main():
    rows = "\n".join(
        f"| `{name}` | `{kind}` | {n} | {made:.2f} | {traced:.2f} | {compiled:.2f} | "
        f"{made + traced + compiled:.2f} | {1e3 * (made + traced + compiled) / n:.1f} ms |"
        for name, kind, n, made, traced, compiled in table()
    )
    PAGE.write_text(TEXT.format(rounds=ROUNDS, machine=machine(), rows=rows))


if __name__ == "__main__":
    main()
