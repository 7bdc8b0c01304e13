"""An LSTM that reads short reviews: sequences of different lengths, padded and masked.

python examples/lstm_sentiment.py [--epochs 4] [--seed 0]

The reviews are made up here: words that praise or blame among words that say nothing, and "not" turns the next one
round, so that counting words is not enough. Prints a line per epoch and what the model makes of three reviews.
"""

import argparse

import numpy as np

import kjax
from kjax.layers import LSTM, Bidirectional, Dense, Embedding

PRAISE, BLAME = ["good", "great", "fine", "moving"], ["bad", "dull", "weak", "awful"]
OTHERS = ["the", "film", "plot", "is", "and", "actors", "was", "with", "scene", "music", "very", "long"]
WORDS = ["<pad>", "not", *PRAISE, *BLAME, *OTHERS]
LENGTH = 16


def reviews(n, seed=0):
    """`n` reviews as word numbers, (n, LENGTH) with zeros behind, and whether each praises more than it blames."""
    rng = np.random.default_rng(seed)
    x, y = np.zeros((n, LENGTH), np.int32), np.zeros((n, 1), np.float32)
    for row in range(n):
        words, score = review(rng)
        x[row, : len(words)] = [WORDS.index(word) for word in words]
        y[row] = score > 0
    return x, y


def review(rng):
    """The words of a review, and its praise minus its blame, which is odd."""
    words, score = [], 0
    for _ in range(rng.choice([1, 3])):
        words += list(rng.choice(OTHERS, rng.integers(0, 4)))
        turned, praised = rng.random() < 0.4, rng.random() < 0.5
        words += ["not"] * turned + [rng.choice(PRAISE if praised else BLAME)]
        score += 1 if turned != praised else -1
    return words, score


def encode(text):
    """A review of your own as a batch of one."""
    numbers = [WORDS.index(word) for word in text.split()]
    return np.array([numbers + [0] * (LENGTH - len(numbers))], np.int32)


def network(seed):
    return kjax.Sequential(
        [
            Embedding(len(WORDS), 16, mask_zero=True, input_length=LENGTH),
            Bidirectional(LSTM(16)),
            Dense(1, activation="sigmoid"),
        ],
        seed=seed,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    (x, y), test = reviews(4000), reviews(1000, seed=1)
    model = network(options.seed)
    model.compile(loss="binary_crossentropy", optimizer=kjax.optim.Adam(lr=0.01), metrics=["accuracy"])
    model.fit(x, y, batch_size=64, epochs=options.epochs, validation_data=test, verbose=2)
    for text in ["the film is not bad", "good actors and great music", "the plot was not good and very dull"]:
        print(f"{model.predict(encode(text))[0, 0]:.0%} praise: {text}")


if __name__ == "__main__":
    main()
