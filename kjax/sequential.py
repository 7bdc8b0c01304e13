"""Keras's `Sequential`: layers one after the other, added one at a time or all at once."""

from collections.abc import Sequence
from typing import Any

from kjax.compiled import first_optimizer_state
from kjax.frozen import explained
from kjax.model import Model
from kjax.network import Network
from kjax.nn.compose import Serial
from kjax.nn.layer import Layer
from kjax.nn.node import Node


class Sequential(Model):
    """Layers one after the other, with everything that a `Model` does.

    Args:
        layers: the layers; more can be added by `add`.
        name: what `summary` calls it.
        seed: decides everything random; see `Model`.

    The weights exist as soon as the first layer's `input_shape` is known, or else from the first batch on.

    >>> import numpy as np
    >>> from kjax.layers import Dense
    >>> model = Sequential([Dense(8, activation="relu", input_shape=(2,))])
    >>> model.add(Dense(1))
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> history = model.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=2, verbose=0)
    >>> model.predict(np.ones((3, 2))).shape
    (3, 1)
    """

    @explained
    def __init__(self, layers: Sequence[Layer] | None = None, name: str | None = None, seed: int | None = 0):
        super().__init__(Serial(()), name=name, seed=seed)
        self._stated: Node | None = None
        self._brought: dict[int, Network] = {}
        self._change(Serial(self._taken(layers or ())))

    def add(self, layer: Layer) -> None:
        """Appends a layer. Weights that the model has by then stay.

        Raises:
            TypeError: not a layer.
        """
        self._change(Serial((*self._own, *self._taken([layer]))))

    def pop(self) -> None:
        """Removes the last layer and its weights.

        Raises:
            IndexError: there is none.
        """
        if not self._own:
            raise IndexError("pop from a model without layers")
        self._change(Serial(self._own[:-1]))

    @property
    def _own(self) -> tuple[Layer, ...]:
        return self.net.layers  # type: ignore[attr-defined]

    def _taken(self, items: Sequence[Any]) -> tuple[Any, ...]:
        """The layers among what was added: an `Input` says the shape, a model is a layer that brings its weights."""
        layers = []
        for item in items:
            if isinstance(item, Node) and item.call.layer is None:
                self._stated = item
            elif isinstance(item, Network):
                self._brought[id(item.as_layer())] = item
                layers.append(item.as_layer())
            else:
                layers.append(item)
        return tuple(layers)

    def _change(self, net: Serial) -> None:
        """Takes other layers: those whose name and shapes stay keep their weights, `compile` is repeated."""
        if self._stated is not None and net.layers and net.layers[0].input_shape is None:
            first = net.layers[0].replace(input_shape=self._stated.shape[1:])
            if id(net.layers[0]) in self._brought:
                self._brought[id(first)] = self._brought[id(net.layers[0])]
            net = Serial((first, *net.layers[1:]))
        old, self._net, self._state = self._state, net, None
        self._log.expect_changes()
        named = zip(net.names, net.layers, strict=True)
        self._donors = {name: self._brought[id(layer)] for name, layer in named if id(layer) in self._brought}
        if self._trainer is not None:
            self._trainer = self._trainer.replace(net=net)
        if old is not None and net.layers:
            self._build_or_explain()
            self._keep(old)

    def _keep(self, old: Any) -> None:
        new = self.state
        trees = ({**n, **{k: o[k] for k in n if k in o}} for n, o in ((new.params, old.params), (new.state, old.state)))
        params, state = trees
        opt_state = first_optimizer_state(self._trainer, params) if self._trainer else ()
        self._state = new.replace(params=params, state=state, opt_state=opt_state)

    def _build_or_explain(self) -> None:
        if not self._own:
            raise ValueError("the model has no layers: add some, e.g. model.add(Dense(10, input_shape=(784,)))")
        if self._spec is None:
            super()._build_or_explain()
        else:
            self._build(self._spec)

    def _build_for(self, x: Any) -> None:
        if not self._own:
            self._build_or_explain()
        super()._build_for(x)
