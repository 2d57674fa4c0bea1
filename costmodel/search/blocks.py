"""Building parts: a builder that meets each distinct block once, and the rows of whole networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from costmodel.build import Builder
from costmodel.counts import INTEGERS, QUANTITIES, Quantities, count, learnable
from costmodel.errors import UnknownSize
from costmodel.features import NAMES
from costmodel.graph import Layer, Tensor
from costmodel.search.parts import FREED, Indivisible, Leaf, Part, Row, Step, network_of

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


class Blocks:
    """All blocks met so far under one runtime, by function, arguments, and shapes of the inputs."""

    def __init__(self, runtime: str = "") -> None:
        self.runtime = runtime
        self._made: dict[Any, Made] = {}
        self._constants: dict[Tensor, str] = {}

    def row(self, define: Callable[[Builder, Candidate], str], candidate: Candidate, sizes: Mapping[str, int]) -> Row:
        """The columns of a candidate's network. Raises Indivisible where it must be counted as a whole."""
        b = PartBuilder(self, "", sizes)
        part = b.whole(define(b, candidate))
        memory = tuple([(i, FREED, int(b.tensor(name).nbytes)) for i, name in enumerate(b.inputs)])
        found = part.outcome(memory, (None,) * len(memory), ())
        features = [found.features, *[chain.features for chain in found.tails if chain]]
        return (*part.quantities(), found.peak, *map(sum, zip(*features, strict=True)))

    def made(
        self,
        function: Callable[..., Any],
        inputs: tuple[Tensor, ...],
        pattern: tuple[int, ...] | None,
        args: tuple[Any, ...],
        options: Mapping[str, Any],
    ) -> Made:
        """The block that a function makes of inputs: of one, or of a tuple that repeats them in a pattern."""
        key = function, inputs, pattern, args, tuple(options.items())
        try:
            found = self._made.get(key)
        except TypeError:
            raise Indivisible(f"an argument of block {function.__name__} is not hashable") from None
        if found is None:
            found = self._made[key] = self._build(function, inputs, pattern, args, options)
        return found

    def _build(
        self,
        function: Callable[..., Any],
        inputs: tuple[Tensor, ...],
        pattern: tuple[int, ...] | None,
        args: tuple[Any, ...],
        options: Mapping[str, Any],
    ) -> Made:
        b = PartBuilder(self, f"{function.__name__}{len(self._made)}.")
        names = [b.take(i, tensor) for i, tensor in enumerate(inputs)]
        returned = function(b, names[0] if pattern is None else tuple([names[i] for i in pattern]), *args, **options)
        results = (returned,) if isinstance(returned, str) else tuple(returned)
        new = list(dict.fromkeys(name for name in results if name not in names))
        reads = [i for i, name in enumerate(names) if b.is_read(name)]
        return Made(
            part=b.part([names[i] for i in reads], new),
            reads=tuple(reads),
            given=tuple(b.tensor(name) for name in new),
            returns=tuple(names.index(name) if name in names else -1 - new.index(name) for name in results),
            is_single=isinstance(returned, str),
        )

    def constant_named(self, tensor: Tensor) -> str:
        """The name of a constant's values, the same in all blocks."""
        return self._constants.setdefault(tensor, f"constant {len(self._constants)}")


