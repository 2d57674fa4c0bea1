"""One layer in each context that it is met in: the kernel that it joins or begins, the memory that it takes over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

from costmodel.features import NAMES, Work, amounts, works
from costmodel.graph import Layer, Network, Tensor
from costmodel.liveness import Sharing
from costmodel.qdq import DEQUANTIZE, QUANTIZE

Amounts = tuple[int, ...]
SHARING = Sharing()
NOTHING: Amounts = (0,) * len(NAMES)

Home = Union[tuple[str, int], None]

KEPT, FREED, REUSABLE = range(3)  # an input is needed later; it dies here; it dies and may be overwritten
Entry = tuple[int, int, int]  # the block of memory that an input lies in: its number, its fate here, its bytes


class Indivisible(Exception):
    """The blocks of a network cannot be counted apart: no error, for it is then counted as a whole."""


@dataclass(eq=False, slots=True)
class Outcome:
    """What a step does in one context: the most memory alive while it runs (what is kept for later left out), the features
    of the kernels that are complete, and, for each output, where it lies and the kernel left open on it.

    An output lies in the memory of an input (``("input", number)``), of an earlier output, in new memory
    (``("new", bytes)``) or nowhere.
    """

    peak: int
    features: Amounts
    homes: tuple[Home, ...]
    tails: tuple[Chain | None, ...]


@dataclass(eq=False)
class Chain:
    """Layers that a runtime launches as one kernel, and to which it might add another."""

    layers: tuple[Layer, ...]
    tensors: Mapping[str, Tensor]
    runtime: str
    features: Amounts
    longer: dict[tuple[Leaf, int, bool], Chain | None] = field(default_factory=dict)

    def joined_by(self, leaf: Leaf, position: int, *, gated: bool) -> Chain | None:
        """The kernel with a layer that reads its result at a position; None where the runtime keeps them apart.

        ``gated``: what else the layer reads is what the kernel itself reads, as in x * sigmoid(x).
        """
        key = leaf, position, gated
        if key not in self.longer:
            self.longer[key] = self._with(leaf, position, gated)
        return self.longer[key]

    def _with(self, leaf: Leaf, position: int, gated: bool) -> Chain | None:
        renamed = {name: f"{len(self.layers)}:{name}" for name in leaf.tensors if name not in leaf.shared}
        if gated:
            own = next(name for name in self.layers[0].inputs if name and not self.tensors[name].constant)
            renamed.update(dict.fromkeys(leaf.reads, own))
        renamed[leaf.reads[position]] = self.layers[-1].outputs[0]
        layer = leaf.layer._replace(
            inputs=tuple([renamed.get(name, name) for name in leaf.layer.inputs]),
            outputs=tuple([renamed.get(name, name) for name in leaf.layer.outputs]),
        )
        layers = (*self.layers, layer)
        tensors = {**{renamed.get(name, name): tensor for name, tensor in leaf.tensors.items()}, **self.tensors}
        found = works(network_of(layers, tensors), self.runtime)
        if not found or any(len(work.layers) != len(layers) for work in found):
            return None
        return Chain(layers, tensors, self.runtime, _features(found))


@dataclass(eq=False)
class Leaf:
    """One layer, the same object wherever it occurs, with the tensors that it names. ``reads`` are those that are no
    constants, ``shared`` the constants that have one name in all blocks.
    """

    layer: Layer
    tensors: Mapping[str, Tensor]
    shared: frozenset[str]
    runtime: str
    outcomes: dict[Any, Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        layer, cost = self.layer, self.layer.cost
        known = all(self.tensors[name].is_known for name in layer.outputs if name)
        if cost is None or cost.bodies or cost.bounds or layer.op in (QUANTIZE, DEQUANTIZE) or not known:
            raise Indivisible(f"{layer.label} may depend on what is around its block")
        self.cost = cost
        self.reads = tuple(dict.fromkeys(name for name in layer.inputs if name and not self.tensors[name].constant))
        self.readers = (1,) * len(self.reads)
        self.entries = tuple((self, position) for position in range(len(self.reads)))
        found = works(network_of((layer,), self.tensors), self.runtime)
        self.kernel = Chain((layer,), self.tensors, self.runtime, _features(found)) if found else None

    def outcome(
        self,
        entries: tuple[Entry, ...],
        kernels: tuple[Chain | None, ...],
        unused: tuple[int, ...] = (),  # noqa: ARG002 - a layer writes all of its outputs
    ) -> Outcome:
        """What the layer does; ``kernels`` holds, at the input that it reads of one, the kernel that it has joined."""
        key = entries, kernels
        found = self.outcomes.get(key)
        if found is None:
            found = self.outcomes[key] = self._outcome(entries, kernels)
        return found

    def _outcome(self, entries: tuple[Entry, ...], kernels: tuple[Chain | None, ...]) -> Outcome:
        entry_of = dict(zip(self.reads, entries, strict=True))
        peak = self.cost.scratch_bytes + sum({number: nbytes for number, fate, nbytes in entries if fate != KEPT}.values())
        shared = SHARING.shared_input(
            self.layer, self.tensors, lambda name: name in entry_of and entry_of[name][1] == REUSABLE
        )
        homes: list[Home] = []
        for position, name in enumerate(self.layer.outputs):
            if position == 0 and shared is not None:
                homes.append(("input", self.reads.index(shared)) if shared in entry_of else None)
            elif name:
                homes.append(("new", int(self.tensors[name].nbytes)))
                peak += self.tensors[name].nbytes
        joined = next((kernel for kernel in kernels if kernel is not None), self.kernel)
        return Outcome(int(peak), NOTHING, tuple(homes), (joined, *[None] * (len(homes) - 1)))


def network_of(layers: Sequence[Layer], tensors: Mapping[str, Tensor]) -> Network:
    """Some layers as a network without inputs and outputs, for what depends on the layers alone."""
    return Network("", {}, {}, tensors, tuple(layers))


def _features(parts: tuple[Work, ...]) -> Amounts:
    return tuple([int(amount) for amount in amounts(parts).values()])
