"""Pictures of networks; needs `pip install "kjax[plot]"`."""

import functools
import os
import pathlib
from typing import Any

from kjax.diagram import PAD, ROW, SPACE, TITLE, Arranged, Options, Row, diagram
from kjax.frozen import explained
from kjax.layout import Point
from kjax.network import Network
from kjax.plots import TRAIN, new_figure

TINTS = {
    "input": "#e9e9e9",
    "convolution": "#cfe3f1",
    "pooling": "#e4f3fc",
    "normalization": "#d3ede4",
    "recurrent": "#fbf6c8",
    "attention": "#fbf6c8",
    "dense": "#fbe9c6",
    "activation": "#f9ddcb",
    "merge": "#f3dde9",
    "block": "#d9dbe8",
    "other": "#ffffff",
}
"""Light tints of the colours of Okabe and Ito, which colour-blind people can tell apart."""
INK, FAINT, LINE, EDGE = "#1a1a1a", "#666666", "#8a8a8a", "#444444"
FONT = 9.0
HINTED = 1.04
"""How much wider letters get where they are fitted to pixels."""
BORDER = 12.0
ARROW = 6.0
MOST_PIXELS = 65_000
"""That matplotlib can draw along one side."""
SUFFIXES = (".png", ".svg", ".pdf")


@explained
def plot_model(
    model: Any,
    to_file: str | os.PathLike[str] | None = "model.png",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = True,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: float = 100,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
) -> Any:
    """Draws a model as a picture of its layers and of what feeds what, after Keras's function of this name.

    Layers that follow one upon the other stand in one box, a line each. What `forward` or `call` of a network of
    your own does between layers, `x + self.dense(x)` say, is drawn where it joins values. A layer that is called
    several times stands at each of its calls, marked as shared.

    Args:
        model: a model whose weights exist, or whose input shape is known.
        to_file: where to write the picture, as .png, .svg or .pdf; None writes none.
        show_shapes: says what shape each layer gives, None for the batch axis.
        show_dtype: says of what dtype that is.
        show_layer_names: says the layers' names, not only their classes.
        rankdir: "TB" draws from top to bottom, "LR" from left to right.
        expand_nested: draws blocks of layers, in frames, instead of a line for each.
        dpi: pixels per inch in a PNG; letters are 9/72 of an inch high.
        show_layer_activations: says the layers' activations.
        show_trainable: marks layers whose weights are frozen.

    Returns:
        The matplotlib figure, which notebooks show.

    Raises:
        ImportError: matplotlib is missing; says how to install it.
        TypeError: not a model.
        ValueError: the weights do not exist yet, another kind of file, or another `rankdir`.

    >>> import kjax
    >>> from kjax import layers
    >>> model = kjax.Sequential([layers.Dense(8, "relu", input_shape=(4,)), layers.Dense(3)])
    >>> figure = plot_model(model, to_file=None, show_shapes=True)
    >>> [text.get_text() for text in figure.axes[0].texts][3:6]
    ['dense', '(Dense)', '(None, 8)']
    """
    check(model, to_file, rankdir)
    options = Options(
        show_shapes,
        show_dtype,
        show_layer_names,
        expand_nested,
        show_layer_activations,
        show_trainable,
        rankdir == "LR",
    )
    figure = draw(diagram(model.net, model.state.params, model.state.state, model._spec, options), options.across)
    if to_file is not None:
        figure.savefig(to_file, dpi=min(dpi, MOST_PIXELS / max(figure.get_size_inches())))
    return figure


def check(model: Any, to_file: Any, rankdir: str) -> None:
    """Refuses what `plot_model` cannot draw or write."""
    if not isinstance(model, Network):
        raise TypeError(f"plot_model draws a model, kjax.Model(layer) say; got {model!r}")
    if rankdir not in ("TB", "LR"):
        raise ValueError(f'plot_model: rankdir is "TB" (top to bottom) or "LR" (left to right); got {rankdir!r}')
    if to_file is not None and pathlib.Path(to_file).suffix.lower() not in SUFFIXES:
        raise ValueError(f"plot_model writes {', '.join(SUFFIXES)} files, or none with to_file=None; got {to_file!r}")


def draw(what: Any, across: bool) -> Any:
    """The figure of a diagram, one unit of its axes a point."""
    figure = new_figure(1, 1)
    arranged = Arranged(what, text_width, across)
    width, height = (size + 2 * BORDER for size in arranged.size)
    figure.set_layout_engine("none")
    figure.set_size_inches(width / 72, height / 72)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    Pen(axes).diagram(arranged, (BORDER, BORDER))
    return figure


