"""Keras's name for `kjax.optim`.

>>> from kjax.optimizers import SGD
>>> SGD(lr=0.1, momentum=0.9)
SGD(lr=0.1, momentum=0.9)
"""

from kjax.optim import SGD as SGD
from kjax.optim import Adadelta as Adadelta
from kjax.optim import Adagrad as Adagrad
from kjax.optim import Adam as Adam
from kjax.optim import Adamax as Adamax
from kjax.optim import AdamW as AdamW
from kjax.optim import Lion as Lion
from kjax.optim import Lookahead as Lookahead
from kjax.optim import Nadam as Nadam
from kjax.optim import Optimizer as Optimizer
from kjax.optim import RMSprop as RMSprop
from kjax.optim import get as get
from kjax.optim import schedules as schedules
