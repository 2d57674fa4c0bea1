"""Counting many networks that share blocks: each distinct block is built once, and worked out once in each context.

A network is a part made of steps; a step is one layer (a Leaf) or a block (a Part again). What a part computes and stores
adds up whatever is around it. The memory that it needs and the kernels that it forms depend on its context, and on this
alone: whether each input dies in it, may be overwritten or is needed later, and which kernel a runtime has left open on the
input (a convolution that could still take in the part's first ReLU). Results are exactly those of ``count``, ``memory`` and
``features`` on the network; what cannot be divided in this way raises Indivisible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

from costmodel.features import NAMES, Work, amounts, works
from costmodel.graph import Layer, Network, Tensor
from costmodel.liveness import shared_input
from costmodel.qdq import DEQUANTIZE, QUANTIZE

Row = tuple[int, ...]
NOTHING: Row = (0,) * len(NAMES)

Home = Union[tuple[str, int], None]

KEPT, FREED, REUSABLE = range(3)  # an input is needed later; it dies here; it dies and may be overwritten
Entry = tuple[int, int, int]  # the block of memory that an input lies in: its number, its fate here, its bytes


class Indivisible(Exception):  # noqa: N818 - no error: the network is then counted as a whole
    """The blocks of a network cannot be counted apart."""


@dataclass(eq=False, slots=True)
class Outcome:
    """What a step does in one context: the most memory alive while it runs (what is kept for later left out), the features
    of the kernels that are complete, and, for each output, where it lies and the kernel left open on it.

    An output lies in the memory of an input (``("input", number)``), of an earlier output, in new memory
    (``("new", bytes)``) or nowhere.
    """

    peak: int
    features: Row
    homes: tuple[Home, ...]
    tails: tuple[Chain | None, ...]


@dataclass(eq=False)
class Chain:
    """Layers that a runtime launches as one kernel, and to which it might add another."""

    layers: tuple[Layer, ...]
    tensors: Mapping[str, Tensor]
    scope: str
    runtime: str
    features: Row
    longer: dict[tuple[Leaf, str], Chain | None] = field(default_factory=dict)

    def joined_by(self, leaf: Leaf, name: str) -> Chain | None:
        """The kernel with a layer that reads the chain's end as ``name``; None where the runtime keeps them apart."""
        if (leaf, name) not in self.longer:
            self.longer[leaf, name] = self._with(leaf, {name: self.layers[-1].outputs[0]})
        return self.longer[leaf, name]

    def could_be_gated_by(self, leaf: Leaf, name: str) -> bool:
        """Whether the layer would join if its other inputs were the kernel's own, as in x * sigmoid(x)."""
        own = next((name for name in self.layers[0].inputs if name and not self.tensors[name].constant), None)
        others = {other: own for other in leaf.reads if other != name and own is not None}
        return bool(others) and self._with(leaf, {**others, name: self.layers[-1].outputs[0]}) is not None

    def _with(self, leaf: Leaf, renamed: Mapping[str, str]) -> Chain | None:
        if not self.tensors.keys().isdisjoint(leaf.layer.outputs):  # the same layer of the same block, a block later
            mark = f"{len(self.layers)}:"
            renamed = {**{name: mark + name for name in leaf.tensors if name not in leaf.shared}, **renamed}
        layer = leaf.layer._replace(
            inputs=tuple([renamed.get(name, name) for name in leaf.layer.inputs]),
            outputs=tuple([renamed.get(name, name) for name in leaf.layer.outputs]),
        )
        layers = (*self.layers, layer)
        tensors = {**{renamed.get(name, name): tensor for name, tensor in leaf.tensors.items()}, **self.tensors}
        found = works(network_of(layers, tensors), self.runtime)
        if len(found) != 1 or len(found[0].kernel.layers) != len(layers):
            return None
        return Chain(layers, tensors, self.scope, self.runtime, _features(found))


