"""Keras's name for the place of models."""

from kjax.model import Model as Model
from kjax.nn.graph import Input as Input
from kjax.saving import load_model as load_model
from kjax.saving import model_from_config as model_from_config
from kjax.saving import model_from_json as model_from_json
from kjax.sequential import Sequential as Sequential
