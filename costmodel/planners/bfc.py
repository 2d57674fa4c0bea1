"""ONNX Runtime's arena: best fit with coalescing, in regions that double (BFCArena).

Source: onnxruntime/core/framework/bfc_arena.h, at its default settings: sizes are rounded up to 256 bytes, a region is at
least 1 MiB and each twice the last (kNextPowerOfTwo), a chunk is split where half of it, or 128 MiB, would be left.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass

from costmodel.planners.planner import Piece, Placement, at_each_step

ROUNDING = 256
FIRST_REGION = 1 << 20
LARGEST_REGION = 1 << 30
LARGEST_REST = 128 << 20
BINS = 21
# a region keeps one handle of 8 bytes for every 256 bytes
BOOKKEEPING = ROUNDING // 8


@dataclass(eq=False)
class Chunk:
    """A stretch of a region, free or not, with its neighbours."""

    offset: int
    nbytes: int
    is_free: bool = True
    before: Chunk | None = None
    behind: Chunk | None = None


class BfcArena:
    """An arena to which chunks are asked and given back; regions lie one behind the other."""

    def __init__(self) -> None:
        self.arena_bytes = 0
        self._next_region = FIRST_REGION
        self._free: list[list[tuple[int, int, Chunk]]] = [[] for _ in range(BINS)]  # by size, then offset

    def allocate(self, nbytes: int) -> Chunk:
        """A chunk of at least so many bytes."""
        rounded = -(-nbytes // ROUNDING) * ROUNDING
        chunk = self._fitting(rounded)
        if chunk is None:
            self._extend(rounded)
            chunk = self._fitting(rounded)
        assert chunk is not None
        return chunk

    def release(self, chunk: Chunk) -> None:
        """Give a chunk back; it grows together with free neighbours."""
        for neighbour in (chunk.before, chunk.behind):
            if neighbour is not None and neighbour.is_free:
                self._take(neighbour)
                chunk = _joined(chunk, neighbour)
        self._put(chunk)

    def _fitting(self, rounded: int) -> Chunk | None:
        for entries in self._free[_bin(rounded) :]:
            for size, _, chunk in entries:
                if size >= rounded:
                    self._take(chunk)
                    if size >= 2 * rounded or size - rounded >= LARGEST_REST:
                        self._put(_split(chunk, rounded))
                    return chunk
        return None

    def _extend(self, rounded: int) -> None:
        is_grown = rounded > self._next_region
        while rounded > self._next_region:
            self._next_region *= 2
        self._put(Chunk(self.arena_bytes, self._next_region))
        self.arena_bytes += self._next_region
        if not is_grown:
            self._next_region = min(2 * self._next_region, LARGEST_REGION)

    def _put(self, chunk: Chunk) -> None:
        chunk.is_free = True
        insort(self._free[_bin(chunk.nbytes)], (chunk.nbytes, chunk.offset, chunk))

    def _take(self, chunk: Chunk) -> None:
        chunk.is_free = False
        self._free[_bin(chunk.nbytes)].remove((chunk.nbytes, chunk.offset, chunk))


def _bin(nbytes: int) -> int:
    return min(BINS - 1, (max(nbytes, ROUNDING) // ROUNDING).bit_length() - 1)


def _split(chunk: Chunk, nbytes: int) -> Chunk:
    """Cut a chunk to so many bytes; what is left of it."""
    rest = Chunk(chunk.offset + nbytes, chunk.nbytes - nbytes, before=chunk, behind=chunk.behind)
    if chunk.behind is not None:
        chunk.behind.before = rest
    chunk.nbytes, chunk.behind = nbytes, rest
    return rest


def _joined(one: Chunk, other: Chunk) -> Chunk:
    first, second = (one, other) if one.offset < other.offset else (other, one)
    first.nbytes += second.nbytes
    first.behind = second.behind
    if second.behind is not None:
        second.behind.before = first
    return first


def run_in_arena(pieces: Sequence[Piece]) -> Placement:
    """Where pieces come to lie in an arena that starts empty, and how large it has grown.

    >>> run_in_arena([Piece(1_605_632, 0, 1), Piece(65_536, 0, 0), Piece(802_816, 2, 2)])
    Placement(offsets=(0, 2097152, 0), arena_bytes=4194304)
    """
    starts, ends = at_each_step(pieces)
    arena, offsets = BfcArena(), [0] * len(pieces)
    held: dict[int, Chunk] = {}
    for step in sorted({*starts, *ends}):
        for i in starts.get(step, ()):
            if pieces[i].nbytes:
                held[i] = arena.allocate(pieces[i].nbytes)
                offsets[i] = held[i].offset
        for i in ends.get(step, ()):
            if i in held:
                arena.release(held.pop(i))
    return Placement(tuple(offsets), arena.arena_bytes)