@dataclass(eq=False)
class Leaf:
    """One layer of a block, with the tensors that it names; ``reads`` are those that are no constants. ``scope`` is the
    block's, ``shared`` names the constants that are the same in all blocks.
    """

    layer: Layer
    tensors: Mapping[str, Tensor]
    shared: frozenset[str]
    scope: str
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
        self.entries = tuple((self, name) for name in self.reads)
        found = works(network_of((layer,), self.tensors), self.runtime)
        self.kernel = Chain((layer,), self.tensors, self.scope, self.runtime, _features(found)) if found else None

    def outcome(self, entries: tuple[Entry, ...], tails: tuple[Chain | None, ...], unused: tuple[int, ...]) -> Outcome:
        key = entries, tails
        found = self.outcomes.get(key)
        if found is None:
            found = self.outcomes[key] = self._outcome(entries, tails)
        return found

    def _outcome(self, entries: tuple[Entry, ...], tails: tuple[Chain | None, ...]) -> Outcome:
        entry_of = dict(zip(self.reads, entries, strict=True))
        peak = self.cost.scratch_bytes + sum({number: nbytes for number, fate, nbytes in entries if fate != KEPT}.values())
        shared = shared_input(self.layer, lambda name: name in entry_of and entry_of[name][1] == REUSABLE)
        homes: list[Home] = []
        for position, name in enumerate(self.layer.outputs):
            if position == 0 and shared is not None:
                homes.append(("input", self.reads.index(shared)) if shared in entry_of else None)
            elif name:
                homes.append(("new", int(self.tensors[name].nbytes)))
                peak += self.tensors[name].nbytes
        joined = (tail.joined_by(self, name) for tail, name in zip(tails, self.reads, strict=True) if tail)
        return Outcome(int(peak), NOTHING, tuple(homes), (next(joined, self.kernel), *[None] * (len(homes) - 1)))


@dataclass(eq=False, slots=True)
class Step:
    child: Union[Leaf, Part]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(eq=False)
