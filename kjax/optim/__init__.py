"""Optimizers as pure functions over pytrees.

opt_state = optimizer.init(params)
params, opt_state = optimizer.update(grads, opt_state, params)
"""

from kjax.optim import schedules as schedules
from kjax.optim.adaptive import Adam as Adam
from kjax.optim.adaptive import Adamax as Adamax
from kjax.optim.adaptive import AdamW as AdamW
from kjax.optim.adaptive import Nadam as Nadam
from kjax.optim.lookahead import Lookahead as Lookahead
from kjax.optim.optimizer import Optimizer as Optimizer
from kjax.optim.optimizer import OptState as OptState
from kjax.optim.registry import get as get
from kjax.optim.rules import SGD as SGD
from kjax.optim.rules import Adadelta as Adadelta
from kjax.optim.rules import Adagrad as Adagrad
from kjax.optim.rules import Lion as Lion
from kjax.optim.rules import RMSprop as RMSprop
