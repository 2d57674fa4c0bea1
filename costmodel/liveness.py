"""When each tensor is alive: aliases, live ranges, and the bytes that are alive while each layer runs.

A view shares the memory of its input; an in-place op takes over an input that dies with it; of an integer op in QDQ form
the quantised result is there, the float one never is; constants, and what is worked out from constants alone, are no
activations. A network's inputs are alive until their last use, its outputs until the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, Union

from costmodel.dims import Extent, maximum, total
from costmodel.graph import Body, Layer, Network, Tensor
from costmodel.qdq import find_quantized

Tensors = Mapping[str, Tensor]
AnyGraph = Union[Network, Body]

# Ops that write over their input in practice, though others could: the kernels that ONNX Runtime registers as MayInplace for
# the CPU, found by its heap (benchmarks/runtime_memory.py --probe). An addition writes to memory of its own.
OVERWRITING = frozenset(
    {
        "Relu", "LeakyRelu", "Elu", "Celu", "Selu", "Sigmoid", "HardSigmoid", "Tanh", "Softplus", "Softsign",
        "ThresholdedRelu", "Clip", "Softmax", "LogSoftmax", "Cast", "Trilu", "ScatterElements", "ScatterND", "Scatter",
        "TensorScatter", "FusedConv", "NhwcFusedConv",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Block:
    """Memory that one or more tensors share: alive from the step of its first writer to that of its last reader.

    A step is a position among the layers that run. ``tensors`` lists the first writer's tensor first.
    """

    tensors: tuple[str, ...]
    nbytes: Extent
    first: int
    last: int


def overwritten_by_kernel(layer: Layer, tensors: Tensors) -> Sequence[int]:
    """The inputs that the first output may lie over, by position: those that the rule allows, of an op that does it."""
    return layer.cost.in_place if layer.cost is not None and layer.op in OVERWRITING else ()


def overwritten(layer: Layer, tensors: Tensors) -> Sequence[int]:
    """As ``overwritten_by_kernel``; batch norm too, which every runtime makes part of the layer before it."""
    if layer.op == "BatchNormalization" and layer.cost is not None:
        return layer.cost.in_place
    return overwritten_by_kernel(layer, tensors)


def scratch_of_rule(layer: Layer, tensors: Tensors) -> Sequence[Extent]:
    """Memory that a layer takes while it runs, as its rule says."""
    return (layer.cost.scratch_bytes,) if layer.cost is not None else ()


@dataclass(frozen=True, slots=True)
class Sharing:
    """How memory is shared between what layers read and write.

    ``overwritten``: the inputs that a layer may write over, should nobody else want them. ``outputs_apart``: a network's
    outputs have memory of their own, as where a caller provides it. ``inputs_count``: the inputs are part of what is
    planned. ``as_integers``: ops in QDQ form read and write integers. ``scratch``: pieces of memory that a layer takes while
    it runs.
    """

    overwritten: Callable[[Layer, Tensors], Sequence[int]] = overwritten
    outputs_apart: bool = False
    inputs_count: bool = True
    as_integers: bool = True
    scratch: Callable[[Layer, Tensors], Sequence[Extent]] = scratch_of_rule

    def shared_input(self, layer: Layer, tensors: Tensors, may_overwrite: Callable[[str], bool]) -> str | None:
        """The input whose memory the first output lies in: a view's, or the first that may be overwritten."""
        if layer.cost is not None and layer.cost.view_of is not None:
            return layer.inputs[layer.cost.view_of]
        positions = self.overwritten(layer, tensors)
        candidates = (layer.inputs[position] for position in positions if position < len(layer.inputs))
        return next((name for name in candidates if may_overwrite(name)), None)


@dataclass(frozen=True, eq=False)
class Lifetimes:
    """The blocks of memory of layers that run in this order, and the pieces of scratch memory of each."""

    layers: tuple[Layer, ...]
    blocks: tuple[Block, ...]
    scratch: tuple[tuple[Extent, ...], ...]

    @cached_property
    def live_bytes(self) -> tuple[Extent, ...]:
        """Bytes alive at each layer, its inputs, outputs and scratch memory included; without any layer, the inputs."""
        return live_bytes(self.blocks, self.scratch)


class Lasting(Protocol):
    """What takes memory from a step to another."""

    @property
    def nbytes(self) -> Extent: ...
    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...


def live_bytes(blocks: Iterable[Lasting], scratch: Sequence[Sequence[Extent]]) -> tuple[Extent, ...]:
    """Bytes of the blocks alive at each step and its scratch memory; where there is no step, of all blocks."""
    steps = max(len(scratch), 1)
    changes: list[list[Extent]] = [[] for _ in range(steps + 1)]
    for block in blocks:
        changes[block.first].append(block.nbytes)
        changes[block.last + 1].append(-block.nbytes)
    alive: Extent = 0
    found = []
    for step in range(steps):
        alive = alive + total(changes[step])
        found.append(alive + total(scratch[step]) if scratch else alive)
    return tuple(found)


