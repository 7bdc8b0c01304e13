"""Whole models in one file: the arrays under readable names, and the architecture as JSON.

    model.save("model.safetensors")
    model = kjax.load_model("model.safetensors")

The file is a safetensors file. Its arrays are those of `kjax.train.TrainState`: `params/dense/kernel`, `state/…`,
`opt_state/slots/…`, `step`, `key`. Its metadata hold `model`, the JSON of `kjax.schema`: the network, and what
`compile` was told. There is no code in it and no pickle, so a file from a stranger can be opened.
"""

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kjax.compiled import fresh_state
from kjax.frozen import is_int
from kjax.model import Model
from kjax.nn.compose import Serial
from kjax.nn.composite import Body
from kjax.nn.layer import Layer
from kjax.schema import Reader, SavedModelError, Writer, brief, parse, refuse_unknown, table, text
from kjax.sequential import Sequential
from kjax.subclass import members
from kjax.train import STATIC, Trainer
from kjax.version import __version__
from kjax.weights import contents, refuse_others, write

FORMAT = 1
TRAINING = tuple(sorted({*STATIC, "optimizer"} - {"net"}))
KINDS: dict[str, type[Model]] = {"Model": Model, "Sequential": Sequential}


# Writing.


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Writes a model with all that training needs to go on; see `Model.save`."""
    writer = Writer()
    header: dict[str, Any] = {
        "format": FORMAT,
        "kjax": __version__,
        "model": architecture(model, writer),
        "training": training(model, writer),
        "sample_weight_mode": model.sample_weight_mode,
    }
    arrays: dict[str, Any] = {}
    if ready(model):
        state, spec = model.state, model._spec
        raw = not jnp.issubdtype(state.key.dtype, jax.dtypes.prng_key)
        header |= {"input": write_spec(spec), "key": None if raw else str(jax.random.key_impl(state.key))}
        arrays = {n: np.asarray(jax.random.key_data(a) if is_key(a) else a) for n, a in leaves(state).items()}
        require_fit(arrays, expected(model, spec, header["key"]))
    require_same(model, header, writer)
    write(path, arrays, model=text(header))


def architecture(model: Model, writer: Writer) -> dict[str, Any]:
    """The JSON of a model without its weights and without what it is trained for."""
    cls, net = type(model), model.net
    if isinstance(net, Serial) and not net.layers:
        raise SavedModelError("the model has no layers: there is nothing to save")
    kind = cls.__name__ if cls in KINDS.values() else writer.name(cls, "the model's class")
    found = {"kind": kind, "name": given_name(model), "seed": model.seed, "net": writer.write(net, "net")}
    if cls in KINDS.values() or isinstance(net, Body):
        return found
    return {**found, "members": {n: member(writer, n, v) for n, v in members(model).items()}}


def member(writer: Writer, name: str, value: Any) -> Any:
    """The JSON of an attribute that a subclass gave itself."""
    try:
        return writer.write(value, f"self.{name}")
    except SavedModelError as error:
        raise SavedModelError(f"{error}; an attribute called _{name} is left out") from None


def given_name(model: Model) -> str | None:
    """The name that a model was given, None where it is that of its class."""
    return model._given_name if model.name == type(model).__name__.lower() else model.name


def training(model: Model, writer: Writer) -> dict[str, Any] | None:
    """The JSON of what `compile` was told."""
    trainer = model._trainer
    return None if trainer is None else {n: writer.write(getattr(trainer, n), f"compile: {n}") for n in TRAINING}


def ready(model: Model) -> bool:
    """Whether there are weights, once those that can be made have been."""
    if not model.built:
        with contextlib.suppress(ValueError):
            _ = model.state
    if not model.built and any(donor.built for donor in model._donors.values()):
        raise SavedModelError(
            "the model is not built, but models in it have weights: call model.build((None, …)) first"
        )
    return model.built


def require_same(model: Model, header: dict[str, Any], writer: Writer) -> None:
    """Refuses to write what could not be read as it was."""
    with refusing("the model cannot be saved: what would be loaded"):
        again = make(parse(text(header), "the header"), Reader(writer.custom))
    for what, old, new in (("network", model.net, again.net), ("compile settings", model._trainer, again._trainer)):
        if old != new:
            raise SavedModelError(f"the model cannot be saved: its {what} {brief(old)} would be loaded as {brief(new)}")


def write_spec(spec: Any) -> Any:
    """The JSON of the shapes and dtypes of the inputs."""
    if isinstance(spec, dict):
        return {"named": {name: write_spec(own) for name, own in spec.items()}}
    if isinstance(spec, tuple):
        return [write_spec(own) for own in spec]
    return {"shape": list(spec.shape), "dtype": str(spec.dtype)}


# Reading.


def load_model(path: str | os.PathLike[str], custom_objects: dict[str, Any] | None = None, compile: bool = True) -> Any:
    """The model that `Model.save` wrote: it predicts as that did, and trains on as that would have.

    Args:
        path: the file.
        custom_objects: the classes and functions in it that are not kjax's own, by name: `{"MyLayer": MyLayer}`.
        compile: False leaves out what it was trained for: optimizer, loss and metrics.

    No code of the file runs, for there is none in it. Its arrays must be as large as its architecture says, or it is
    refused before the model gets any.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a damaged file, or one that is no saved model; names what is not known here.
    """
    reader = Reader(custom_objects)
    arrays, metadata = contents(path, "model")
    if "model" not in metadata:
        raise SavedModelError(f"{os.fspath(path)} holds weights without a model: make the model, then load_weights")
    with refusing(os.fspath(path)):
        header = parse(metadata["model"], "the header")
        check_header(header)
        if not compile:
            header = {**header, "training": None}
            arrays = {name: a for name, a in arrays.items() if not name.startswith("opt_state/")}
        model = make(header, reader)
        if header.get("input") is not None:
            restore(model, read_spec(header["input"]), header.get("key"), arrays)
        elif arrays:
            raise SavedModelError("there are arrays, but no shape of the inputs")
    return model


def check_header(header: dict[str, Any]) -> None:
    """Refuses what another version, or another program, wrote."""
    if header.get("format") != FORMAT:
        raise SavedModelError(
            f"written in format {brief(header.get('format'))} by kjax {brief(header.get('kjax'))}; this is kjax "
            f"{__version__}, which reads format {FORMAT}"
        )
    refuse_unknown(header, ["format", "kjax", "model", "training", "sample_weight_mode", "input", "key"], "the header")


@contextlib.contextmanager
def refusing(what: str) -> Iterator[None]:
    """Whatever goes wrong in making a model of what is in a file is the file's fault."""
    try:
        yield
    except Exception as error:
        known = isinstance(error, SavedModelError)
        said = str(error) if known else f"what it describes cannot be made: {type(error).__name__}: {error}"
        raise SavedModelError(f"{what}: {said}") from error


