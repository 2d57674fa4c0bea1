"""Offsets: nothing that lives at the same time overlaps, and an arena is never smaller than what is alive."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.planners import PLANNERS
from costmodel.planners.bfc import FIRST_REGION, BfcArena, run_in_arena
from costmodel.planners.packing import best_fit_in_time, greedy_by_size
from costmodel.planners.planner import Piece, Placement, Use, taken

Packer = Callable[[Sequence[Piece]], Placement]
PACKERS: dict[str, Packer] = {
    "by size": greedy_by_size,
    "in time": best_fit_in_time,
    "arena": run_in_arena,
    **{name: planner.place for name, planner in PLANNERS.items()},
}


@st.composite
def pieces(draw: st.DrawFn) -> list[Piece]:
    """Pieces in the order in which they are asked for; scratch memory lasts a step."""
    found = []
    for _ in range(draw(st.integers(0, 12))):
        first, length = draw(st.integers(0, 8)), draw(st.integers(0, 5))
        use = draw(st.sampled_from(Use))
        last = first if use == Use.SCRATCH else first + length
        found.append(Piece(draw(st.integers(0, 3_000_000)), first, last, use))
    return sorted(found, key=lambda piece: piece.first)


@pytest.mark.parametrize("name", PACKERS)
@given(given=pieces())
def test_what_lives_together_does_not_overlap(name: str, given: list[Piece]) -> None:
    if name == "naive":  # keeps everything but scratch memory for the whole run
        given = [piece if piece.use == Use.SCRATCH else Piece(piece.nbytes, 0, 20, piece.use) for piece in given]
    placed = PACKERS[name](given)
    ends = [offset + piece.nbytes for offset, piece in zip(placed.offsets, given, strict=True)]
    assert max(taken(given, 22), default=0) <= placed.arena_bytes
    assert max(ends, default=0) <= placed.arena_bytes
    for (i, one), (j, other) in itertools.combinations(enumerate(given), 2):
        if one.nbytes and other.nbytes and one.first <= other.last and other.first <= one.last:
            assert ends[i] <= placed.offsets[j] or ends[j] <= placed.offsets[i]


@given(given=pieces())
def test_the_arena_by_size_is_at_most_everything(given: list[Piece]) -> None:
    assert greedy_by_size(given).arena_bytes <= sum(piece.nbytes for piece in given)


def test_the_papers_rule_by_hand() -> None:
    """The largest lies at 0; what meets it lies behind; what does not, at 0 again."""
    given = [Piece(32, 0, 1), Piece(28, 1, 4), Piece(36, 2, 3), Piece(16, 3, 5), Piece(8, 4, 5)]
    #         36 at 0; 32 meets none of it: 0; 28 meets both: 36; 16 meets 36 and 28: 64; 8 meets 28 and 16: 0
    assert greedy_by_size(given) == Placement((0, 36, 0, 64, 0), 80)


def test_alignment() -> None:
    assert greedy_by_size([Piece(65, 0, 1), Piece(1, 1, 2)], 64) == Placement((0, 128), 192)


# -- the arena of ONNX Runtime: regions of 1, 2, 4 ... MiB, from its sources ------------------------------------

MIB = 1 << 20


@pytest.mark.parametrize(
    ("asked", "regions"),
    [
        ((1,), 1),
        ((MIB,), 1),
        ((MIB + 1,), 2),  # the first region doubles until it fits
        ((MIB, MIB), 1 + 2),  # and one that fitted at once makes the next twice as large
        ((3 * MIB, 3 * MIB), 4 + 4),  # but not one that had to grow
        ((600_000, 600_000), 1 + 2),  # too large for what is left: a chunk is split only where half would be left
        ((500_000, 500_000), 1),
    ],
)  # fmt: skip
def test_regions_double(asked: tuple[int, ...], regions: int) -> None:
    arena = BfcArena()
    for nbytes in asked:
        arena.allocate(nbytes)
    assert arena.arena_bytes == regions * MIB


def test_chunks_grow_together_again() -> None:
    arena = BfcArena()
    chunks = [arena.allocate(FIRST_REGION // 4) for _ in range(4)]
    for i in (0, 2, 1, 3):
        arena.release(chunks[i])
    assert arena.allocate(FIRST_REGION).offset == 0
    assert arena.arena_bytes == FIRST_REGION
