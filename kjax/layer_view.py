"""What a model shows of each of its layers: `model.layers[0]`, `model.get_layer("dense")`."""

from typing import TYPE_CHECKING, Any

import numpy as np

from kjax.nn.layer import Layer
from kjax.weights import Path

if TYPE_CHECKING:
    from kjax.network import Network


class LayerView:
    """A layer of a model with its weights; the layer's own settings are its attributes."""

    def __init__(self, model: "Network", path: str, layer: Layer):
        self._model, self.name, self.layer = model, path, layer

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "layer":  # not made yet: copying asks so
            raise AttributeError(name)
        return getattr(self.layer, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "trainable":
            self._model._set_trainable(self.name, bool(value))
            super().__setattr__("layer", self._model.get_layer(self.name).layer)
        elif name not in ("_model", "name", "layer"):
            raise AttributeError(
                f"layer {self.name!r}: a layer's settings are fixed when it is made; give {name}={value!r} there, "
                "build the model anew, and take the weights over with set_weights(old.get_weights())"
            )
        else:
            super().__setattr__(name, value)

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the layer's arrays, kernel before bias."""
        return [np.array(a) for a in self._model._arrays(self._paths())]

    def set_weights(self, values: Any) -> None:
        """Takes arrays in the order of `get_weights`."""
        self._model._set_arrays(self._paths(), values)

    def count_params(self) -> int:
        """How many numbers the layer's arrays hold."""
        return sum(a.size for a in self.get_weights())

    def _paths(self) -> list[Path]:
        return [path for path in self._model._built_paths() if "/".join(path[1:-1]) == self.name]

    def __repr__(self) -> str:
        return f"<{self.name}: {self.layer!r}>"
