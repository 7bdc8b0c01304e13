"""kjax: a JIT-compiled, functional deep-learning framework on JAX with a Keras-like face."""

from kjax import activations as activations
from kjax import callbacks as callbacks
from kjax import checkpoints as checkpoints
from kjax import constraints as constraints
from kjax import datasets as datasets
from kjax import initializers as initializers
from kjax import layers as layers
from kjax import losses as losses
from kjax import metrics as metrics
from kjax import models as models
from kjax import nn as nn
from kjax import optim as optim
from kjax import optimizers as optimizers
from kjax import precision as precision
from kjax import regularizers as regularizers
from kjax import text as text
from kjax import train as train
from kjax import utils as utils
from kjax.compile_report import RecompileWarning as RecompileWarning
from kjax.model import Model as Model
from kjax.nn.graph import Input as Input
from kjax.saving import load_model as load_model
from kjax.sequential import Sequential as Sequential
from kjax.tuning import lr_range as lr_range
from kjax.version import __version__ as __version__
