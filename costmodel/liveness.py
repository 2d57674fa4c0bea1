"""When each tensor is alive: aliases, live ranges, and the most memory that is alive at one moment.

A view shares the memory of its input; an in-place op takes over an input that dies with it; constants are no
activations. A network's inputs are alive until their last use, its outputs until the end.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from costmodel.counts import written_bytes
from costmodel.dims import Dim, Extent, maximum, total, value_at
from costmodel.errors import InvalidChoice, nearest
from costmodel.graph import Body, Layer, Network

PLANNERS = ("ideal", "naive")
ORDERS = ("file",)


@dataclass(frozen=True, slots=True)
class Block:
    """Memory that one or more tensors share: alive from the step of its first writer to that of its last reader."""

    tensors: tuple[str, ...]
    nbytes: Extent
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The memory of the activations at one point.

    ``peak_bytes``: the most that is alive at one moment under this planner; ``lower_bound_bytes``: the most that any
    allocator needs in this order; ``arena_bytes``: what the planner reserves; ``holders``: the tensors that hold the
    peak with their bytes, largest first; ``at_layer``: the layer that runs at the peak; ``order``: the layers' names.
    """

    planner: str
    peak_bytes: int
    lower_bound_bytes: int
    arena_bytes: int
    holders: tuple[tuple[str, int], ...]
    at_layer: str
    order: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Memory:
    """The memory of a network's activations with the sizes left open."""

    network: Network
    planner: str
    order: str

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        return _blocks(self.network, self.network.inputs)

    @cached_property
    def live_bytes(self) -> tuple[Extent, ...]:
        """Bytes alive at each running layer, its inputs, outputs and scratch memory included; without any, the inputs."""
        layers = self.network.running_layers
        return _live_bytes(layers, self.blocks) if layers else (total(block.nbytes for block in self.blocks),)

    @cached_property
    def lower_bound_bytes(self) -> Dim:
        """The most alive at one moment, as an expression."""
        return Dim.of(maximum(*dict.fromkeys(self.live_bytes)))

    @cached_property
    def peak_bytes(self) -> Dim:
        """The planner's peak as an expression."""
        return self._separate_bytes if self.planner == "naive" else self.lower_bound_bytes

    @property
    def _separate_bytes(self) -> Dim:
        """Every tensor in memory of its own (a view has none), and the most scratch memory that a layer needs."""
        network = self.network
        inputs = total(tensor.nbytes for tensor in network.inputs.values() if tensor.is_known)
        written = total(written_bytes(network.tensors, layer) for layer in network.running_layers)
        return Dim.of(inputs + written + maximum(0, *dict.fromkeys(map(_scratch_bytes, network.running_layers))))

    def at(self, values: Mapping[str, int] | None = None, /, **sizes: int) -> MemoryPlan:
        """The plan at one point. Raises UnknownSize for a size that is missing or does not exist."""
        point = self.network.bind({**(values or {}), **sizes})
        steps = [value_at(step, point) for step in self.live_bytes]
        lower = max(steps)
        step = steps.index(lower)
        held = [block for block in self.blocks if block.first <= step <= block.last]
        alive = [(block.tensors[0], value_at(block.nbytes, point)) for block in held]
        layers = self.network.running_layers
        peak = value_at(self.peak_bytes, point) if self.planner == "naive" else lower
        return MemoryPlan(
            planner=self.planner,
            peak_bytes=peak,
            lower_bound_bytes=lower,
            arena_bytes=peak,
            holders=tuple(sorted(alive, key=lambda holder: -holder[1])),
            at_layer=layers[step].name if layers else "",
            order=tuple(layer.name for layer in layers),
        )


def memory(network: Network, *, planner: str = "ideal", order: str = "file") -> Memory:
    """Plan the memory of a network's activations.

    ``planner``: ``ideal``, the most alive at one moment, below which no allocator gets in this order; ``naive``, every
    tensor but views in memory of its own. ``order``: ``file``, as the file lists the layers.

    >>> from costmodel.build import Builder
    >>> b = Builder("two")
    >>> x = b.input("x", ("N", 16))
    >>> y = b.linear(b.relu(b.linear(x, 64)), 4)
    >>> memory(b.finish(y)).peak_bytes.at(N=1)  # 64 + 16 numbers of 4 bytes
    320

    Raises InvalidChoice for a planner or an order that does not exist.
    """
    for what, value, known in (("planner", planner, PLANNERS), ("order", order, ORDERS)):
        if value not in known:
            raise InvalidChoice(f"there is no {what} {value!r}; {nearest(value, known)}")
    return Memory(network, planner, order)


