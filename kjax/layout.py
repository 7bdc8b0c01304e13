"""Where the boxes of a directed graph stand and how its edges run, so that no edge crosses a box (Sugiyama's method).

Boxes stand in ranks, one below the other; every edge leads down. An edge that skips ranks gets a place of its own, of
no width, in each of them, and so runs beside the boxes there. K. Sugiyama, S. Tagawa, M. Toda: Methods for visual
understanding of hierarchical system structures, IEEE Trans. SMC 11 (1981).
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

GAP, NARROW_GAP = 24.0, 14.0
"""Between boxes, and between an edge and whatever stands beside it."""
SPACE, MOST_SPACE = 24.0, 64.0
"""Between ranks: more where edges run far sideways, so that they do not run flat."""
MARGIN = 9.0
"""How far from a box's corners edges end."""
SWEEPS = 12

Point = tuple[float, float]


class Edge(NamedTuple):
    """From a box to another; `out` and `into` fix where it ends, as distances from the middles of the boxes."""

    source: int
    target: int
    out: float | None = None
    into: float | None = None


class Layout(NamedTuple):
    """The boxes' centres; each edge's points, between which it runs straight and curved by turns; the whole size."""

    centres: list[Point]
    routes: list[list[Point]]
    size: Point


def layout(
    sizes: Sequence[Point], edges: Sequence[Edge], first: Sequence[int] = (), last: Sequence[int] = ()
) -> Layout:
    """Places boxes of given sizes.

    Args:
        sizes: width and height of each box.
        edges: between them; a box has a smaller number than those that it feeds.
        first, last: boxes that must stand in the first and the last rank.

    >>> found = layout([(20, 10)] * 3, [Edge(0, 1), Edge(1, 2), Edge(0, 2)])
    >>> [y for _, y in found.centres], len(found.routes[2])
    ([5.0, 39.0, 73.0], 6)
    """
    if not sizes:
        return Layout([], [], (0.0, 0.0))
    grid = Grid(sizes, edges, ranks(len(sizes), edges, first, last))
    grid.order()
    grid.place()
    return grid.drawn()


def ranks(n: int, edges: Sequence[Edge], first: Sequence[int] = (), last: Sequence[int] = ()) -> list[int]:
    """The rank of each box: below all that feed it, and near what it feeds where that makes edges shorter."""
    above: list[list[int]] = [[edge.source for edge in edges if edge.target == i] for i in range(n)]
    below: list[list[int]] = [[edge.target for edge in edges if edge.source == i] for i in range(n)]
    found: list[int] = []
    for i in range(n):
        found.append(max((found[j] + 1 for j in above[i]), default=0))
    for i in reversed(range(n)):
        if below[i] and len(above[i]) <= len(below[i]) and i not in first:
            found[i] = min(found[j] for j in below[i]) - 1
    bottom = max(found)
    return [bottom if i in last else rank for i, rank in enumerate(found)]


