"""Pictures of training, as matplotlib figures; needs `pip install "kjax[plot]"`. Nothing here touches pyplot."""

import functools
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

TRAIN, HELD_OUT, WRONG = "#0072B2", "#D55E00", "#CC3311"
"""Colours that colour-blind people can tell apart (Okabe and Ito)."""


def new_figure(width: float, height: float) -> Any:
    """An empty figure.

    Raises:
        ImportError: matplotlib is missing; says how to install it.
    """
    try:
        return figure_class()(figsize=(width, height), layout="constrained")
    except ImportError:
        raise ImportError('plots need matplotlib: pip install "kjax[plot]"') from None


@functools.cache
def figure_class() -> Any:
    """A figure that notebooks show by themselves, whether or not pyplot and its backend are loaded."""
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        def _repr_png_(self) -> bytes:
            picture = io.BytesIO()
            self.savefig(picture, format="png", dpi=100)
            return picture.getvalue()

    return ShownFigure


def plot_history(history: dict[str, list[float]], epochs: Sequence[int] | None = None, title: str | None = None) -> Any:
    """Learning curves: a panel for the loss and one for each metric, training solid, held out dashed.

    Args:
        history: a list of numbers per name, as `History.history`; `val_` marks what was held out.
        epochs: their numbers, counted from 0; the axis shows them counted from 1.
        title: a heading.

    >>> figure = plot_history({"loss": [2.0, 1.0], "val_loss": [2.1, 1.4]})
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['loss']
    """
    names = [name for name in history if not name.startswith("val_")]
    figure = new_figure(max(4.5, 4 * len(names)), 3.2)
    panels = figure.subplots(1, max(1, len(names)), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=False):
        draw_curves(axes, name, history, epochs)
    if title:
        figure.suptitle(title)
    return figure


def draw_curves(axes: Any, name: str, history: dict[str, list[float]], epochs: Sequence[int] | None) -> None:
    """One metric's curves into a panel."""
    from matplotlib.ticker import MaxNLocator

    for key, label, colour, line in ((name, "training", TRAIN, "-"), (f"val_{name}", "held out", HELD_OUT, "--")):
        if values := history.get(key):
            x = np.asarray(epochs if epochs is not None else range(len(values)))[: len(values)] + 1
            marker = "o" if len(values) < 3 else None
            axes.plot(x, values, line, color=colour, label=label, marker=marker, markersize=4)
    axes.set(xlabel="epoch", ylabel=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)


def plot_predictions(
    images: Any, labels: Any, probabilities: Any, class_names: Sequence[str] | None = None, columns: int = 8
) -> Any:
    """Pictures with the predicted class and its probability; where it is wrong, in red with the true class.

    Args:
        images: (n, rows, cols).
        labels: (n,), the true classes.
        probabilities: (n, classes).
        class_names: what to call the classes.
        columns: pictures per row.
    """
    n = len(images)
    rows = -(-n // columns)
    figure = new_figure(1.15 * columns, 1.45 * rows)
    draw_predictions(figure.subplots(rows, columns, squeeze=False), images, labels, probabilities, class_names)
    return figure


def draw_predictions(
    panels: Any, images: Any, labels: Any, probabilities: Any, class_names: Sequence[str] | None
) -> None:
    """One picture into each panel; panels left over stay empty."""
    names = class_names or [str(i) for i in range(np.shape(probabilities)[-1])]
    for axes in panels.flat:
        axes.axis("off")
    for axes, image, label, p in zip(panels.flat, images, labels, np.asarray(probabilities), strict=False):
        guess = int(p.argmax())
        right = guess == int(label)
        axes.imshow(image, cmap="gray_r", interpolation="nearest")
        said = f"{names[guess]}  {p[guess]:.0%}" if right else f"{names[guess]}  {p[guess]:.0%}\nis {names[int(label)]}"
        axes.set_title(said, fontsize=8, color="black" if right else WRONG, pad=3)


def demo_figure(
    history: dict[str, list[float]],
    epochs: Sequence[int],
    images: Any,
    labels: Any,
    probabilities: Any,
    class_names: Sequence[str] | None = None,
    shown: int = 24,
) -> Any:
    """Learning curves on the left, pictures with predictions on the right, the wrong ones first."""
    figure = new_figure(12, 6)
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.4))
    names = [name for name in history if not name.startswith("val_")]
    for axes, name in zip(left.subplots(len(names), 1, squeeze=False)[:, 0], names, strict=True):
        draw_curves(axes, name, history, epochs)
    images, labels, probabilities = np.asarray(images), np.asarray(labels), np.asarray(probabilities)
    wrong = probabilities.argmax(-1) != labels
    chosen = np.argsort(~wrong, kind="stable")[:shown]
    columns = 6
    panels = right.subplots(-(-len(chosen) // columns), columns, squeeze=False)
    draw_predictions(panels, images[chosen], labels[chosen], probabilities[chosen], class_names)
    title = f"{len(labels) - wrong.sum():,} of {len(labels):,} held-out pictures right"
    right.suptitle(title + (f"; the {wrong.sum()} wrong first" if wrong.sum() <= shown else ""), fontsize=11)
    return figure
