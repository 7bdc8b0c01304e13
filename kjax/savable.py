"""The methods of models that `kjax.saving` stands behind, which needs the models and so is imported by them late."""

import importlib
import json
import os
from typing import Any


class Savable:
    """What can be kept in a file or a text."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model to one safetensors file: architecture, weights, and all that training needs to go on.

        `kjax.load_model` reads it. Functions and classes of your own are saved by name: give them to `load_model` as
        `custom_objects={"name": object}`. A failed write leaves an older file as it was.

        Raises:
            ValueError: something has no name, such as a lambda; says where, and what to do.
            OSError: the file cannot be written.
        """
        saving().save(self, path)

    def get_config(self) -> dict[str, Any]:
        """The architecture as Python's dicts and lists; `from_config` takes it."""
        return saving().get_config(self)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        """A new model of what `get_config` gave."""
        return saving().model_from_config(config, custom_objects)

    def to_json(self) -> str:
        """The architecture as JSON; `kjax.models.model_from_json` takes it."""
        return json.dumps(self.get_config())


def saving() -> Any:
    """The module `kjax.saving`."""
    return importlib.import_module("kjax.saving")
