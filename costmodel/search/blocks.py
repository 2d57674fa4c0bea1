"""Building parts: a builder that meets each distinct block once, and the rows of whole networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from costmodel.build import Builder, Extents
from costmodel.counts import INTEGERS, QUANTITIES, Quantities, count, learnable
from costmodel.errors import UnknownSize
from costmodel.features import NAMES
from costmodel.fusion import WHOLE
from costmodel.graph import Layer, Tensor
from costmodel.search.leaves import FREED, Amounts, Indivisible, Leaf, network_of
from costmodel.search.parts import Part, Step

NO_SHARING = ("", "")  # of Builder.scope
KEPT_BLOCKS = 4_000  # twice, at some kilobytes each
NO_QUANTITIES = (0,) * len(QUANTITIES)
COLUMNS = (*QUANTITIES, "peak_bytes", *NAMES)

Candidate = TypeVar("Candidate")


class Made(NamedTuple):
    """A block built: the inputs that it reads (by position), its new tensors, and what it returns: the position of an
    input, or -1 and less for a new tensor.
    """

    part: Part
    reads: tuple[int, ...]
    given: tuple[Tensor, ...]
    returns: tuple[int, ...]
    is_single: bool


class Use(NamedTuple):
    """What a block is called with: one input, or a tuple that repeats the inputs in a pattern."""

    function: Callable[..., Any]
    inputs: tuple[Tensor, ...]
    pattern: tuple[int, ...] | None
    args: tuple[Any, ...]
    options: tuple[tuple[str, Any], ...]


class Blocks:
    """The blocks met lately under one runtime, by function, arguments, and shapes of the inputs.

    They are kept in two halves. When the new half is full, the old one is dropped, and what is asked for again moves over:
    a large population needs no more memory than a small one, and what all of it shares stays.
    """

    def __init__(self, runtime: str = "") -> None:
        self.runtime = runtime
        self._count = 0
        self._new: dict[Use, Made] = {}
        self._old: dict[Use, Made] = {}
        self._leaves: dict[Any, Leaf] = {}
        self._constants: dict[Tensor, str] = {}

    def row(self, define: Callable[[Builder, Candidate], str], candidate: Candidate, sizes: Mapping[str, int]) -> Amounts:
        """The columns of a candidate's network. Raises Indivisible where it must be counted as a whole."""
        if self.runtime in WHOLE:
            raise Indivisible(f"what a kernel of {self.runtime} writes depends on who reads it")
        b = PartBuilder(self, "", sizes)
        part = b.whole(define(b, candidate))
        memory = tuple([(i, FREED, int(b.tensor(name).nbytes)) for i, name in enumerate(b.inputs)])
        found = part.worked_out(memory, (None,) * len(memory), ())
        waits = tuple([len(b.inputs) if name == "inputs" else 0 for name in NAMES])
        features = [waits, found.features, *[chain.features for chain in found.tails if chain]]
        return (*part.quantities(), found.peak, *map(sum, zip(*features, strict=True)))

    def made(self, use: Use) -> Made:
        """The block that a function makes."""
        try:
            found = self._new.get(use)
        except TypeError:
            raise Indivisible(f"an argument of block {use.function.__name__} is not hashable") from None
        if found is None:
            found = self._old.get(use) or self._build(use)
            if len(self._new) >= KEPT_BLOCKS:
                self._new, self._old = {}, self._new
            self._new[use] = found
        return found

    def _build(self, use: Use) -> Made:
        self._count += 1
        b = PartBuilder(self, f"{use.function.__name__}{self._count}.")
        names = [b.take(tensor) for tensor in use.inputs]
        read = names[0] if use.pattern is None else tuple([names[i] for i in use.pattern])
        returned = use.function(b, read, *use.args, **dict(use.options))
        results = (returned,) if isinstance(returned, str) else tuple(returned)
        new = list(dict.fromkeys([name for name in results if name not in names]))
        reads = b.reads(len(use.inputs))
        return Made(
            part=b.part(len(use.inputs), reads, new),
            reads=tuple(reads),
            given=tuple([b.tensor(name) for name in new]),
            returns=tuple([names.index(name) if name in names else -1 - new.index(name) for name in results]),
            is_single=isinstance(returned, str),
        )

    def leaf(self, layer: Layer, tensors: Mapping[str, Tensor], constants: Mapping[str, str]) -> Leaf:
        """The layer as it is wherever it occurs: equal layers have one cost (see ops.engine)."""
        names = {"": "", **constants}
        for name in (*layer.inputs, *layer.outputs):
            names.setdefault(name, f"{len(names)}")
        inputs, outputs = (tuple([names[name] for name in part]) for part in (layer.inputs, layer.outputs))
        key = id(layer.cost), layer.op, inputs, outputs
        found = self._leaves.get(key)
        if found is None:
            used = {names[name]: tensors[name] for name in (*layer.inputs, *layer.outputs) if name}
            renamed = layer._replace(inputs=inputs, outputs=outputs)
            found = self._leaves[key] = Leaf(renamed, used, frozenset(constants.values()), self.runtime)
        return found

    def constant_named(self, tensor: Tensor) -> str:
        """The name of a constant's values, the same in all blocks."""
        return self._constants.setdefault(tensor, f"constant {len(self._constants)}")


