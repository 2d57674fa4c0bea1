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
    runtime: str
    features: Row
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
        if len(found) != 1 or len(found[0].kernel.layers) != len(layers):
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
        self, entries: tuple[Entry, ...], kernels: tuple[Chain | None, ...], unused: tuple[int, ...] = ()
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
        shared = shared_input(self.layer, lambda name: name in entry_of and entry_of[name][1] == REUSABLE)
        homes: list[Home] = []
        for position, name in enumerate(self.layer.outputs):
            if position == 0 and shared is not None:
                homes.append(("input", self.reads.index(shared)) if shared in entry_of else None)
            elif name:
                homes.append(("new", int(self.tensors[name].nbytes)))
                peak += self.tensors[name].nbytes
        joined = next((kernel for kernel in kernels if kernel is not None), self.kernel)
        return Outcome(int(peak), NOTHING, tuple(homes), (joined, *[None] * (len(homes) - 1)))


@dataclass(eq=False, slots=True)
class Step:
    """A layer or a block, or ``times`` equal blocks in a row, each on the one result of that before it."""

    child: Union[Leaf, Part]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    times: int = 1


@dataclass(eq=False, slots=True)
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
    last_use: list[int] = field(init=False)
    all_readers: list[int] = field(init=False)
    readers: tuple[int, ...] = field(init=False)
    entries: tuple[tuple[Leaf, int] | None, ...] = field(init=False)

    def __post_init__(self) -> None:
        readers, last_use = [0] * self.n_tensors, [-1] * self.n_tensors
        entries: list[tuple[Leaf, int] | None] = [None] * self.n_tensors
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
            found = self.outcomes[key] = self.worked_out(entries, tails, unused)
        return found

    def worked_out(
        self, entries: tuple[Entry, ...], tails: tuple[Chain | None, ...], unused: tuple[int, ...]
    ) -> Outcome:
        return _Run(self, entries, tails, unused).outcome()


