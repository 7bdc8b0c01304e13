"""Optimizers as pure functions over pytrees.

opt_state = optimizer.init(params)
params, opt_state = optimizer.update(grads, opt_state, params)
"""

import importlib
import typing

from kjax.optim.adaptive import Adam as Adam
from kjax.optim.adaptive import Adamax as Adamax
from kjax.optim.adaptive import AdamW as AdamW
from kjax.optim.adaptive import Lamb as Lamb
from kjax.optim.adaptive import Nadam as Nadam
from kjax.optim.adaptive import RAdam as RAdam
from kjax.optim.lookahead import Lookahead as Lookahead
from kjax.optim.matrices import Adafactor as Adafactor
from kjax.optim.matrices import Muon as Muon
from kjax.optim.optimizer import Optimizer as Optimizer
from kjax.optim.optimizer import OptState as OptState
from kjax.optim.registry import get as get
from kjax.optim.rules import SGD as SGD
from kjax.optim.rules import Adadelta as Adadelta
from kjax.optim.rules import Adagrad as Adagrad
from kjax.optim.rules import Ftrl as Ftrl
from kjax.optim.rules import Lion as Lion
from kjax.optim.rules import RMSprop as RMSprop


def __getattr__(name: str) -> typing.Any:
    """`schedules`, loaded where it is first used."""
    if name == "schedules":
        return importlib.import_module("kjax.optim.schedules")
    raise AttributeError(f"module 'kjax.optim' has no attribute {name!r}")
