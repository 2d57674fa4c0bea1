"""The least peak over all orders of some steps: a search over what has run, with a proof where it comes to an end.

What is alive depends on which steps have run, not on their order. So a state is the set of groups that have run, an order is
a path whose peak is the largest on its way. States are visited by that peak, the deepest first: the first time that all
have run, no order does better (Dijkstra's algorithm for bottleneck paths). The search begins at a bound that no order gets
below, so where that bound can be met it goes straight there. Where the states run out of hand, a beam search gives an order,
and the least peak still open bounds what is possible.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from costmodel.orders.groups import Group, ancestors, descendants, joined_groups
from costmodel.orders.problem import Problem, bits

BUDGET = 60_000  # states
BEAM = 200


@dataclass(frozen=True, slots=True)
class Order:
    """Positions of the steps in the order found, its peak, and the least that any order needs."""

    steps: tuple[int, ...]
    peak_bytes: int
    lower_bound_bytes: int

    @property
    def is_optimal(self) -> bool:
        return self.peak_bytes == self.lower_bound_bytes


def minimise(problem: Problem, *, budget: int = BUDGET) -> Order:
    """An order of least peak, or the best that was found in ``budget`` states.

    >>> from costmodel.orders.problem import Block, Step
    >>> blocks = (Block(1, is_input=True), Block(9), Block(1), Block(9), Block(1), Block(1, is_kept=True))
    >>> wide_first = (Step((0,), (1,)), Step((0,), (3,)), Step((1,), (2,)), Step((3,), (4,)), Step((2, 4), (5,)))
    >>> problem = Problem(blocks, wide_first)
    >>> found = minimise(problem)
    >>> problem.peak_bytes(), found.peak_bytes, found.is_optimal
    (19, 11, True)
    """
    groups = joined_groups(problem)
    bound = lower_bound(problem)
    file_peak = problem.peak_bytes()
    if file_peak == bound or not groups:
        return Order(tuple(range(len(problem.steps))), file_peak, file_peak)
    search = _Search(problem, groups, bound)
    path, open_peak = search.best(budget)
    if path is None:
        path = search.beam()
        bound = max(bound, open_peak)
    steps = tuple(i for group in path for i in groups[group].steps)
    peak = problem.peak_bytes(steps)
    if peak >= file_peak:
        steps, peak = tuple(range(len(problem.steps))), file_peak
    is_proven = open_peak >= peak
    return Order(steps, peak, peak if is_proven else min(bound, peak))


def lower_bound(problem: Problem) -> int:
    """What some step needs in every order: what it makes, and what is made before it and read by it or after it."""
    groups = [Group((i,), 1 << i, problem.before[i], ()) for i in range(len(problem.steps))]
    above, below = ancestors(groups), descendants(groups)
    maker = {block: i for i, step in enumerate(problem.steps) for block in step.creates}
    sizes = [
        (block.nbytes, 0 if block.is_input else 1 << maker[i], -1 if block.is_kept else problem.readers[i])
        for i, block in enumerate(problem.blocks)
        if block.nbytes
    ]
    best = problem.alive_bytes(0)
    for i in range(len(problem.steps)):
        later = below[i] | 1 << i
        held = sum(nbytes for nbytes, made, readers in sizes if not made & ~above[i] and readers & later)
        best = max(best, held + problem.rise_bytes(i) - problem.saved_bytes(i))
    return best


State = tuple[int, int, int, tuple[int, ...]]  # steps that ran, alive bytes, how many groups, groups that are ready


class _Search:
    def __init__(self, problem: Problem, groups: Sequence[Group], bound: int) -> None:
        self.groups, self.bound = groups, bound
        owner = {i: position for position, group in enumerate(groups) for i in group.steps}
        self.followers: list[list[int]] = [[] for _ in groups]
        for position, group in enumerate(groups):
            for other in {owner[i] for i in bits(group.before)}:
                self.followers[other].append(position)
        ready = tuple(position for position, group in enumerate(groups) if not group.before)
        self.start: State = (0, problem.alive_bytes(0), 0, ready)

    def best(self, budget: int) -> tuple[list[int] | None, int]:
        """The groups in an order of least peak, and that peak; None and the least peak still open where the budget ends."""
        parent: dict[int, tuple[int, list[int]]] = {}
        reached = {0: self.bound}
        heap = [(self.bound, 0, 0, self.start)]
        count = 0
        while heap:
            peak, _, _, state = heapq.heappop(heap)
            if peak > reached[state[0]]:
                continue
            if state[2] == len(self.groups):
                return _path(parent, state[0]), peak
            if count > budget:
                return None, peak
            for ran, (top, following) in self._next(state, peak):
                new = max(peak, top)
                if new < reached.get(following[0], new + 1):
                    reached[following[0]] = new
                    parent[following[0]] = state[0], ran
                    count += 1
                    heapq.heappush(heap, (new, -following[2], count, following))
        raise AssertionError("every problem has an order: that of its steps")

    def beam(self, width: int = BEAM) -> list[int]:
        """Groups in an order by keeping only the best states of each size."""
        level: dict[int, tuple[int, State, list[int]]] = {0: (self.bound, self.start, [])}
        done: tuple[int, list[int]] | None = None
        while level:
            following: dict[int, tuple[int, State, list[int]]] = {}
            for peak, state, path in level.values():
                if state[2] == len(self.groups):
                    done = min(done, (peak, path)) if done else (peak, path)
                    continue
                for ran, (top, new) in self._next(state, peak):
                    entry = (max(peak, top), new, [*path, *ran])
                    if new[0] not in following or entry[0] < following[new[0]][0]:
                        following[new[0]] = entry
            best = heapq.nsmallest(width, following.items(), key=lambda item: (item[1][0], item[1][1][1], item[1][2]))
            level = dict(best)
        assert done is not None
        return done[1]

    def _next(self, state: State, peak: int) -> list[tuple[list[int], tuple[int, State]]]:
        """What may run next; one way only where a group costs nothing: no higher peak, and no more memory after it."""
        ran: list[int] = []
        while True:
            for position in state[3]:
                top, alive = self.groups[position].run(state[1], state[0])
                if top <= peak and alive <= state[1]:
                    state = self._after(state, position, alive)
                    ran.append(position)
                    break
            else:
                break
        if state[2] == len(self.groups):
            return [(ran, (0, state))]
        found = []
        for position in state[3]:
            top, alive = self.groups[position].run(state[1], state[0])
            found.append(([*ran, position], (top, self._after(state, position, alive))))
        return found

    def _after(self, state: State, position: int, alive: int) -> State:
        done = state[0] | self.groups[position].mask
        new = [other for other in self.followers[position] if not self.groups[other].before & ~done]
        ready = tuple(sorted([*(other for other in state[3] if other != position), *new]))
        return done, alive, state[2] + 1, ready


def _path(parent: dict[int, tuple[int, list[int]]], done: int) -> list[int]:
    path: list[list[int]] = []
    while done:
        done, ran = parent[done]
        path.append(ran)
    return [position for ran in reversed(path) for position in ran]
