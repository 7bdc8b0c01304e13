"""`python -m kjax demo`: trains a small convolutional network and shows the result."""

import argparse
import sys
import time
from collections.abc import Sequence

from kjax.utils import keep_pages

IMPORT_SECONDS = time.process_time()
"""The processor time from the start of the process: by now Python, JAX and kjax are imported."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = parse(arguments)
    from kjax.demo import run

    if options.keep_pages:
        keep_pages()
    try:
        return run(options.dataset, options.epochs, options.seed, options.output, IMPORT_SECONDS)
    except (ImportError, OSError) as error:
        print(f"kjax demo: {error}", file=sys.stderr)
        return 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="kjax", description="kjax: deep learning on JAX with a Keras-like face.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo", help="train a small convolutional network on handwritten digits and show the result"
    )
    demo.add_argument(
        "--dataset",
        choices=["digits", "mnist", "fashion_mnist"],
        default="digits",
        help="digits comes with kjax; the others are downloaded once (default: %(default)s)",
    )
    demo.add_argument(
        "--epochs",
        type=positive,
        default=None,
        help="passes over the training data (default: 30 for digits, 3 for the others)",
    )
    demo.add_argument("--seed", type=int, default=0, help="decides weights, order and dropout (default: %(default)s)")
    demo.add_argument("--output", default="demo.png", help="where the picture goes (default: %(default)s)")
    demo.add_argument(
        "--no-keep-pages",
        dest="keep_pages",
        action="store_false",
        help="let the C library hand freed memory back to the system at each step (Linux; see kjax.utils.keep_pages)",
    )
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    """A whole number above zero, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above zero, not {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