def make(header: dict[str, Any], reader: Reader) -> Model:
    """The model that a header describes, compiled if it was, without its weights."""
    model = model_of(header.get("model"), reader)
    mode, found = header.get("sample_weight_mode"), header.get("training")
    if mode not in (None, "temporal"):
        raise SavedModelError(f"sample_weight_mode is None or 'temporal'; got {brief(mode)}")
    model.sample_weight_mode = mode
    if found is not None:
        refuse_unknown(table(found, "training"), list(TRAINING), "training")
        settings = {name: reader.read(own, f"compile: {name}") for name, own in found.items()}
        model._trainer = Trainer(net=model.net, **settings)
    return model


def model_of(config: Any, reader: Reader) -> Model:
    """The model of an architecture."""
    config = table(config, "model")
    refuse_unknown(config, ["kind", "name", "seed", "net", "members"], "model")
    kind, name, seed = config.get("kind"), config.get("name"), config.get("seed", 0)
    cls = KINDS[kind] if kind in KINDS else reader.find(kind, "the model", "class")
    if not (isinstance(cls, type) and issubclass(cls, Model)):
        raise SavedModelError(f"the model's class {brief(kind)} is {cls!r}, not one derived from kjax.Model")
    if not is_int(seed) or not (name is None or isinstance(name, str)):
        raise SavedModelError(f"a model's name is a text, its seed an integer; got {brief(name)}, {brief(seed)}")
    net = reader.read(config.get("net"), "net")
    if not isinstance(net, Serial if issubclass(cls, Sequential) else Layer):
        raise SavedModelError(f"net: a {cls.__name__} is not made of {brief(net)}")
    model = bare(cls, net, name, seed)
    for key, value in {**attributes(net), **table(config.get("members", {}), "members")}.items():
        if key[0] == "_" or callable(getattr(cls, key, None)):
            raise SavedModelError(f"members: a {cls.__name__} has {key!r} of its own")
        vars(model)[key] = value if key in attributes(net) else reader.read(value, f"self.{key}")
    return model


