"""The peers by name: what each is called, its module, the packages whose versions count, its environment.

A peer's module has a class `Peer`:

    Peer(workload)              builds the model with the workload's weights, and compiles nothing yet
    .prepare(x, y)              the data as the peer's users would hold it, made beforehand
    .epoch(data, shuffle)       trains once over it and returns the mean loss, when all is done
    .predict(x)                 a NumPy array        (where `LATENCY` names the peer)
    .train_on_batch(x, y)       the loss as a float  (likewise)
"""

import dataclasses
import importlib
import sys
from typing import Any


@dataclasses.dataclass(frozen=True)
class Info:
    """What the runner has to know of a peer without importing it."""

    title: str
    module: str
    packages: tuple[str, ...]
    imports: str
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    on_jax: bool = True
    hides: tuple[str, ...] = ()
    """Packages that it would load only because other peers live in the same environment."""


SPIN = {"GOMP_SPINCOUNT": "10000"}
"""How long OpenMP's threads spin at a barrier before they sleep. By default 300,000 times, which on a machine with
other work takes the processor from the thread they wait for: ResNet-20 then took 223-303 ms a step, 140-201 this way.
On a quiet machine both took 66 (and the tiny MLP 0.41), but OMP_WAIT_POLICY=passive 103 (and 1.6)."""

PEERS = {
    "kjax": Info("kjax", "kjax", ("kjax", "jax"), "kjax"),
    "raw": Info("raw JAX", "raw", ("jax",), "jax"),
    "keras-jax": Info(
        "Keras 3 (JAX)", "keras", ("keras", "jax"), "keras", {"KERAS_BACKEND": "jax"}, hides=("tensorflow", "torch")
    ),
    "keras-tf": Info(
        "Keras 3 (TensorFlow)",
        "keras",
        ("keras", "tensorflow"),
        "keras",
        {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"},
        on_jax=False,
        hides=("jax", "torch"),
    ),
    "torch": Info("PyTorch", "torch", ("torch",), "torch", SPIN, on_jax=False),
    "torch-compile": Info(
        "PyTorch, torch.compile", "torch", ("torch",), "torch", SPIN, options={"compiled": True}, on_jax=False
    ),
    "flax": Info("Flax NNX + optax", "flax", ("flax", "optax", "jax"), "flax.nnx, optax"),
    "equinox": Info("Equinox + optax", "equinox", ("equinox", "optax", "jax"), "equinox, optax"),
}
YARDSTICK = "raw"
LATENCY = ("kjax", "raw", "keras-jax", "keras-tf", "torch")
"""The peers with `predict` and `train_on_batch`."""


def make(name: str, workload: Any) -> Any:
    """The peer, built; imports its packages."""
    sys.modules.update(dict.fromkeys(PEERS[name].hides))  # importing them raises
    module = importlib.import_module(f"benchmarks.peers.{PEERS[name].module}_peer")
    return module.Peer(workload, **PEERS[name].options)
