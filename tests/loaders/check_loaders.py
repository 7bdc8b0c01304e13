"""Loaders of other packages, from the packages themselves: `make test-loaders`. They give the numbers of arrays."""

import datasets
import grain
import jax
import numpy as np
import pandas
import polars
import pytest
import tensorflow as tf
import torch

import kjax
from kjax.layers import Dense

rng = np.random.default_rng(0)
X, Y = rng.random((70, 4), np.float32), rng.random((70, 1), np.float32)


class Examples(torch.utils.data.Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return X[i], Y[i]


def tensors():
    return torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))


def hugging(streamed=False):
    made = datasets.Dataset.from_dict({"x": X, "y": Y})
    return made.to_iterable_dataset() if streamed else made


def grain_source():
    return grain.MapDataset.source(list(zip(X, Y, strict=True)))


LOADERS = {
    "torch DataLoader": lambda: torch.utils.data.DataLoader(tensors(), batch_size=16),
    "torch DataLoader of two processes": lambda: torch.utils.data.DataLoader(Examples(), batch_size=16, num_workers=2),
    "tf.data": lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(16).prefetch(2),
    "Grain numbered": lambda: grain_source().batch(16),
    "Grain iterable": lambda: grain_source().to_iter_dataset().batch(16),
    "Grain DataLoader": lambda: grain.DataLoader(
        data_source=list(zip(X, Y, strict=True)),
        sampler=grain.samplers.IndexSampler(70, num_epochs=1),
        operations=[grain.transforms.Batch(16)],
    ),
    "datasets": hugging,
    "datasets streamed": lambda: hugging(streamed=True),
}


def model():
    made = kjax.Sequential([Dense(3, activation="tanh", input_shape=(4,)), Dense(1)])
    made.compile("adam", "mse", metrics=["mae"])
    return made


def arguments(kind):
    return {"batch_size": 16} if kind.startswith("datasets") else {}


@pytest.mark.parametrize("kind", LOADERS)
def test_a_loader_gives_the_bits_of_arrays(kind):
    ours, theirs = model(), model()
    options = {"epochs": 3, "verbose": 0, "shuffle": False}
    a = ours.fit(LOADERS[kind](), validation_data=LOADERS["tf.data"](), **arguments(kind), **options).history
    b = theirs.fit(X, Y, batch_size=16, validation_data=(X, Y), **options).history
    assert a == b
    jax.tree.map(np.testing.assert_array_equal, ours.get_weights(), theirs.get_weights())
    assert ours.evaluate(LOADERS[kind](), verbose=0, **arguments(kind)) == theirs.evaluate(X, Y, 16, 0)
    np.testing.assert_array_equal(ours.predict(LOADERS[kind](), **arguments(kind)), theirs.predict(X, 16))


@pytest.mark.parametrize("kind", ["torch DataLoader", "datasets"])
def test_their_own_shuffling_trains(kind):
    loader = torch.utils.data.DataLoader(tensors(), 16, shuffle=True, drop_last=True)
    history = model().fit(hugging() if kind == "datasets" else loader, epochs=20, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize(
    "made",
    [
        torch.from_numpy(X), torch.from_numpy(X).requires_grad_(), tf.constant(X), polars.DataFrame(X),
        pandas.DataFrame(X), hugging().with_format("numpy")["x"], torch.from_numpy(X).to(torch.float64),
    ],
    ids=["torch", "torch with gradient", "tensorflow", "polars", "pandas", "a column", "float64"],
)  # fmt: skip
def test_tensors_and_frames_are_arrays(made):
    ours = model()
    assert ours.evaluate(made, Y, verbose=0) == ours.evaluate(X, Y, verbose=0)


def test_small_floats_of_torch_arrive():
    half = torch.from_numpy(X).to(torch.bfloat16)
    assert kjax.data.as_array(half, "x").dtype.name == "bfloat16"


def test_examples_for_batches_are_refused_with_the_fix():
    with pytest.raises(ValueError, match="the first batch of the data"):
        model().fit(torch.utils.data.TensorDataset(torch.from_numpy(X), torch.zeros(70)), verbose=0)
    unclear = datasets.Dataset.from_dict({"image": X, "label": Y})
    with pytest.raises(ValueError, match=r"rename_columns\(\{\"image\": \"x\", \"label\": \"y\"\}\)"):
        model().fit(unclear, verbose=0)
    columns = ["image", "label"]
    model().fit(unclear.select_columns(columns).rename_columns({"image": "x", "label": "y"}), verbose=0)


if __name__ == "__main__":
    print({m.__name__: m.__version__ for m in (datasets, grain, torch, tf, polars, pandas, jax)})