class PartBuilder(Builder):
    """Makes a part of the layers that are added and the blocks that are called. ``scope`` begins all of its names."""

    def __init__(self, blocks: Blocks, scope: str, sizes: Mapping[str, int] | None = None) -> None:
        super().__init__(sizes=sizes)
        self._blocks = blocks
        self._scope = self._prefix = scope
        self._number: dict[str, int] = {}
        self._steps: list[Step] = []
        self._own: list[Layer] = []

    def input(self, name: str, shape: Extents, *, dtype: str | None = None) -> str:
        self._number[name] = len(self._number)
        return super().input(name, shape, dtype=dtype)

    def block(self, function: Callable[..., Any], x: str | tuple[str, ...], *args: Any, **options: Any) -> Any:
        if self._sharing != NO_SHARING:
            raise Indivisible("a block stands in a scope whose weights are shared")
        names = [x] if isinstance(x, str) else list(dict.fromkeys(x))
        pattern = None if isinstance(x, str) else tuple([names.index(name) for name in x])
        tensors = tuple([self._tensors.get(name) or self.tensor(name) for name in names])
        use = Use(function, tensors, pattern, args, tuple(options.items()))
        part, reads, given, returns, is_single = self._blocks.made(use)
        first = number = len(self._number)
        outputs = []
        for tensor in given:
            output = f"{self._scope}{number}"
            outputs.append(output)
            self._tensors[output], self._number[output] = tensor, number
            number += 1
        if part.steps:
            numbers = tuple([self._number[names[i]] for i in reads])
            self._steps.append(Step(part, numbers, tuple(range(first, number))))
        found = [names[i] if i >= 0 else outputs[-1 - i] for i in returns]
        return found[0] if is_single else tuple(found)

    def repeat(self, times: int, function: Callable[..., str], x: str, *args: Any, **options: Any) -> str:
        if times < 2 or not getattr(function, "is_block", False):
            return super().repeat(times, function, x, *args, **options)
        y = function(self, x, *args, **options)
        step = self._steps[-1] if self._steps else None
        if step and step.outputs == (self._number[y],) and step.inputs == (self._number[x],) and self._same(x, y):
            step.times = times
            return y
        return super().repeat(times - 1, function, y, *args, **options)

    def _same(self, x: str, y: str) -> bool:
        return self._tensors[x] == self._tensors[y]

    # -- what blocks need of it -----------------------------------------------------------------------------------

    @property
    def inputs(self) -> Sequence[str]:
        return self._inputs

    def tensor(self, name: str) -> Tensor:
        return self._tensors[self._known(name)]

    def take(self, tensor: Tensor) -> str:
        """A tensor from outside, as an input of the block."""
        if tensor.constant:
            raise Indivisible("a block that reads a weight may share it with another")
        number = len(self._number)
        name = f"{self._scope}x{number}"
        self._tensors[name] = tensor
        self._number[name] = number
        return name

    def reads(self, n_inputs: int) -> list[int]:
        """The inputs that are read."""
        read = set().union(*[step.inputs for step in self._steps])
        return [number for number in range(n_inputs) if number in read]

    def whole(self, output: str) -> Part:
        """The part that is the network."""
        outputs = list(dict.fromkeys((*self._outputs, output)))
        for name in self._inputs:
            still_open = [extent for extent in self._tensors[name].dims if not isinstance(extent, int)]
            if still_open:
                size = min(still_open[0].names)
                raise UnknownSize(f"input {name!r} leaves {size} open; a table needs a number for it, as in {size}=1")
        first = [self._number[name] for name in self._inputs]
        is_plain = first == list(range(len(first))) and self.reads(len(first)) == first
        if not is_plain or not set(outputs).isdisjoint(self._inputs):
            raise Indivisible("an input of the network is not read, comes after layers, or is an output")
        return self._part(len(first), outputs)

    def part(self, n_taken: int, reads: Sequence[int], outputs: Sequence[str]) -> Part:
        """The part that is a block, with only the inputs that it reads."""
        if self._inputs or self._outputs:
            raise Indivisible("a block has an input or an output of the network in it")
        if len(reads) < n_taken:
            kept = [*reads, *range(n_taken, len(self._number))]
            renumbered = {old: new for new, old in enumerate(kept)}
            self._number = {name: renumbered.get(number, -1) for name, number in self._number.items()}
            for step in self._steps:
                step.inputs = tuple([renumbered[number] for number in step.inputs])
                step.outputs = tuple([renumbered[number] for number in step.outputs])
        return self._part(len(reads), outputs)

    def _part(self, n_inputs: int, outputs: Sequence[str]) -> Part:
        try:
            numbers = tuple([self._number[name] for name in outputs])
        except KeyError:
            raise Indivisible("a block gives what does not depend on its inputs") from None
        sums, constants = self._stored()
        rows = [sums]
        for step in self._steps:
            if isinstance(step.child, Part):
                rows += [step.child.sums] * step.times
                for tensor, learnt in step.child.constants.items():
                    constants[tensor] = learnt or constants.get(tensor, False)
        n_tensors = n_inputs + sum([len(step.outputs) for step in self._steps])
        return Part(tuple(self._steps), n_inputs, n_tensors, numbers, tuple(map(sum, zip(*rows, strict=True))), constants)

    def _stored(self) -> tuple[Amounts, dict[Tensor, bool]]:
        """The quantities of the layers added here, and the constants among what they read, with whether they are learnt."""
        if not self._own:
            return NO_QUANTITIES, {}
        network = network_of(self._own, self._tensors)
        sums = Quantities.sum([layer.quantities for layer in count(network).layers])
        read = {name for layer in self._own for name in layer.inputs}
        shared = [name for name in self._constants.values() if name in read and self._tensors[name].dtype not in INTEGERS]
        constants = {self._tensors[name]: name in learnable(network) for name in shared}
        without = Quantities(
            params=sum(tensor.size for tensor, learnt in constants.items() if learnt),
            weights=sum(tensor.size for tensor in constants),
            weight_bytes=sum(tensor.nbytes for tensor in constants),
        )
        pairs = zip(sums.as_dict().values(), without.as_dict().values(), strict=True)
        return tuple([int(whole - less) for whole, less in pairs]), constants

    # -- where layers are added -------------------------------------------------------------------------------------

    def _op(self, op: str, inputs: tuple[str, ...], attributes: Mapping[str, Any], label: str, domain: str = "") -> str:
        written = super()._op(op, inputs, attributes, label, domain)
        self._note(self._engine.layers[-1])
        return written

    def _ops(
        self, op: str, inputs: tuple[str, ...], attributes: Mapping[str, Any], label: str, outputs: int, domain: str = ""
    ) -> tuple[str, ...]:
        written = super()._ops(op, inputs, attributes, label, outputs, domain)
        self._note(self._engine.layers[-1])
        return written

    def _store(self, name: str, tensor: Tensor) -> str:
        if not name.startswith(self._scope) and tensor.value is None:
            raise Indivisible(f"tensor {name!r} belongs to the whole network")
        return super()._store(name, tensor)

    def _note(self, layer: Layer) -> None:
        if not layer.name.startswith(self._scope):
            raise Indivisible(f"{layer.label} belongs to the whole network")
        self._own.append(layer)
        constants = {name: self._blocks.constant_named(self._tensors[name]) for name in self._constants.values()}
        outputs = [name for name in layer.outputs if name]
        if all(self._tensors[name].constant for name in outputs):
            if not constants.keys().isdisjoint(layer.inputs):
                raise Indivisible(f"{layer.label} prepares a constant that the whole network shares")
            return
        leaf = self._blocks.leaf(layer, self._tensors, constants)
        read = dict.fromkeys([name for name in layer.inputs if name and not self._tensors[name].constant])
        reads = tuple([self._number[name] for name in read])
        for name in outputs:
            self._number[name] = len(self._number)
        self._steps.append(Step(leaf, reads, tuple([self._number[name] for name in outputs])))
