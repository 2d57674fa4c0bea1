"""Network -> counts: what its layers compute, store and move, with the sizes left open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property

from costmodel.compiled import Compiled
from costmodel.dims import Dim, Extent, total, value_at
from costmodel.graph import Layer, Network

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
    def sum(parts: list[Quantities]) -> Quantities:
        return Quantities(*(total(getattr(part, name) for part in parts) for name in QUANTITIES))


QUANTITIES: tuple[str, ...] = tuple(f.name for f in fields(Quantities))


@dataclass(frozen=True, slots=True)
class LayerCount:
    """What one layer counts for."""

    name: str
    op: str
    quantities: Quantities
    problem: str | None = None


@dataclass(frozen=True, eq=False)
class Counts:
    """The counts of a network: in total, by op and by layer. Totals are lower bounds where ``unsupported`` is not empty."""

    network: Network
    layers: tuple[LayerCount, ...]

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
        return self.layers

    def by_op(self) -> dict[str, Quantities]:
        """The sums by op, those with the most macs first where they are numbers, else in order of appearance."""
        groups: dict[str, list[Quantities]] = {}
        for layer in self.layers:
            groups.setdefault(layer.op, []).append(layer.quantities)
        return {op: Quantities.sum(parts) for op, parts in groups.items()}

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


def count(network: Network) -> Counts:
    """Count a network.

    >>> from costmodel.build import Builder
    >>> b = Builder("tiny")
    >>> y = b.conv(b.input("x", ("N", 3, "H", "W")), 8, kernel=3, padding=1)
    >>> count(b.finish(y)).total.macs
    Dim('216*H*N*W')
    """
    learnable = _learnable(network)
    claimed: set[str] = set()
    layers = []
    for layer in network.layers:
        if layer.cost is None:
            layers.append(LayerCount(layer.name, layer.op, Quantities(), layer.problem))
        elif not network.is_constant(layer):
            own = _claim(network, layer, claimed)
            layers.append(LayerCount(layer.name, layer.op, _quantities(network, layer, own, learnable)))
    return Counts(network, tuple(layers))


def _quantities(network: Network, layer: Layer, own: list[str], learnable: set[str]) -> Quantities:
    assert layer.cost is not None
    stored = [network.tensors[name] for name in own]
    return Quantities(
        macs=layer.cost.macs,
        flops=layer.cost.flops,
        params=total(tensor.size for name, tensor in zip(own, stored, strict=True) if name in learnable),
        weights=total(tensor.size for tensor in stored),
        weight_bytes=total(tensor.nbytes for tensor in stored),
        activation_bytes=written_bytes(network, layer),
    )


def written_bytes(network: Network, layer: Layer) -> Extent:
    """Bytes that a layer writes; a view writes none."""
    names = layer.outputs[1:] if layer.cost is not None and layer.cost.view_of is not None else layer.outputs
    return total(network.tensors[name].nbytes for name in names if name and network.tensors[name].shape is not None)


def _claim(network: Network, layer: Layer, claimed: set[str]) -> list[str]:
    """The stored tensors behind a layer's inputs that no earlier layer had, through layers that only prepare constants."""
    own = []
    waiting = [name for name in layer.inputs if name and network.tensors[name].constant]
    while waiting:
        name = waiting.pop()
        if name in claimed:
            continue
        claimed.add(name)
        producer = network.layers[network.producers[name]] if name in network.producers else None
        if producer is not None and not (producer.cost and producer.cost.stores):
            waiting += [source for source in producer.inputs if source]
        elif network.tensors[name].dtype not in INTEGERS or _is_integer_bias(network, name):
            own.append(name)
    return own


def _is_integer_bias(network: Network, name: str) -> bool:
    readers = (network.layers[i].op for i in network.consumers.get(name, ()))
    return network.tensors[name].dtype == "int32" and any(op in INTEGER_BIAS_OPS for op in readers)


def _learnable(network: Network) -> set[str]:
    """Stored tensors in a place where training would change them, also where a constant layer stands between."""
    found: set[str] = set()
    for layer in reversed(network.layers):
        if layer.cost is None:
            continue
        if network.is_constant(layer) and found.isdisjoint(layer.outputs):
            continue
        fixed = {layer.inputs[i] for i in layer.cost.not_learnable if i < len(layer.inputs)}
        found.update(name for name in layer.inputs if name and name not in fixed and network.tensors[name].constant)
    return found
