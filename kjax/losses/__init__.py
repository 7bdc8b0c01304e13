"""Losses: pure functions and frozen objects, `loss(y_true, y_pred)` -> one value per example.

Reduction and weights are applied in one place, `mean_loss`.
"""

from kjax.losses.crossentropy import binary_crossentropy as binary_crossentropy
from kjax.losses.crossentropy import binary_focal_crossentropy as binary_focal_crossentropy
from kjax.losses.crossentropy import categorical_crossentropy as categorical_crossentropy
from kjax.losses.crossentropy import categorical_focal_crossentropy as categorical_focal_crossentropy
from kjax.losses.crossentropy import sparse_categorical_crossentropy as sparse_categorical_crossentropy
from kjax.losses.objects import BinaryCrossentropy as BinaryCrossentropy
from kjax.losses.objects import BinaryFocalCrossentropy as BinaryFocalCrossentropy
from kjax.losses.objects import CategoricalCrossentropy as CategoricalCrossentropy
from kjax.losses.objects import CategoricalFocalCrossentropy as CategoricalFocalCrossentropy
from kjax.losses.objects import CategoricalHinge as CategoricalHinge
from kjax.losses.objects import CosineSimilarity as CosineSimilarity
from kjax.losses.objects import Dice as Dice
from kjax.losses.objects import Hinge as Hinge
from kjax.losses.objects import Huber as Huber
from kjax.losses.objects import KLDivergence as KLDivergence
from kjax.losses.objects import LogCosh as LogCosh
from kjax.losses.objects import Loss as Loss
from kjax.losses.objects import MeanAbsoluteError as MeanAbsoluteError
from kjax.losses.objects import MeanAbsolutePercentageError as MeanAbsolutePercentageError
from kjax.losses.objects import MeanSquaredError as MeanSquaredError
from kjax.losses.objects import MeanSquaredLogarithmicError as MeanSquaredLogarithmicError
from kjax.losses.objects import Poisson as Poisson
from kjax.losses.objects import SparseCategoricalCrossentropy as SparseCategoricalCrossentropy
from kjax.losses.objects import SquaredHinge as SquaredHinge
from kjax.losses.objects import Tversky as Tversky
from kjax.losses.reduction import counted as counted
from kjax.losses.reduction import mean_loss as mean_loss
from kjax.losses.reduction import weighted_mean as weighted_mean
from kjax.losses.registry import get as get
from kjax.losses.registry import name as name
from kjax.losses.registry import on_logits as on_logits
from kjax.losses.targets import check_targets as check_targets
from kjax.losses.targets import check_values as check_values
from kjax.losses.targets import match_targets as match_targets
from kjax.losses.values import categorical_hinge as categorical_hinge
from kjax.losses.values import cosine_proximity as cosine_proximity
from kjax.losses.values import cosine_similarity as cosine_similarity
from kjax.losses.values import dice as dice
from kjax.losses.values import hinge as hinge
from kjax.losses.values import huber as huber
from kjax.losses.values import kl_divergence as kl_divergence
from kjax.losses.values import log_cosh as log_cosh
from kjax.losses.values import mean_absolute_error as mean_absolute_error
from kjax.losses.values import mean_absolute_percentage_error as mean_absolute_percentage_error
from kjax.losses.values import mean_squared_error as mean_squared_error
from kjax.losses.values import mean_squared_logarithmic_error as mean_squared_logarithmic_error
from kjax.losses.values import poisson as poisson
from kjax.losses.values import squared_hinge as squared_hinge
from kjax.losses.values import tversky as tversky

bce = BCE = binary_crossentropy
mae = MAE = mean_absolute_error
mape = MAPE = mean_absolute_percentage_error
mse = MSE = mean_squared_error
msle = MSLE = mean_squared_logarithmic_error
kld = KLD = kullback_leibler_divergence = kl_divergence
logcosh = log_cosh
cosine = cosine_proximity
