"""An optimizer around another one."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from kjax.optim.averaging import mix
from kjax.optim.tunable import Tunable


class LookaheadState(NamedTuple):
    """What Lookahead remembers; a pytree."""

    fast: Any
    """The state of the optimizer inside."""
    slow: Any
    """The slow weights, a tree like the params."""

    @property
    def step(self) -> jax.Array:
        """The updates made so far."""
        return self.fast.step


class Lookahead(Tunable):
    """Slow weights that go a part of the way that another optimizer has gone in some steps, and take it back there.

        every sync_period steps:   slow = slow + slow_step_size * (p - slow),   p = slow

    Args:
        optimizer: the one that makes the steps: a name or an object.
        sync_period: the steps between two meetings.
        slow_step_size: the part of the way, in (0, 1].

    Its other settings are those of the optimizer inside: `lr` shows its rate, `replace(lr=0.1)` gives it another.

    Source: Zhang, Lucas, Hinton and Ba, 2019, Lookahead optimizer: k steps forward, 1 step back (arXiv:1907.08610).

    >>> from kjax.optim import SGD
    >>> optimizer, p = Lookahead(SGD(1.0), sync_period=2), jnp.array(0.0)
    >>> state = optimizer.init(p)
    >>> for _ in range(2):
    ...     p, state = optimizer.update(jnp.array(-1.0), state, p)
    ...     print(float(p))
    1.0
    1.0
    """

    optimizer: Any = "adam"
    sync_period: int = 6
    slow_step_size: Any = 0.5

    counts: ClassVar[tuple[str, ...]] = ("sync_period",)
    positive: ClassVar[tuple[str, ...]] = ("slow_step_size",)

    def convert(self, name: str, value: Any) -> Any:
        from kjax.optim.registry import get  # which knows Lookahead

        return get(value) if name == "optimizer" else super().convert(name, value)

    def validate(self) -> None:
        super().validate()
        if isinstance(self.slow_step_size, float) and self.slow_step_size > 1:
            raise ValueError(f"Lookahead: slow_step_size must be in (0, 1]; got {self.slow_step_size!r}")

    def init(self, params: Any) -> LookaheadState:
        """The state to begin with; the slow weights are a copy of the params."""
        return LookaheadState(self.optimizer.init(params), jax.tree.map(jnp.copy, params))

    def update(self, grads: Any, opt_state: LookaheadState, params: Any) -> tuple[Any, LookaheadState]:
        """The params one step further, and the new state."""
        params, fast = self.optimizer.update(grads, opt_state.fast, params)
        meet = fast.step % self.sync_period == 0
        part = jnp.where(meet, self.slow_step_size, 0)

        def meeting(slow: Any, p: Any) -> Any:
            return mix(p, slow, part.astype(p.dtype))

        slow = jax.tree.map(meeting, opt_state.slow, params)
        params = jax.tree.map(lambda s, p: jnp.where(meet, s, p), slow, params)
        return params, LookaheadState(fast, slow)

    def averaged(self, opt_state: LookaheadState, params: Any) -> Any:
        """The averaged weights that the optimizer inside keeps."""
        return self.optimizer.averaged(opt_state.fast, params)

    def learning_rate_at(self, step: Any) -> Any:
        """The rate of the optimizer inside."""
        return self.optimizer.learning_rate_at(step)

    @property
    def lr(self) -> Any:
        """The rate of the optimizer inside."""
        return self.optimizer.lr

    learning_rate = lr

    def replace(self, **changes: Any) -> "Lookahead":
        """A copy with some settings changed, its own or those of the optimizer inside."""
        own = {name: changes.pop(name) for name in ("optimizer", "sync_period", "slow_step_size") if name in changes}
        inner = own.pop("optimizer", self.optimizer)
        return super().replace(optimizer=inner.replace(**changes) if changes else inner, **own)
