"""ONNX file, bytes or ModelProto -> Network. Weights are never read, external data files never opened."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Union

from costmodel.dims import Dim, Extent, Monomial
from costmodel.errors import CostModelError, MalformedModel, ShapeMismatch, UnknownSize, nearest
from costmodel.graph import Network, Tensor
from costmodel.ops.assumptions import Assumptions
from costmodel.ops.engine import Engine
from costmodel.read import wire
from costmodel.read.declared import Declared
from costmodel.read.functions import Function, inline
from costmodel.read.inputs import Sizes, input_tensors
from costmodel.read.order import in_running_order
from costmodel.read.proto import read_attributes, read_graph, read_nodes

if TYPE_CHECKING:
    import onnx

Source = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, "onnx.ModelProto"]

MAX_AGREEMENTS = 64
MAX_ASSUMPTIONS = 64
NEWEST_OPSET = 26


def load(source: Source, *, sizes: Sizes | None = None, name: str | None = None) -> Network:
    """Read a model from a path, from bytes or from a ModelProto.

    ``sizes`` frees or fixes dimensions of inputs, also where the file states a number: a tuple for each input named,
    of numbers (fixed), names or expressions (free), and None (as the file has it)::

        load("model.onnx", sizes={"input": ("N", 3, "H", "W")})

    Raises MalformedModel for a file that is no ONNX model, truncated, cyclic or incomplete, ShapeMismatch where shapes
    contradict each other (with the node), UnknownSize for an input that the model does not have.
    """
    model, nodes, default_name = _parsed(source)
    if not model.HasField("graph"):
        raise MalformedModel(f"{default_name}: the model holds no graph; this is no ONNX model, or it is truncated")
    return _Loader(model, nodes, name or default_name).network(sizes or {})


def _parsed(source: Source) -> tuple[onnx.ModelProto, list[bytes] | None, str]:
    """The model, the serialised nodes of its graph where they come apart from it, and what to call it."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        model, nodes = _from_wire(wire.Memory(memoryview(source)), "the given bytes")
        return model, nodes, model.graph.name or "model"
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        return *_from_path(path), path.name.removesuffix(".onnx")
    import onnx

    if isinstance(source, onnx.ModelProto):
        return source, None, source.graph.name or "model"
    raise CostModelError(f"cannot load a {type(source).__name__}; give a path, bytes or an onnx.ModelProto")


def _from_path(path: Path) -> tuple[onnx.ModelProto, list[bytes]]:
    try:
        with path.open("rb") as file:
            opened = wire.File(file.fileno())
            if not opened.size:
                raise MalformedModel(f"{path}: the file is empty")
            return _from_wire(opened, str(path))
    except FileNotFoundError:
        raise MalformedModel(f"{path}: there is no such file; give the path of an ONNX model") from None
    except OSError as error:
        raise MalformedModel(f"{path}: cannot be read: {error.strerror}") from error


def _from_wire(source: wire.Source, where: str) -> tuple[onnx.ModelProto, list[bytes]]:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model, nodes = wire.without_weights_and_nodes(source)
        return onnx.ModelProto.FromString(model), nodes
    except MalformedModel as error:
        raise MalformedModel(f"{where}: {error}") from None
    except (DecodeError, RuntimeError) as error:
        raise MalformedModel(f"{where}: is no ONNX model, or damaged: {error}") from None


@dataclass(frozen=True, slots=True)
class _Agreement:
    """What had to be assumed so that shapes agree: a size equals an expression, and the node that asks for it."""

    name: str
    extent: Extent
    reason: str


