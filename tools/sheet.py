"""A sheet of paper in true millimetres: what lies on it, and how it becomes SVG or a matplotlib figure.

One description, two renderers, so that the page, the PNG and the PDF show the same drawing. SVG is written
by hand because the page waits for it: importing matplotlib alone takes longer than the whole drawing.
Coordinates are millimetres from the top left corner, y downwards. All text is escaped here and nowhere else.

    sheet = Sheet(120, 60)
    sheet.line([[(10, 10), (35, 10)]], "#000", 0.3)
    sheet.svg();  sheet.figure().savefig("sheet.pdf")
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
POINTS_PER_MM = 72 / 25.4
FINEST_MM = 0.15  # half the width of a trace: what lies closer together is drawn as its extremes
STRAIGHT_MM = 0.02  # points this close to the line between their neighbours are left out
NOT_XML = re.compile("[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Line:
    """Polylines of one colour and width; `name` says what they are (a lead, a mark)."""

    paths: list[np.ndarray]  # each (points, 2) in mm
    colour: str
    width: float
    name: str = ""


@dataclass(frozen=True)
class Text:
    x: float
    y: float  # the line the letters stand on
    text: str
    colour: str
    size: float  # mm
    bold: bool = False
    anchor: str = "start"  # or "middle", "end"
    halo: str = ""  # colour of a thin rim that keeps the letters legible on a trace
    opacity: float = 1.0


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    width: float
    height: float
    fill: str
    opacity: float = 1.0


@dataclass(frozen=True)
class Area:
    """A filled outline."""

    path: np.ndarray  # (points, 2) in mm
    fill: str
    opacity: float = 1.0


@dataclass
class Sheet:
    """A page of `width` × `height` mm; `items` are drawn in their order."""

    width: float
    height: float
    title: str = ""
    items: list[Line | Text | Box | Area] = field(default_factory=list)

    def line(self, paths: Sequence, colour: str, width: float, name: str = "") -> None:
        self.items.append(Line([np.asarray(path, float) for path in paths], colour, width, name))

    def text(self, x: float, y: float, text: str, colour: str, size: float, **style) -> None:
        self.items.append(Text(x, y, NOT_XML.sub("", text), colour, size, **style))

    def box(self, x: float, y: float, width: float, height: float, fill: str, opacity: float = 1.0) -> None:
        self.items.append(Box(x, y, width, height, fill, opacity))

    def area(self, path: np.ndarray, fill: str, opacity: float = 1.0) -> None:
        self.items.append(Area(path, fill, opacity))

    def put(self, other: Sheet, down: float) -> None:
        """Lay another sheet's items on this one, `down` mm lower."""
        for item in other.items:
            if isinstance(item, Line):
                self.items.append(replace(item, paths=[path + np.array([0, down]) for path in item.paths]))
            elif isinstance(item, Area):
                self.items.append(replace(item, path=item.path + np.array([0, down])))
            else:
                self.items.append(replace(item, y=item.y + down))

    def svg(self) -> str:
        """The sheet as a self-contained SVG document: no style sheet, script or id, safe to put inline."""
        size = f'width="{self.width:g}mm" height="{self.height:g}mm" viewBox="0 0 {self.width:g} {self.height:g}"'
        label = quoteattr(NOT_XML.sub("", self.title))
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label={label} font-family="{FONT}">'
        return "\n".join([head, *(_svg_item(item) for item in self.items), "</svg>\n"])

    def figure(self) -> Figure:
        """The sheet as a matplotlib figure of the same size, one axis in millimetres over all of it."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(self.width / 25.4, self.height / 25.4))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, self.width), ylim=(self.height, 0))
        axes.axis("off")
        for order, item in enumerate(self.items):
            _figure_item(axes, item, order)
        return figure


def _svg_item(item: Line | Text | Box | Area) -> str:
    if isinstance(item, Line):
        name = f" data-name={quoteattr(NOT_XML.sub('', item.name))}" if item.name else ""
        return (
            f'<path{name} d="{"".join(map(_svg_path, item.paths))}" fill="none" stroke="{item.colour}" '
            f'stroke-width="{item.width:g}" stroke-linejoin="round" stroke-linecap="round"/>'
        )
    if isinstance(item, Area):
        return f'<path d="{_svg_path(item.path)}Z" fill="{item.fill}" fill-opacity="{item.opacity:g}"/>'
    if isinstance(item, Box):
        opacity = f' fill-opacity="{item.opacity:g}"' if item.opacity < 1 else ""
        return (
            f'<rect x="{item.x:g}" y="{item.y:g}" width="{item.width:g}" height="{item.height:g}" '
            f'fill="{item.fill}"{opacity}/>'
        )
    style = ' font-weight="bold"' if item.bold else ""
    style += f' text-anchor="{item.anchor}"' if item.anchor != "start" else ""
    style += f' fill-opacity="{item.opacity:g}"' if item.opacity < 1 else ""
    if item.halo:
        style += f' stroke="{item.halo}" stroke-width="0.8" stroke-linejoin="round" paint-order="stroke"'
    return (
        f'<text x="{item.x:g}" y="{item.y:g}" font-size="{item.size:g}" fill="{item.colour}"{style}>'
        f"{escape(item.text)}</text>"
    )


def _svg_path(points: np.ndarray) -> str:
    """`Mx,yLx,y x,y …` with 0.01 mm steps (1 µV, 0.4 ms); one format call, as there are 50,000 points."""
    numbers = (np.round(points, 2) + 0.0).ravel().tolist()  # + 0.0: no "-0"
    return ("M%g,%gL" + "%g,%g " * (len(points) - 1))[:-1] % tuple(numbers)


def _figure_item(axes: Axes, item: Line | Text | Box | Area, order: int) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Polygon, Rectangle
    from matplotlib.patheffects import withStroke

    if isinstance(item, Line):
        width = item.width * POINTS_PER_MM
        axes.add_collection(
            LineCollection(
                item.paths, colors=item.colour, linewidths=width, capstyle="round", joinstyle="round", zorder=order
            ),
            autolim=False,
        )
    elif isinstance(item, Area):
        axes.add_patch(Polygon(item.path, facecolor=item.fill, alpha=item.opacity, lw=0, zorder=order))
    elif isinstance(item, Box):
        axes.add_patch(
            Rectangle(
                (item.x, item.y), item.width, item.height, facecolor=item.fill, alpha=item.opacity, lw=0, zorder=order
            )
        )
    else:
        text = axes.text(
            item.x,
            item.y,
            item.text,
            color=item.colour,
            fontsize=item.size * POINTS_PER_MM,
            fontweight="bold" if item.bold else "normal",
            ha={"start": "left", "middle": "center", "end": "right"}[item.anchor],
            va="baseline",
            alpha=item.opacity,
            zorder=order,
            parse_math=False,
        )
        if item.halo:
            text.set_path_effects([withStroke(linewidth=0.8 * POINTS_PER_MM, foreground=item.halo)])


def polylines(y: np.ndarray, x0: float, step: float) -> list[np.ndarray]:
    """A sampled line as few points: a polyline for each run without a gap.

    Parameters
    ----------
    y : (samples,) mm, NaN in gaps; `x0`, `step` : mm, place of the first sample and distance of two.

    Returns
    -------
    list of (points, 2) mm; extremes are kept, and no sample lies further than 0.2 mm from the line (0.3 mm wide).
    """
    finite = np.isfinite(y)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], finite, [False]]).astype(int)))
    x = x0 + step * np.arange(len(y))
    return [_thin(x[begin:end], y[begin:end], int(FINEST_MM / step + 1e-6)) for begin, end in edges.reshape(-1, 2)]


def _thin(x: np.ndarray, y: np.ndarray, bunch: int) -> np.ndarray:
    if bunch > 2:
        whole = len(y) // bunch * bunch
        bins = y[:whole].reshape(-1, bunch)
        first = np.arange(0, whole, bunch)
        extremes = np.concatenate([first + bins.argmin(1), first + bins.argmax(1), [0], np.arange(whole, len(y))])
        keep = np.unique(extremes)
        x, y = x[keep], y[keep]
    for _ in range(3):
        keep = np.ones(len(y), bool)
        a, b, c = slice(0, -2, 2), slice(1, -1, 2), slice(2, None, 2)  # every other inner point and its neighbours
        if len(y) > 2:
            between = y[a] + (y[c] - y[a]) * (x[b] - x[a]) / (x[c] - x[a])
            keep[b] = np.abs(y[b] - between) > STRAIGHT_MM
        x, y = x[keep], y[keep]
    if len(y) == 1:  # a sample alone between gaps is a dot
        x, y = x.repeat(2), y.repeat(2)
    return np.column_stack([x, y])