def lifetimes(network: Network, layers: Sequence[Layer] | None = None, sharing: Sharing | None = None) -> Lifetimes:
    """When the memory of a network's activations is alive.

    ``layers``: those that run, in an order in which they can; the file's if None.

    >>> from costmodel.build import Builder
    >>> b = Builder("two")
    >>> y = b.linear(b.relu(b.linear(b.input("x", ("N", 16)), 64, name="wide")), 4, name="y")
    >>> for block in lifetimes(b.finish(y)).blocks:
    ...     print(*block.tensors, block.nbytes, block.first, block.last)
    x 64*N 0 0
    wide relu1 256*N 0 2
    y 16*N 2 2
    """
    sharing = sharing or Sharing()
    running = network.running_layers if layers is None else tuple(layers)
    blocks = _Blocks(network, running, network.inputs, sharing).found()
    return Lifetimes(running, blocks, tuple(scratch_pieces(layer, network.tensors, sharing) for layer in running))


def scratch_pieces(layer: Layer, tensors: Tensors, sharing: Sharing) -> tuple[Extent, ...]:
    """Memory that lives only while the layer runs: its kernel's, and of its bodies that which needs most."""
    if layer.cost is None:
        return ()
    inside = maximum(0, *(_bytes_inside(body, sharing) for body in layer.cost.bodies)) if layer.cost.bodies else 0
    return tuple(piece for piece in (*sharing.scratch(layer, tensors), inside) if piece != 0)


def _bytes_inside(body: Body, sharing: Sharing) -> Extent:
    """The most that is alive in one run, besides what the body takes in and gives back: its layer holds that."""
    layers = body.running_layers
    inner = [block for block in _Blocks(body, layers, (), sharing).found() if set(block.tensors).isdisjoint(body.outputs)]
    scratch = [scratch_pieces(layer, body.tensors, sharing) for layer in layers]
    return body.in_last_run(maximum(0, *live_bytes(inner, scratch)) if layers else 0)


class _Blocks:
    """What the layers of a graph share and hold; ``inputs`` names the tensors that are there before the first of them."""

    def __init__(self, graph: AnyGraph, layers: Sequence[Layer], inputs: Iterable[str], sharing: Sharing) -> None:
        self.graph, self.layers, self.sharing = graph, layers, sharing
        self.instead = find_quantized(graph).written if sharing.as_integers else {}
        self.last_use = {name: step for step, layer in enumerate(layers) for name in layer.reads}
        self.last_use.update(dict.fromkeys(graph.outputs, len(layers)))
        self.fixed = frozenset(inputs)
        self.members: dict[str, list[str]] = {name: [name] for name in inputs}
        self.root = {name: name for name in self.members}
        self.first = dict.fromkeys(self.members, 0)
        self.last = {name: self.last_use.get(name, 0) for name in self.members}

    def found(self) -> tuple[Block, ...]:
        for step, layer in enumerate(self.layers):
            for position, name in enumerate(layer.outputs):
                if name and self.graph.tensors[name].is_known:
                    self._write(step, layer, position, name)
        end = max(len(self.layers) - 1, 0)
        held = {owner: self.instead.get(owner) or self.graph.tensors[owner] for owner in self.members}
        return tuple(
            Block(tuple(names), held[owner].nbytes, self.first[owner], min(self.last[owner], end))
            for owner, names in self.members.items()
            if held[owner].is_known and (self.sharing.inputs_count or owner not in self.fixed)
        )

    def _write(self, step: int, layer: Layer, position: int, name: str) -> None:
        apart = self.sharing.outputs_apart and name in self.graph.outputs
        shared = None
        if position == 0 and not apart:
            if self._shows_outside(layer):
                return
            shared = self._shared_root(layer, step, is_absent=self.instead.get(name, layer) is None)
        owner = self.root[name] = shared or name
        self.members.setdefault(owner, []).append(name)
        self.first.setdefault(owner, step)
        self.last[owner] = max(self.last.get(owner, step), self.last_use.get(name, step))

    def _shows_outside(self, layer: Layer) -> bool:
        """Whether the first output is a view of what is held elsewhere: a constant, or what a body takes in."""
        return (
            layer.cost is not None and layer.cost.view_of is not None and layer.inputs[layer.cost.view_of] not in self.root
        )

    def _shared_root(self, layer: Layer, step: int, *, is_absent: bool) -> str | None:
        """The block that the first output shares: a view's input, or an input that dies here and may be overwritten."""
        if is_absent:
            return self.root.get(layer.inputs[0])

        def dies(name: str) -> bool:
            owner = self.root.get(name)
            return owner is not None and owner not in self.fixed and self.last[owner] == step

        shared = self.sharing.shared_input(layer, self.graph.tensors, dies)
        return None if shared is None else self.root.get(shared)
