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
from kjax.nn import kernels
from kjax.nn.container import Container
from kjax.nn.layer import Layer, like
from kjax.nn.mask import plain
from kjax.precision import Precision
from kjax.train import STATIC, Logs, Totals, Trainer, TrainState

KEPT = 128
"""How many compiled functions of each kind are kept: a program that makes networks without end stays small."""
NOTED = 4096
"""For how many steps of a loop there is room for logs. Where callbacks want them, loops are no longer: 0.1 s of steps
that take 25 µs, to which a dispatch adds 0.1 ms."""


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
        log, numbers, function = self.log, self._numbers, self._function(name, donated)

        def call(state: TrainState, *args: Any, **options: Any) -> Any:
            log.listens()
            new, *found = function(numbers, state.key, without_key(state), *args, **options)
            return with_key(new, state.key), *found

        return call

    def _evaluating(self, name: str, *donated: int) -> Callable:
        log, numbers, function = self.log, self._numbers, self._function(name, donated)

        def call(state: TrainState, *args: Any, **options: Any) -> Any:
            log.listens()
            return function(numbers, None, without_key(state), *args, **options)

        return call

    def _function(self, name: str, donated: tuple[int, ...]) -> Callable:
        return _method(getattr(Trainer, name), self._structure, donated)

    def sums(self, state: TrainState, batch: Sequence[Any]) -> "Sums":
        """How sums over such batches are kept."""
        spec = tuple(jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), tuple(batch)))
        found = kind(spec)
        if found not in self._sums:
            self._sums[found] = Sums(self.trainer, state, spec)
        return self._sums[found]


def settings(trainer: Trainer) -> dict[str, Setting]:
    """What the steps depend on besides their arguments, for the report."""
    fixed = {name: Setting(getattr(trainer, name), getattr(trainer, name)) for name in STATIC}
    return fixed | {"optimizer": Setting(jax.tree.structure(trainer.optimizer), trainer.optimizer)}


class Sums:
    """The loss and metrics of a trainer, summed over batches of one shape; `speeds` has the seconds of a step."""

    def __init__(self, trainer: Trainer, state: TrainState, batch: Sequence[Any]):
        shapes = trainer.shapes(state, batch)
        self._names, self.takes_padding = trainer.log_names, trainer.takes_padding(*shapes)
        self._empty, self._results, self._room = _totals(jax.tree.structure(trainer), shapes)
        self.speeds: dict[str, float] = {}

    def empty(self) -> Any:
        """Sums over nothing, on the device."""
        return self._empty()

    def logs(self, totals: Any) -> dict[str, float]:
        """What the sums stand for, as Python floats, in one transfer."""
        logs = jax.device_get(self._results(totals))
        return {name: float(logs[name]) for name in self._names}

    @functools.cached_property
    def room(self) -> Any:
        """Where a loop of at most `NOTED` steps notes the logs after each, on the device."""
        return self._room()

    def each(self, noted: Any, steps: int) -> list[dict[str, float]]:
        """What a loop of so many steps has noted, as Python floats, in one transfer."""
        noted = jax.device_get(noted)
        columns = [map(float, noted[name][:steps]) for name in self._names]
        return [dict(zip(self._names, row, strict=True)) for row in zip(*columns, strict=True)]


@functools.lru_cache(maxsize=KEPT)
def _totals(structure: Any, shapes: tuple[Any, Any]) -> tuple[Callable, Callable, Callable]:
    trainer = jax.tree.unflatten(structure, range(structure.num_leaves))  # whatever the optimizer's numbers are

    def init_totals() -> Totals:
        return trainer.init_totals(*shapes)

    def results(totals: Totals) -> Logs:
        return trainer.results(totals, *shapes)

    def init_logs() -> Logs:
        return trainer.init_logs(NOTED, *shapes)

    found = jax.jit(init_totals), jax.jit(results), jax.jit(init_logs)
    _check_numbers(jax.eval_shape(found[1], jax.eval_shape(found[0])))
    return found


def _check_numbers(logs: Logs) -> None:
    """A log is one number: that is what bars, histories and callbacks take."""
    for name, log in logs.items():
        if log.shape:
            raise ValueError(
                f"compile: the metric {name!r} gives values of shape {log.shape}, one for each class or output; `fit` "
                'and `evaluate` log one number. Give it an average (average="macro", class_aggregation='
                '"uniform_average"), or call it on what `predict` gives'
            )


