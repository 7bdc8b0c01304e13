"""Keras's name for the place of models."""

from kjax.model import Model as Model
from kjax.sequential import Sequential as Sequential
