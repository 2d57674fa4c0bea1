"""Network -> counts: what its layers compute, store and move, with the sizes left open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

from costmodel.compiled import Compiled
from costmodel.dims import Dim, Extent, total, value_at, weighted_total
from costmodel.graph import NOWHERE, Body, Cost, Layer, Network, Place, Tensor
from costmodel.qdq import arithmetic, find_quantized

INTEGERS = frozenset({"int64", "int32", "bool", "string"})
INTEGER_BIAS_OPS = frozenset({"QLinearConv", "DequantizeLinear", "ConvInteger", "QGemm"})


@dataclass(frozen=True, slots=True)
class Quantities:
    """The numbers that are counted, of a layer or a network.

    ``macs`` multiply-adds; ``flops`` = 2 * macs + the other arithmetic; ``params`` numbers that training learns;
    ``weights`` all stored numbers and ``weight_bytes`` their bytes (a tensor used twice counts once, with its first
    layer); ``activation_bytes`` everything that layers write.
    """

    macs: Extent = 0
    flops: Extent = 0
    params: Extent = 0
    weights: Extent = 0
    weight_bytes: Extent = 0
    activation_bytes: Extent = 0

    def at(self, values: Mapping[str, int] | None = None, /, **sizes: int) -> Quantities:
        """The exact integers at one point."""
        point = {**(values or {}), **sizes}
        return Quantities(*(value_at(getattr(self, name), point) for name in QUANTITIES))

    def as_dict(self) -> dict[str, Extent]:
        return {name: getattr(self, name) for name in QUANTITIES}

    @staticmethod
    def sum(parts: Sequence[Quantities]) -> Quantities:
        """The sums; equal layers share one object, which is added once, times its number."""
        distinct = {id(part): part for part in parts}
        times = Counter(map(id, parts))
        weighed = [(part, times[key]) for key, part in distinct.items()]
        return Quantities(*(weighted_total((getattr(part, name), n) for part, n in weighed) for name in QUANTITIES))


QUANTITIES: tuple[str, ...] = tuple(f.name for f in fields(Quantities))


class LayerCount(NamedTuple):
    """What one layer counts for, all runs of its bodies included; ``inside`` holds the bodies' layers, one run of
    each; ``dtype`` is that of its arithmetic; ``place`` is the layer's.
    """

    name: str
    op: str
    quantities: Quantities
    problem: str | None = None
    inside: tuple[LayerCount, ...] = ()
    dtype: str = ""
    place: Place = NOWHERE

    @property
    def module(self) -> str:
        return self.place.module

    def flat(self) -> Iterator[LayerCount]:
        """The layer and those of its bodies, theirs too."""
        yield self
        for layer in self.inside:
            yield from layer.flat()


@dataclass(frozen=True, eq=False)
class Counts:
    """The counts of a network: in total, by op and by layer. Totals are lower bounds where ``unsupported`` is not empty."""

    network: Network
    layers: tuple[LayerCount, ...]
    convention: str = "costmodel"

    @cached_property
    def total(self) -> Quantities:
        """The sums over all layers, as Dims (so ``.at`` and ``.expr`` are always there)."""
        summed = Quantities.sum([layer.quantities for layer in self.layers])
        return Quantities(*(Dim.of(getattr(summed, name)) for name in QUANTITIES))

    @cached_property
    def unsupported(self) -> tuple[str, ...]:
        """Why layers could not be counted, one line each."""
        return tuple(layer.problem for layer in self.layers if layer.problem)

    @property
    def is_lower_bound(self) -> bool:
        return bool(self.unsupported)

    def by_layer(self) -> tuple[LayerCount, ...]:
        """Every layer in running order, those of a control op's bodies after it (both branches of an If)."""
        return tuple(part for layer in self.layers for part in layer.flat())

    def by_op(self) -> dict[str, Quantities]:
        """The sums by op, in order of appearance."""
        return self._sums(lambda layer: layer.op)

    def by_module(self, depth: int | None = None) -> dict[str, Quantities]:
        """The sums by the module that the layers come from, in order of appearance; together they are the total.

        ``depth`` counts the parts of a path that are told apart: with 2, ``layer1.0.conv1`` belongs to ``layer1.0``. What
        stands in no module is under the empty path, and so is everything where the file names no modules.
        """
        return self._sums(lambda layer: ".".join(layer.module.split(".")[:depth]))

    def _sums(self, group: Callable[[LayerCount], str]) -> dict[str, Quantities]:
        groups: dict[str, list[Quantities]] = {}
        for layer in self.layers:
            groups.setdefault(group(layer), []).append(layer.quantities)
        return {name: Quantities.sum(parts) for name, parts in groups.items()}

    def macs_by_dtype(self) -> dict[str, Extent]:
        """The multiply-adds by the dtype that they are done in; a QDQ pair around an op makes it an integer op."""
        groups: dict[str, list[Extent]] = {}
        for layer in self.layers:
            if layer.quantities.macs != 0:
                groups.setdefault(layer.dtype, []).append(layer.quantities.macs)
        return {dtype: total(parts) for dtype, parts in groups.items()}

    def at(self, values: Mapping[str, int] | None = None, /, **sizes: int) -> Quantities:
        """The totals as exact integers at one point.

        Raises UnknownSize for a size that the network does not have or that is missing.
        """
        return self.total.at(self.network.bind({**(values or {}), **sizes}))

    def compile(self) -> Compiled:
        """The totals as one function over columns of sizes.

        >>> from costmodel.build import Builder
        >>> b = Builder("tiny")
        >>> y = b.linear(b.input("x", ("N", 16)), 4)
        >>> count(b.finish(y)).compile()(N=[1, 8])["macs"].tolist()
        [64.0, 512.0]
        """
        return Compiled(self.total.as_dict())