class _Loader:
    """One model on its way to a Network."""

    def __init__(self, model: onnx.ModelProto, nodes: list[bytes] | None, name: str) -> None:
        self.name = name
        self.warnings: list[str] = []
        self.opsets = self._opsets(model)
        functions = {
            (proto.domain, proto.name, proto.overload): Function(
                inputs=tuple(proto.input),
                outputs=tuple(proto.output),
                defaults=read_attributes(proto.attribute_proto),
                nodes=read_nodes(proto.node),
                opsets={item.domain: item.version for item in proto.opset_import},
            )
            for proto in model.functions
        }
        graph = read_graph(model.graph, nodes)
        self.declared_inputs = {info.name: info for info in model.graph.input if info.name not in graph.initializers}
        self.declared = Declared((*model.graph.value_info, *model.graph.output))
        inlined = inline(graph.nodes, functions) if functions else graph.nodes
        self.nodes = in_running_order(inlined, {*graph.initializers, *self.declared_inputs})
        self.graph = graph

    def _opsets(self, model: onnx.ModelProto) -> dict[str, int]:
        opsets = {"" if item.domain == "ai.onnx" else item.domain: item.version for item in model.opset_import}
        if "" not in opsets and (model.ir_version < 3 or not opsets):
            opsets[""] = 1 if model.ir_version < 3 else NEWEST_OPSET
            if model.ir_version >= 3:
                self.warnings.append(f"the file imports no opset; the newest known ({NEWEST_OPSET}) is assumed")
        return opsets

    def network(self, sizes: Sizes) -> Network:
        """Derive every shape; where two extents that must be equal differ in one free size, that size gives way."""
        unknown = [given for given in sizes if given not in self.declared_inputs]
        if unknown:
            raise UnknownSize(f"sizes: the model has no input {unknown[0]!r}; {nearest(unknown[0], self.declared_inputs)}")
        inputs = input_tensors(self.declared_inputs.values(), sizes)
        freed = frozenset(_freed(sizes))
        agreements: list[_Agreement] = []
        while True:
            extents = {agreed.name: agreed.extent for agreed in agreements}
            try:
                return self._assumed(inputs, agreements, extents)
            except ShapeMismatch as mismatch:
                agreed = _agreement(mismatch, freed)
                if agreed is None or len(agreements) == MAX_AGREEMENTS:
                    raise
                agreements.append(agreed)

    def _assumed(
        self, inputs: Mapping[str, Tensor], agreements: Sequence[_Agreement], extents: Mapping[str, Extent]
    ) -> Network:
        """Derive every shape; where sizes decide between branches that cannot be merged, go a way without contradictions."""
        assumptions = Assumptions()
        first: MalformedModel | None = None
        for _ in range(MAX_ASSUMPTIONS):
            engine = Engine(self.opsets, self.declared, extents, assumptions=assumptions)
            try:
                return self._derived(engine, inputs, agreements)
            except MalformedModel as error:
                first = first or error
                following = assumptions.following()
            if following is None:
                break
            assumptions = following
        assert first is not None
        raise first

    def _derived(self, engine: Engine, inputs: Mapping[str, Tensor], agreements: Sequence[_Agreement]) -> Network:
        engine.tensors.update(self.graph.initializers)
        engine.tensors.update((name, engine.agreed(tensor)) for name, tensor in inputs.items())
        given = {name: engine.tensors[name] for name in inputs}
        for node in self.nodes:
            engine.add(node)
        missing = [name for name in self.graph.outputs if name not in engine.tensors]
        if missing:
            raise MalformedModel(f"{self.name}: nothing produces the output {missing[0]!r}; the graph is incomplete")
        assumed = [f"size {agreed.name} is {agreed.extent}: {agreed.reason}" for agreed in agreements]
        for name, assumption in engine.assumptions.taken.items():
            holds = "holds" if assumption.holds else "does not hold"
            assumed.append(f"the condition of {name!r} {holds}: its branches differ in rank, and {assumption.decisive}")
        return Network(
            name=self.name,
            inputs=given,
            outputs={name: engine.tensors[name] for name in self.graph.outputs},
            tensors=engine.tensors,
            layers=tuple(engine.layers),
            opsets=self.opsets,
            assumed=(*self.warnings, *assumed),
            declared=self.declared,
        )


def _freed(sizes: Sizes) -> Iterable[str]:
    for shape in sizes.values():
        for extent in shape:
            if isinstance(extent, str):
                parsed = Dim.parse(extent)
                yield from parsed.names if isinstance(parsed, Dim) else ()


def _agreement(mismatch: ShapeMismatch, freed: frozenset[str]) -> _Agreement | None:
    """The one size at which the two sides are equal, if the caller did not free it."""
    left, right = mismatch.left, mismatch.right
    if not isinstance(left, (int, Dim)) or not isinstance(right, (int, Dim)):
        return None
    solved = _solve(left - right, freed)
    if solved is None:
        names = sorted(name for side in (left, right) if isinstance(side, Dim) for name in side.names & freed)
        if names:
            raise ShapeMismatch(
                f"{mismatch}. A constant of the file contradicts the freed size {names[0]}: "
                f"leave it out of sizes, or export the model with that axis dynamic"
            ) from mismatch
        return None
    return _Agreement(*solved, reason=str(mismatch))


def _solve(difference: Extent, freed: frozenset[str]) -> tuple[str, Extent] | None:
    """A size that occurs once, alone and with a factor that divides the rest, and what it must be for 0 = difference."""
    if isinstance(difference, Dim):
        difference = _without_common_sizes(difference)
    if not isinstance(difference, Dim):
        return None
    for monomial, factor in difference.terms.items():
        if len(monomial) != 1 or monomial[0][0].kind != "size" or monomial[0][1] != 1:
            continue
        name = monomial[0][0].args[0]
        rest = factor * Dim.size(name) - difference
        if name in freed or (isinstance(rest, Dim) and name in rest.names):
            continue
        value = rest // factor
        if value * factor == rest and (not isinstance(value, int) or value >= 0):
            return name, value
    return None


def _without_common_sizes(difference: Dim) -> Extent:
    """The difference divided by the sizes that are a factor of all its terms; none of them is 0."""
    reduced: Extent = difference
    for name in sorted(difference.names):
        while isinstance(reduced, Dim) and all(_has_factor(monomial, name) for monomial in reduced.terms):
            reduced //= Dim.size(name)
    return reduced


def _has_factor(monomial: Monomial, name: str) -> bool:
    return any(atom.kind == "size" and atom.args[0] == name for atom, _ in monomial)
