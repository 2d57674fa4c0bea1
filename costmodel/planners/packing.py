"""Offsets for pieces of memory whose life times are known beforehand.

The best packing is NP-hard (dynamic storage allocation); these are the ways that runtimes go.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence

from costmodel.planners.planner import Piece, Placement, at_each_step


def greedy_by_size(pieces: Sequence[Piece], alignment: int = 1) -> Placement:
    """The largest first, each into the smallest gap between those in its way that holds it.

    Source: Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference" (arXiv 2001.03288), Greedy by
    Size for Offset Calculation.

    >>> greedy_by_size([Piece(40, 0, 1), Piece(100, 1, 2), Piece(40, 2, 3)])
    Placement(offsets=(100, 0, 100), arena_bytes=140)
    """
    sizes = [-(-piece.nbytes // alignment) * alignment for piece in pieces]
    offsets = [0] * len(pieces)
    placed: list[tuple[int, int, int]] = []  # offset, end, piece: by offset
    for i in sorted(range(len(pieces)), key=lambda i: (-sizes[i], pieces[i].first, i)):
        if sizes[i]:
            offsets[i] = _best_gap(pieces, placed, i, sizes[i])
            insort(placed, (offsets[i], offsets[i] + sizes[i], i))
    return Placement(tuple(offsets), max((end for _, end, _ in placed), default=0))


def _best_gap(pieces: Sequence[Piece], placed: Sequence[tuple[int, int, int]], i: int, size: int) -> int:
    """The offset of the smallest gap between the pieces alive at the same time; behind them where none is large enough."""
    first, last = pieces[i].first, pieces[i].last
    best, smallest, free = None, 0, 0
    for start, end, other in placed:
        if pieces[other].first > last or pieces[other].last < first:
            continue
        gap = start - free
        if gap >= size and (best is None or gap < smallest):
            best, smallest = free, gap
        free = max(free, end)
    return free if best is None else best


def best_fit_in_time(pieces: Sequence[Piece], alignment: int = 1) -> Placement:
    """In the order in which they are asked for, each into the gap that leaves the least, else behind the last in place.

    This is how ONNX Runtime traces a memory pattern (MemPatternPlanner).

    >>> best_fit_in_time([Piece(40, 0, 1), Piece(100, 1, 2), Piece(40, 2, 3)])
    Placement(offsets=(0, 40, 0), arena_bytes=140)
    """
    starts, ends = at_each_step(pieces)
    offsets = [0] * len(pieces)
    held: list[tuple[int, int, int]] = []  # offset, end, piece: by offset
    arena = 0
    for step in sorted({*starts, *ends}):
        for i in starts.get(step, ()):
            size = -(-pieces[i].nbytes // alignment) * alignment
            if size:
                offsets[i] = _least_waste(held, size)
                insort(held, (offsets[i], offsets[i] + size, i))
                arena = max(arena, offsets[i] + size)
        done = set(ends.get(step, ()))
        held = [entry for entry in held if entry[2] not in done]
    return Placement(tuple(offsets), arena)


def _least_waste(held: Sequence[tuple[int, int, int]], size: int) -> int:
    best, waste, free = held[-1][1] if held else 0, None, 0
    for start, end, _ in held:
        left = start - free - size
        if left >= 0 and (waste is None or left < waste):
            best, waste = free, left
        free = max(free, end)
    return best
