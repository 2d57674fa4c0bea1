"""The memory of a network's activations under a planner: symbolic in the open sizes, and laid out at a point."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from costmodel.caches import find_cache
from costmodel.compiled import Compiled
from costmodel.dims import Dim, Extent, bounds, maximum, value_at
from costmodel.errors import InvalidChoice, nearest
from costmodel.graph import Layer, Network
from costmodel.liveness import Lifetimes, live_bytes
from costmodel.orders.networks import ordered, problem_of
from costmodel.orders.search import minimise
from costmodel.planners import find_planner
from costmodel.planners.planner import Buffer, Piece, Planner, Use, taken

ORDERS = ("file", "runtime", "best")


@dataclass(frozen=True, slots=True)
class Held:
    """A buffer of a plan: its tensors, where it lies in the arena, and the steps from which to which it is taken.

    A step is a position in the plan's ``order``. Scratch memory of a layer has no tensor.
    """

    tensors: tuple[str, ...]
    offset: int
    nbytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The memory of the activations at one point.

    ``peak_bytes``: the most that the planner takes at one moment; ``lower_bound_bytes``: the most that any allocator
    needs in this order (with ``order="best"``: in any order); ``arena_bytes``: the arena that holds all buffers where the
    planner puts them; ``holders``: the tensors that hold the most with their bytes, largest first; ``at_layer``: the layer
    that runs then; ``order``: the layers' names; ``live_bytes``: bytes taken while each of them runs; ``buffers``: what
    lies where; ``input_bytes``, ``output_bytes``: all inputs and outputs; ``cache_bytes``: what of these a decoder keeps
    from step to step, before and after the step; ``assumed``: sizes that depend on data, taken at their bounds.
    """

    planner: str
    peak_bytes: int
    lower_bound_bytes: int
    arena_bytes: int
    holders: tuple[tuple[str, int], ...]
    at_layer: str
    order: tuple[str, ...]
    live_bytes: tuple[int, ...]
    buffers: tuple[Held, ...]
    input_bytes: int
    output_bytes: int
    cache_bytes: tuple[int, int]
    assumed: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Memory:
    """The memory of a network's activations with the sizes left open."""

    network: Network
    planner: Planner
    order: str
    layers: tuple[Layer, ...]

    @cached_property
    def lifetimes(self) -> Lifetimes:
        return self.planner.lifetimes(self.network, self.layers)

    @cached_property
    def buffers(self) -> tuple[Buffer, ...]:
        """The buffers of the plan, scratch memory apart."""
        return self.planner.buffers(self.network, self.lifetimes)

    @cached_property
    def live_bytes(self) -> tuple[Extent, ...]:
        """Bytes that the planner has taken while each layer runs, scratch memory included; without any, the inputs."""
        return live_bytes(self.buffers, self.lifetimes.scratch)

    @cached_property
    def lower_bound_bytes(self) -> Dim:
        """The most alive at one moment, as an expression."""
        return Dim.of(maximum(*undominated(self.lifetimes.live_bytes)))

    @cached_property
    def peak_bytes(self) -> Dim:
        """The planner's peak as an expression. Raises InvalidChoice where it lays out an arena: no formula gives that."""
        if self.order == "best":
            raise InvalidChoice("the best order depends on the sizes; give them: .at(N=1), .compile()(N=[1, 2])")
        if self.planner.is_arena:
            raise InvalidChoice(
                f"the arena of planner {self.planner.name!r} follows no formula; give sizes: .at(N=1), .compile()(N=[1, 2])"
            )
        return Dim.of(maximum(*undominated(self.live_bytes)) + self.bookkeeping_bytes)

    @cached_property
    def bookkeeping_bytes(self) -> int:
        return self.planner.bookkeeping_bytes(self.network)

    def compile(self) -> Callable[..., NDArray[np.float64]]:
        """A function from columns of sizes to the column of peaks; an arena is laid out at each point.

        >>> from costmodel.build import Builder
        >>> b = Builder("wide")
        >>> y = b.linear(b.input("x", ("N", 16)), 64)
        >>> memory(b.finish(y)).compile()(N=[1, 10]).tolist()
        [320.0, 3200.0]
        """
        if self.planner.is_arena or self.order == "best":
            return self._point_by_point
        program = Compiled(dict(enumerate(undominated(self.live_bytes))))  # type: ignore[arg-type]

        def peaks(columns: Mapping[str, ArrayLike] | None = None, /, **named: ArrayLike) -> NDArray[np.float64]:
            found: NDArray[np.float64] = program.greatest(columns, **named) + self.bookkeeping_bytes
            return found

        return peaks

    def _point_by_point(self, columns: Mapping[str, ArrayLike] | None = None, /, **named: ArrayLike) -> NDArray[np.float64]:
        given = {**(columns or {}), **named}
        arrays = np.broadcast_arrays(*(np.asarray(column).ravel() for column in given.values()))
        points = zip(*(array.tolist() for array in arrays), strict=True)
        return np.array([self.at(dict(zip(given, point, strict=True))).peak_bytes for point in points], dtype=np.float64)

    def peak_at(self, point: Mapping[str, int]) -> int:
        """The peak alone, at a point that binds every open size."""
        if self.planner.is_arena or self.order == "best":
            return self.at(point).peak_bytes
        at_point = _Values(point)
        return max(map(at_point, self.live_bytes)) + self.bookkeeping_bytes

    def at(self, values: Mapping[str, int] | None = None, /, **sizes: int) -> MemoryPlan:
        """The plan at one point. A size that depends on data is taken at its bound where it is not given.

        Raises UnknownSize for a size that is missing and has no bound, or does not exist.
        """
        point, assumed = at_bounds(self.network, {**(values or {}), **sizes})
        at_point = _Values(point)
        if self.order == "best":
            return self._best(at_point, point)
        asked = self._asked(at_point)
        pieces = [piece for piece, _ in asked]
        placement = self.planner.place(pieces)
        steps = max(len(self.layers), 1)
        live = taken(pieces, steps)
        blocks = [Piece(at_point(block.nbytes), block.first, block.last) for block in self.lifetimes.blocks]
        needed = taken([*blocks, *(piece for piece in pieces if piece.use == Use.SCRATCH)], steps)
        step = live.index(max(live))
        cache = find_cache(self.network)
        return MemoryPlan(
            planner=self.planner.name,
            peak_bytes=self.bookkeeping_bytes
            + (self.planner.taken_bytes(placement) if self.planner.is_arena else live[step]),
            lower_bound_bytes=max(needed),
            arena_bytes=placement.arena_bytes,
            holders=self._holders(step, at_point),
            at_layer=self.layers[step].name if self.layers else "",
            order=tuple(layer.name for layer in self.layers),
            live_bytes=tuple(live),
            buffers=tuple(
                Held(tensors, offset, piece.nbytes, piece.first, piece.last)
                for (piece, tensors), offset in zip(asked, placement.offsets, strict=True)
            ),
            input_bytes=self._bytes_of(self.network.inputs, at_point),
            output_bytes=self._bytes_of(self.network.outputs, at_point),
            cache_bytes=(self._bytes_of(cache.inputs, at_point), self._bytes_of(cache.outputs, at_point)),
            assumed=assumed,
        )

    def _best(self, at_point: Callable[[Extent], int], point: Mapping[str, int]) -> MemoryPlan:
        """The plan in the order of least peak at this point."""
        sharing = self.planner.sharing_of(self.network)
        found = minimise(problem_of(self.network, self.layers, sharing, at_point))
        layers = tuple(self.layers[step] for step in found.steps)
        plan = replace(self, order="given", layers=layers).at(point)
        return replace(plan, lower_bound_bytes=min(found.lower_bound_bytes, plan.peak_bytes))

    def _bytes_of(self, names: Iterable[str], at_point: Callable[[Extent], int]) -> int:
        tensors = (self.network.tensors[name] for name in names)
        return sum(at_point(tensor.nbytes) for tensor in tensors if tensor.is_known)

    def _asked(self, at_point: Callable[[Extent], int]) -> list[tuple[Piece, tuple[str, ...]]]:
        """Buffers and scratch memory with their tensors, in the order in which they are asked for."""
        asked = []
        for buffer in self.buffers:
            tensors = tuple(name for block in buffer.blocks for name in block.tensors)
            use = Use.ACTIVATION if self.network.outputs.keys().isdisjoint(tensors) else Use.OUTPUT
            asked.append(((buffer.first, 1), Piece(at_point(buffer.nbytes), buffer.first, buffer.last, use), tensors))
        for step, extents in enumerate(self.lifetimes.scratch):
            turn = 0 if self.planner.asks_first(self.layers[step]) else 2
            asked.extend(((step, turn), Piece(at_point(extent), step, step, Use.SCRATCH), ()) for extent in extents)
        asked.sort(key=lambda entry: entry[0])
        return [(piece, tensors) for _, piece, tensors in asked]

    def _holders(self, step: int, at_point: Callable[[Extent], int]) -> tuple[tuple[str, int], ...]:
        """The tensors that hold memory at a step, largest first."""
        held = [buffer for buffer in self.buffers if buffer.first <= step <= buffer.last]
        return tuple(
            sorted(((buffer.holder(step), at_point(buffer.nbytes)) for buffer in held), key=lambda holder: -holder[1])
        )


