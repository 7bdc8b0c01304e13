"""The pure functions of a network, compiled. Equal networks share a compilation; the least recent ones are dropped.

Each function is compiled for what is static in its trainer (layers, loss, metrics); the optimizer's numbers are
its first argument. They are kept on the device, so that a call sends nothing but its batch.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kjax.compilation_cache import setting, switch_on
from kjax.compile_report import CompileLog, Setting, tracing
from kjax.dtypes import widened
from kjax.frozen import is_int
from kjax.heads import predict as predicted
from kjax.nn.container import Container
from kjax.nn.layer import Layer, like
from kjax.nn.mask import plain
from kjax.precision import Precision
from kjax.train import STATIC, Trainer, TrainState

KEPT = 128
"""How many compiled functions of each kind are kept: a program that makes networks without end stays small."""


class Compiled:
    """A trainer's `train_step`, `eval_step`, `train_rows` and `eval_rows`; states and totals are donated.

    Args:
        trainer: what it is about.
        before: the same for a trainer that may differ in numbers alone; what was found out for it is kept then.
        log: where compilations are noted.
    """

    def __init__(self, trainer: Trainer, before: "Compiled | None" = None, log: CompileLog | None = None):
        switch_on()
        self.log = log or CompileLog()
        numbers, structure = jax.tree.flatten(trainer)
        self._structure: Any = structure
        self._numbers = jax.device_put(numbers)  # Python's own stay weakly typed
        self.trainer = trainer
        self._sums: dict[Any, Sums] = before._sums if before and before._structure == structure else {}
        self.log.settings = settings(trainer)
        self.train_step, self.train_rows = self._training("train_step", 2), self._training("train_rows", 2, 3)
        self.eval_step, self.eval_rows = self._evaluating("eval_step"), self._evaluating("eval_rows", 3)

    def _training(self, name: str, *donated: int) -> Callable:
        function = self._bound(name, donated)

        def call(state: TrainState, *args: Any, **options: Any) -> Any:
            new, found = function(state.key, with_key(state, None), *args, **options)
            return with_key(new, state.key), found

        return call

    def _evaluating(self, name: str, *donated: int) -> Callable:
        function = self._bound(name, donated)

        def call(state: TrainState, *args: Any, **options: Any) -> Any:
            return function(None, with_key(state, None), *args, **options)

        return call

    def _bound(self, name: str, donated: tuple[int, ...]) -> Callable:
        return self.log.calls(_method(getattr(Trainer, name), self._structure, donated), self._numbers)

    def sums(self, state: TrainState, batch: Sequence[Any]) -> "Sums":
        """How sums over such batches are kept."""
        spec = tuple(jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), tuple(batch)))
        kind = tuple(jax.tree.leaves(spec)), jax.tree.structure(spec)
        if kind not in self._sums:
            self._sums[kind] = Sums(self.trainer, state, spec)
        return self._sums[kind]


def settings(trainer: Trainer) -> dict[str, Setting]:
    """What the steps depend on besides their arguments, for the report."""
    fixed = {name: Setting(getattr(trainer, name), getattr(trainer, name)) for name in STATIC}
    return fixed | {"optimizer": Setting(jax.tree.structure(trainer.optimizer), trainer.optimizer)}


class Sums:
    """The loss and metrics of a trainer, summed over batches of one shape; `speeds` has the seconds of a step."""

    def __init__(self, trainer: Trainer, state: TrainState, batch: Sequence[Any]):
        self._trainer, self._shapes = trainer, trainer.shapes(state, batch)
        self.takes_padding = trainer.takes_padding(*self._shapes)
        self.speeds: dict[str, float] = {}

    def empty(self) -> Any:
        """Sums over nothing, on the device."""
        return _empty(self._trainer, *self._shapes)

    def logs(self, totals: Any) -> dict[str, float]:
        """What the sums stand for, as Python floats, in one transfer."""
        logs = jax.device_get(_results(self._trainer, totals, *self._shapes))
        return {name: float(logs[name]) for name in self._trainer.log_names}


_empty = jax.jit(Trainer.init_totals, static_argnums=(1, 2))
_results = jax.jit(Trainer.results, static_argnums=(2, 3))


@functools.lru_cache(maxsize=4 * KEPT)
def _method(method: Callable, structure: Any, donated: tuple[int, ...]) -> Callable:
    takes, trains = inspect.signature(method), method.__name__.startswith("train")

    def run(numbers: list[Any], key: Any, state: TrainState, *args: Any, **options: Any) -> Any:
        with tracing(method.__name__, **takes.bind_partial(numbers, state, *args, **options).arguments):
            found = method(jax.tree.unflatten(structure, numbers), with_key(state, key), *args, **options)
        return (with_key(found[0], None), found[1]) if trains else found

    run.__name__ = method.__name__
    return jax.jit(run, donate_argnums=donated, static_argnames="padded")


def with_key(state: TrainState, key: Any) -> TrainState:
    """The state with another key. It never changes, and would take 10 µs as a result of each step."""
    return TrainState(state.params, state.state, state.opt_state, state.step, key, state.loss_scale)


@functools.lru_cache(maxsize=KEPT)
def outputs(net: Layer, precision: Precision | None = None) -> Callable:
    """`(params, state, x) -> y`, compiled; a mask is dropped."""

    def predict(params: Any, state: Any, x: Any) -> Any:
        with tracing("predict", params=params, state=state, x=x):
            return plain(predicted(net, precision, params, state, x))

    switch_on()
    return jax.jit(predict)


@functools.lru_cache(maxsize=KEPT)
def inner_outputs(net: Layer, names: tuple[str, ...]) -> Callable:
    """`(params, state, x) -> {name: output}` of some layers of a container, compiled; nothing else is computed."""

    def activations(params: Any, state: Any, x: Any) -> Any:
        found: dict[str, Any] = {}
        with tracing("activations", params=params, state=state, x=x):
            record(net, params, state, x, "", lambda path, y: found.setdefault(path, y))
        return {name: widened(plain(found[name])) for name in names}

    return jax.jit(activations)


def record(net: Layer, params: Any, state: Any, x: Any, prefix: str, note: Callable) -> Any:
    """The output of a network; calls `note(path, output)` for each layer on the way, inner ones first."""
    if not isinstance(net, Container):
        return net.apply(params, state, x)[0]
    params, x = net.effective(params, state), net.taken(x)

    def visit(i: int, number: int, given: Any) -> Any:
        name = net.names[i]
        own = params.get(name, {}), state.get(name, {})
        y = record(net.layers[i], *own, given, f"{prefix}{name}/", note)
        note(prefix + name, y)
        return y

    return net.run(x, visit)


def first_state(net: Layer, trainer: Trainer | None, seed: Any, x: Any) -> TrainState:
    """What `Trainer.init` gives, or without a trainer the same with nothing for an optimizer, in one program.

    `seed` is a key or a whole number; most of these become a key within the program, which saves a small one.
    """
    switch_on()
    leaves, structure = jax.tree.flatten(x)
    if is_int(seed):
        seed = np.uint32(seed) if 0 <= seed < 2**32 else jax.random.key(seed)
    return init(net, trainer, str(setting("jax_default_prng_impl")), seed, tuple(leaves), structure)


@functools.partial(jax.jit, static_argnums=(0, 2, 5))
def init(net: Layer, trainer: Any, impl: str, seed: Any, leaves: Any, structure: Any) -> TrainState:
    key = jax.random.key(seed, impl=impl) if seed.ndim == 0 and seed.dtype == jnp.uint32 else seed
    x = jax.tree.unflatten(structure, leaves)
    with tracing("init", key=key):
        if trainer is not None:
            return trainer.init(key, x)
        net_key, train_key = jax.random.split(key)
        return TrainState(*net.init(net_key, x), (), jnp.zeros((), jnp.int32), train_key)


def restarted(trainer: Trainer, state: TrainState, x: Any = None) -> TrainState:
    """A state for another trainer, its optimizer afresh; with inputs like `x`, weights in the dtypes that it keeps."""
    params, net_state = state.params, state.state
    if x is not None:
        wanted = jax.eval_shape(trainer.init, state.key, x)
        params, net_state = like((params, net_state), (wanted.params, wanted.state))
    opt_state, loss_scale = first_optimizer_state(trainer, params), trainer.init_loss_scale()
    return state.replace(params=params, state=net_state, opt_state=opt_state, loss_scale=loss_scale)


@jax.jit
def first_optimizer_state(trainer: Trainer, params: Any) -> Any:
    """What `Trainer.init_optimizer` gives."""
    return trainer.init_optimizer(params)
