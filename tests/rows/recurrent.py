"""Rows of `kjax.nn.cells`, `kjax.nn.recurrent`, `kjax.nn.wrappers` and `kjax.nn.convlstm`."""

import jax
import jax.numpy as jnp
from case import Case

from kjax import nn

SEQUENCE = (3, 4, 2)
KERNELS = dict(
    kernel_regularizer="l2", recurrent_regularizer="l1", bias_regularizer="l2", activity_regularizer="l2",
    recurrent_constraint="max_norm", bias_constraint="non_neg", recurrent_initializer="glorot_normal", bias_initializer="ones",
)  # fmt: skip


def keras_cell(make, *states):
    """Keras's cell on x and its states, as kjax's layer takes and gives them."""

    def made(k):
        import keras

        x, *given = [keras.Input((n,)) for n in (2, *states)]
        y, new = make(k)(x, given)
        return keras.Model([x, *given], [y, *new])

    return made


def init(layer, shape):
    return layer.init(jax.random.key(0), jnp.ones(shape))


def applied(layer, *shapes, training=False):
    """The layer, built for the first shape, applied to the others."""
    params, state = init(layer, shapes[0])
    x = tuple(map(jnp.ones, shapes[1:]))
    return layer.apply(params, state, x[0] if len(x) == 1 else x, training=training)


ROWS = [
    Case(nn.SimpleRNNCell(3), ((4, 2), (4, 3)), keras_cell(lambda k: k.SimpleRNNCell(3), 3)),
    Case(nn.LSTMCell(3), ((4, 2), (4, 3), (4, 3)), keras_cell(lambda k: k.LSTMCell(3), 3, 3)),
    Case(nn.GRUCell(3, reset_after=False), ((4, 2), (4, 3)), keras_cell(lambda k: k.GRUCell(3, reset_after=False), 3)),
    Case(nn.StackedRNNCells([nn.GRUCell(3), nn.SimpleRNNCell(3)]), ((4, 2), (4, 3), (4, 3)),
         keras_cell(lambda k: lambda x, s: _flat(k.StackedRNNCells([k.GRUCell(3), k.SimpleRNNCell(3)])(x, s)), 3, 3)),
    Case(nn.RNN([nn.SimpleRNNCell(3), nn.LSTMCell(2)]), SEQUENCE, lambda k: k.RNN([k.SimpleRNNCell(3), k.LSTMCell(2)])),
    Case(nn.SimpleRNN(3, "relu6", return_sequences=True, **KERNELS), SEQUENCE, lambda k: k.SimpleRNN(3, "relu6", return_sequences=True), smooth=False),
    Case(nn.LSTM(3, go_backwards=True, dropout=0.3, recurrent_dropout=0.2), SEQUENCE, lambda k: k.LSTM(3, go_backwards=True)),
    Case(nn.GRU(3), (SEQUENCE, (3, 3)), lambda k: _with_states(k, k.GRU(3), 3)),
    Case(nn.Bidirectional(nn.GRU(3, reset_after=False, return_sequences=True)), SEQUENCE,
         lambda k: k.Bidirectional(k.GRU(3, reset_after=False, return_sequences=True))),
    Case(nn.TimeDistributed(nn.BatchNormalization(axis=-1)), (3, 2, 4), lambda k: k.TimeDistributed(k.BatchNormalization())),
    Case(nn.ConvLSTM1D(2, 3, strides=2, return_sequences=True, use_bias=False), (2, 3, 6, 2), lambda k: k.ConvLSTM1D(2, 3, strides=2, return_sequences=True, use_bias=False)),
    Case(nn.ConvLSTM2D(2, (3, 2), padding="same", data_format="channels_first"), (2, 3, 2, 4, 3),
         lambda k: k.ConvLSTM2D(2, (3, 2), padding="same", data_format="channels_first")),
    Case(nn.ConvLSTM3D(2, 2, go_backwards=True), (2, 2, 3, 3, 3, 1), lambda k: k.ConvLSTM3D(2, 2, go_backwards=True)),
]  # fmt: skip


def _flat(found):
    y, states = found
    return y, [s[0] if isinstance(s, list | tuple) else s for s in states]


def _with_states(k, layer, *states):
    import keras

    x, *given = keras.Input(SEQUENCE[1:]), *(keras.Input((n,)) for n in states)
    return keras.Model([x, *given], layer(x, initial_state=given))


