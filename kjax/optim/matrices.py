"""Rules that treat matrices otherwise than vectors, as Keras 3 writes them."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp

from kjax.optim.adaptive import AdamW, Rates, adam_correction
from kjax.optim.optimizer import Optimizer, Slots
from kjax.optim.paths import first_matches
from kjax.optim.rules import Step, root


class Adafactor(Optimizer):
    """Adam's division without its memory: of a matrix's squared gradients only the means of rows and columns are kept.

        rho = min(lr, 1 / sqrt(t)),   b = 1 - t^beta_2_decay
        r = b * r + (1 - b) * mean of (g^2 + epsilon_1) along rows, c likewise along columns
        u = g / sqrt(r * c / mean(r))
        p = p - max(epsilon_2, rms(p)) * rho * u / max(1, rms(u) / clip_threshold)

    Arrays of one axis keep the mean of g^2 itself; those of more than two are stacks of matrices.

    Args:
        lr: the largest rate relative to the size of the parameters.
        beta_2_decay: how fast the means slow down, below 0.
        epsilon_1: added to squared gradients.
        epsilon_2: the least size of a parameter that counts.
        clip_threshold: the largest root mean square of an update.
        relative_step: whether 1 / sqrt(t) bounds the rate. (In Keras 3 it always does.)

    Source: Shazeer and Stern, 2018, Adafactor (arXiv:1804.04235); Keras 3.

    >>> optimizer, p = Adafactor(0.5), jnp.ones((3, 2))
    >>> p, state = optimizer.update(p, optimizer.init(p), p)
    >>> p[0].tolist(), state.slots["row"].shape, state.slots["column"].shape
    ([0.5, 0.5], (3,), (2,))
    """

    lr: Any = 0.001
    beta_2_decay: Any = -0.8
    epsilon_1: Any = 1e-30
    epsilon_2: Any = 1e-3
    clip_threshold: Any = 1.0
    relative_step: bool = True

    positive: ClassVar[tuple[str, ...]] = ("epsilon_1", "epsilon_2", "clip_threshold")

    def validate(self) -> None:
        super().validate()
        if isinstance(self.beta_2_decay, float) and not self.beta_2_decay < 0:
            raise ValueError(f"Adafactor: beta_2_decay must be below 0; got {self.beta_2_decay!r}")

    def slots(self) -> tuple[str, ...]:
        return ("row", "column")

    def slot_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) < 2:
            return shape if name == "row" else ()
        return shape[:-1] if name == "row" else (*shape[:-2], shape[-1])

    def rates(self, lr: Any, t: Any, scalars: dict[str, Any]) -> Rates:
        rho = jnp.minimum(lr, 1 / jnp.sqrt(t)) if self.relative_step else lr
        return (rho, t**self.beta_2_decay), scalars

    def rule(self, g: Any, p: Any, slots: Slots, lr: Any, t: Any) -> Step:
        rho, fresh = lr
        square, tiny = g**2 + self.epsilon_1, self.epsilon_1
        new = {"row": slots["row"] + fresh * ((square.mean(-1) if g.ndim > 1 else square) - slots["row"])}
        new["column"] = slots["column"]
        v = new["row"]
        if g.ndim > 1:
            new["column"] = slots["column"] + fresh * (square.mean(-2) - slots["column"])
            part = new["row"] / jnp.maximum(new["row"].mean(-1, keepdims=True), tiny)
            v = part[..., None] * new["column"][..., None, :]
        u = g / root(jnp.maximum(v, tiny))  # half precision keeps tiny numbers as 0
        size = jnp.maximum(self.epsilon_2, rms(p)) * rho
        return p - size * u / jnp.maximum(1, rms(u) / self.clip_threshold), new


class Muon(Optimizer):
    """Momentum whose matrices are made nearly orthogonal: all directions get steps of one size. The rest is AdamW's.

        m = momentum * m + g,   x = m, or with nesterov g + momentum * m;   x = x / |x|
        ns_steps times:   A = x x^T,   x = muon_a * x + (muon_b * A + muon_c * A A) x
        p = p - lr * rms_rate * sqrt(max(rows, columns)) * x

    Only parameters of two axes are moved so, embeddings excepted; others, and what `exclude_layers` matches, by
    AdamW. The output layer should be among those.

    Args:
        lr: the learning rate.
        adam_beta_1: AdamW's beta_1.
        adam_beta_2: AdamW's beta_2.
        adam_weight_decay: AdamW's weight decay.
        epsilon: AdamW's epsilon.
        exclude_layers: globs on the paths of matrices to leave to AdamW: `["output/*"]`; Keras's are expressions.
        exclude_embeddings: whether parameters with "embedding" in their path are AdamW's.
        muon_a, muon_b, muon_c: the coefficients.
        adam_lr_ratio: AdamW's rate, as a multiple of lr.
        momentum: the part of the last step that goes into this one, in [0, 1).
        ns_steps: the Newton-Schulz iterations.
        nesterov: whether to look ahead.
        rms_rate: the size of a step, as Adam's is by itself about 0.2; None for x as it is.

    `weight_decay`, 0.004 by default, is that of the matrices.

    Source: Jordan et al., 2024, Muon; Liu et al., 2025, Muon is scalable (arXiv:2502.16982); Keras 3.

    >>> optimizer, p = Muon(0.1, weight_decay=0, rms_rate=None), jnp.zeros((2, 2))
    >>> p, state = optimizer.update(jnp.array([[8.0, 0.0], [0.0, 4.0]]), optimizer.init(p), p)
    >>> [round(abs(float(a)), 1) for a in p.ravel()]
    [0.1, 0.0, 0.0, 0.1]
    """

    lr: Any = 0.001
    adam_beta_1: Any = 0.9
    adam_beta_2: Any = 0.999
    adam_weight_decay: Any = 0.004
    epsilon: Any = 1e-7
    weight_decay: Any = dataclasses.field(default=0.004, kw_only=True)
    exclude_layers: tuple[str, ...] = ()
    exclude_embeddings: bool = True
    muon_a: Any = 3.4445
    muon_b: Any = -4.7750
    muon_c: Any = 2.0315
    adam_lr_ratio: Any = 1.0
    momentum: Any = 0.95
    ns_steps: int = 5
    nesterov: bool = True
    rms_rate: Any = 0.2

    limits: ClassVar[dict[str, float]] = {
        **Optimizer.limits,
        "adam_beta_1": 1,
        "adam_beta_2": 1,
        "adam_weight_decay": float("inf"),
        "adam_lr_ratio": float("inf"),
    }
    counts: ClassVar[tuple[str, ...]] = (*Optimizer.counts, "ns_steps")

    def convert(self, name: str, value: Any) -> Any:
        if name == "exclude_layers":
            value = (value,) if isinstance(value, str) else value or ()
        return super().convert(name, 0.0 if name == "adam_weight_decay" and value is None else value)

    def slots(self) -> tuple[str, ...]:
        return ("m", "v")

    def slot_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape if name == "m" else ()

    def variants(self) -> tuple[Optimizer, ...]:
        beta = {"beta_1": self.adam_beta_1, "beta_2": self.adam_beta_2, "epsilon": self.epsilon}
        return self, MuonsAdam(weight_decay=self.adam_weight_decay, ratio=self.adam_lr_ratio, **beta)

    def choose(self, paths: list[str], shapes: list[tuple[int, ...]]) -> list[int]:
        excluded = [i is not None for i in first_matches(self.exclude_layers, paths, "Muon: exclude_layers")]
        embeddings = [self.exclude_embeddings and "embedding" in path.lower() for path in paths]
        return [int(len(s) != 2 or a or b) for s, a, b in zip(shapes, excluded, embeddings, strict=True)]

    def rule(self, g: Any, p: Any, slots: Slots, lr: Any, t: Any) -> Step:
        m = self.momentum * slots["m"] + g
        x = self.orthogonal(g + self.momentum * m if self.nesterov else m)
        scale = 1.0 if self.rms_rate is None else self.rms_rate * max(p.shape) ** 0.5
        return p - lr * scale * x, {"m": m, "v": slots["v"]}

    def orthogonal(self, x: Any) -> Any:
        """A matrix with nearly the same singular vectors as `x`, and singular values near 1."""
        if x.shape[0] > x.shape[1]:
            return self.orthogonal(x.T).T
        x = x / (root(jnp.sum(x**2)) + 1e-7)
        for _ in range(self.ns_steps):
            a = x @ x.T
            x = self.muon_a * x + (self.muon_b * a + self.muon_c * a @ a) @ x
        return x


class MuonsAdam(AdamW):
    """AdamW at a multiple of the rate."""

    ratio: Any = 1.0

    def rates(self, lr: Any, t: Any, scalars: dict[str, Any]) -> Rates:
        return lr * self.ratio * adam_correction(self, t), scalars


def rms(x: Any) -> Any:
    """The root of the mean square."""
    return root(jnp.mean(x**2))
