"""Callbacks: what happens between epochs and batches, with Keras's names."""

from kjax.callbacks.backup import BackupAndRestore as BackupAndRestore
from kjax.callbacks.base import Callback as Callback
from kjax.callbacks.checkpoint import ModelCheckpoint as ModelCheckpoint
from kjax.callbacks.history import History as History
from kjax.callbacks.live import LivePlot as LivePlot
from kjax.callbacks.loggers import CSVLogger as CSVLogger
from kjax.callbacks.loggers import JSONLogger as JSONLogger
from kjax.callbacks.loggers import RemoteMonitor as RemoteMonitor
from kjax.callbacks.monitor import EarlyStopping as EarlyStopping
from kjax.callbacks.progbar import ProgbarLogger as ProgbarLogger
from kjax.callbacks.rates import LearningRateScheduler as LearningRateScheduler
from kjax.callbacks.rates import ReduceLROnPlateau as ReduceLROnPlateau
from kjax.callbacks.simple import LambdaCallback as LambdaCallback
from kjax.callbacks.simple import SwapEMAWeights as SwapEMAWeights
from kjax.callbacks.simple import TerminateOnNaN as TerminateOnNaN
from kjax.callbacks.simple import Timer as Timer
from kjax.callbacks.tensorboard import TensorBoard as TensorBoard