def bare(cls: type[Model], net: Any, name: str | None, seed: int) -> Model:
    """A model of a class made without its own `__init__`, whose arguments nobody has kept."""
    model = object.__new__(cls)
    if isinstance(model, Sequential):
        Sequential.__init__(model, net.layers, name=name, seed=seed)
        model._net = net
    else:
        Model.__init__(model, net, name=name, seed=seed)
    return model


def attributes(net: Layer) -> dict[str, Any]:
    """What a subclass with a `call` had set, which its network knows."""
    return dict(net.members) if isinstance(net, Body) else {}


def read_spec(data: Any) -> Any:
    """The shapes and dtypes of the inputs."""
    if isinstance(data, list):
        return tuple(map(read_spec, data))
    data = table(data, "input")
    if "named" in data:
        return {name: read_spec(own) for name, own in table(data["named"], "input").items()}
    shape = data.get("shape")
    if not isinstance(shape, list) or not all(is_int(n) and 0 <= n < 2**31 for n in shape) or not shape:
        raise SavedModelError(f"input: {brief(shape)} is no shape")
    return jax.ShapeDtypeStruct(shape, jnp.dtype(data.get("dtype")))


# The arrays.


def is_key(array: Any) -> bool:
    """Whether this is a key of random numbers."""
    return jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


def leaves(state: Any) -> dict[str, Any]:
    """The arrays of a state by their path, `params/dense/kernel`."""
    found = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in found}


def expected(model: Model, spec: Any, impl: str | None) -> Any:
    """The state that a model begins with, as shapes: nothing is computed."""
    start = jax.eval_shape(lambda: jax.random.PRNGKey(0) if impl is None else jax.random.key(0, impl=impl))
    return jax.eval_shape(functools.partial(fresh_state, model.net, model._trainer), start, spec)


def require_fit(arrays: dict[str, np.ndarray], wanted: Any) -> None:
    """Refuses arrays that are not those of a state."""
    specs = {n: jax.eval_shape(jax.random.key_data, a) if is_key(a) else a for n, a in leaves(wanted).items()}
    try:
        refuse_others("the file", arrays, {name: spec.shape for name, spec in specs.items()})
    except ValueError as error:
        raise SavedModelError(str(error)) from None
    wrong = [f"{n} is {arrays[n].dtype}, the model's {s.dtype}" for n, s in specs.items() if arrays[n].dtype != s.dtype]
    if wrong:
        raise SavedModelError(f"arrays of other dtypes: {'; '.join(wrong)} (for float64: jax.enable_x64)")


def restore(model: Model, spec: Any, impl: str | None, arrays: dict[str, np.ndarray]) -> None:
    """Gives a model its arrays, each a copy that training may overwrite."""
    wanted = expected(model, spec, impl)
    require_fit(arrays, wanted)

    def put(name: str, spec: Any) -> jax.Array:
        array = jnp.array(arrays[name])
        return jax.random.wrap_key_data(array, impl=impl) if is_key(spec) else array

    found = [put(name, own) for name, own in leaves(wanted).items()]
    model._settle(spec, jax.tree.unflatten(jax.tree.structure(wanted), found))


# The architecture alone.


def get_config(model: Model) -> dict[str, Any]:
    """The architecture of a model, as Python's dicts and lists, without weights and without what it is trained for."""
    return architecture(model, Writer())


def model_from_config(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
    """A new model of what `Model.get_config` gave.

    Raises:
        ValueError: no such description.
    """
    with refusing("config"):
        return model_of(config, Reader(custom_objects))


def model_from_json(json_string: str, custom_objects: dict[str, Any] | None = None) -> Any:
    """A new model of what `Model.to_json` gave.

    >>> import kjax
    >>> text = kjax.Sequential([kjax.layers.Dense(3, input_shape=(2,))]).to_json()
    >>> model_from_json(text).net
    Serial(layers=(Dense(3, input_shape=(2,)),))

    Raises:
        ValueError: no such description.
    """
    return model_from_config(parse(json_string, "json_string"), custom_objects)