class Grid:
    """Ranks of places: those of the boxes, then those of the edges that pass."""

    def __init__(self, sizes: Sequence[Point], edges: Sequence[Edge], rank: list[int]):
        self.edges, self.n = edges, len(sizes)
        self.rank, self.width, self.height = list(rank), [s[0] for s in sizes], [s[1] for s in sizes]
        self.paths = [self._path(edge) for edge in edges]
        self.rows: list[list[int]] = [[] for _ in range(max(rank) + 1)]
        for i, own in enumerate(self.rank):
            self.rows[own].append(i)
        self.above: list[list[int]] = [[] for _ in self.rank]
        self.below: list[list[int]] = [[] for _ in self.rank]
        self.shift: dict[tuple[int, int], float] = {}
        for edge, path in zip(edges, self.paths, strict=True):
            for a, b in itertools.pairwise(path):
                self.below[a].append(b)
                self.above[b].append(a)
            self.shift[path[0], path[1]] = (edge.out or 0.0) / max(self.width[path[0]], 1.0)
            self.shift[path[-1], path[-2]] = (edge.into or 0.0) / max(self.width[path[-1]], 1.0)
        self.x = np.zeros(len(self.rank))

    def _path(self, edge: Edge) -> list[int]:
        """The places that an edge runs through, those in the ranks between made here."""
        between = range(self.rank[edge.source] + 1, self.rank[edge.target])
        start = len(self.rank)
        self.rank.extend(between)
        self.width.extend(0.0 for _ in between)
        self.height.extend(0.0 for _ in between)
        return [edge.source, *range(start, len(self.rank)), edge.target]

    # Which place is left of which.

    def order(self) -> None:
        """Sorts each rank by where its neighbours are, down and up in turns; keeps what crosses least."""
        best, fewest = [list(row) for row in self.rows], self.crossings()
        for sweep in range(SWEEPS):
            down = sweep % 2 == 0
            for row in self.rows if down else reversed(self.rows):
                self._sort(row, self.above if down else self.below)
            if (crossings := self.crossings()) < fewest:
                best, fewest = [list(row) for row in self.rows], crossings
        self.rows = best

    def _sort(self, row: list[int], beside: list[list[int]]) -> None:
        at = self._positions()
        row.sort(key=lambda i: float(np.mean([self._end(at, j, i) for j in beside[i]])) if beside[i] else at[i])

    def _end(self, at: dict[int, int], i: int, j: int) -> float:
        """Where in its rank an edge from or to `j` ends at `i`."""
        return at[i] + self.shift.get((i, j), 0.0)

    def _positions(self) -> dict[int, int]:
        return {i: at for row in self.rows for at, i in enumerate(row)}

    def crossings(self) -> int:
        """How often edges cross."""
        at = self._positions()
        count = 0
        for row in self.rows:
            ends = [(self._end(at, i, j), self._end(at, j, i)) for i in row for j in self.below[i]]
            count += sum((a - c) * (b - d) < 0 for k, (a, b) in enumerate(ends) for c, d in ends[:k])
        return count

    # Where each place is.

    def place(self) -> None:
        """Draws each place towards its neighbours, as far as the order and the gaps let it."""
        for row in self.rows:
            weights = np.array([1.0 if i < self.n else 0.001 for i in row])
            self.x[row] = spread(np.zeros(len(row)), self._gaps(row), weights)
        for sweep in range(2 * SWEEPS):
            down = sweep % 2 == 0
            for row in self.rows if down else reversed(self.rows):
                self._draw(row, (self.above, self.below) if sweep > SWEEPS else (self.above if down else self.below,))
        for path in self.paths * 3:  # one that is straight may make room for the next
            self._straighten(path[1:-1])
        self.x -= min(self.x[i] - self.width[i] / 2 for i in range(len(self.x)))

    def _straighten(self, passing: list[int]) -> None:
        """Puts an edge's places into one line, where there is one between all that stands beside them."""
        room = [self._room(i) for i in passing]
        low, high = max((r[0] for r in room), default=np.inf), min((r[1] for r in room), default=-np.inf)
        if low <= high:
            self.x[passing] = np.clip(self.x[passing].mean(), low, high)

    def _room(self, i: int) -> tuple[float, float]:
        """Between which x a place may be moved."""
        row = self.rows[self.rank[i]]
        at, gaps = row.index(i), self._gaps(row)
        low = self.x[row[at - 1]] + gaps[at - 1] if at else -np.inf
        return low, self.x[row[at + 1]] - gaps[at] if at + 1 < len(row) else np.inf

    def _draw(self, row: list[int], sides: tuple[list[list[int]], ...]) -> None:
        wanted, weights = self.x[row].copy(), np.full(len(row), 1e-6)
        for k, i in enumerate(row):
            beside = [j for side in sides for j in side[i]]
            if beside:
                pulls = np.array([self._pull(i, j) for j in beside])
                wanted[k] = pulls @ self.x[beside] / pulls.sum()
                weights[k] = pulls.sum() * (1 if i < self.n else 0.001)  # an edge gives way to a box
        self.x[row] = spread(wanted, self._gaps(row), weights)

    def _pull(self, i: int, j: int) -> float:
        """How much it matters that two neighbours are in line: boxes form columns, long edges run straight."""
        boxes = (i < self.n) + (j < self.n)
        return (4.0, 0.02, 10.0)[boxes]

    def _gaps(self, row: list[int]) -> np.ndarray:
        """How far apart the centres of neighbours in a rank are at least."""
        pairs = itertools.pairwise(row)
        return np.array([
            (self.width[i] + self.width[j]) / 2 + (GAP if i < self.n and j < self.n else NARROW_GAP) for i, j in pairs
        ])  # fmt: skip

    # The picture.

    def drawn(self) -> Layout:
        heights = np.array([max((self.height[i] for i in row), default=0.0) for row in self.rows])
        ends = [self._ends(edge, path) for edge, path in zip(self.edges, self.paths, strict=True)]
        far = np.zeros(len(heights))
        for path, own in zip(self.paths, ends, strict=True):
            for i, (a, b) in zip(path, own, strict=False):
                far[self.rank[i]] = max(far[self.rank[i]], abs(a - b))
        steps = heights + np.clip(far * 0.3, SPACE, MOST_SPACE)
        tops = np.concatenate([[0.0], np.cumsum(steps)[:-1]])
        middle = tops + heights / 2
        centres = [(float(self.x[i]), float(middle[self.rank[i]])) for i in range(self.n)]
        routes = [self._route(path, own, tops, heights, middle) for path, own in zip(self.paths, ends, strict=True)]
        right = max(self.x[i] + self.width[i] / 2 for i in range(len(self.x)))
        return Layout(centres, routes, (float(right), float(tops[-1] + heights[-1])))

    def _ends(self, edge: Edge, path: list[int]) -> list[tuple[float, float]]:
        """For each rank that an edge leaves, where it does so and where it reaches the next."""
        found = []
        for a, b in itertools.pairwise(path):
            out, into = edge.out if a == edge.source else None, edge.into if b == edge.target else None
            start, end = self._reach(a, out), self._reach(b, into)
            low, high = max(start[0], end[0]), min(start[1], end[1])
            if low <= high:
                x = min(max((self.x[a] + self.x[b]) / 2, low), high)
                found.append((x, x))
            else:
                found.append((start[1], end[0]) if start[1] < end[0] else (start[0], end[1]))
        return found

    def _reach(self, i: int, fixed: float | None) -> tuple[float, float]:
        """Between which x an edge may end at a box."""
        if fixed is not None:
            return self.x[i] + fixed, self.x[i] + fixed
        half = max(self.width[i] / 2 - MARGIN, 0.0)
        return self.x[i] - half, self.x[i] + half

    def _route(self, path: list[int], ends: list[tuple[float, float]], *rows: Any) -> list[Point]:
        tops, heights, middle = rows
        source, target = path[0], path[-1]
        points = [(ends[0][0], middle[self.rank[source]] + self.height[source] / 2)]
        for i, (a, b) in zip(path, ends, strict=False):
            r = self.rank[i]
            points += [(a, tops[r] + heights[r]), (b, tops[r + 1])]
        points.append((ends[-1][1], middle[self.rank[target]] - self.height[target] / 2))
        return [(float(x), float(y)) for x, y in points]


def spread(wanted: np.ndarray, gaps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The positions nearest to those wanted, in weighted least squares, that are at least `gaps` apart.

    Less the gaps it is isotonic regression, which pooling adjacent violators solves.

    >>> spread(np.array([0.0, 0.0, 9.0]), np.array([2.0, 2.0]), np.ones(3)).tolist()
    [-1.0, 1.0, 9.0]
    """
    offsets = np.concatenate([[0.0], np.cumsum(gaps)]) if len(wanted) > 1 else np.zeros(len(wanted))
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(wanted - offsets, weights, strict=True):
        pool = (float(value), float(weight), 1)
        while pools and pools[-1][0] > pool[0]:
            other = pools.pop()
            total = other[1] + pool[1]
            pool = ((other[0] * other[1] + pool[0] * pool[1]) / total, total, other[2] + pool[2])
        pools.append(pool)
    return np.repeat([p[0] for p in pools], [p[2] for p in pools]) + offsets
