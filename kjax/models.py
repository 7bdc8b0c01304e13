"""Keras's name for the place of models."""

from kjax.model import Model as Model
from kjax.nn.graph import Input as Input
from kjax.sequential import Sequential as Sequential
