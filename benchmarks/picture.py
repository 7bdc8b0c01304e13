"""The pictures of the report."""

import pathlib
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator, NullLocator

from benchmarks import figures
from benchmarks.figures import OURS
from benchmarks.peers import PEERS
from benchmarks.workloads import WORKLOADS

COLOURS = {
    "kjax": "#D55E00",
    "raw": "#000000",
    "keras-jax": "#0072B2",
    "keras-tf": "#56B4E9",
    "torch": "#009E73",
    "torch-compile": "#F0E442",
    "flax": "#CC79A7",
    "equinox": "#999999",
}
"""Okabe and Ito's palette, made for the colour-blind."""
FARTHEST = 6.0
"""Longer bars are cut off; the figure beside them says how long they are."""


def speed(path: pathlib.Path, workloads: dict[str, Any]) -> None:
    """Time per step relative to kjax's: a panel per workload, a bar per peer."""
    timed = {name: figures.times(w) for name, w in workloads.items()}
    timed = {name: t for name, t in timed.items() if OURS in t}
    if timed:
        columns = min(2, len(timed))
        rows = -(-len(timed) // columns)
        fig, axes = plt.subplots(
            rows, columns, figsize=(6.2 * columns, 2.5 * rows), layout="constrained", squeeze=False
        )
        for axis in axes.flat[len(timed) :]:
            axis.set_visible(False)
        for axis, (name, times) in zip(axes.flat, timed.items(), strict=False):
            bars(axis, WORKLOADS[name].title, times)
        fig.supxlabel(
            "time per training step, relative to kjax (shorter is faster; hatched bars are cut off)", fontsize=10
        )
        finish(fig, path)


def bars(axis: Any, title: str, times: dict[str, Any]) -> None:
    peers = sorted(times, key=lambda peer: times[peer].median)
    relative = [times[peer].median / times[OURS].median for peer in peers]
    drawn = axis.barh(
        range(len(peers)), np.minimum(relative, FARTHEST), color=[COLOURS[p] for p in peers], edgecolor="0.3", lw=0.5
    )
    for bar, value in zip(drawn, relative, strict=True):
        bar.set_hatch("///" if value > FARTHEST else "")
    for place, (peer, value) in enumerate(zip(peers, relative, strict=True)):
        axis.text(
            min(value, FARTHEST) + 0.05, place, f"{value:.2f}  ({times[peer].median:.3g} ms)", va="center", fontsize=8
        )
    axis.set_yticks(range(len(peers)), [PEERS[p].title for p in peers], fontsize=8)
    axis.get_yticklabels()[peers.index(OURS)].set_fontweight("bold")
    axis.axvline(1, color="0.4", lw=0.8, ls=":")
    axis.set_xlim(0, min(max(relative), FARTHEST) * 1.35)
    axis.set_title(title, fontsize=9, loc="left")
    tidy(axis)


def scaling(path: pathlib.Path, axes: dict[str, Any]) -> None:
    """Time per step, time to compile and memory along each axis."""
    shown = {
        "ms per step": lambda f: figures.spread(f["ms"]).median,
        "seconds to compile": lambda f: f["compile"],
        "MB at the peak": lambda f: f["bytes"] / 2**20,
    }
    size = (3.2 * len(axes), 7.5)
    fig, panels = plt.subplots(len(shown), len(axes), figsize=size, layout="constrained", squeeze=False, sharex="col")
    for column, (name, axis) in enumerate(axes.items()):
        for row, (what, value) in enumerate(shown.items()):
            curves(panels[row, column], axis["sizes"], value, logarithmic=row == 0)
            panels[row, 0].set_ylabel(what, fontsize=9)
        panels[-1, column].set_xlabel(name.replace("_", " "), fontsize=9)
    panels[0, 0].legend(fontsize=8, frameon=False)
    finish(fig, path)


def curves(panel: Any, sizes: dict[str, Any], value: Any, logarithmic: bool) -> None:
    """A line for each peer; what spans decades on a logarithmic axis, the rest from nought."""
    points = sorted(sizes, key=int)
    for peer, style in zip(sizes[points[0]], ("o-", "s--", "^:"), strict=False):
        ran = [size for size in points if peer in sizes[size]]
        heights = [value(sizes[size][peer]) for size in ran]
        panel.plot([int(s) for s in ran], heights, style, color=COLOURS[peer], label=PEERS[peer].title, ms=4)
    panel.set_xscale("log", base=2)
    panel.set_xticks([int(s) for s in points], points)
    panel.minorticks_off()
    if logarithmic:
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_locator(NullLocator())
    else:
        panel.set_ylim(bottom=0)
    panel.grid(axis="y", color="0.92")
    tidy(panel)


def tidy(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def finish(fig: Any, path: pathlib.Path) -> None:
    fig.savefig(path, dpi=110)
    plt.close(fig)