class PartBuilder(Builder):
    """Makes a part of the layers that are added and the blocks that are called. ``scope`` begins all of its names."""

    def __init__(self, blocks: Blocks, scope: str, sizes: Mapping[str, int] | None = None) -> None:
        super().__init__(sizes=sizes)
        self._blocks = blocks
        self._scope = self._prefix = scope
        self._steps: list[tuple[Leaf | Part, tuple[str, ...], tuple[str, ...]]] = []
        self._own: list[Layer] = []

    def block(self, function: Callable[..., Any], x: str | tuple[str, ...], *args: Any, **options: Any) -> Any:
        pattern: tuple[int, ...] | None = None
        names: tuple[str, ...] = (x,) if isinstance(x, str) else tuple(dict.fromkeys(x))
        if not isinstance(x, str):
            pattern = tuple([names.index(name) for name in x])
        part, reads, given, returns, is_single = self._blocks.made(
            function, tuple([self.tensor(name) for name in names]), pattern, args, options
        )
        label = f"{self._scope}{len(self._steps)}/"
        outputs = tuple([f"{label}{i}" for i in range(len(given))])
        self._tensors.update(zip(outputs, given, strict=True))
        if part.steps:
            self._steps.append((part, tuple([names[i] for i in reads]), outputs))
        found = tuple([names[i] if i >= 0 else outputs[-1 - i] for i in returns])
        return found[0] if is_single else found

    # -- what blocks need of it -----------------------------------------------------------------------------------

    @property
    def inputs(self) -> Sequence[str]:
        return self._inputs

    def tensor(self, name: str) -> Tensor:
        return self._tensors[self._known(name)]

    def take(self, position: int, tensor: Tensor) -> str:
        """A tensor from outside, as an input of the block."""
        if tensor.constant:
            raise Indivisible("a block that reads a weight may share it with another")
        name = f"{self._scope}x{position}"
        self._tensors[name] = tensor
        return name

    def is_read(self, name: str) -> bool:
        return any(name in reads for _, reads, _ in self._steps)

    def whole(self, output: str) -> Part:
        """The part that is the network."""
        outputs = list(dict.fromkeys((*self._outputs, output)))
        for name in self._inputs:
            open_sizes = {size for extent in self.shape(name) if not isinstance(extent, int) for size in extent.names}
            if open_sizes:
                size = min(open_sizes)
                raise UnknownSize(f"input {name!r} leaves {size} open; a table needs a number for it, as in {size}=1")
            if name in outputs or not self.is_read(name):
                raise Indivisible(f"input {name!r} is not read, or is an output")
        return self._part(self._inputs, outputs)

    def part(self, inputs: Sequence[str], outputs: Sequence[str]) -> Part:
        """The part that is a block."""
        if self._inputs or self._outputs:
            raise Indivisible("a block has an input or an output of the network in it")
        return self._part(inputs, outputs)

    def _part(self, inputs: Sequence[str], outputs: Sequence[str]) -> Part:
        number = {name: i for i, name in enumerate(inputs)}
        steps = []
        for child, reads, gives in self._steps:
            read = tuple([number[name] for name in reads])
            for name in gives:
                number[name] = len(number)
            steps.append(Step(child, read, tuple([number[name] for name in gives])))
        if not all(name in number for name in outputs):
            raise Indivisible("a block gives what does not depend on its inputs")
        sums, constants = self._stored()
        parts = [child for child, _, _ in self._steps if isinstance(child, Part)]
        for part in parts:
            for tensor, learnt in part.constants.items():
                constants[tensor] = learnt or constants.get(tensor, False)
        sums = tuple(map(sum, zip(sums, *[part.sums for part in parts], strict=True)))
        return Part(tuple(steps), len(inputs), len(number), tuple([number[name] for name in outputs]), sums, constants)

    def _stored(self) -> tuple[Row, dict[Tensor, bool]]:
        """The quantities of the layers added here, and the constants among what they read, with whether they are learnt."""
        if not self._own:
            return (0,) * len(QUANTITIES), {}
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

    def _op(
        self, op: str, inputs: tuple[str, ...], attributes: Mapping[str, Any], label: str, domain: str = ""
    ) -> str:
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
        outputs = tuple(name for name in layer.outputs if name)
        if all(self._tensors[name].constant for name in outputs):
            if not constants.keys().isdisjoint(layer.inputs):
                raise Indivisible(f"{layer.label} prepares a constant that the whole network shares")
            return
        tensors = {constants.get(name, name): self._tensors[name] for name in (*layer.inputs, *outputs) if name}
        renamed = layer._replace(inputs=tuple([constants.get(name, name) for name in layer.inputs]))
        leaf = Leaf(renamed, tensors, frozenset(constants.values()), self._scope, self._blocks.runtime)
        self._steps.append((leaf, leaf.reads, outputs))
