"""Gradients under `jax.shard_map`: those of weights that the devices share are summed over them, as on one device."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, PartitionSpec as P
from kjax import nn
rng = np.random.default_rng(0)
cases = {
    "Dense": (nn.Dense(64), (512, 64)),
    "Dense over time": (nn.Dense(64), (8, 64, 64)),
    "Conv2D": (nn.Conv2D(8, 3), (4, 8, 8, 8)),
    "Conv2D and relu": (nn.Conv2D(8, 3, activation="relu"), (4, 8, 8, 8)),
    "Conv2D of groups": (nn.Conv2D(8, 3, strides=2, groups=2), (4, 8, 8, 8)),
    "Conv2DTranspose": (nn.Conv2DTranspose(8, 3, strides=2), (4, 8, 8, 8)),
    "Conv3D": (nn.Conv3D(8, 3), (4, 5, 5, 5, 8)),
    "DepthwiseConv2D": (nn.DepthwiseConv2D(3), (4, 8, 8, 8)),
    "LayerNormalization": (nn.LayerNormalization(), (8, 64)),
    "GroupNormalization": (nn.GroupNormalization(4), (4, 8, 8, 8)),
    "LSTM": (nn.LSTM(8), (8, 5, 4)),
    "GRU": (nn.GRU(8), (8, 5, 4)),
    "GRU, reset before": (nn.GRU(8, reset_after=False), (8, 5, 4)),
    "SimpleRNN": (nn.SimpleRNN(8), (8, 5, 4)),
    "ConvLSTM2D": (nn.ConvLSTM2D(4, 3), (4, 3, 6, 6, 2)),
    "MultiHeadAttention": (nn.MultiHeadAttention(2, 8), (4, 64, 16)),
}
errors = {}
for name, (layer, shape) in cases.items():
    x = jnp.asarray(rng.standard_normal(shape), jnp.float32)
    x = (x, x) if name == "MultiHeadAttention" else x
    params, state = jax.jit(layer.init)(jax.random.key(0), x)
    grad = jax.grad(lambda p, x: (layer.apply(p, state, x)[0] ** 2).sum())
    shared = jax.jit(jax.shard_map(grad, mesh=Mesh(jax.devices(), "d"), in_specs=(P(), P("d")), out_specs=P()))
    pairs = list(zip(jax.tree.leaves(jax.jit(grad)(params, x)), jax.tree.leaves(shared(params, x))))
    largest = max(float(abs(one).max()) for one, _ in pairs)
    errors[name] = max(float(abs(one - two).max()) for one, two in pairs) / largest
print(json.dumps(errors))
"""


@pytest.fixture(scope="module")
def errors():
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_gradients_of_shared_weights_are_those_of_one_device(errors):
    assert len(errors) == 16 and {name: error for name, error in errors.items() if error > 2e-6} == {}