def at_bounds(network: Network, given: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Sizes at a point, and those among them that depend on data and are taken at the most that they can be.

    >>> from costmodel.build import Builder
    >>> b = Builder("found")
    >>> network = b.finish(b.op("NonZero", b.input("x", ("N", 16)), name="where"))
    >>> at_bounds(network, {"N": 2})[1]
    {'where.nonzero': 32}
    """
    stated = [limit for layer in network.layers if layer.cost is not None for limit in layer.cost.bounds]
    limits = {name: limit for name, limit in stated if name not in given}
    point = network.bind(given, complete=not limits)
    assumed: dict[str, int] = {}
    for name, limit in limits.items():
        if name in network.sizes and name not in point and Dim.of(limit).names <= point.keys():
            assumed[name] = point[name] = value_at(limit, point)
    return (network.bind(point) if limits else point), assumed


class _Values:
    """Values of extents at a point, each worked out once."""

    def __init__(self, point: Mapping[str, int]) -> None:
        self.point = point
        self.known: dict[Extent, int] = {}

    def __call__(self, extent: Extent) -> int:
        if isinstance(extent, int):
            return extent
        if extent not in self.known:
            self.known[extent] = value_at(extent, self.point)
        return self.known[extent]


def memory(network: Network, *, planner: str | Planner = "ideal", order: str | Sequence[str] | None = None) -> Memory:
    """Plan the memory of a network's activations.

    ``planner``: ``ideal``, the most alive at one moment, below which no allocator gets in this order; ``onnxruntime``,
    ``onnxruntime-arena``, ``tflite`` ... as these runtimes do; ``naive``, every tensor in memory of its own.
    ``order``: ``file``, as the file lists the layers; ``runtime``, as the planner's runtime runs them (the default);
    ``best``, the order of least peak at the sizes asked for, for planners that run the file's; or the names of the layers.

    >>> from costmodel.build import Builder
    >>> b = Builder("two")
    >>> x = b.input("x", ("N", 16))
    >>> y = b.linear(b.relu(b.linear(x, 64)), 4)
    >>> memory(b.finish(y)).peak_bytes.at(N=1)  # 64 + 16 numbers of 4 bytes
    320

    Raises InvalidChoice for a planner or an order that does not exist, and for an order in which layers cannot run.
    """
    found = find_planner(planner)
    planned = found.prepared(network)
    if order is not None and not isinstance(order, str):
        return Memory(planned, found, "given", ordered(planned, order))
    if order is not None and order not in ORDERS:
        raise InvalidChoice(f"there is no order {order!r}; {nearest(order, ORDERS)}")
    if order == "best" and found.own_order != "file":
        raise InvalidChoice(f"planner {found.name!r} runs layers in the runtime's own order; 'best' is for ideal, tflite")
    layers = planned.running_layers if order in ("file", "best") else found.order(planned)
    return Memory(planned, found, order or found.own_order, layers)


def undominated(extents: Iterable[Extent]) -> tuple[Extent, ...]:
    """The distinct extents without those that another is never less than, term by term."""
    kept: list[Extent] = []
    for extent in dict.fromkeys(extents):
        if not any(bounds(other - extent)[0] >= 0 for other in kept):
            kept = [other for other in kept if bounds(extent - other)[0] < 0]
            kept.append(extent)
    return tuple(kept)
