"""ONNX Runtime's allocation plan on the CPU, as its sequential executor runs it.

Layers run depth first from the last one back (GraphViewer's default order). A tensor takes over the buffer of an input that
dies there, where the kernel works in place, or one that was given back before, if that is of the same shape and width
(AllocationPlanner). Network inputs belong to the caller; a network's outputs have buffers of their own. Checked against
the heap of ONNX Runtime 1.31 and 1.32 (docs/memory.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from costmodel.graph import Layer, Network
from costmodel.liveness import Block, Lifetimes, Sharing, Tensors, overwritten_by_kernel
from costmodel.planners.bfc import BOOKKEEPING, run_in_arena
from costmodel.planners.depth_first import depth_first
from costmodel.planners.onnxruntime_fusion import optimized
from costmodel.planners.onnxruntime_kernels import scratch_of, scratch_of_blocked
from costmodel.planners.packing import best_fit_in_time
from costmodel.planners.planner import Buffer, Piece, Placement, Planner, Use
from costmodel.planners.stated import Known, stated_shape

ALIGNMENT = 64  # kAllocAlignment
VALUE_BYTES = 24  # an OrtValue: a shared pointer and the type
# kernels that make their output before they ask for scratch memory
OUTPUT_FIRST = frozenset({"Conv", "ConvTranspose", "Attention"})


@dataclass(frozen=True)
class OnnxRuntime(Planner):
    """The plan of a session with these options.

    ``reuse``: give a dead buffer to a later tensor of its shape (SessionOptions.enable_mem_reuse); ``pattern``: lay all
    buffers out in one block, as from the second run on (enable_mem_pattern); ``arena``: take memory from an arena that
    grows (enable_cpu_mem_arena). With a pattern and an arena, the arena is that of the first run, which traces the pattern.
    ``optimized``: the graph is optimised first, as it is by default: what is worked out from weights alone is there
    before the run, quantised ops compute in integers, and kernels are fused; else the file's layers run as they are
    (ORT_DISABLE_ALL), weights that are transposed or dequantised included.
    """

    reuse: bool = True
    pattern: bool = False
    arena: bool = False
    optimized: bool = False
    own_order = "runtime"

    @property
    def name(self) -> str:  # type: ignore[override]
        kind = "-arena" if self.arena else "-pattern" if self.pattern else ""
        return f"onnxruntime{'' if self.reuse else '-no-reuse'}{kind}{'-optimized' if self.optimized else ''}"

    @property
    def is_arena(self) -> bool:  # type: ignore[override]
        return self.arena or self.pattern

    def prepared(self, network: Network) -> Network:
        return optimized(network) if self.optimized else network

    def order(self, network: Network) -> tuple[Layer, ...]:
        return depth_first(network, network.running_layers if self.optimized else _all_but_stored(network))

    def sharing_of(self, network: Network) -> Sharing:
        return Sharing(
            overwritten=partial(_overwritten, network), outputs_apart=True, inputs_count=False, as_integers=self.optimized,
            scratch=scratch_of_blocked if self.optimized else scratch_of,
        )  # fmt: skip

    def buffers(self, network: Network, alive: Lifetimes) -> tuple[Buffer, ...]:
        return _Reuse(network, alive).buffers() if self.reuse else super().buffers(network, alive)

    def asks_first(self, layer: Layer) -> bool:
        return layer.op not in OUTPUT_FIRST

    def place(self, pieces: Sequence[Piece]) -> Placement:
        if self.arena:
            return run_in_arena(pieces)
        return _pattern_and_rest(pieces) if self.pattern else best_fit_in_time(pieces, ALIGNMENT)

    def bookkeeping_bytes(self, network: Network) -> int:
        """A table of all values, stored ones too."""
        return VALUE_BYTES * len({name for layer in network.layers for name in (*layer.reads, *layer.outputs) if name})

    def taken_bytes(self, placement: Placement) -> int:
        return placement.arena_bytes + placement.arena_bytes // BOOKKEEPING if self.arena else placement.arena_bytes


def _pattern_and_rest(pieces: Sequence[Piece]) -> Placement:
    """One block for what the plan holds; the network's outputs and scratch memory come from outside of it."""
    is_traced = [piece.use == Use.ACTIVATION for piece in pieces]
    block = best_fit_in_time([piece for piece, traced in zip(pieces, is_traced, strict=True) if traced], ALIGNMENT)
    rest = best_fit_in_time([piece for piece, traced in zip(pieces, is_traced, strict=True) if not traced], ALIGNMENT)
    inside, outside = iter(block.offsets), (offset + block.arena_bytes for offset in rest.offsets)
    offsets = tuple(next(inside) if traced else next(outside) for traced in is_traced)
    return Placement(offsets, block.arena_bytes + rest.arena_bytes)


def _all_but_stored(network: Network) -> tuple[Layer, ...]:
    return tuple(layer for layer in network.layers if layer.op != "Constant")


class _Reuse:
    """Which blocks lie in the buffer of an earlier one, of the same shape and width, that is given back by then."""

    def __init__(self, network: Network, alive: Lifetimes) -> None:
        self.network, self.alive = network, alive

    def buffers(self) -> tuple[Buffer, ...]:
        blocks = self.alive.blocks
        starts, freed = self._starts(), self._freed()
        free: dict[Known, list[int]] = {}
        chains: list[list[int]] = []
        chain_of: dict[int, int] = {}
        for step in range(len(self.alive.layers)):
            for i in starts.get(step, ()):
                waiting = free.get(stated_shape(self.network, blocks[i].tensors[0]) or ())
                if waiting and not self._is_output(blocks[i]):
                    chain_of[i] = waiting.pop()
                    chains[chain_of[i]].append(i)
                else:
                    chain_of[i] = len(chains)
                    chains.append([i])
            for i in freed.get(step, ()):
                shape = stated_shape(self.network, blocks[chains[chain_of[i]][0]].tensors[0])
                if shape is not None:
                    free.setdefault(shape, []).append(chain_of[i])
        return tuple(_buffer([blocks[i] for i in chain]) for chain in chains)

    def _starts(self) -> dict[int, list[int]]:
        starts: dict[int, list[int]] = {}
        for i, block in enumerate(self.alive.blocks):
            starts.setdefault(block.first, []).append(i)
        return starts

    def _freed(self) -> dict[int, list[int]]:
        """Which blocks are given back after a step, in order: what it read, as it names it, then what nobody reads."""
        block_of = {name: i for i, block in enumerate(self.alive.blocks) for name in block.tensors}
        freed: dict[int, list[int]] = {}
        for step, layer in enumerate(self.alive.layers):
            for name in (*layer.reads, *layer.outputs):
                i = block_of.get(name)
                if i is None or self.alive.blocks[i].last != step or i in freed.get(step, ()):
                    continue
                if not self._is_output(self.alive.blocks[i]):
                    freed.setdefault(step, []).append(i)
        return freed

    def _is_output(self, block: Block) -> bool:
        return any(name in self.network.outputs for name in block.tensors)


def _overwritten(network: Network, layer: Layer, tensors: Tensors) -> Sequence[int]:
    """The inputs of an in-place kernel of which it is known beforehand that they are as large as its output."""
    positions = overwritten_by_kernel(layer, tensors)
    shape = stated_shape(network, layer.outputs[0]) if positions else None
    return [i for i in positions if i < len(layer.inputs) and shape and stated_shape(network, layer.inputs[i]) == shape]


def _buffer(blocks: Sequence[Block]) -> Buffer:
    return Buffer(tuple(blocks), blocks[0].first, max(block.last for block in blocks))
