"""An encoder and a decoder with attention between them, which learn to write a string of digits backwards.

python examples/encoder_decoder.py [--epochs 5] [--seed 0]
"""

import argparse

import numpy as np

import kjax
from kjax.layers import (
    Dense,
    Embedding,
    Input,
    LayerNormalization,
    MultiHeadAttention,
    PositionEmbedding,
    TransformerBlock,
)

LENGTH, BEGIN = 8, 11
"""Digits are 1 … 10, 0 is padding, and 11 begins every answer."""


def data(n, seed, length=LENGTH):
    """`({"digits": strings of at least 3 digits, "before": the answer so far}, the answer)`, each (n, length)."""
    rng = np.random.default_rng(seed)
    digits, answer = np.zeros((2, n, length), "int32")
    for i, size in enumerate(rng.integers(3, length + 1, n)):
        digits[i, :size] = rng.integers(1, 11, size)
        answer[i, :size] = digits[i, :size][::-1]
    before = np.concatenate([np.full((n, 1), BEGIN, "int32"), answer[:, :-1]], 1)
    return {"digits": digits, "before": before}, answer


def embedded(x, length, units):
    """Vectors that say which digit stands where; padding is masked."""
    x = Embedding(BEGIN + 1, units, mask_zero=True)(x)
    return x + PositionEmbedding(length)(x)


def network(length=LENGTH, units=48, heads=4, seed=0):
    """Predicts each digit of the answer from the string and the answer's digits before it."""
    digits, before = (Input((length,), dtype="int32", name=name) for name in ("digits", "before"))
    shown, said = (embedded(x, length, units) for x in (digits, before))
    read = LayerNormalization()(TransformerBlock(units, heads)(shown))
    said = TransformerBlock(units, heads, use_causal_mask=True)(said)
    said = said + MultiHeadAttention(heads, units // heads)([LayerNormalization()(said), read])
    said = said + Dense(units)(Dense(2 * units, activation="gelu")(LayerNormalization()(said)))
    return kjax.Model([digits, before], Dense(BEGIN, activation="softmax")(LayerNormalization()(said)), seed=seed)


def answer_to(model, digits):
    """The answers, digit after digit, each given those before it."""
    before = np.zeros_like(digits)
    before[:, 0] = BEGIN
    for i in range(1, digits.shape[1] + 1):
        said = model.predict({"digits": digits, "before": before}).argmax(-1)
        before[:, i : i + 1] = said[:, i - 1 : i]
    return np.concatenate([before[:, 1:], said[:, -1:]], 1) * (digits > 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = network(seed=options.seed)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*data(8192, options.seed), batch_size=64, epochs=options.epochs, verbose=2)
    given, wanted = data(500, options.seed + 1)
    said = answer_to(model, given["digits"])
    print(f"\n{(said == wanted).all(1).mean():.1%} of 500 new strings written backwards without a mistake")
    for string, answer in zip(given["digits"][:3], said, strict=False):
        print(*(string[string > 0] - 1), "->", *(answer[answer > 0] - 1))


if __name__ == "__main__":
    main()
