"""Steps, the blocks of memory that they make and read, and what is alive while they run in a given order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from costmodel.errors import MalformedModel


@dataclass(frozen=True, slots=True)
class Block:
    """Memory that steps share: alive from the step that makes it until all steps that read it have run.

    ``is_input``: it is there before the first step. ``is_kept``: it stays to the end, as a network's outputs do.
    """

    nbytes: int
    is_input: bool = False
    is_kept: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One step. ``reads`` and ``creates`` are positions of blocks; a view, which makes none, reads the block it shows.

    ``overwrites``: blocks among those read whose memory the first block created takes over, if every other reader ran
    before; such a block must be as large, no input and not kept, else it is left alone. ``scratch_bytes`` live while the
    step runs. ``after``: steps that come before, besides those that make what is read.
    """

    reads: tuple[int, ...] = ()
    creates: tuple[int, ...] = ()
    scratch_bytes: int = 0
    overwrites: tuple[int, ...] = ()
    after: tuple[int, ...] = ()


@dataclass(frozen=True)
class Problem:
    """Steps in an order in which they can run, and their blocks.

    Raises MalformedModel where a step reads what is not there yet, or where a block has no maker or two.

    >>> blocks = (Block(4, is_input=True), Block(8), Block(2, is_kept=True))
    >>> Problem(blocks, (Step(reads=(0,), creates=(1,)), Step(reads=(1,), creates=(2,)))).live_bytes()
    (12, 10)
    """

    blocks: tuple[Block, ...]
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        there = {i for i, block in enumerate(self.blocks) if block.is_input}
        for i, step in enumerate(self.steps):
            if missing := sorted(set(step.reads) - there):
                raise MalformedModel(f"step {i} reads block {missing[0]}, which no step before it makes; sort the steps")
            if late := [other for other in step.after if not 0 <= other < i]:
                raise MalformedModel(f"step {i} comes after step {late[0]}, which is not before it; sort the steps")
            if twice := sorted(there.intersection(step.creates)):
                raise MalformedModel(f"step {i} creates block {twice[0]}, which is there already; give it one maker")
            there.update(step.creates)
        if unmade := sorted(set(range(len(self.blocks))) - there):
            raise MalformedModel(f"block {unmade[0]} is no input and no step creates it; leave it out")

    @cached_property
    def readers(self) -> tuple[int, ...]:
        """Of each block the steps that read it, as a bit each."""
        masks = [0] * len(self.blocks)
        for i, step in enumerate(self.steps):
            for block in step.reads:
                masks[block] |= 1 << i
        return tuple(masks)

    @cached_property
    def before(self) -> tuple[int, ...]:
        """Of each step those that must have run just before, as a bit each."""
        maker = {block: 1 << i for i, step in enumerate(self.steps) for block in step.creates}
        return tuple(
            united(*(maker.get(block, 0) for block in step.reads), *(1 << other for other in step.after))
            for step in self.steps
        )

    @cached_property
    def donors(self) -> tuple[tuple[int, ...], ...]:
        """Of each step, for each block that it may overwrite, the other readers that must have run, as a bit each."""
        return tuple(
            tuple(self.readers[block] & ~(1 << i) for block in dict.fromkeys(step.overwrites) if self._gives(block, step))
            for i, step in enumerate(self.steps)
        )

    def _gives(self, block: int, step: Step) -> bool:
        giver = self.blocks[block]
        is_free = not giver.is_input and not giver.is_kept and block in step.reads
        return is_free and bool(step.creates) and giver.nbytes >= self.blocks[step.creates[0]].nbytes

    def saved_bytes(self, step: int) -> int:
        """What the step does without where it overwrites a block."""
        return self.blocks[self.steps[step].creates[0]].nbytes if self.donors[step] else 0

    def rise_bytes(self, step: int) -> int:
        """What the step adds to what is alive while it runs, if it overwrites nothing."""
        return sum(self.blocks[block].nbytes for block in self.steps[step].creates) + self.steps[step].scratch_bytes

    def is_alive(self, block: int, done: int) -> bool:
        """Whether a block that was made is still held when these steps have run."""
        return self.blocks[block].is_kept or bool(self.readers[block] & ~done)

    def alive_bytes(self, done: int) -> int:
        """What is held between two steps, when these have run: a bit each."""
        made = [i for i, block in enumerate(self.blocks) if block.is_input]
        made += [block for step in bits(done) for block in self.steps[step].creates]
        return sum(self.blocks[block].nbytes for block in made if self.is_alive(block, done))

    def live_bytes(self, order: Sequence[int] | None = None) -> tuple[int, ...]:
        """What is alive while each step runs, in an order of all steps: the one given to the problem, or another.

        Raises MalformedModel for an order in which a step comes too early, twice or not at all.
        """
        order = range(len(self.steps)) if order is None else order
        self.check(order)
        done, alive, live = 0, self.alive_bytes(0), []
        for i in order:
            saved = self.saved_bytes(i) if any(others & ~done == 0 for others in self.donors[i]) else 0
            live.append(alive + self.rise_bytes(i) - saved)
            done |= 1 << i
            step = self.steps[i]
            alive += sum(self.blocks[block].nbytes for block in step.creates if self.is_alive(block, done))
            alive -= sum(self.blocks[block].nbytes for block in set(step.reads) if not self.is_alive(block, done))
        return tuple(live)

    def peak_bytes(self, order: Sequence[int] | None = None) -> int:
        """The most that is alive at one moment; without steps, the inputs."""
        return max(self.live_bytes(order), default=self.alive_bytes(0))

    def check(self, order: Iterable[int]) -> None:
        """Raise MalformedModel unless this is an order in which all steps can run."""
        done = 0
        for i in order:
            if not 0 <= i < len(self.steps) or done >> i & 1:
                raise MalformedModel(f"step {i} is no step of the problem or comes twice; name each of its steps once")
            if early := self.before[i] & ~done:
                raise MalformedModel(f"step {i} comes before step {bits(early)[0]}, which it waits for; put it after that")
            done |= 1 << i
        if missing := bits((1 << len(self.steps)) - 1 & ~done):
            raise MalformedModel(f"step {missing[0]} is missing from the order; name each step once")


def united(*masks: int) -> int:
    """All bits of several masks."""
    union = 0
    for mask in masks:
        union |= mask
    return union


def bits(mask: int) -> list[int]:
    """Positions of the bits that are set, from the lowest.

    >>> bits(0b1101)
    [0, 2, 3]
    """
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found
