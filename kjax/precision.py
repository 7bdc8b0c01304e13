"""What a network computes in: mixed precision, float32 or float64.

    trainer = Trainer(net, "mse", "adam", precision="mixed_bfloat16")

In mixed precision the params, the optimizer's state and moving statistics are float32. Layers round params and inputs
to the small type and compute in it, but normalisation, softmax, means and all that comes behind the network's last
layer (a final activation, losses, metrics, penalties) are float32. Gradients come out in float32.

float16 has nothing below 6e-8 to hold a gradient, so with it the loss is multiplied by a number, and the gradients
divided by it. `LossScale` finds that number as it goes.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from kjax.dtypes import MIXED
from kjax.frozen import Frozen, require_between, require_int, suggest
from kjax.state import TrainState

NAMES = (*MIXED, "float32", "float64")
LEAST, MOST = 1.0, 2.0**24
"""Where a loss scale stays, whatever the gradients do; NVIDIA's Apex ends at the same number."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LossScale:
    """What the loss is multiplied by, which halves when a gradient overflows and doubles after many that did not.

    A pytree, kept in `TrainState.loss_scale`. In a step of your own:

        loss, grads = jax.value_and_grad(lambda params: scale.up(loss_of(params)))(params)
        grads = scale.down(grads)
        finite, scale = scale.after(grads)

    after which a step is made if `finite`, and left out if not.

    Source: Micikevicius et al., "Mixed precision training", 2017 (arXiv:1710.03740); the numbers are those of Keras's
    `LossScaleOptimizer`.

    >>> scale = LossScale.begin(Precision("mixed_float16", dynamic_growth_steps=2))
    >>> for grad in (jnp.inf, 1.0, 1.0, 1.0):
    ...     finite, scale = scale.after(jnp.float32(grad))
    ...     print(bool(finite), float(scale.scale), int(scale.good_steps), int(scale.skipped_steps))
    False 16384.0 0 1
    True 16384.0 1 1
    True 32768.0 0 1
    True 32768.0 1 1
    """

    scale: Any
    """float32: what the loss is multiplied by."""
    good_steps: Any
    """int32: the steps since it last changed."""
    skipped_steps: Any
    """int32: the steps that were left out, in all."""
    growth_steps: int = dataclasses.field(metadata={"static": True})
    """How many good steps double it."""

    @classmethod
    def begin(cls, precision: "Precision") -> "LossScale":
        """The scale to begin with."""
        good_steps, skipped_steps = (jnp.zeros((), jnp.int32) for _ in range(2))  # two buffers, for donation
        scale = jnp.asarray(precision.initial_scale, jnp.float32)
        return cls(scale, good_steps, skipped_steps, precision.dynamic_growth_steps)

    def up(self, loss: jax.Array) -> jax.Array:
        """The loss to differentiate."""
        return loss * self.scale.astype(loss.dtype)

    def down(self, grads: Any) -> Any:
        """The gradients of the loss itself."""
        return jax.tree.map(lambda g: g / self.scale.astype(g.dtype), grads)

    def after(self, grads: Any) -> tuple[jax.Array, "LossScale"]:
        """Whether the gradients are all finite, and the scale for the next step."""
        finite = jnp.array(True)
        for grad in jax.tree.leaves(grads):
            finite &= jnp.isfinite(grad).all()
        good = jnp.where(finite, self.good_steps + 1, 0)
        grows = good >= self.growth_steps
        scale = self.scale * jnp.where(finite, jnp.where(grows, 2.0, 1.0), 0.5).astype(self.scale.dtype)
        skipped = self.skipped_steps + (~finite).astype(self.skipped_steps.dtype)
        return finite, dataclasses.replace(
            self, scale=jnp.clip(scale, LEAST, MOST), good_steps=jnp.where(grows, 0, good), skipped_steps=skipped
        )

    def settle(self, grads: Any, new: TrainState, old: TrainState) -> TrainState:
        """The state after a step, `new` if its gradients are finite; else `old`, one batch further."""
        finite, scale = self.after(grads)
        kept = {
            name: jax.tree.map(lambda a, b: jnp.where(finite, a, b), getattr(new, name), getattr(old, name))
            for name in ("params", "state", "opt_state")
        }
        return new.replace(loss_scale=scale, **kept)

    def numbers(self) -> "LossScale":
        """The same on the host, as Python's numbers."""
        return jax.tree.map(lambda number: number.item(), jax.device_get(self))


class Precision(Frozen):
    """What a network computes in, and what it keeps its params in.

    Args:
        name: "mixed_bfloat16" or "mixed_float16" (params in float32), "float32" or "float64".
        initial_scale: what the loss is first multiplied by in mixed_float16.
        dynamic_growth_steps: after how many steps without an overflow that number doubles.

    A layer's own `dtype=` wins over it.

    Raises:
        ValueError: an unknown name, numbers out of range, or float64 without JAX's 64-bit mode.

    >>> Precision("mixed_float16", initial_scale=1024.0)
    Precision('mixed_float16', initial_scale=1024.0)
    """

    name: str
    initial_scale: float = 2.0**15
    dynamic_growth_steps: int = 2000

    def convert(self, name: str, value: Any) -> Any:
        return float(value) if name == "initial_scale" and type(value) is int else super().convert(name, value)

    def validate(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"unknown precision {self.name!r}.{suggest(str(self.name), NAMES)}")
        if self.name == "float64" and not jax.config.read("jax_enable_x64"):
            raise ValueError(
                'precision="float64" needs JAX\'s 64-bit mode: call jax.config.update("jax_enable_x64", True) first, '
                "at the top of the program"
            )
        require_between(self.initial_scale, "initial_scale", "Precision", LEAST, MOST)
        require_int(self.dynamic_growth_steps, "dynamic_growth_steps", "Precision")

    @property
    def scales(self) -> bool:
        """Whether the loss is scaled."""
        return self.name == "mixed_float16"


def scale_of(precision: Precision | None, state: TrainState) -> LossScale | None:
    """The loss scale of a state; None where the precision has none.

    Raises:
        ValueError: there should be one.
    """
    if precision is None or not precision.scales:
        return None
    if state.loss_scale is None:
        raise ValueError(
            "mixed_float16 scales the loss, but the state has no loss_scale: make it with trainer.init(key, x), or add "
            "one with state.replace(loss_scale=trainer.init_loss_scale())"
        )
    return state.loss_scale


def get(identifier: Any) -> Precision | None:
    """The precision that a name stands for; None: layers compute in the dtype of their inputs.

    Raises:
        ValueError: an unknown name.
        TypeError: something else.

    >>> get("mixed_bfloat16")
    Precision('mixed_bfloat16')
    """
    if identifier is None or isinstance(identifier, Precision):
        return identifier
    if not isinstance(identifier, str):
        raise TypeError(f"precision is a name, {', '.join(map(repr, NAMES))}, or a Precision; got {identifier!r}")
    return Precision(identifier)