class _Run:
    """A part in one context, step by step: a block of memory is numbered by the first tensor that lies in it."""

    def __init__(
        self, part: Part, entries: tuple[Entry, ...], tails: tuple[Chain | None, ...], unused: tuple[int, ...]
    ) -> None:
        end, others = len(part.steps), part.n_tensors - part.n_inputs
        self.part = part
        self.last_use = list(part.last_use)
        self.wanted = [output for i, output in enumerate(part.outputs) if i not in unused]
        for output in self.wanted:
            self.last_use[output] = end
        self.root = [number for number, _, _ in entries] + [-1] * others
        self.nbytes = [0] * part.n_tensors
        self.last = [-1] * part.n_tensors
        self.gates: dict[int, frozenset[int]] = {}  # what a kernel begun here reads, by its result
        self.tails: list[Chain | None] = [*tails, *[None] * others]
        self.fixed: set[int] = set()
        for tensor, (number, fate, nbytes) in enumerate(entries):
            if fate == KEPT:
                self.last[number] = end + 1
            else:
                self.last[number] = max(self.last[number], self.last_use[tensor])
                self.nbytes[number] = nbytes
                if fate == FREED:
                    self.fixed.add(number)
        self.alive = sum(self.nbytes)  # what is kept counts for nothing here
        self.has_unused = min(self.last_use, default=0) < 0
        self.peak = 0
        self.features: list[Row] = [NOTHING]

    def outcome(self) -> Outcome:
        for position, step in enumerate(self.part.steps):
            self._take(position, step)
        outputs = self.part.outputs
        homes = tuple([self._home(output) for output in outputs])
        tails = tuple([self.tails[output] if output >= self.part.n_inputs else None for output in outputs])
        return Outcome(self.peak, tuple(map(sum, zip(*self.features, strict=True))), homes, tails)

    def _take(self, position: int, step: Step) -> None:
        last, root, nbytes = self.last, self.root, self.nbytes
        entries: list[Entry] = []
        touched: list[int] = []
        for tensor in step.inputs:
            number = root[tensor]
            if last[number] > position:
                entries.append((number, KEPT, 0))
            else:
                entries.append((number, FREED if number in self.fixed else REUSABLE, nbytes[number]))
                if number not in touched:
                    touched.append(number)
                    self.alive -= nbytes[number]
        context = _renumbered(entries)
        offered = self._all_offered(step)
        found = self._outcome(step.child, context, offered, self._unused(step) if self.has_unused else ())
        if step.times > 1:
            found = self._repeated(step, context[0], found)
        for output, home, tail in zip(step.outputs, found.homes, found.tails, strict=True):
            if home is not None:
                kind, value = home
                if kind == "new":
                    number, nbytes[output] = output, value
                    touched.append(number)
                else:
                    number = root[step.inputs[value]] if kind == "input" else root[step.outputs[value]]
                root[output] = number
                last[number] = max(last[number], position, self.last_use[output])
            if tail is not None:
                self._leave_open(output, tail, step, offered)
        for number in touched:
            if last[number] > position:
                self.alive += nbytes[number]

    def _unused(self, step: Step) -> tuple[int, ...]:
        return tuple([i for i, output in enumerate(step.outputs) if self.last_use[output] < 0])

    def _repeated(self, step: Step, entry: Entry, found: Outcome) -> Outcome:
        """The block again, each time on its own result, until the time before was in the same context."""
        home = found.homes[0]
        for time in range(1, step.times):
            before, begun = found, len(self.features)
            if found.homes[0] is not None and found.homes[0][0] == "new":
                home = found.homes[0]
                entry = (0, REUSABLE, home[1])
            self.tails[step.outputs[0]] = found.tails[0]
            offered = self._all_offered(step, step.outputs)
            found = self._outcome(step.child, (entry,), offered, ())
            if found is before:
                self.features += self.features[begun:] * (step.times - 1 - time)
                break
        if found.homes[0] is not None and found.homes[0][0] == "new":
            home = found.homes[0]
        return Outcome(found.peak, found.features, (home,), found.tails)

    def _outcome(
        self, child: Leaf | Part, entries: tuple[Entry, ...], offered: tuple[Chain | None, ...], unused: tuple[int, ...]
    ) -> Outcome:
        found = child.outcome(entries, offered, unused)
        self.peak = max(self.peak, self.alive + found.peak)
        if found.features is not NOTHING:
            self.features.append(found.features)
        return found

    def _all_offered(self, step: Step, inputs: tuple[int, ...] | None = None) -> tuple[Chain | None, ...]:
        tails, inputs = self.tails, step.inputs if inputs is None else inputs
        return tuple([tails[tensor] and self._offered(step, i, tensor) for i, tensor in enumerate(inputs)])

    def _offered(self, step: Step, i: int, tensor: int) -> Chain | None:
        """The kernel left open on an input: as a layer that reads it leaves it, or for a block to do so; if nothing joins,
        it is complete.
        """
        chain = self.tails[tensor]
        assert chain is not None
        self.tails[tensor] = None
        entry = step.child.entries[i]
        if entry is not None:
            (leaf, position), is_layer = entry, isinstance(step.child, Leaf)
            own = self.gates.get(tensor) if is_layer else None
            others = [other for other in step.inputs if other != tensor]
            gated = bool(others) and own is not None and own.issuperset(others)
            joined = chain.joined_by(leaf, position, gated=gated)
            if joined is not None:
                return joined if is_layer else chain
            if own is None and len(leaf.reads) > 1 and chain.joined_by(leaf, position, gated=True):
                raise Indivisible("a gate and what it gates are in different blocks")
        self.features.append(chain.features)
        return None

    def _leave_open(self, output: int, tail: Chain, step: Step, joined: tuple[Chain | None, ...]) -> None:
        """Keep a kernel for the one layer that reads its result, here or outside; else it is complete."""
        if self.part.all_readers[output] + (output in self.wanted) != 1:
            self.features.append(tail.features)
            return
        self.tails[output] = tail
        if isinstance(step.child, Leaf):
            source = next((tensor for tensor, chain in zip(step.inputs, joined, strict=True) if chain), None)
            own = frozenset(step.inputs) if source is None else self.gates.get(source)
            if own is not None:
                self.gates[output] = own

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
