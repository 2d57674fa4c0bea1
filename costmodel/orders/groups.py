"""Steps that some best order runs in one go, found before any search.

A group is a run of steps. What it adds to the memory while it runs (its hill) and when it has run (its net change) may
depend on which other steps ran before, since a block dies with its last reader; both can only shrink the more have run.
Two groups that follow each other are joined where that costs no order anything:

- *At once*: the second waits for nothing but the first, never ends with more memory than it began with, and its hill is
  no higher than the first's. Any order may run it right after the first: what comes in between then meets no more memory.
- *In time*: nothing but the second (and what follows it) waits for the first, the first never ends with less memory than
  it began with, and its hill is no higher than the second's. Any order may put it off until right before the second.

For chains these are the hills and valleys of Liu (1987), "An application of generalized tree pebbling to sparse matrix
factorization", taken to graphs whose blocks have many readers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from costmodel.orders.problem import Problem, bits, united

Ran = Callable[[int], bool]


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a group in which nothing depends on other steps but what is said here.

    It needs ``rise`` bytes while it runs, ``saved`` less where all steps of one of the ``donors`` ran; then it changes
    memory by ``net``, and further by each of ``frees`` (the steps that must have run, bytes).
    """

    rise: int
    net: int
    saved: int = 0
    donors: tuple[int, ...] = ()
    frees: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Steps that run in one go: ``mask`` holds a bit for each, ``before`` one for each step outside that it waits for."""

    steps: tuple[int, ...]
    mask: int
    before: int
    pieces: tuple[Piece, ...]

    def run(self, alive: int, done: int) -> tuple[int, int]:
        """The most that is alive while the group runs, and what is alive after, from what was when these steps had run."""
        missing = ~done
        peak = 0
        for piece in self.pieces:
            top = alive + piece.rise
            for others in piece.donors:
                if not others & missing:
                    top -= piece.saved
                    break
            peak = max(peak, top)
            alive += piece.net
            for others, nbytes in piece.frees:
                if not others & missing:
                    alive -= nbytes
        return peak, alive


def group_of(problem: Problem, steps: Sequence[int]) -> Group:
    """These steps, in this order, as one group."""
    mask = united(*(1 << i for i in steps))
    pieces: list[Piece] = []
    done = 0
    for i in steps:
        piece = _piece(problem, i, mask, done)
        done |= 1 << i
        joined = _joined(pieces[-1], piece) if pieces else None
        pieces[-1:] = [joined] if joined else [*pieces[-1:], piece]
    return Group(tuple(steps), mask, united(*(problem.before[i] for i in steps)) & ~mask, tuple(pieces))


def _piece(problem: Problem, i: int, mask: int, done: int) -> Piece:
    """A step of a group (``mask``) of which some have run (``done``)."""
    step, later = problem.steps[i], mask & ~done & ~(1 << i)
    possible = [others & ~mask for others in problem.donors[i] if not others & later]
    saved = problem.saved_bytes(i)
    is_sure = 0 in possible
    size = {block: problem.blocks[block].nbytes for block in (*step.creates, *step.reads)}
    net = sum(size[block] for block in step.creates if problem.is_alive(block, 0))
    dying = [block for block in dict.fromkeys(step.reads) if not problem.blocks[block].is_kept]
    dying = [block for block in dying if not problem.readers[block] & later]
    frees = [(problem.readers[block] & ~mask, size[block]) for block in dying if size[block]]
    return Piece(
        rise=problem.rise_bytes(i) - (saved if is_sure else 0),
        net=net - sum(nbytes for others, nbytes in frees if not others),
        saved=0 if is_sure or not possible else saved,
        donors=() if is_sure or not saved else tuple(possible),
        frees=tuple(free for free in frees if free[0]),
    )


def _joined(first: Piece, second: Piece) -> Piece | None:
    """Two pieces as one, where that says the same in every case."""
    if first.frees or second.donors:
        return None
    rise = first.net + second.rise
    if rise >= first.rise:
        return Piece(rise, first.net + second.net, frees=second.frees)
    if rise <= first.rise - first.saved:
        return Piece(first.rise, first.net + second.net, first.saved, first.donors, second.frees)
    return None


def joined_groups(problem: Problem) -> list[Group]:
    """All steps in groups that need not be torn apart, in an order in which they can run."""
    groups = [group_of(problem, [i]) for i in range(len(problem.steps))]
    while True:
        fewer = _pass(problem, groups)
        if len(fewer) == len(groups):
            return groups
        groups = fewer


def ancestors(groups: Sequence[Group]) -> list[int]:
    """For each group all steps that must have run before it; the groups are in an order in which they can run."""
    owner = {i: position for position, group in enumerate(groups) for i in group.steps}
    found: list[int] = []
    for group in groups:
        near = {owner[i] for i in bits(group.before)}
        found.append(united(*(groups[other].mask | found[other] for other in near)))
    return found


def descendants(groups: Sequence[Group]) -> list[int]:
    """For each group all steps that can only run after it."""
    owner = {i: position for position, group in enumerate(groups) for i in group.steps}
    found = [0] * len(groups)
    for position in range(len(groups) - 1, -1, -1):
        below = groups[position].mask | found[position]
        for other in {owner[i] for i in bits(groups[position].before)}:
            found[other] |= below
    return found


def _pass(problem: Problem, groups: list[Group]) -> list[Group]:
    """Join groups in pairs, each at most once."""
    above, below = ancestors(groups), descendants(groups)
    owner = {i: position for position, group in enumerate(groups) for i in group.steps}
    waiting: list[set[int]] = [set() for _ in groups]
    for position, group in enumerate(groups):
        for other in {owner[i] for i in bits(group.before)}:
            waiting[other].add(position)
    bounds = [_Bounds.of(group, above[i], below[i]) for i, group in enumerate(groups)]
    place: dict[int, Group | None] = dict(enumerate(groups))
    free = [True] * len(groups)

    def join(first: int, second: int, at: int) -> None:
        free[first] = free[second] = False
        place[first] = place[second] = None
        place[at] = group_of(problem, groups[first].steps + groups[second].steps)

    for second, group in enumerate(groups):
        first = max((owner[i] for i in bits(group.before)), default=None)
        if first is None or not free[first] or not free[second]:
            continue
        if not group.before & ~groups[first].mask & ~above[first] and bounds[first].takes_at_once(bounds[second]):
            join(first, second, first)
    for first in range(len(groups)):
        second = min(waiting[first], default=first)
        if second == first or not free[first] or not free[second]:
            continue
        later = united(*(groups[other].mask for other in waiting[first]))
        if not later & ~groups[second].mask & ~below[second] and bounds[first].waits_for(bounds[second]):
            join(first, second, second)
    return [group for _, group in sorted(place.items()) if group is not None]


@dataclass(frozen=True, slots=True)
class _Bounds:
    """The hill and the net change of a group: the most, as when only what must have run did, and the least."""

    most_hill: int
    most_net: int
    least_hill: int
    least_net: int

    @staticmethod
    def of(group: Group, above: int, below: int) -> _Bounds:
        return _Bounds(*group.run(0, above), *group.run(0, ~(below | group.mask)))

    def takes_at_once(self, second: _Bounds) -> bool:
        return second.most_net <= 0 and self.most_net + second.most_hill <= self.least_hill

    def waits_for(self, second: _Bounds) -> bool:
        return self.least_net >= 0 and self.most_hill <= self.least_net + second.least_hill