def _live_bytes(layers: Sequence[Layer], blocks: Iterable[Block]) -> tuple[Extent, ...]:
    changes: list[list[Extent]] = [[] for _ in range(len(layers) + 1)]
    for block in blocks:
        changes[block.first].append(block.nbytes)
        changes[block.last + 1].append(-block.nbytes)
    alive: Extent = 0
    steps = []
    for change, layer in zip(changes, layers, strict=False):
        alive = alive + total(change)
        steps.append(alive + _scratch_bytes(layer))
    return tuple(steps)


def _scratch_bytes(layer: Layer) -> Extent:
    """Memory that lives only while the layer runs: the rule's, and of its bodies that which needs most."""
    if layer.cost is None:
        return 0
    return layer.cost.scratch_bytes + maximum(0, *map(_bytes_inside, layer.cost.bodies))


def _bytes_inside(body: Body) -> Extent:
    """The most that is alive in one run, besides what the body takes in and gives back: its layer holds that."""
    inner = [block for block in _blocks(body, ()) if set(block.tensors).isdisjoint(body.outputs)]
    return body.in_last_run(maximum(0, *_live_bytes(body.running_layers, inner)))


def _blocks(graph: Network | Body, inputs: Iterable[str]) -> tuple[Block, ...]:
    """What the layers share and hold; ``inputs`` names the tensors that are there before the first of them runs."""
    layers = graph.running_layers
    end = len(layers)
    last_use = {name: i for i, layer in enumerate(layers) for name in layer.reads}
    last_use.update(dict.fromkeys(graph.outputs, end))
    members: dict[str, list[str]] = {name: [name] for name in inputs}
    fixed = frozenset(members)
    root = {name: name for name in members}
    first = dict.fromkeys(members, 0)
    last = {name: last_use.get(name, 0) for name in members}
    for i, layer in enumerate(layers):
        for position, name in enumerate(layer.outputs):
            if not name or not graph.tensors[name].is_known or (position == 0 and _shows_outside(layer, root)):
                continue
            shared = _shared_root(layer, i, fixed, root, last) if position == 0 else None
            owner = root[name] = shared or name
            members.setdefault(owner, []).append(name)
            first.setdefault(owner, i)
            last[owner] = max(last.get(owner, i), last_use.get(name, i))
    return tuple(
        Block(tuple(names), graph.tensors[owner].nbytes, first[owner], min(last[owner], max(end - 1, 0)))
        for owner, names in members.items()
        if graph.tensors[owner].is_known
    )


def _shows_outside(layer: Layer, root: Mapping[str, str]) -> bool:
    """Whether the first output is a view of what is held elsewhere: a constant, or what a body takes in."""
    return layer.cost is not None and layer.cost.view_of is not None and layer.inputs[layer.cost.view_of] not in root


def shared_input(layer: Layer, may_overwrite: Callable[[str], bool]) -> str | None:
    """The input whose memory the first output lies in: a view's, or the first that the op and the graph let it overwrite."""
    cost = layer.cost
    if cost is None:
        return None
    if cost.view_of is not None:
        return layer.inputs[cost.view_of]
    in_place = (layer.inputs[position] for position in cost.in_place if position < len(layer.inputs))
    return next((name for name in in_place if may_overwrite(name)), None)


def _shared_root(
    layer: Layer, step: int, fixed: Container[str], root: Mapping[str, str], last: Mapping[str, int]
) -> str | None:
    """The block that the first output shares: a view's input, or an input that dies here and may be overwritten."""

    def dies(name: str) -> bool:
        owner = root.get(name)
        return owner is not None and owner not in fixed and last[owner] == step

    shared = shared_input(layer, dies)
    return None if shared is None else root.get(shared)
