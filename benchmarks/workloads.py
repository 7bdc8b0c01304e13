"""What is trained: networks, data, batch sizes, and how many steps a measurement takes."""

import dataclasses
import functools

import numpy as np

from benchmarks.spec import Shape, Spec, Weights, first_weights, step_flops

LEARNING_RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-7
"""Of Adam, for every peer and workload."""
NORM_MOMENTUM, NORM_EPSILON = 0.9, 1e-5
"""Of batch and layer norms."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """A network with the data it is trained on.

    Args:
        title: what the report calls it.
        spec: the layers; see `benchmarks.spec`.
        shape: of one input, without the batch axis.
        classes: the outputs; 1 for a binary crossentropy, more for a sparse categorical one.
        batch: examples per step.
        steps: of one measurement, so many that it takes a second or two.
        vocabulary: inputs are integers below it; 0 where they are floats.
        per_step: whether each place of a sequence has a target of its own.
        precision: what is computed in, "float32" or "bfloat16"; weights, normalisation and losses are float32.
    """

    title: str
    spec: Spec
    shape: Shape
    classes: int
    batch: int
    steps: int
    vocabulary: int = 0
    per_step: bool = False
    precision: str = "float32"

    def data(self, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Random inputs and targets."""
        generator = np.random.default_rng(seed)
        targets = (rows, *self.shape) if self.per_step else (rows,)
        y = generator.integers(0, max(2, self.classes), targets, dtype=np.int32)
        y = y.astype(np.float32)[:, None] if self.classes == 1 else y
        if self.vocabulary:
            return generator.integers(0, self.vocabulary, (rows, *self.shape), dtype=np.int32), y
        return generator.random((rows, *self.shape), dtype=np.float32), y

    def weights(self) -> Weights:
        """What every peer begins with."""
        return first_weights(self.spec, self.shape)

    @property
    def flops(self) -> float:
        """Of the matrix products in one training step."""
        return step_flops(self.spec, self.shape, self.batch)


def resnet20() -> Spec:
    """Three stages of three blocks, after He et al., 2015, section 4.2, with projections where the shape changes."""
    blocks = [("block", filters, 2 if filters > 16 and i == 0 else 1) for filters in (16, 32, 64) for i in range(3)]
    return (("stem", 16), *blocks, ("average",), ("dense", 10, None))


def mlp(*units: int, rate: float = 0.0) -> Spec:
    """Hidden layers with relu (and dropout), and an output of ten classes."""
    drop = (("dropout", rate),) if rate else ()
    return tuple(layer for n in units for layer in (("dense", n, "relu"), *drop)) + (("dense", 10, None),)


def gpt(layers: int, width: int, heads: int, vocabulary: int, length: int) -> Spec:
    """A decoder-only transformer with layer norms in front."""
    blocks = (("decoder", heads),) * layers
    head = (("layernorm",), ("dense", vocabulary, None))
    return (("embedding", vocabulary, width), ("positions", length), *blocks, *head)


MNIST_CNN = (
    ("conv", 32, "valid", "relu"),
    ("conv", 64, "valid", "relu"),
    ("pool",),
    ("dropout", 0.25),
    ("flatten",),
    ("dense", 128, "relu"),
    ("dropout", 0.5),
    ("dense", 10, None),
)
CIFAR_CNN = (
    ("conv", 32, "same", "relu"),
    ("conv", 32, "valid", "relu"),
    ("pool",),
    ("dropout", 0.25),
    ("conv", 64, "same", "relu"),
    ("conv", 64, "valid", "relu"),
    ("pool",),
    ("dropout", 0.25),
    ("flatten",),
    ("dense", 512, "relu"),
    ("dropout", 0.5),
    ("dense", 10, None),
)
IMDB_LSTM = (("embedding", 20000, 128), ("lstm", 128), ("dense", 1, None))

WORKLOADS = {
    "tiny_mlp": Workload("Tiny MLP, 64-64-32-10, batch 32", mlp(64, 32), (64,), 10, 32, 4096),
    "mnist_mlp": Workload(
        "MNIST MLP, 784-512-512-10, dropout, batch 128", mlp(512, 512, rate=0.2), (784,), 10, 128, 384
    ),
    "mnist_cnn": Workload("MNIST CNN, the classical Keras example, batch 128", MNIST_CNN, (28, 28, 1), 10, 128, 16),
    "cifar_cnn": Workload("CIFAR CNN, the classical Keras example, batch 32", CIFAR_CNN, (32, 32, 3), 10, 32, 32),
    "resnet20": Workload("ResNet-20, CIFAR shape, batch 32", resnet20(), (32, 32, 3), 10, 32, 16),
    "imdb_lstm": Workload("IMDB LSTM, embedding 20000×128, 80 steps, batch 32", IMDB_LSTM, (80,), 1, 32, 48, 20000),
    "char_gpt": Workload(
        "Character GPT, 4 layers, d 128, T 64, batch 16", gpt(4, 128, 4, 65, 64), (64,), 65, 16, 24, 65, True
    ),
}


FILLING = {
    "tiny_mlp": (8192, 128),
    "mnist_mlp": (8192, 128),
    "mnist_cnn": (4096, 32),
    "cifar_cnn": (4096, 32),
    "resnet20": (2048, 24),
    "imdb_lstm": (1024, 64),
    "char_gpt": (1024, 48),
}
"""Batch and steps on an accelerator: batches that fill it."""


def find(name: str) -> Workload:
    """A workload by its name, one of `scaled`, named like "width=512", or one of `filling`, like "resnet20@float32"."""
    base, _, precision = name.partition("@")
    axis, _, size = base.partition("=")
    return filling(base, precision) if precision else scaled(axis, int(size)) if size else WORKLOADS[name]


def filling(name: str, precision: str) -> Workload:
    """The same network for an accelerator."""
    batch, steps = FILLING[name]
    network = WORKLOADS[name].title.rpartition(", batch")[0]
    title = f"{network}, batch {batch}"
    return dataclasses.replace(WORKLOADS[name], title=title, batch=batch, steps=steps, precision=precision)


@functools.cache
def scaled(axis: str, size: int) -> Workload:
    """A multilayer perceptron of two layers of 256 units, batch 128, 64 steps, but for one axis."""
    width, depth = (size if axis == "width" else 256), (size if axis == "depth" else 2)
    batch, steps = (size if axis == "batch_size" else 128), (size // 128 if axis == "dataset_size" else 64)
    return Workload(f"{axis} {size}", mlp(*[width] * depth), (256,), 10, batch, steps)