def count(network: Network, *, convention: str = "costmodel") -> Counts:
    """Count a network.

    ``convention`` names how macs and flops are counted: as here, or as another tool does (docs/conventions-of-tools).
    Raises InvalidChoice for a name that there is not.

    >>> from costmodel.build import Builder
    >>> b = Builder("tiny")
    >>> y = b.conv(b.input("x", ("N", 3, "H", "W")), 8, kernel=3, padding=1)
    >>> count(b.finish(y)).total.macs
    Dim('216*H*N*W')
    """
    counts = Counts(network, tuple(_Scope(network, None).counts()))
    if convention == counts.convention:
        return counts
    from costmodel.conventions import recounted

    return recounted(counts, convention)


class _Scope:
    """The main graph, or a body inside it: who has counted which stored tensor, and what each layer adds."""

    def __init__(self, graph: Network | Body, outer: _Scope | None) -> None:
        self.graph = graph
        self.outer = outer
        self.tensors = graph.tensors
        self.captured = frozenset(graph.captures) if isinstance(graph, Body) else frozenset()
        self.quantized = find_quantized(graph)
        self.claimed: set[str] = set()
        self.by_cost: dict[tuple[int, ...], Quantities] = {}
        self.by_stored: dict[tuple[Any, ...], Quantities] = {}

    @cached_property
    def stated(self) -> frozenset[str] | None:
        """What training learns, where the source of the network says so."""
        return self.graph.learnable if isinstance(self.graph, Network) else self.outer.stated if self.outer else None

    @cached_property
    def learnable(self) -> Set[str]:
        return learnable(self.graph) if self.stated is None else self.stated

    @cached_property
    def producers(self) -> dict[str, Layer]:
        return {name: layer for layer in self.graph.layers for name in layer.outputs if name}

    @cached_property
    def integer_biases(self) -> set[str]:
        return {name for layer in self.graph.layers if layer.op in INTEGER_BIAS_OPS for name in layer.inputs}

    def counts(self) -> Iterator[LayerCount]:
        for layer in self.graph.layers:
            cost = layer.cost
            if cost is None:
                yield LayerCount(layer.name, layer.op, Quantities(), layer.problem, place=layer.place)
            elif not self.graph.is_constant(layer):
                inside, bodies = self._bodies(cost) if cost.bodies else ((), [])
                quantities = self._quantities(layer, cost, self._claim(layer, cost), bodies)
                dtype = self._dtype(layer) if cost.macs != 0 else ""
                yield LayerCount(layer.name, layer.op, quantities, layer.problem, inside, dtype, layer.place)

    def _bodies(self, cost: Cost) -> tuple[tuple[LayerCount, ...], list[Quantities]]:
        """The layers of a control op's bodies, and what the bodies store and write in all their runs."""
        scopes = [(body, tuple(_Scope(body, self).counts())) for body in cost.bodies]
        runs = [(body, Quantities.sum([part.quantities for part in parts])) for body, parts in scopes]
        kept = [
            Quantities(0, 0, run.params, run.weights, run.weight_bytes, body.over_runs(run.activation_bytes))
            for body, run in runs
        ]
        return tuple(part for _, parts in scopes for part in parts), kept

    def _quantities(
        self, layer: Layer, cost: Cost, own: list[tuple[Tensor, bool]], bodies: list[Quantities]
    ) -> Quantities:
        """The cost's own numbers, which equal layers share, and what the layer and its bodies store."""
        shared = self._of_cost(layer, cost)
        if bodies:
            return Quantities.sum([self._with_stored(shared, own), *bodies])
        if not own:
            return shared
        key = (id(shared), *[(tensor.dtype, tensor.size, learnt) for tensor, learnt in own])
        found = self.by_stored.get(key)
        if found is None:
            found = self.by_stored[key] = self._with_stored(shared, own)
        return found

    def _with_stored(self, shared: Quantities, own: list[tuple[Tensor, bool]]) -> Quantities:
        return Quantities(
            shared.macs,
            shared.flops,
            params=total([tensor.size for tensor, learnt in own if learnt]),
            weights=total([tensor.size for tensor, _ in own]),
            weight_bytes=total([tensor.nbytes for tensor, _ in own]),
            activation_bytes=shared.activation_bytes,
        )

    def _dtype(self, layer: Layer) -> str:
        """The dtype of the arithmetic: an integer op's, else that of the inputs that are multiplied."""
        known = self.quantized.dtype.get(layer.name)
        if known is not None or not layer.inputs:
            return known or ""
        inputs = [self.tensors[name] for name in layer.inputs if name]
        factors = [tensor.dtype for tensor in inputs[:2] if tensor.dtype not in INTEGERS]
        return arithmetic(factors or [inputs[0].dtype])

    def _of_cost(self, layer: Layer, cost: Cost) -> Quantities:
        """Macs, flops and bytes written; equal layers share their cost, so it is worked out once for each."""
        instead = self.quantized.written
        outputs = [self.tensors[name] for name in layer.outputs if name]
        if instead:
            outputs = [tensor for name in layer.outputs if name and (tensor := instead.get(name, self.tensors[name]))]
        key = (id(cost), *map(id, outputs))
        found = self.by_cost.get(key)
        if found is None:
            written = outputs if cost.view_of is None or layer.outputs[0] in instead else outputs[1:]
            nbytes = total(tensor.nbytes for tensor in written if tensor.is_known)
            found = self.by_cost[key] = Quantities(cost.macs, cost.flops, activation_bytes=nbytes)
        return found

    def _claim(self, layer: Layer, cost: Cost) -> list[tuple[Tensor, bool]]:
        """The stored tensors behind a layer's inputs that no earlier layer had, each with whether training learns it.

        They are looked for through layers that only prepare constants, and in the graph around a body. What attributes
        store is the layer's own.
        """
        own: list[tuple[Tensor, bool]] = [(tensor, True) for tensor in cost.attribute_weights]
        waiting = [name for name in layer.inputs if name and self.tensors[name].constant]
        if cost.bodies:
            waiting += [name for body in cost.bodies for name in body.captures]
        while waiting:
            name = waiting.pop()
            tensor = self.tensors.get(name)
            if name in self.claimed or tensor is None or not tensor.constant:
                continue
            self.claimed.add(name)
            producer = self.producers.get(name)
            if name in self.captured:
                continue  # the graph around has it
            if producer is not None and not (producer.cost and producer.cost.stores):
                waiting += [source for source in producer.inputs if source]
            elif tensor.dtype not in INTEGERS or name in self.integer_biases:
                own.append((tensor, name in self.learnable))
        return own


def written_bytes(tensors: Mapping[str, Tensor], layer: Layer) -> Extent:
    """Bytes that a layer writes; a view writes none."""
    names = layer.outputs[1:] if layer.cost is not None and layer.cost.view_of is not None else layer.outputs
    return total(tensors[name].nbytes for name in names if name and tensors[name].is_known)


def learnable(graph: Network | Body) -> set[str]:
    """Stored tensors in a place where training would change them, also where a constant layer stands between."""
    tensors = graph.tensors
    found: set[str] = set()
    for layer in reversed(graph.layers):
        cost = layer.cost
        if cost is None or (found.isdisjoint(layer.outputs) and graph.is_constant(layer)):
            continue
        for i, name in enumerate(layer.inputs):
            if name and tensors[name].constant and i not in cost.not_learnable:
                found.add(name)
        for body in cost.bodies:
            found |= learnable(body).intersection(body.captures)
    return found