@functools.cache
def text_width(text: str) -> float:
    """How wide a text is, in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    return TextToPath().get_text_width_height_descent(text, FontProperties(size=FONT), False)[0] * HINTED


class Pen:
    """Draws onto axes."""

    def __init__(self, axes: Any):
        self.axes = axes

    def diagram(self, arranged: Arranged, corner: Point, depth: int = 0) -> None:
        """A whole diagram with its top left corner there, frames with what is in them first."""
        for i, (box, centre, size) in enumerate(
            zip(arranged.diagram.boxes, arranged.centres, arranged.sizes, strict=True)
        ):
            x, y = corner[0] + centre[0] - size[0] / 2, corner[1] + centre[1] - size[1] / 2
            if box.inner:
                self.frame(arranged, i, (x, y), depth)
            elif box.rows:
                self.box(box.rows, (x, y), size)
        ends = {i for i, box in enumerate(arranged.diagram.boxes) if box.rows}
        for edge, route in zip(arranged.edges, arranged.routes, strict=True):
            points = [(x + corner[0], y + corner[1]) for x, y in route]
            self.line(points, edge.target in ends, arranged.across)

    def box(self, rows: tuple[Row, ...], corner: Point, size: Point) -> None:
        """Rows of text over their tints, in a border."""
        from matplotlib.patches import FancyBboxPatch, Rectangle

        x, y = corner
        shape = "round,pad=0,rounding_size=3"
        border = FancyBboxPatch(corner, *size, shape, facecolor="none", edgecolor=LINE, linewidth=0.8, zorder=4)
        self.axes.add_patch(border)
        for i, row in enumerate(rows):
            band = Rectangle(
                (x, y + i * ROW), size[0], ROW, facecolor=TINTS[row.kind], edgecolor="white", linewidth=0.6
            )
            band.set_zorder(3)
            self.axes.add_patch(band)
            band.set_clip_path(border)
            middle = y + (i + 0.5) * ROW
            self.text(x + PAD, middle, row.name, INK)
            self.text(x + PAD + SPACE + text_width(row.name), middle, row.note, FAINT)
            self.text(x + size[0] - PAD, middle, row.detail, INK, ha="right")

    def frame(self, arranged: Arranged, i: int, corner: Point, depth: int) -> None:
        """A border with a title round a diagram, and the lines through it."""
        from matplotlib.patches import FancyBboxPatch

        (x, y), (width, height) = corner, arranged.sizes[i]
        shape = "round,pad=0,rounding_size=5"
        shade = "#f7f8fb" if depth % 2 == 0 else "#eef0f6"
        patch = FancyBboxPatch(corner, width, height, shape, facecolor=shade, edgecolor=TRAIN, linewidth=0.8)
        patch.set_zorder(1 + 0.1 * depth)
        self.axes.add_patch(patch)
        title = arranged.diagram.boxes[i].title
        if arranged.across:
            self.text(x + width / 2, y + TITLE / 2 + 3, title, TRAIN, ha="center")
        else:
            self.text(x + TITLE / 2 + 3, y + height / 2, title, TRAIN, ha="center", rotation=90)
        inner, (left, top) = arranged.inner[i], arranged.origin(i)
        self.diagram(inner, (x + left, y + top), depth + 1)
        used = {end for edge in inner.edges for end in edge[:2]}
        for k in {*inner.diagram.first, *inner.diagram.last} & used:
            px, py = inner.centres[k][0] + x + left, inner.centres[k][1] + y + top
            if arranged.across:
                border = (x if k in inner.diagram.first else x + width, py)
            else:
                border = (px, y if k in inner.diagram.first else y + height)
            self.path([border, (px, py)])

    def text(self, x: float, y: float, text: str, color: str, **options: Any) -> None:
        options = {"ha": "left", "va": "center", "fontsize": FONT, "parse_math": False, "zorder": 5, **options}
        self.axes.text(x, y, text, color=color, **options)

    def line(self, points: list[Point], arrow: bool, across: bool) -> None:
        """An edge, straight and curved by turns, with a head where it ends at a layer."""
        (x, y) = points[-1]
        if arrow:
            from matplotlib.patches import Polygon

            back = [(x - ARROW, y - ARROW / 2), (x - ARROW, y + ARROW / 2)]
            if not across:
                back = [(x - ARROW / 2, y - ARROW), (x + ARROW / 2, y - ARROW)]
            self.axes.add_patch(Polygon([(x, y), *back], facecolor=EDGE, linewidth=0, zorder=4))
            # The curve ends where the head begins.
            points = [*points[:-2], pulled(points[-2], across), pulled(points[-1], across)]
        self.path(points, across)

    def path(self, points: list[Point], across: bool = False) -> None:
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        vertices, codes = [points[0], points[1]], [Path.MOVETO, Path.LINETO]
        for a, b, c in zip(points[1::2], points[2::2], points[3::2], strict=False):
            middle = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
            bends = [(middle[0], a[1]), (middle[0], b[1])] if across else [(a[0], middle[1]), (b[0], middle[1])]
            vertices += [*bends, b, c]
            codes += [Path.CURVE4] * 3 + [Path.LINETO]
        line = PathPatch(Path(vertices, codes), facecolor="none", edgecolor=EDGE, linewidth=0.9, zorder=2)
        line.set_snap(False)  # so that pieces of one line meet
        self.axes.add_patch(line)


def pulled(point: Point, across: bool) -> Point:
    """A point before it by the length of an arrow's head."""
    return (point[0] - ARROW, point[1]) if across else (point[0], point[1] - ARROW)
