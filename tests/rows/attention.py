"""Rows of `kjax.nn.attention`, `multihead`, `embedding`, `transformer` and `repeat`."""

import jax
import jax.numpy as jnp
import numpy as np
from case import Case

from kjax import nn


def _keras(layer, *shapes):
    """A Keras layer of several inputs as a model, which takes a list."""
    import keras

    inputs = [keras.Input(shape) for shape in shapes]
    return keras.Model(inputs, layer(*inputs))


def _keras_block(k):
    import keras

    x = keras.Input((5, 8))
    a = x + k.MultiHeadAttention(2, 4)(*[k.LayerNormalization(epsilon=1e-5)(x)] * 2, use_causal_mask=True)
    wide = k.Dense(32, "gelu")(k.LayerNormalization(epsilon=1e-5)(a))
    return keras.Model(x, a + k.Dense(8)(wide))


def _sines(x):
    angle = np.arange(x.shape[1])[:, None] / 10000 ** (np.arange(x.shape[2]) // 2 * 2 / x.shape[2])
    return np.broadcast_to(np.where(np.arange(x.shape[2]) % 2, np.cos(angle), np.sin(angle)), x.shape)


def _rotated(x):
    """As a product of complex numbers; time is axis 2, features axis 1."""
    half = x.shape[1] // 2
    turn = np.exp(1j * np.arange(x.shape[2]) / 2 / 100 ** (np.arange(half)[:, None] / half))
    z = (x[:, :half] + 1j * x[:, half:]) * turn
    return np.concatenate([z.real, z.imag], 1)


def init(layer, *shapes):
    given = tuple(jnp.ones(shape) for shape in shapes)
    return layer.init(jax.random.key(0), given[0] if len(given) == 1 else given)


PENALISED = dict(
    kernel_regularizer="l2",
    bias_regularizer="l1",
    activity_regularizer="l2",
    kernel_constraint="max_norm",
    bias_constraint="non_neg",
)
ROWS = [
    Case(nn.MultiHeadAttention(2, 3, 4, use_bias=False, output_shape=(2, 5), attention_axes=(-4, 3), use_gate=True, **PENALISED),
         ((2, 2, 3, 2, 6), (2, 4, 3, 2, 5), (2, 4, 3, 2, 7)),
         lambda k: _keras(k.MultiHeadAttention(2, 3, 4, use_bias=False, output_shape=(2, 5), attention_axes=(1, 3), use_gate=True), (2, 3, 2, 6), (4, 3, 2, 5), (4, 3, 2, 7))),
    Case(nn.GroupQueryAttention(3, 4, 2, sliding_window=2), ((2, 5, 6), (2, 4, 6), (2, 4, 5)),
         lambda k: _keras(k.GroupQueryAttention(3, 4, 2, sliding_window=2), (5, 6), (4, 6), (4, 5))),
    Case(nn.Attention(True, "concat", 0.2), ((2, 4, 3), (2, 5, 3)), lambda k: _keras(lambda *x: k.Attention(True, "concat")(list(x)), (4, 3), (5, 3))),
    Case(nn.AdditiveAttention(), ((2, 4, 3), (2, 5, 3)), lambda k: _keras(lambda *x: k.AdditiveAttention()(list(x)), (4, 3), (5, 3))),
    Case(nn.SinePositionEncoding(), (2, 6, 5), formula=_sines),
    Case(nn.RotaryEmbedding(100, 2.0, 2, 1), (2, 6, 7), formula=_rotated),
    Case(nn.PositionEmbedding(6, embeddings_regularizer="l2"), (2, 6, 3), lambda k: _keras_positions(k)),
    Case(nn.ReversibleEmbedding(7, 3, mask_zero=True), (4, 5), lambda k: k.Embedding(7, 3, mask_zero=True), integers=7),
    Case(nn.Residual([nn.Dense(6, "tanh"), nn.Dense(4)]), (3, 4), lambda k: _keras_residual(k)),
    Case(nn.Repeat(nn.Dense(4, "tanh", kernel_regularizer="l2", activity_regularizer="l2", kernel_constraint="max_norm"), 3), (5, 4),
         lambda k: _keras_repeated(k), to_keras=lambda w: [a for i in range(3) for a in (w[0][i], w[1][i])]),
    Case(nn.TransformerBlock(8, 2, use_causal_mask=True), (3, 5, 8), _keras_block),
]  # fmt: skip


def _keras_positions(k):
    import keras

    class Positions(keras.layers.Layer):
        def build(self, shape):
            self.table = self.add_weight(shape=(6, 3))

        def call(self, x):
            return 0 * x + self.table

    return Positions()


def _keras_residual(k):
    import keras

    x = keras.Input((4,))
    return keras.Model(x, x + k.Dense(4)(k.Dense(6, "tanh")(x)))


def _keras_repeated(k):
    import keras

    return keras.Sequential([k.Dense(4, "tanh") for _ in range(3)])


HEADS = nn.MultiHeadAttention(2, 4)
MISTAKES = {
    "no heads": (lambda: nn.MultiHeadAttention(0, 4), ["MultiHeadAttention: num_heads", "got 0"]),
    "key_dim as text": (lambda: nn.MultiHeadAttention(2, "4"), ["MultiHeadAttention: key_dim", "'4'"]),
    "value_dim of zero": (lambda: nn.MultiHeadAttention(2, 4, 0), ["MultiHeadAttention: value_dim", "got 0"]),
    "attention's dropout": (lambda: nn.MultiHeadAttention(2, 4, dropout=2.0), ["rate must be in [0, 1)", "2.0"]),
    "attention axes of text": (lambda: nn.MultiHeadAttention(2, 4, attention_axes="time"), ["attention_axes is an integer or several", "'time'"]),
    "attention over the batch": (lambda: init(nn.MultiHeadAttention(2, 4, attention_axes=0), (2, 3, 4)), ["attention_axes=(0,)", "1 … 1"]),
    "flash attention": (lambda: nn.MultiHeadAttention(2, 4, flash_attention=True), ["flash_attention=True", "leave it out"]),
    "window of zero": (lambda: nn.MultiHeadAttention(2, 4, sliding_window=0), ["sliding_window", "got 0"]),
    "rotary that is no layer": (lambda: nn.MultiHeadAttention(2, 4, rotary=10000), ["rotary is not a layer", "10000"]),
    "attention of vectors": (lambda: init(HEADS, (2, 4)), ["MultiHeadAttention(2, 4)", "rank, 3 or more", "(2, 4)"]),
    "four inputs": (lambda: init(HEADS, *[(2, 3, 4)] * 4), ["[query, value] or [query, value, key]", "got 4"]),
    "more keys than values": (lambda: init(HEADS, (2, 3, 4), (2, 5, 4), (2, 6, 4)), ["a value for each key", "(2, 6, 4)", "(2, 5, 4)"]),
    "other batches": (lambda: init(HEADS, (2, 3, 4), (1, 5, 4)), ["one batch size", "(1, 5, 4)"]),
    "an unannounced attention mask": (lambda: HEADS.init(jax.random.key(0), (jnp.ones((2, 3, 4)), jnp.ones((2, 5, 4)), jnp.ones((2, 3, 5), bool))), ["use_attention_mask=True", "(2, 3, 5)"]),
    "a mask that does not fit": (lambda: init(nn.MultiHeadAttention(2, 4, use_attention_mask=True), (2, 3, 4), (2, 5, 4), (2, 5, 3)), ["mask of shape (2, 2, 3, 5)", "(2, 5, 3)"]),
    "causal over two axes": (lambda: init(nn.MultiHeadAttention(2, 4, use_causal_mask=True), (2, 3, 3, 4)), ["positions in time", "(1, 2)"]),
    "free axes that differ": (lambda: init(nn.MultiHeadAttention(2, 4, attention_axes=1), (2, 3, 3, 4), (2, 3, 2, 4)), ["other axes must agree", "(2, 3, 2, 4)"]),
    "other features than projected": (lambda: HEADS.apply(init(HEADS, (2, 3, 4))[0], {}, jnp.ones((2, 3, 5))), ["query", "was built for (4,) features", "(2, 3, 5)"]),
    "groups that do not divide": (lambda: nn.GroupQueryAttention(4, 6, 4), ["must divide num_query_heads", "6 heads", "4 of keys"]),
    "no groups": (lambda: nn.GroupQueryAttention(4, 6, 0), ["GroupQueryAttention: num_key_value_heads", "got 0"]),
    "unknown score_mode": (lambda: nn.Attention(score_mode="dott"), ["Attention: unknown score_mode 'dott'", "Did you mean 'dot'?"]),
    "dot attention of pictures": (lambda: init(nn.Attention(), (2, 3, 3, 4), (2, 3, 3, 4)), ["Attention()", "rank 3", "(2, 3, 3, 4)"]),
    "keys of other features": (lambda: init(nn.AdditiveAttention(), (2, 3, 4), (2, 3, 5)), ["AdditiveAttention()", "query's 4", "(2, 3, 5)"]),
    "odd rotation": (lambda: init(nn.RotaryEmbedding(), (2, 3, 5)), ["pairs of features", "even", "(2, 3, 5)"]),
    "rotation of the batch": (lambda: nn.RotaryEmbedding(sequence_axis=0), ["sequence_axis", "behind the batch", "0"]),
    "rotation without features": (lambda: init(nn.RotaryEmbedding(sequence_axis=2), (2, 3, 4)), ["an axis of steps and another of features", "(2, 3, 4)"]),
    "wavelength of zero": (lambda: nn.SinePositionEncoding(0), ["max_wavelength must be above 0"]),
    "longer than positions": (lambda: init(nn.PositionEmbedding(4), (2, 5, 3)), ["vectors for 4 steps", "(2, 5, 3)", "raise sequence_length"]),
    "positions of other features": (lambda: nn.PositionEmbedding(4).apply(init(nn.PositionEmbedding(4), (2, 4, 3))[0], {}, jnp.ones((2, 4, 2))), ["was built for 3 features", "(2, 4, 2)"]),
    "embedding floats first": (lambda: init(nn.ReversibleEmbedding(5, 3), (2, 4)), ["looks up integers", 'Input(…, dtype="int32")']),
    "reading other vectors": (lambda: nn.ReversibleEmbedding(5, 3).apply({"embeddings": jnp.ones((5, 3))}, {}, jnp.ones((2, 4))), ["vectors of 3 features", "(2, 4)"]),
    "repeating no layer": (lambda: nn.Repeat([nn.Dense(2)], 3), ["Repeat takes a layer", "Serial"]),
    "repeating never": (lambda: nn.Repeat(nn.Dense(2), 0), ["Repeat: n", "got 0"]),
    "repeating another width": (lambda: nn.Repeat(nn.Dense(2), 3).apply(*init(nn.Repeat(nn.Dense(2), 3), (4, 3)), jnp.ones((4, 3))), ["must give what it takes", "(4, 2)", "(4, 3)"]),
    "adding another width": (lambda: nn.Residual([nn.Dense(2)]).apply(*init(nn.Residual([nn.Dense(2)]), (4, 3)), jnp.ones((4, 3))), ["Residual", "(4, 2)", "(4, 3)"]),
    "heads that do not divide": (lambda: nn.TransformerBlock(10, 4), ["num_heads must divide units", "4 heads for 10 units"]),
}  # fmt: skip
