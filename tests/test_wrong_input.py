"""Wrong input: one row per mistake, each with what its message must say. Nothing may be traced or lost before it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from cases import MISTAKES

from kjax import Model, Sequential, callbacks, checkpoints, losses, metrics, nn, optim, utils
from kjax.callbacks import BackupAndRestore, ProgbarLogger
from kjax.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Lambda,
    MaxPooling2D,
    Permute,
    RepeatVector,
    Reshape,
    ZeroPadding2D,
)  # fmt: skip
from kjax.precision import Precision

X, Y = np.ones((8, 4), "float32"), np.ones((8, 1), "float32")
LABELS = np.arange(8) % 3


def model(units=1, loss="mse", activation=None, compiled=True, **options):
    made = Sequential([Dense(units, activation=activation, input_shape=(4,))])
    if compiled:
        made.compile("sgd", loss, **options)
    return made


def classifier(loss="sparse_categorical_crossentropy"):
    return model(3, loss, "softmax")


def convolutional():
    made = Sequential([Conv2D(2, 3, input_shape=(5, 5, 1)), Flatten(), Dense(1)])
    made.compile("sgd", "mse")
    return made


def init(layer, shape):
    return layer.init(jax.random.key(0), jnp.ones(shape))


def stream():
    yield X, Y


class Broken(nn.Layer):
    def call(self, params, state, x, training, key):
        return x @ jnp.ones((99, 1)), state


def _train_spoilt():
    made = model()
    made.set_weights([np.full_like(w, np.nan) for w in made.get_weights()])
    made.fit(X, Y, verbose=0, check_finite=True)


ROWS = {
    # Arguments of layers
    "misspelt kernel_size": (lambda: Conv2D(2, kernal_size=3), ["Conv2D", "kernal_size", "Did you mean 'kernel_size'?"]),
    "misspelt batch_input_shape": (lambda: Dense(2, batch_input_size=(None, 3)), ["batch_input_size", "Did you mean 'batch_input_shape'?"]),
    "misspelt constraint": (lambda: Dense(2, kernel_constraints="non_neg"), ["Did you mean 'kernel_constraint'?"]),
    "misspelt activation argument": (lambda: Dense(2, activaton="relu"), ["Did you mean 'activation'?"]),
    "a learning rate assigned": (lambda: setattr(optim.SGD(0.1), "lr", 0.2), ["SGD", "model.optimizer = model.optimizer.replace(lr=0.2)"]),
    "a layer's setting assigned": (lambda: setattr(model().layers[0], "units", 7), ["layer 'dense", "units=7", "when it is made"]),
    "unknown activation": (lambda: Dense(2, activation="rely"), ["Dense: activation", "rely", "Did you mean 'relu'?"]),
    "unknown initializer": (lambda: Dense(2, kernel_initializer="he_norml"), ["kernel_initializer", "Did you mean 'he_normal'?"]),
    "unknown regularizer": (lambda: Dense(2, kernel_regularizer="l3"), ["kernel_regularizer", "l3"]),
    "unknown constraint": (lambda: Dense(2, kernel_constraint="maxnrm"), ["kernel_constraint", "maxnrm"]),
    "activation of a wrong type": (lambda: Dense(2, activation=3), ["Dense: activation", "3"]),
    "missing units": (lambda: Dense(), ["Dense is missing", "'units'"]),
    "negative units": (lambda: Dense(-3), ["Dense: units must be an integer of at least 1; got -3"]),
    "units of zero": (lambda: Dense(0), ["Dense: units", "got 0"]),
    "fractional units": (lambda: Dense(2.5), ["Dense: units", "got 2.5"]),
    "weights argument": (lambda: Dense(2, weights=[X]), ["'weights'", "set_weights"]),
    "filters as text": (lambda: Conv2D("32", 3), ["Conv2D: filters", "'32'"]),
    "kernel of three sides": (lambda: Conv2D(2, (3, 3, 3)), ["Conv2D: kernel_size is one integer or 2 of them", "(3, 3, 3)"]),
    "kernel of size zero": (lambda: Conv2D(2, 0), ["kernel_size must be at least 1"]),
    "unknown padding": (lambda: Conv2D(2, 3, padding="smae"), ["Conv2D: unknown padding 'smae'", "Did you mean 'same'?"]),
    "unknown data_format": (lambda: Conv2D(2, 3, data_format="NHWC"), ["data_format is 'channels_last' or 'channels_first'", "NHWC"]),
    "strides and dilation": (lambda: Conv2D(2, 3, strides=2, dilation_rate=2), ["strides=(2, 2)", "dilation_rate=(2, 2)"]),
    "pool size": (lambda: MaxPooling2D(-2), ["MaxPooling2D: pool_size must be at least 1"]),
    "dropout above one": (lambda: Dropout(1.5), ["Dropout: rate must be in [0, 1)", "1.5"]),
    "dropout of a percentage": (lambda: Dropout("50%"), ["Dropout: rate must be a number"]),
    "negative momentum of batch norm": (lambda: BatchNormalization(momentum=-1.0), ["BatchNormalization: momentum", "-1"]),
    "two unknown axes": (lambda: Reshape((-1, -1)), ["Reshape", "at most one", "(-1, -1)"]),
    "permutation that skips": (lambda: Permute((1, 3)), ["Permute", "(1, 3)"]),
    "repeat of zero": (lambda: RepeatVector(0), ["RepeatVector: n", "got 0"]),
    "lambda of no function": (lambda: Lambda(3), ["Lambda takes a function"]),
    "padding of three": (lambda: ZeroPadding2D((1, 2, 3)), ["ZeroPadding2D: padding", "(1, 2, 3)"]),
    "layer name with a slash": (lambda: Dense(2, name="a/b"), ["name", "a/b"]),
    "input_shape of text": (lambda: Dense(2, input_shape="4"), ["Dense: input_shape", "'4'"]),
    "field that cannot be hashed": (lambda: Lambda(len, arguments={"a": np.ones(2)}), ["Lambda", "arguments", "hashed"]),
    # Networks
    "class for a layer": (lambda: Sequential([Flatten]), ["layers[0] is not a layer", "brackets", "Flatten(…)"]),
    "function for a layer": (lambda: Sequential([jnp.tanh]), ["layers[0] is not a layer", "Lambda"]),
    "two layers of one name": (lambda: Sequential([Dense(1, name="a"), Dense(1, name="a")]), ["2 layers are called 'a'"]),
    "model of no layer": (lambda: Model(3), ["Model takes a layer", "3"]),
    "dense on vectors without batch": (lambda: init(Dense(2), (4,)), ["Dense(2)", "rank 2 or more", "(4,)"]),
    "pictures without channels": (lambda: init(nn.Serial([Dense(4), Conv2D(2, 3)]), (8, 28, 28)),
                                  ["layer 'conv2d (layer 2 of 2)'", "rank 4", "(batch, rows, cols, channels)", "(8, 28, 4)", "x[..., None]"]),
    "kernel above the input": (lambda: init(nn.Serial([Conv2D(2, 9)]), (1, 5, 5, 1)), ["conv2d (layer 1 of 1)", "(9, 9)", "(5, 5)", "padding='same'"]),
    "pool above the input": (lambda: init(MaxPooling2D(6), (1, 5, 5, 1)), ["(6, 6)", "(5, 5)"]),
    "reshape that does not fit": (lambda: init(Reshape((3, 3)), (1, 8)), ["9 numbers per example, not 8"]),
    "permute of another rank": (lambda: init(Permute((1, 2)), (1, 8)), ["rank 3", "(1, 8)"]),
    "repeat of a sequence": (lambda: init(RepeatVector(2), (1, 8, 3)), ["RepeatVector", "rank 2", "(1, 8, 3)"]),
    "other channels than built": (lambda: Conv2D(2, 3).apply(init(Conv2D(2, 3), (1, 5, 5, 1))[0], {}, jnp.ones((1, 5, 5, 3))),
                                  ["was built for 1 channels", "(1, 5, 5, 3)"]),
    "other features than built": (lambda: Dense(2).apply(init(Dense(2), (1, 4))[0], {}, jnp.ones((1, 5))), ["was built for 4 features", "(1, 5)"]),
    "dropout without a key": (lambda: Dropout(0.5).apply({}, {}, jnp.ones((1, 4)), training=True), ["Dropout(0.5)", "key=jax.random.key(0)"]),
    "batch norm over the batch": (lambda: init(BatchNormalization(axis=0), (2, 4)), ["axis=0", "batch axis"]),
    "lambda of another shape": (lambda: Lambda(jnp.tanh, output_shape=(3,)).apply({}, {}, jnp.ones((1, 4))), ["(3,)", "(4,)"]),
    "embedding of another length": (lambda: init(Embedding(9, 2, input_length=5), (1, 4)), ["(5,)", "(1, 4)"]),
    "noise shape": (lambda: init(Dropout(0.5, noise_shape=(3, 1)), (2, 4)), ["noise_shape", "(2, 4)"]),
    # Compiling
    "unknown loss": (lambda: model(loss="means_squared_error"), ["means_squared_error", "Did you mean 'mean_squared_error'?"]),
    "unknown optimizer": (lambda: Sequential([Dense(1)]).compile("adm", "mse"), ["adm", "Did you mean 'Adam'?"]),
    "unknown metric": (lambda: model(metrics=["acuracy"]), ["acuracy", "Did you mean 'accuracy'?"]),
    "no loss": (lambda: Sequential([Dense(1)]).compile("sgd"), ["compile needs a loss", 'loss="mse"']),
    "sample_weight_mode": (lambda: model(sample_weight_mode="time"), ["sample_weight_mode", "'time'"]),
    "two loss weights": (lambda: model(loss_weights=[1.0, 2.0]), ["loss_weights", "[1.0, 2.0]"]),
    "unknown precision": (lambda: model(precision="mixed_bfloat"), ["unknown precision 'mixed_bfloat'", "Did you mean 'mixed_bfloat16'?"]),
    "unknown dtype of a layer": (lambda: Dense(1, dtype="mixed_bf16"), ["Dense: dtype: unknown dtype 'mixed_bf16'", "Did you mean 'mixed_bfloat16'?"]),
    "precision by its dtype": (lambda: model(precision=np.float16), ["precision is a name", "'mixed_float16'", "float16"]),
    "float64 without 64 bits": (lambda: model(precision="float64"), ["64-bit mode", 'jax.config.update("jax_enable_x64", True)']),
    "a loss scale below one": (lambda: Precision("mixed_float16", initial_scale=0.0), ["Precision: initial_scale", "0.0"]),
    "a loss scale that never grows": (lambda: Precision("mixed_float16", dynamic_growth_steps=0), ["Precision: dynamic_growth_steps", "got 0"]),
    "misspelt compile": (lambda: model(metric=["mse"]), ["Did you mean 'metrics'?"]),
    "negative learning rate": (lambda: optim.SGD(lr=-0.1), ["SGD: lr", "-0.1"]),
    "learning rate as text": (lambda: optim.Adam("0.01"), ["Adam: lr", "'0.01'"]),
    "two learning rates": (lambda: optim.Adam(lr=0.1, learning_rate=0.1), ["lr", "learning_rate"]),
    "beta of one": (lambda: optim.Adam(beta_1=1.0), ["Adam: beta_1", "1.0"]),
    "misspelt momentum": (lambda: optim.SGD(momentun=0.9), ["Did you mean 'momentum'?"]),
    "momentum above one": (lambda: optim.SGD(momentum=9.0), ["SGD: momentum", "9.0"]),
    "clipnorm of zero": (lambda: optim.SGD(clipnorm=0.0), ["SGD: clipnorm"]),
    "label smoothing": (lambda: losses.CategoricalCrossentropy(label_smoothing=2.0), ["label_smoothing", "2.0"]),
    "top zero": (lambda: metrics.TopKCategoricalAccuracy(k=0), ["k", "0"]),
    # Data
    "fit before compile": (lambda: model(compiled=False).fit(X, Y), ["not compiled", "model.compile("]),
    "evaluate before compile": (lambda: model(compiled=False).evaluate(X, Y), ["not compiled"]),
    "predict before a shape": (lambda: Sequential([Dense(1)]).get_weights(), ["do not exist yet", "input_shape"]),
    "fit without layers": (lambda: _fit(Sequential(), X, Y), ["no layers", "model.add("]),
    "no y": (lambda: model().fit(X), ["y is None"]),
    "other lengths": (lambda: model().fit(X, Y[:5]), ["x has 8, y has 5"]),
    "empty": (lambda: model().fit(X[:0], Y[:0]), ["x is empty"]),
    "features": (lambda: model().fit(X[:, :3], Y), ["x has examples of shape (3,), but the network takes (4,)"]),
    "no channel axis": (lambda: convolutional().fit(np.ones((8, 5, 5)), Y), ["(5, 5)", "(5, 5, 1)", "x[..., None]"]),
    "no batch axis": (lambda: convolutional().predict(np.ones((5, 5, 1))), ["batch axis", "x[None]"]),
    "pictures for a dense net": (lambda: model().fit(np.ones((8, 2, 2)), Y), ["(2, 2)", "(4,)", "reshape"]),
    "text": (lambda: model().fit(np.full((8, 4), "a"), Y), ["x holds text"]),
    "objects": (lambda: model().fit(np.full((8, 4), object()), Y), ["x holds objects"]),
    "dates": (lambda: model().fit(np.zeros((8, 4), "datetime64[s]"), Y), ["x holds dates"]),
    "ragged lists": (lambda: model().fit([[1, 2], [3]], Y), ["rows of different lengths"]),
    "a number": (lambda: model().fit(3.0, Y), ["x is a single number"]),
    "text column": (lambda: model().fit(pd.DataFrame({"a": [1.0] * 8, "b": ["u"] * 8}), Y), ["x holds text", "column b"]),
    "NaN when asked": (lambda: model().fit(np.where(np.arange(8)[:, None] == 5, np.nan, X), Y, check_finite=True), ["x holds NaN", "row 5"]),
    "infinite y when asked": (lambda: model().fit(X, np.full_like(Y, np.inf), check_finite=True), ["y holds NaN or infinity"]),
    "y of another width": (lambda: model(2).fit(X, np.ones((8, 3))), ["(n, 3)", "(n, 2)", "3 units"]),
    "labels for categorical": (lambda: classifier("categorical_crossentropy").fit(X, LABELS), ["sparse_categorical_crossentropy", "to_categorical"]),
    "one-hot for sparse": (lambda: classifier().fit(X, np.eye(3)[LABELS]), ["categorical_crossentropy", "argmax"]),
    "label above": (lambda: classifier().fit(X, LABELS + 1), ["3", "0"]),
    "label below": (lambda: classifier().fit(X, LABELS - 1), ["-1"]),
    "fractional labels": (lambda: classifier().fit(X, LABELS + 0.5), ["whole class numbers", "0.5"]),
    "text labels": (lambda: classifier().fit(X, ["a"] * 8), ["y holds text"]),
    "batch size of zero": (lambda: model().fit(X, Y, batch_size=0), ["fit: batch_size", "got 0"]),
    "fractional epochs": (lambda: model().fit(X, Y, epochs=1.5), ["fit: epochs", "1.5"]),
    "verbose": (lambda: model().fit(X, Y, verbose=3), ["verbose is 0, 1 or 2", "3"]),
    "validation split": (lambda: model().fit(X, Y, validation_split=1.5), ["validation_split", "1.5"]),
    "validation without y": (lambda: model().fit(X, Y, validation_data=(X,)), ["validation_data"]),
    "validation of another shape": (lambda: model().fit(X, Y, validation_data=(X[:, :2], Y)), ["validation x", "(2,)"]),
    "sample weights of another length": (lambda: model().fit(X, Y, sample_weight=np.ones(3)), ["sample_weight has 3"]),
    "sample weights per step": (lambda: model().fit(X, Y, sample_weight=np.ones((8, 2))), ["sample_weight must have rank 1", "'temporal'"]),
    "class weights as a list": (lambda: classifier().fit(X, LABELS, class_weight=[1, 2, 3]), ["class_weight is a dict"]),
    "misspelt fit": (lambda: model().fit(X, Y, epoch=3), ["fit has no argument 'epoch'", "Did you mean 'epochs'?"]),
    "a class for a callback": (lambda: model().fit(X, Y, callbacks=[callbacks.EarlyStopping]), ["fit: callbacks", "brackets, EarlyStopping(…)"]),
    "a class for all callbacks": (lambda: model().evaluate(X, Y, callbacks=callbacks.Timer), ["evaluate: callbacks", "brackets, Timer(…)"]),
    "callbacks as a number": (lambda: model().predict(X, callbacks=3), ["predict: callbacks", "got 3"]),
    "callbacks by name": (lambda: model().fit(X, Y, callbacks="early_stopping"), ["fit: callbacks", "'early_stopping'"]),
    "unknown shuffle": (lambda: model().fit(X, Y, shuffle="batches"), ["shuffle is True, False or 'batch'", "'batches'"]),
    "verbose of evaluate": (lambda: model().evaluate(X, Y, verbose="yes"), ["evaluate: verbose is 0, 1 or 2", "'yes'"]),
    "verbose of predict": (lambda: model().predict(X, verbose=7), ["predict: verbose", "7"]),
    "class names as classes": (lambda: classifier().fit(X, LABELS, class_weight={"cat": 1.0}), ["class_weight", "class numbers", "'cat'"]),
    "class weights as text": (lambda: classifier().fit(X, LABELS, class_weight={0: "2"}), ["class_weight", "0: '2'"]),
    "weights by name": (lambda: model().fit(X, Y, sample_weight="balanced"), ["sample_weight holds text"]),
    "text to predict": (lambda: model().predict("cat"), ["x holds text"]),
    "nothing to predict": (lambda: model().predict(None), ["x is None"]),
    "one example to train on": (lambda: model().train_on_batch(X[0], Y[0]), ["x has examples of shape ()", "x[None]"]),
    "no y to train on": (lambda: model().train_on_batch(X, None), ["y is None"]),
    "epochs below zero": (lambda: model().fit(X, Y, epochs=-1), ["fit: epochs", "-1"]),
    "batch size as text": (lambda: model().evaluate(X, Y, batch_size="32"), ["evaluate: batch_size", "'32'"]),
    "validation split as text": (lambda: model().fit(X, Y, validation_split="0.2"), ["validation_split", "'0.2'"]),
    "validation data as an array": (lambda: model().fit(X, Y, validation_data=X), ["validation_data is (x, y)", "ndarray"]),
    "weights that are not finite": (_train_spoilt, ["not finite before epoch 1, batch 1 of 1", "'dense/bias' holds nan"]),
    "callbacks that are none": (lambda: model().fit(X, Y, callbacks=[print]), ["callbacks", "Callback"]),
    # Streams
    "y beside a generator": (lambda: model().fit(stream(), Y), ["fit: y goes with arrays", "x is a generator", "the targets come with the batches"]),
    "weights beside a generator": (lambda: model().fit(stream(), sample_weight=np.ones(8)), ["sample_weight goes with arrays", "(x, y, sample_weight)"]),
    "split of a generator": (lambda: model().fit(stream(), validation_split=0.5), ["validation_split goes with arrays", "give validation_data"]),
    "batch size of a generator": (lambda: model().fit(stream(), batch_size=8), ["batch_size is for arrays", "leave it out"]),
    "y beside a generator in evaluate": (lambda: model().evaluate(stream(), Y), ["evaluate: y goes with arrays"]),
    "two epochs of one generator": (lambda: model().fit(stream(), epochs=2), ["gives its batches once", "steps_per_epoch", "fit(batches) instead of fit(batches())"]),
    "two validations on one generator": (lambda: model().fit(X, Y, epochs=2, validation_data=stream()), ["2 passes", "validation_steps", "validation_data=batches instead of batches()"]),
    "a used generator": (lambda: model().fit(iter([])), ["x gives no batch", "used up before"]),
    "an empty stream": (lambda: model().fit(lambda: iter([])), ["x gives no batch", "empty"]),
    "an empty validation stream": (lambda: model().fit(X, Y, validation_data=lambda: iter([])), ["validation_data gives no batch"]),
    "an empty stream to predict": (lambda: model().predict(iter([])), ["predict: x gives no batch"]),
    "a generator of examples": (lambda: model().fit(zip(X, LABELS, strict=True)), ["the first batch of the data", "one example and no batch", "batch_size=32"]),
    "a generator of dicts": (lambda: model().fit(iter([{"image": X, "label": Y}])), ["'image', 'label'", "which does not say", 'rename_columns({"image": "x", "label": "y"})']),
    "a generator of arrays": (lambda: model().fit(iter([X])), ["a batch is (x, y) or (x, y, sample_weight)", "got ndarray"]),
    "features of a stream": (lambda: model().fit(iter([(X[:, :3], Y)])), ["the first batch of the data: x has examples of shape (3,)"]),
    "labels of a stream": (lambda: classifier().fit(iter([(X, LABELS + 1)])), ["the first batch of the data", "3"]),
    "NaN of a stream when asked": (lambda: model().fit(iter([(X * np.nan, Y)]), check_finite=True), ["the first batch of the data: x holds NaN"]),
    "validation stream of another shape": (lambda: model().fit(X, Y, validation_data=iter([(X[:, :2], Y)])), ["the first batch of validation_data: x", "(2,)", "(4,)"]),
    "no steps": (lambda: model().fit(stream(), steps_per_epoch=0), ["fit: steps_per_epoch must be an integer of at least 1; got 0"]),
    "fractional steps": (lambda: model().fit(X, Y, steps_per_epoch=8 / 4), ["fit: steps_per_epoch", "2.0"]),
    "more steps than batches": (lambda: model().fit(X, Y, batch_size=4, steps_per_epoch=3), ["steps_per_epoch=3", "8 examples make 2 batches of 4"]),
    "more validation steps": (lambda: model().fit(X, Y, validation_data=(X, Y), validation_steps=2), ["validation_steps=2", "1 batches of 8"]),
    "no validation steps": (lambda: model().fit(X, Y, validation_steps=0), ["fit: validation_steps", "got 0"]),
    "no steps to evaluate": (lambda: model().evaluate(X, Y, steps=-1), ["evaluate: steps", "got -1"]),
    "no steps to predict": (lambda: model().predict(X, steps=0), ["predict: steps", "got 0"]),
    "validation_batch_size": (lambda: model().fit(X, Y, validation_batch_size="8"), ["fit: validation_batch_size", "'8'"]),
    "NaN to validate on when asked": (lambda: model().fit(X, Y, validation_data=(X, Y * np.nan), check_finite=True), ["validation y holds NaN", "row 0"]),
    "NaN held out when asked": (lambda: model().fit(np.where(np.arange(8)[:, None] == 7, np.nan, X), Y, validation_split=0.5, check_finite=True), ["validation x holds NaN", "row 3"]),
    "NaN of a validation stream": (lambda: model().fit(X, Y, validation_data=iter([(X, Y * np.nan)]), check_finite=True), ["the first batch of validation_data: y holds NaN"]),
    "validation steps of nothing": (lambda: model().fit(X, Y, validation_steps=2), ["fit: validation_steps=2", "nothing to validate on", "validation_data or validation_split"]),
    "validation_batch_size of nothing": (lambda: model().fit(X, Y, validation_batch_size=2), ["fit: validation_batch_size=2", "nothing to validate on"]),
    "validation_freq of nothing": (lambda: model().fit(X, Y, validation_freq=[2]), ["fit: validation_freq=[2]", "nothing to validate on"]),
    "validation_freq": (lambda: model().fit(X, Y, validation_freq=0), ["validation_freq", "got 0"]),
    "validation_freq in a list": (lambda: model().fit(X, Y, validation_freq=[1, 2.5]), ["validation_freq", "2.5"]),
    "workers": (lambda: model().fit(stream(), workers=0), ["fit: workers", "got 0"]),
    "a data set without batches": (lambda: model().fit(utils.Sequence()), ["PyDataset defines no __len__"]),
    # Runs that go on
    "save_freq of another kind": (lambda: BackupAndRestore("run", save_freq="5 parsecs"), ["BackupAndRestore: save_freq is 'epoch'", "'5min'", "'5 parsecs'"]),
    "save_freq of zero": (lambda: BackupAndRestore("run", save_freq=0), ["save_freq", "got 0"]),
    "keep of nothing": (lambda: BackupAndRestore("run", keep=0), ["BackupAndRestore: keep must be an integer of at least 1; got 0"]),
    "a bar that counts epochs": (lambda: ProgbarLogger("epochs"), ["ProgbarLogger: count_mode is 'steps' or 'samples'", "'epochs'"]),
    "a tree with a text": (lambda: checkpoints.save("run", {"name": "a"}), ["name is 'a'", "arrays, keys and numbers"]),
    "a function beside a tree": (lambda: checkpoints.save("run", {}, f=len), ["meta/f is <built-in function len>"]),
    "a metric with a value for each class": (lambda: vectors().fit(X, np.eye(3)[Y.astype(int)[:, 0] % 3]), ["compile: the metric 'f1_score'", "(3,)", 'average="macro"']),
    "the same on a batch": (lambda: vectors().train_on_batch(X, np.eye(3)[Y.astype(int)[:, 0] % 3]), ["compile: the metric 'f1_score'", "(3,)"]),
    # Weights
    "too few weights": (lambda: model().set_weights([X]), ["got 1 weight arrays, but there are 2", "dense/kernel"]),
    "weights of another shape": (lambda: model().set_weights([X, X]), ["dense/kernel is (4, 1), got (8, 4)"]),
    "no such layer": (lambda: model().get_layer("dens"), ["no layer 'dens'", "Did you mean 'dense'?"]),
    "no such index": (lambda: model().get_layer(index=7), ["no layer 7"]),
    "layer by nothing": (lambda: model().get_layer(), ["name or an index"]),
    "build of unknown sizes": (lambda: Sequential([Dense(1)]).build((None, None)), ["build needs the size"]),
    **MISTAKES,
}  # fmt: skip


def vectors():
    net = Sequential([Dense(3, activation="softmax", input_shape=(4,))])
    net.compile("sgd", "categorical_crossentropy", metrics=["f1_score"])
    return net


def _fit(model, x, y):
    model.compile("sgd", "mse")
    model.fit(x, y)


@pytest.mark.parametrize("name", ROWS)
def test_the_message_says_what_where_and_how(name):
    make, parts = ROWS[name]
    with pytest.raises((ValueError, TypeError, RuntimeError, AttributeError, FloatingPointError)) as caught:
        make()
    said = str(caught.value)
    missing = [part for part in parts if part not in said]
    assert not missing, f"{missing} not in: {said}"
    assert not re.search(r"Tracer|jaxlib|Traced<", said), said


def test_there_are_at_least_sixty():
    assert len(ROWS) >= 60


def test_a_wrong_call_loses_nothing():
    made = model()
    before = made.get_weights()
    for call in (lambda: made.fit(X, Y[:3]), lambda: made.set_weights([X]), lambda: made.train_on_batch(X[:, :2], Y)):
        with pytest.raises(ValueError):
            call()
    for a, b in zip(before, made.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.isfinite(made.train_on_batch(X, Y))


def test_an_error_in_a_users_layer_names_the_layer():
    net = nn.Serial([Dense(4), nn.Serial([Activation("relu"), Broken()], name="block")])
    with pytest.raises(TypeError) as caught:
        net.init(jax.random.key(0), jnp.ones((2, 3)))
    assert any("In layer 'block/broken'" in note and "float32[2, 4]" in note for note in caught.value.__notes__)


def test_lists_and_frames_work():
    made = model()
    losses_seen = [made.test_on_batch(x, y) for x, y in [
        (X, Y), (X.tolist(), Y.tolist()), (pd.DataFrame(X), pd.DataFrame(Y)), (pd.DataFrame(X, dtype=object), pd.Series(Y[:, 0])),
        (X.astype("float64"), Y[:, 0]), (X.astype(int), Y.astype(int)), (X.astype(bool), Y), (jnp.asarray(X), jnp.asarray(Y)),
        (X.astype(">f4"), Y.astype(">i4")), (X.astype(">f8"), Y.astype(">i8")), (np.asfortranarray(X), Y[:, ::-1][:, ::-1]),
    ]]  # fmt: skip
    assert len(set(losses_seen)) == 1