MISTAKES = {
    "a recurrent layer on vectors": (lambda: init(nn.LSTM(3), (4, 2)), ["LSTM(3)", "rank 3, (batch, time, features)", "(4, 2)"]),
    "a cell on sequences": (lambda: init(nn.LSTMCell(3), (4, 5, 2)), ["LSTMCell(3)", "rank 2", "RNN(cell)"]),
    "other features at each step": (lambda: applied(nn.GRU(3), (1, 5, 2), (1, 5, 4)), ["GRU(3) was built for 2 features", "(1, 4)"]),
    "one initial state of two": (lambda: applied(nn.LSTM(3), (1, 5, 2), (1, 5, 2), (1, 3)), ["LSTM(3) takes 2 initial state(s) of shapes [(1, 3), (1, 3)], not [(1, 3)]"]),
    "an initial state of another width": (lambda: applied(nn.GRU(3), (1, 5, 2), (1, 5, 2), (1, 4)), ["GRU(3) takes 1 initial state(s) of shapes [(1, 3)], not [(1, 4)]"]),
    "an initial state of another batch": (lambda: applied(nn.GRU(3), (1, 5, 2), (2, 5, 2), (1, 3)), ["[(2, 3)], not [(1, 3)]"]),
    "a stateful layer on another batch": (lambda: applied(nn.LSTM(3, stateful=True), (4, 5, 2), (3, 5, 2)), ["stateful", "batches of 4", "(3, 5, 2)", "batch_size=4", "batch_input_shape"]),
    "an RNN of a layer": (lambda: nn.RNN(nn.Dense(3)), ["RNN takes a cell", "LSTMCell(8)", "Dense(3)"]),
    "an RNN of an LSTM": (lambda: nn.RNN(nn.LSTM(3)), ["RNN takes a cell", "LSTM(3)"]),
    "stacking no cells": (lambda: nn.StackedRNNCells([]), ["StackedRNNCells takes a list of cells"]),
    "stacking layers": (lambda: nn.RNN([nn.LSTMCell(3), nn.Dense(2)]), ["StackedRNNCells takes a list of cells", "Dense(2)"]),
    "units of no number": (lambda: nn.LSTM("3"), ["LSTM: units", "'3'"]),
    "a recurrent_dropout above one": (lambda: nn.GRU(3, recurrent_dropout=2.0), ["GRU: recurrent_dropout must be in [0, 1)"]),
    "a third implementation": (lambda: nn.LSTM(3, implementation=3), ["LSTM: implementation is 1 or 2"]),
    "time_major": (lambda: nn.LSTM(3, time_major=True), ["LSTM: time_major", "x.swapaxes(0, 1)"]),
    "cuDNN": (lambda: nn.GRU(3, use_cudnn=True), ["GRU", "use_cudnn='auto'"]),
    "cuDNN for a plain layer": (lambda: nn.SimpleRNN(3, use_cudnn="auto"), ["SimpleRNN has no argument 'use_cudnn'"]),
    "a misspelt recurrent option": (lambda: nn.LSTM(3, return_sequence=True), ["Did you mean 'return_sequences'?"]),
    "recurrent dropout without a key": (lambda: applied(nn.LSTM(3, dropout=0.5), (1, 5, 2), (1, 5, 2), training=True), ["LSTM(3, dropout=0.5)", "key=jax.random.key(0)"]),
    "both directions of a dense layer": (lambda: nn.Bidirectional(nn.Dense(3)), ["Bidirectional takes recurrent layers", "LSTM(8)", "Dense(3)"]),
    "an unknown merge_mode": (lambda: nn.Bidirectional(nn.GRU(3), "average"), ["unknown merge_mode 'average'", "Did you mean 'ave'?"]),
    "two forward layers": (lambda: nn.Bidirectional(nn.GRU(3), backward_layer=nn.GRU(3)), ["backward_layer wants go_backwards=True"]),
    "directions of different kinds": (lambda: nn.Bidirectional(nn.GRU(3), backward_layer=nn.GRU(3, go_backwards=True, return_state=True)), ["the same return_state"]),
    "weights for both directions": (lambda: nn.Bidirectional(nn.GRU(3), weights=[]), ["'weights'", "set_weights"]),
    "an odd number of states": (lambda: applied(nn.Bidirectional(nn.GRU(3)), (1, 5, 2), (1, 5, 2), (1, 3)), ["initial states for both directions, not 1"]),
    "time steps of vectors": (lambda: init(nn.TimeDistributed(nn.Dense(3)), (4, 2)), ["TimeDistributed(Dense(3))", "rank 3 or more, (batch, time, …)"]),
    "time steps of two inputs": (lambda: applied(nn.TimeDistributed(nn.Dense(3)), (1, 4, 2), (1, 4, 2), (1, 4, 2)), ["takes one input, not 2"]),
    "time steps of a class": (lambda: nn.TimeDistributed(nn.Dense), ["is not a layer"]),
    "a ConvLSTM on pictures": (lambda: init(nn.ConvLSTM2D(2, 3), (1, 6, 6, 1)), ["rank 5, (batch, time, rows, cols, channels)"]),
    "a ConvLSTM window above the input": (lambda: init(nn.ConvLSTM1D(2, 7), (1, 3, 6, 1)), ["(7,)", "(6,)", "padding='same'"]),
    "a ConvLSTM of other channels": (lambda: applied(nn.ConvLSTM1D(2, 3), (1, 3, 6, 1), (1, 3, 6, 2)), ["was built for 1 channels"]),
    "ConvLSTM strides and dilation": (lambda: nn.ConvLSTM2D(2, 3, strides=2, dilation_rate=2), ["ConvLSTM2D: strides=(2, 2)", "cannot both exceed 1"]),
    "filters of no number": (lambda: nn.ConvLSTM1D("2", 3), ["ConvLSTM1D: filters"]),
    "a cell without a state_size": (lambda: init(nn.RNN(Stateless()), (1, 5, 2)) and applied(nn.RNN(Stateless()), (1, 5, 2), (1, 5, 2)), ["Stateless says nothing of its state_size"]),
}  # fmt: skip


class Stateless(nn.Cell):
    """A cell that is not finished."""
