"""What the pictures show."""

import sys

import numpy as np
import pytest
from matplotlib import pyplot

from kjax import plots

HISTORY = {
    "loss": [2.0, 1.0, 0.5],
    "accuracy": [0.3, 0.6, 0.8],
    "val_loss": [2.1, 1.2, 0.9],
    "val_accuracy": [0.3, 0.5, 0.7],
}


def lines(axes):
    return {line.get_label(): (line.get_xdata().tolist(), list(line.get_ydata())) for line in axes.lines}


def test_learning_curves_have_a_panel_per_metric():
    figure = plots.plot_history(HISTORY, [3, 4, 5], title="digits")
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy"]
    assert lines(figure.axes[0]) == {
        "training": ([4, 5, 6], HISTORY["loss"]),
        "held out": ([4, 5, 6], HISTORY["val_loss"]),
    }
    assert figure.get_suptitle() == "digits" and pyplot.get_fignums() == []
    figure.canvas.draw()


def test_a_single_epoch_is_visible_and_nothing_can_be_drawn_of_nothing():
    assert plots.plot_history({"loss": [1.0]}).axes[0].lines[0].get_marker() == "o"
    plots.plot_history({}).canvas.draw()


def pictures(n=10):
    rng = np.random.default_rng(0)
    probabilities = np.full((n, 3), 0.05)
    probabilities[:, 1] = 0.9
    return rng.random((n, 4, 4)), np.where(np.arange(n) < 2, 2, 1)[::-1], probabilities


def test_wrong_predictions_are_marked_with_the_truth():
    figure = plots.plot_predictions(*pictures(), class_names=["cat", "dog", "cow"], columns=4)
    titles = [axes.get_title() for axes in figure.axes]
    assert len(titles) == 12 and titles[0] == "dog  90%" and titles[9] == "dog  90%\nis cow" and titles[11] == ""


def test_the_demo_shows_the_wrong_ones_first():
    figure = plots.demo_figure(HISTORY, [0, 1, 2], *pictures(40), shown=12)
    titles = [axes.get_title() for axes in figure.axes[2:]]
    assert [("is" in title) for title in titles] == [True, True] + [False] * 10
    figure.canvas.draw()


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "kjax\[plot\]"'):
        plots.plot_history(HISTORY)


def test_a_notebook_shows_a_figure_by_itself():
    assert plots.plot_history(HISTORY)._repr_png_().startswith(b"\x89PNG")