class Part:
    """A block: steps over numbered tensors, of which the first are its inputs.

    ``sums`` are the quantities, without those of ``constants``, which a network stores once however many blocks use them.
    """

    steps: tuple[Step, ...]
    n_inputs: int
    n_tensors: int
    outputs: tuple[int, ...]
    sums: Row
    constants: Mapping[Tensor, bool]
    outcomes: dict[Any, Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        readers, last_use = [0] * self.n_tensors, [-1] * self.n_tensors
        entries: list[tuple[Leaf, str] | None] = [None] * self.n_tensors
        for position, step in enumerate(self.steps):
            for tensor, times, entry in zip(step.inputs, step.child.readers, step.child.entries, strict=True):
                readers[tensor] += times
                last_use[tensor] = position
                entries[tensor] = entry
        self.last_use = last_use
        self.all_readers = readers
        self.readers = tuple(readers[: self.n_inputs])
        self.entries = tuple(entry if n == 1 else None for entry, n in zip(entries, self.readers, strict=False))

    def quantities(self) -> Row:
        """The quantities of a part that is a whole network (in the order of counts.QUANTITIES)."""
        macs, flops, params, weights, weight_bytes, activation_bytes = self.sums
        for tensor, learnt in self.constants.items():
            size = int(tensor.size)
            params, weights, weight_bytes = params + size * learnt, weights + size, weight_bytes + int(tensor.nbytes)
        return macs, flops, params, weights, weight_bytes, activation_bytes

    def outcome(self, entries: tuple[Entry, ...], tails: tuple[Chain | None, ...], unused: tuple[int, ...]) -> Outcome:
        key = entries, tails, unused
        found = self.outcomes.get(key)
        if found is None:
            found = self.outcomes[key] = _Run(self, entries, tails, unused).outcome()
        return found


class _Run:
    """A part in one context, step by step: a block of memory is numbered by the first tensor that lies in it."""

    def __init__(
        self, part: Part, entries: tuple[Entry, ...], tails: tuple[Chain | None, ...], unused: tuple[int, ...]
    ) -> None:
        end = len(part.steps)
        self.part = part
        self.last_use = list(part.last_use)
        self.wanted = [output for i, output in enumerate(part.outputs) if i not in unused]
        for output in self.wanted:
            self.last_use[output] = end
        self.root = [number for number, _, _ in entries] + [-1] * (part.n_tensors - part.n_inputs)
        self.nbytes = {number: nbytes for number, _, nbytes in entries}
        self.fixed = {number for number, fate, _ in entries if fate == FREED}
        self.kept = {number for number, fate, _ in entries if fate == KEPT}
        self.last: dict[int, int] = {}
        for tensor, (number, fate, _) in enumerate(entries):
            self.last[number] = end + 1 if fate == KEPT else max(self.last.get(number, 0), self.last_use[tensor])
        self.tails: list[Chain | None] = [*tails] + [None] * (part.n_tensors - part.n_inputs)
        self.alive = sum(nbytes for number, nbytes in self.nbytes.items() if number not in self.kept)
        self.peak = self.alive if not part.steps else 0
        self.features: list[Row] = []

    def outcome(self) -> Outcome:
        for position, step in enumerate(self.part.steps):
            self._take(position, step)
        homes = tuple([self._home(output) for output in self.part.outputs])
        tails = tuple([self.tails[output] if output >= self.part.n_inputs else None for output in self.part.outputs])
        return Outcome(self.peak, tuple(map(sum, zip(NOTHING, *self.features, strict=True))), homes, tails)

    def _take(self, position: int, step: Step) -> None:
        last, root, nbytes = self.last, self.root, self.nbytes
        touched, entries = [], []
        for tensor in step.inputs:
            number = root[tensor]
            if last[number] > position:
                entries.append((number, KEPT, 0))
            else:
                entries.append((number, FREED if number in self.fixed else REUSABLE, nbytes[number]))
                if number not in touched:
                    touched.append(number)
                    self.alive -= nbytes[number]
        offered = tuple([self._offered(step, i, tensor) for i, tensor in enumerate(step.inputs)])
        unused = tuple([i for i, output in enumerate(step.outputs) if self.last_use[output] < 0])
        found = step.child.outcome(_renumbered(entries), offered, unused)
        self.peak = max(self.peak, self.alive + found.peak)
        if found.features is not NOTHING:
            self.features.append(found.features)
        for output, home, tail in zip(step.outputs, found.homes, found.tails, strict=True):
            if home is not None:
                kind, value = home
                if kind == "new":
                    number, nbytes[output] = output, value
                    touched.append(number)
                else:
                    number = root[step.inputs[value]] if kind == "input" else root[step.outputs[value]]
                root[output] = number
                last[number] = max(last.get(number, position), self.last_use[output])
            self._end(output, tail)
        self.alive += sum([nbytes[number] for number in touched if last[number] > position])

    def _offered(self, step: Step, i: int, tensor: int) -> Chain | None:
        """The kernel left open on an input, if the step's one reader of it joins; else it is complete."""
        chain = self.tails[tensor]
        if chain is None:
            return None
        self.tails[tensor] = None
        entry = step.child.entries[i]
        if entry is not None:
            leaf, name = entry
            if chain.joined_by(leaf, name):
                return chain
            is_apart = isinstance(step.child, Part) or chain.scope != leaf.scope
            if is_apart and chain.could_be_gated_by(leaf, name):
                raise Indivisible("a gate and what it gates are in different blocks")
        self.features.append(chain.features)
        return None

    def _end(self, output: int, tail: Chain | None) -> None:
        """Leave a kernel open where one layer reads its result, here or outside; else it is complete."""
        if tail is None:
            return
        if self.part.all_readers[output] + (output in self.wanted) == 1:
            self.tails[output] = tail
        else:
            self.features.append(tail.features)

    def _home(self, output: int) -> Home:
        number = self.root[output]
        if number < 0:
            return None
        if number < self.part.n_inputs:
            return "input", next(i for i in range(self.part.n_inputs) if self.root[i] == number)
        first = next(i for i, other in enumerate(self.part.outputs) if self.root[other] == number)
        return ("new", self.nbytes[number]) if self.part.outputs[first] == output else ("output", first)


def network_of(layers: Sequence[Layer], tensors: Mapping[str, Tensor]) -> Network:
    """Some layers as a network without inputs and outputs, for what depends on the layers alone."""
    return Network("", {}, {}, tensors, tuple(layers))


def _features(parts: tuple[Work, ...]) -> Row:
    return tuple([int(amount) for amount in amounts(parts).values()])


def _renumbered(entries: list[Entry]) -> tuple[Entry, ...]:
    """The blocks of memory numbered by the first input that lies in each."""
    if len(entries) == 1:
        ((_, fate, nbytes),) = entries
        return ((0, fate, nbytes),)
    first: dict[int, int] = {}
    return tuple([(first.setdefault(number, i), fate, nbytes) for i, (number, fate, nbytes) in enumerate(entries)])