@functools.lru_cache(maxsize=4 * KEPT)
def _method(method: Callable, structure: Any, donated: tuple[int, ...]) -> Callable:
    takes, trains = inspect.signature(method), method.__name__.startswith("train")

    def run(numbers: list[Any], key: Any, rest: tuple[Any, ...], *args: Any, **options: Any) -> Any:
        with tracing(method.__name__, **takes.bind_partial(numbers, with_key(rest, None), *args, **options).arguments):
            found = method(jax.tree.unflatten(structure, numbers), with_key(rest, key), *args, **options)
        if method.__name__.endswith("_step"):
            _check_numbers(found[1] if trains else found)
        return (without_key(found[0]), *found[1:]) if trains else found

    run.__name__ = method.__name__
    return jax.jit(run, donate_argnums=donated, static_argnames="padded")


def without_key(state: TrainState) -> tuple[Any, ...]:
    """All of a state but its key, which never changes and would take 10 µs as a result of each step."""
    return state.params, state.state, state.opt_state, state.step, state.loss_scale


def with_key(rest: tuple[Any, ...], key: Any) -> TrainState:
    """The state again."""
    params, state, opt_state, step, loss_scale = rest
    return TrainState(params, state, opt_state, step, key, loss_scale)


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
    """What `fresh_state` gives for inputs of such shapes (`jax.ShapeDtypeStruct`), in one program.

    `seed` is a key or a whole number; most of these become a key within the program, which saves a small one.
    """
    switch_on()
    if is_int(seed):
        seed = np.uint32(seed) if 0 <= seed < 2**32 else jax.random.key(seed)
    numbers, structure = jax.tree.flatten(trainer)
    return _init(net, structure, str(setting("jax_default_prng_impl")), kind(x))(numbers, seed, x)


@functools.lru_cache(maxsize=KEPT)
def _init(net: Layer, structure: Any, impl: str, inputs: Any) -> Callable:
    def init(numbers: list[Any], seed: Any, x: Any) -> TrainState:
        key = jax.random.key(seed, impl=impl) if seed.ndim == 0 and seed.dtype == jnp.uint32 else seed
        with tracing("init", key=key):
            return kernels.usual(fresh_state(net, jax.tree.unflatten(structure, numbers), kernels.quick(key), x))

    return jax.jit(init)


def fresh_state(net: Layer, trainer: Trainer | None, key: jax.Array, x: Any) -> TrainState:
    """What `Trainer.init` gives, or without a trainer the same with nothing for an optimizer."""
    if trainer is not None:
        return trainer.init(key, x)
    net_key, train_key = jax.random.split(key)
    return TrainState(*net.init(net_key, x), (), jnp.zeros((), jnp.int32), train_key)


def kind(tree: Any) -> Any:
    """What a program for such arrays depends on: with it in its key, each function that is kept holds one program."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((a.shape, a.dtype) for a in leaves)


def restarted(trainer: Trainer, state: TrainState, x: Any = None) -> TrainState:
    """A state for another trainer, its optimizer afresh; with inputs like `x`, weights in the dtypes that it keeps."""
    params, net_state = state.params, state.state
    if x is not None:
        wanted = jax.eval_shape(trainer.init, state.key, x)
        params, net_state = like((params, net_state), (wanted.params, wanted.state))
    opt_state, loss_scale = first_optimizer_state(trainer, params), trainer.init_loss_scale()
    return state.replace(params=params, state=net_state, opt_state=opt_state, loss_scale=loss_scale)


def first_optimizer_state(trainer: Trainer, params: Any) -> Any:
    """What `Trainer.init_optimizer` gives, in one program."""
    numbers, structure = jax.tree.flatten(trainer)
    return _init_optimizer(structure, kind(params))(numbers, params)


@functools.lru_cache(maxsize=KEPT)
def _init_optimizer(structure: Any, weights: Any) -> Callable:
    def init_optimizer(numbers: list[Any], params: Any) -> Any:
        return jax.tree.unflatten(structure, numbers).init_optimizer(params)

    return jax.jit(init_optimizer)
