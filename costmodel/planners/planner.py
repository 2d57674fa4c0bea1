"""What a planner is: layers in an order, the buffers that they live in, and where these lie in an arena."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate

from costmodel.dims import Extent
from costmodel.graph import Layer, Network
from costmodel.liveness import Block, Lifetimes, Sharing, lifetimes


@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory that a planner gives to blocks which are alive one after another; it is taken from ``first`` to ``last``."""

    blocks: tuple[Block, ...]
    first: int
    last: int

    @property
    def nbytes(self) -> Extent:
        return self.blocks[0].nbytes

    def holder(self, step: int) -> str:
        """The tensor that lies there at a step, or did last."""
        started = [block for block in self.blocks if block.first <= step]
        return (started[-1] if started else self.blocks[0]).tensors[0]

    @staticmethod
    def of(block: Block) -> Buffer:
        return Buffer((block,), block.first, block.last)


class Use(IntEnum):
    """What a piece of memory is for."""

    ACTIVATION, OUTPUT, SCRATCH = range(3)


@dataclass(frozen=True, slots=True)
class Piece:
    """A buffer, or a layer's scratch memory, at one point: its bytes and the steps between which they are taken."""

    nbytes: int
    first: int
    last: int
    use: Use = Use.ACTIVATION


@dataclass(frozen=True, slots=True)
class Placement:
    """Where pieces lie: the offset of each, and the bytes of the arena that holds them all."""

    offsets: tuple[int, ...]
    arena_bytes: int


class Planner:
    """Base of the planners. ``name`` is how users ask for it; ``is_arena``: what it takes is the arena that it lays out,
    which no formula gives, rather than the most that its buffers take at one moment; ``own_order``: what its order
    is called.
    """

    name: str
    sharing = Sharing()
    is_arena = False
    own_order = "file"

    def prepared(self, network: Network) -> Network:
        """The network as the runtime runs it."""
        return network

    def order(self, network: Network) -> tuple[Layer, ...]:
        """The layers in the planner's own order."""
        return network.running_layers

    def sharing_of(self, network: Network) -> Sharing:
        """How the layers of a network share memory."""
        return self.sharing

    def lifetimes(self, network: Network, layers: Sequence[Layer]) -> Lifetimes:
        """When the memory of the layers is alive, run in this order."""
        return lifetimes(network, layers, self.sharing_of(network))

    def buffers(self, network: Network, alive: Lifetimes) -> tuple[Buffer, ...]:
        """The buffers that hold the blocks."""
        return tuple(map(Buffer.of, alive.blocks))

    def asks_first(self, layer: Layer) -> bool:
        """Whether a layer's kernel asks for its scratch memory before its outputs."""
        return False

    def place(self, pieces: Sequence[Piece]) -> Placement:
        """Lay the pieces out at one point; those that start at one step come in the order in which they are asked for."""
        raise NotImplementedError

    def bookkeeping_bytes(self, network: Network) -> int:
        """What the runtime keeps for a run besides buffers and scratch memory."""
        return 0

    def taken_bytes(self, placement: Placement) -> int:
        """What the runtime takes from the system for an arena."""
        return placement.arena_bytes


def at_each_step(pieces: Iterable[Piece]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Which pieces start at a step and which end there, by position."""
    starts: dict[int, list[int]] = {}
    ends: dict[int, list[int]] = {}
    for i, piece in enumerate(pieces):
        starts.setdefault(piece.first, []).append(i)
        ends.setdefault(piece.last, []).append(i)
    return starts, ends


def taken(pieces: Iterable[Piece], steps: int) -> list[int]:
    """Bytes of the pieces that are taken at each step."""
    change = [0] * (steps + 1)
    for piece in pieces:
        change[piece.first] += piece.nbytes
        change[piece.last + 1] -= piece.nbytes
    return list(accumulate(change[:steps]))
