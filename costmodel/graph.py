"""Tensors, layers, and the network they form.

A network is what a reader or builder made of a file: every tensor with its dtype and symbolic shape, every layer with
the cost that its rule stated. It is never changed after it was made.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar, Union

from costmodel.dims import Dim, Extent, ceil_divide, product, summed, total, value_at
from costmodel.errors import MalformedModel, UnknownSize, nearest

if TYPE_CHECKING:
    import networkx

Found = TypeVar("Found")
Shape = tuple[Extent, ...]
Element = Union[int, float, str, Fraction, Dim, None]

DTYPE_BITS: Mapping[str, int] = {
    "float64": 64, "float32": 32, "float16": 16, "bfloat16": 16,
    "float8e4m3fn": 8, "float8e4m3fnuz": 8, "float8e5m2": 8, "float8e5m2fnuz": 8, "float8e8m0": 8,
    "float6e2m3": 6, "float6e3m2": 6, "float4e2m1": 4,
    "int64": 64, "int32": 32, "int16": 16, "int8": 8, "int4": 4, "int2": 2,
    "uint64": 64, "uint32": 32, "uint16": 16, "uint8": 8, "uint4": 4, "uint2": 2,
    "bool": 8, "complex64": 64, "complex128": 128,
    "string": 128,  # a pointer and a length; the characters are data
}  # fmt: skip

FLOAT_DTYPES = frozenset(name for name in DTYPE_BITS if name.startswith(("float", "bfloat")))

# onnx.TensorProto.DataType, by number
NUMBERED_DTYPES = (
    None, "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool", "float16", "float64", "uint32",
    "uint64", "complex64", "complex128", "bfloat16", "float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz",
    "uint4", "int4", "float4e2m1", "float8e8m0", "uint2", "int2", "float6e2m3", "float6e3m2",
)  # fmt: skip


def dtype_numbered(number: int) -> str:
    """The dtype that ONNX files and attributes such as Cast's ``to`` write as a number.

    >>> dtype_numbered(7)
    'int64'
    """
    dtype = NUMBERED_DTYPES[number] if 0 < number < len(NUMBERED_DTYPES) else None
    if dtype is None:
        raise MalformedModel(f"data type {number} is none of ONNX's; they go from 1 to {len(NUMBERED_DTYPES) - 1}")
    return dtype


class _Remembering:
    """A frozen record that works some things out once: rules, counts and memos ask for them again and again.

    These are not part of its state: a copy or a pickle starts anew (the hash of a text differs between processes).
    """

    __slots__ = ()

    def _remember(self, name: str, found: Found) -> Found:
        object.__setattr__(self, name, found)
        return found


class _TensorFacts(_Remembering):
    __slots__ = ("_hash", "_nbytes", "_size")

    _hash: int
    _nbytes: Extent
    _size: Extent


class _CostFacts(_Remembering):
    __slots__ = ("_flops",)

    _flops: Extent


@dataclass(frozen=True, slots=True)
class Tensor(_TensorFacts):
    """A dtype and a shape; for small integer tensors that carry shapes also the value, in row-major order.

    ``shape`` is None where even the rank is unknown. ``constant`` says that no input of the network can change it:
    a stored weight, or what follows from stored weights alone. ``fill`` is the number that every element is, where
    a fill made the tensor; its shape may be open.

    >>> Tensor("float32", (Dim.size("N"), 3, 224, 224)).nbytes
    Dim('602112*N')
    """

    dtype: str
    shape: Shape | None
    value: tuple[Element, ...] | None = None
    constant: bool = False
    fill: Element = None

    @property
    def is_known(self) -> bool:
        """Whether the rank at least is known."""
        return self.shape is not None

    @property
    def dims(self) -> Shape:
        """The shape, where a rule needs one. Raises MalformedModel if the rank is unknown."""
        if self.shape is None:
            raise MalformedModel("the rank of an input is unknown")
        return self.shape

    @property
    def rank(self) -> int:
        return len(self.dims)

    @property
    def size(self) -> Extent:
        """Number of elements."""
        try:
            return self._size
        except AttributeError:
            return self._remember("_size", product(self.dims))

    @property
    def nbytes(self) -> Extent:
        """Bytes of a dense copy; sub-byte types are packed."""
        try:
            return self._nbytes
        except AttributeError:
            bits = DTYPE_BITS[self.dtype]
            nbytes = self.size * (bits // 8) if bits % 8 == 0 else ceil_divide(self.size * bits, 8)
            return self._remember("_nbytes", nbytes)

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            return self._remember("_hash", hash((self.dtype, self.shape, self.value, self.constant, self.fill)))

    def mapped(self, change: Callable[[Extent], Extent]) -> Tensor:
        """The same with every open count, in the shape and in the value, replaced by what the function makes of it."""
        shape = None if self.shape is None else tuple(map(change, self.shape))
        value = None if self.value is None else tuple(change(e) if isinstance(e, Dim) else e for e in self.value)
        return replace(self, shape=shape, value=value)

    def to(self, shape: Sequence[Extent] | None, *, dtype: str | None = None) -> Tensor:
        """A computed tensor of the same dtype (or another) with this shape."""
        return Tensor(dtype or self.dtype, None if shape is None else tuple(shape))


@dataclass(frozen=True, slots=True)
class Container(Tensor):
    """What stands in a tensor's place and holds other values: a sequence, an optional or a map. It has no shape."""

    @property
    def is_known(self) -> bool:
        return True

    @property
    def dims(self) -> Shape:
        raise MalformedModel(f"a tensor is needed here, not a {self.kind}")

    @property
    def kind(self) -> str:
        return type(self).__name__.removesuffix("Of").lower()

    def to(self, shape: Sequence[Extent] | None, *, dtype: str | None = None) -> Tensor:  # noqa: ARG002
        """The same, as a computed value."""
        return replace(self, constant=False)


@dataclass(frozen=True, slots=True)
class SequenceOf(Container):
    """``length`` values of one kind; ``elements`` holds each where the length is a number, ``element`` what all share.

    >>> SequenceOf.of(Tensor("float32", (Dim.size("N"), 4)), length=3).nbytes
    Dim('48*N')
    """

    element: Tensor = field(kw_only=True)
    length: Extent = field(kw_only=True)
    elements: tuple[Tensor, ...] | None = field(default=None, kw_only=True)

    @staticmethod
    def of(element: Tensor, length: Extent, elements: Sequence[Tensor] | None = None) -> SequenceOf:
        known = None if elements is None else tuple(elements)
        return SequenceOf(element.dtype, None, element=element, length=length, elements=known)

    def mapped(self, change: Callable[[Extent], Extent]) -> Tensor:
        elements = None if self.elements is None else tuple(element.mapped(change) for element in self.elements)
        return replace(self, element=self.element.mapped(change), length=change(self.length), elements=elements)

    @property
    def nbytes(self) -> Extent:
        if self.elements is not None:
            return total(element.nbytes for element in self.elements)
        return self.length * self.element.nbytes if self.length else 0


@dataclass(frozen=True, slots=True)
class OptionalOf(Container):
    """A value or nothing; ``is_present`` is None where the data decides."""

    element: Tensor = field(kw_only=True)
    is_present: bool | None = field(default=None, kw_only=True)

    @staticmethod
    def of(element: Tensor, is_present: bool | None = None) -> OptionalOf:
        return OptionalOf(element.dtype, None, element=element, is_present=is_present)

    def mapped(self, change: Callable[[Extent], Extent]) -> Tensor:
        return replace(self, element=self.element.mapped(change))

    @property
    def nbytes(self) -> Extent:
        return 0 if self.is_present is False else self.element.nbytes


@dataclass(frozen=True, slots=True)
class MapOf(Container):
    """``length`` keys, each with a number or a text."""

    key_dtype: str = field(kw_only=True)
    length: Extent = field(kw_only=True)

    @staticmethod
    def of(key_dtype: str, value_dtype: str, length: Extent) -> MapOf:
        return MapOf(value_dtype, None, key_dtype=key_dtype, length=length)

    def mapped(self, change: Callable[[Extent], Extent]) -> Tensor:
        return replace(self, length=change(self.length))

    @property
    def nbytes(self) -> Extent:
        return self.length * ((DTYPE_BITS[self.key_dtype] + DTYPE_BITS[self.dtype]) // 8)


@dataclass(frozen=True, slots=True)
class Cost(_CostFacts):
    """What one layer takes, as its rule states it. The defaults are the common case; a rule states the exceptions.

    ``outputs``: dtype and shape of every output. ``macs``: multiply-adds. ``other_flops``: arithmetic beyond
    ``2 * macs``. ``reads``: elements read of each input (all of them if None). ``view_of``: the input of which the
    first output is a view that copies nothing. ``in_place``: inputs whose memory the first output may take over.
    ``not_learnable``: positions of stored inputs that training does not change. ``stores``: the outputs are data that
    a file could have stored (a filled constant). ``scratch_bytes``: memory that lives only while the layer runs.
    ``bounds``: the most that a new size can be, by name, for sizes that stand for extents which depend on data.
    ``bodies``: the subgraphs that the layer runs; ``macs`` and ``other_flops`` include theirs. ``attribute_weights``:
    what the layer learnt and stores in its attributes.
    """

    outputs: tuple[Tensor, ...]
    macs: Extent = 0
    other_flops: Extent = 0
    reads: tuple[Extent, ...] | None = None
    view_of: int | None = None
    in_place: tuple[int, ...] = ()
    not_learnable: tuple[int, ...] = ()
    stores: bool = False
    scratch_bytes: Extent = 0
    bounds: tuple[tuple[str, Extent], ...] = ()
    bodies: tuple[Body, ...] = ()
    attribute_weights: tuple[Tensor, ...] = ()

    @property
    def flops(self) -> Extent:
        """Two operations per multiply-add, and the other arithmetic."""
        try:
            return self._flops
        except AttributeError:
            return self._remember("_flops", self.macs * 2 + self.other_flops)


Attribute = Union[int, float, str, Dim, Tensor, "Subgraph", tuple["Attribute", ...]]


class Place:
    """Where a node stood in the program that was exported: ``module`` is the path there, as in ``layer1.0.conv1``, and
    ``origin`` what the node was: the classes of the modules around it, from the outermost on, and the operation.

    This one tells nothing; a reader knows more (and looks it up when it is asked, which few counts are).
    """

    __slots__ = ()

    @property
    def module(self) -> str:
        return ""

    @property
    def origin(self) -> tuple[str, ...]:
        return ()

    def within(self, outer: Place) -> Place:
        """The place of a node of a body or function; what is not known of it is that of the node around."""
        return outer if type(self) is Place else self if type(outer) is Place else _Within(self, outer)


class _Within(Place):
    __slots__ = ("inner", "outer")

    def __init__(self, inner: Place, outer: Place) -> None:
        self.inner, self.outer = inner, outer

    @property
    def module(self) -> str:
        return self.inner.module or self.outer.module

    @property
    def origin(self) -> tuple[str, ...]:
        return self.inner.origin or self.outer.origin


NOWHERE = Place()


class Node(NamedTuple):  # a frozen dataclass takes six times as long to make, and every node is one
    """One node as the file states it; an omitted optional input is an empty name.

    ``opset`` overrides the model's opset of the node's domain, for nodes that come from a function with its own.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = {}
    domain: str = ""
    opset: int | None = None
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True, eq=False)
class Subgraph:
    """A graph as the file states it, before any shape is derived: a model's main graph or the body of a control op."""

    name: str
    nodes: tuple[Node, ...]
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    initializers: Mapping[str, Tensor]


class Layer(NamedTuple):
    """One node with its cost; ``problem`` says why there is none, or what it leaves out."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    domain: str
    cost: Cost | None
    problem: str | None = None
    place: Place = NOWHERE

    @property
    def module(self) -> str:
        """The path of the node's module in the program that was exported."""
        return self.place.module

    @property
    def origin(self) -> tuple[str, ...]:
        return self.place.origin

    @property
    def label(self) -> str:
        """How messages name the layer."""
        return f"{self.op} (node {self.name!r})"

    @property
    def reads(self) -> tuple[str, ...]:
        """The tensors that the layer reads, each once; also what its bodies take from the graph around."""
        captured = (name for body in (self.cost.bodies if self.cost else ()) for name in body.captures)
        return tuple(dict.fromkeys(name for name in (*self.inputs, *captured) if name))


def _all_constant(tensors: Mapping[str, Tensor], names: Iterable[str]) -> bool:
    for name in names:  # noqa: SIM110 - a generator costs twice as much, and this runs for every layer, several times
        if name and not tensors[name].constant:
            return False
    return True


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A subgraph that a layer runs ``times`` times, with the layers of one run and every tensor that they name.

    ``name`` is the attribute that holds it. ``times`` of a branch whose condition is open is a count that is 0 or 1.
    ``outputs`` names what the body gives back and ``results`` are these tensors; ``captures`` names what it reads of
    the graph around it. ``trip`` is the size, if any, that numbers the runs from 1 on in the layers' costs and shapes.
    """

    name: str
    layers: tuple[Layer, ...]
    tensors: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    results: tuple[Tensor, ...]
    captures: tuple[str, ...]
    times: Extent = 1
    trip: str | None = None

    @property
    def running_layers(self) -> tuple[Layer, ...]:
        """The layers that do work in every run: not those that only prepare constants."""
        return tuple(layer for layer in self.layers if not self.is_constant(layer))

    def is_constant(self, layer: Layer) -> bool:
        return _all_constant(self.tensors, layer.outputs)

    @property
    def macs(self) -> Extent:
        """Multiply-adds of one run."""
        return total(layer.cost.macs for layer in self.running_layers if layer.cost)

    @property
    def other_flops(self) -> Extent:
        return total(layer.cost.other_flops for layer in self.running_layers if layer.cost)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why layers of the body could not be counted, those of bodies within it too."""
        return tuple(layer.problem for layer in self.layers if layer.problem)

    def over_runs(self, count: Extent) -> Extent:
        """A count of one run, such as a layer's macs, added up over all runs."""
        return count * self.times if self.trip is None else summed(count, self.trip, self.times)

    def in_last_run(self, count: Extent) -> Extent:
        """A count of one run as it is in the last."""
        return count.subs({self.trip: self.times}) if self.trip and isinstance(count, Dim) else count

    def repeated(self, times: Extent, trip: str | None = None) -> Body:
        return replace(self, times=times, trip=trip)


class Declarations(Protocol):
    """What a file declares of its tensors."""

    def contradictions(self, derived: Mapping[str, Tensor]) -> Iterable[str]:
        """What it declares and cannot be, one sentence each."""

    def stated(self, name: str) -> Tensor | None:
        """A tensor as the file states it, with a size of its own for each extent that it leaves open."""


@dataclass(frozen=True, eq=False)
class Network:
    """A network: its tensors by name and its layers in an order in which they can run.

    ``defaults`` binds open sizes where a caller gives none (zoo networks have their published input size).
    ``assumed`` tells what the reader had to assume, ``declared`` what the file says of its tensors. ``learnable`` names the
    stored tensors that training changes where the source says which; where it is None, their place in the graph tells.
    ``distinct``: pairs of open counts that were taken to be different when the layers were laid out; where sizes make a
    pair equal, the network is another one.
    """

    name: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    tensors: Mapping[str, Tensor]
    layers: tuple[Layer, ...]
    opsets: Mapping[str, int] = field(default_factory=dict)
    defaults: Mapping[str, int] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    learnable: frozenset[str] | None = None
    declared: Declarations | None = None
    distinct: tuple[tuple[Extent, Extent], ...] = ()

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What the reader had to assume, and where the file contradicts itself."""
        return (*self.assumed, *(self.declared.contradictions(self.tensors) if self.declared else ()))

    @cached_property
    def sizes(self) -> Mapping[str, Dim]:
        """The open sizes by name, in the order in which the inputs mention them."""
        names: dict[str, Dim] = {}
        for extent in self._extents():
            if isinstance(extent, Dim):
                names.update((name, Dim.size(name)) for name in sorted(extent.names) if name not in names)
        return names

    def _extents(self) -> Iterator[Extent]:
        """Where sizes occur: in shapes, and in the counts of layers that bring in sizes of their own (a loop's trips)."""
        for tensor in (*self.inputs.values(), *self.tensors.values()):
            yield from (tensor.nbytes,) if isinstance(tensor, Container) else tensor.shape or ()
        for layer in self.layers:
            if layer.cost is not None and (layer.cost.bodies or layer.cost.bounds):
                yield from (layer.cost.macs, layer.cost.other_flops)

    @cached_property
    def producers(self) -> Mapping[str, int]:
        """Which layer writes a tensor, by position."""
        return {name: i for i, layer in enumerate(self.layers) for name in layer.outputs if name}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[int, ...]]:
        """Which layers read a tensor, by position; each once."""
        readers: dict[str, list[int]] = {}
        for i, layer in enumerate(self.layers):
            for name in layer.reads:
                readers.setdefault(name, []).append(i)
        return {name: tuple(positions) for name, positions in readers.items()}

    @cached_property
    def running_layers(self) -> tuple[Layer, ...]:
        """The layers that do work when the network runs: not those that only prepare constants."""
        return tuple(layer for layer in self.layers if not self.is_constant(layer))

    def is_constant(self, layer: Layer) -> bool:
        """Whether a layer's results do not depend on any input, so that a runtime computes them once at load."""
        return _all_constant(self.tensors, layer.outputs)

    @cached_property
    def graph(self) -> networkx.DiGraph[int]:
        """The layers as a networkx graph: nodes are layer positions, edges carry the names of the ``tensors``."""
        import networkx

        graph: networkx.DiGraph[int] = networkx.DiGraph(name=self.name)
        graph.add_nodes_from((i, {"layer": layer}) for i, layer in enumerate(self.layers))
        for reader, layer in enumerate(self.layers):
            for name in layer.reads:
                if name in self.producers:
                    writer = self.producers[name]
                    before = graph.get_edge_data(writer, reader, {}).get("tensors", ())
                    graph.add_edge(writer, reader, tensors=(*before, name))
        return graph

    def bind(self, given: Mapping[str, int], *, complete: bool = True) -> dict[str, int]:
        """Check sizes that a caller gives against those that are open, and fill in the defaults.

        ``N`` (the first axis), ``H`` and ``W`` (of an image input) and ``S`` (of a token input) are understood for
        the axes of the first input too where the file calls them otherwise or fixes them at that very number.
        Raises UnknownSize for a name that the network does not have, for what is no whole number from 0 up, for two
        numbers for one size, and, where ``complete`` is asked for, for an open size without a value and for sizes at
        which the layers would be others.
        """
        bound: dict[str, int] = {}
        for name, value in given.items():
            target = self.size_named(name, value)
            number = _whole(value)
            if number is None:
                is_fraction = isinstance(value, (float, Fraction))
                cure = "; a fraction stays open as a quotient, as in width='w/100' with w=75" if is_fraction else ""
                raise UnknownSize(f"size {name}={value} of network {self.name!r}: sizes are whole numbers from 0 up{cure}")
            if target is not None and bound.setdefault(target, number) != number:
                raise UnknownSize(
                    f"size {name}={value}: network {self.name!r} calls that axis {target}, which is given as {bound[target]}"
                )
        for name, default in self.defaults.items():
            if name in self.sizes:
                bound.setdefault(name, default)
        missing = [name for name in self.sizes if name not in bound]
        if missing and complete:
            example = ",".join(f"{name}=1" for name in missing)
            raise UnknownSize(
                f"network {self.name!r} leaves {', '.join(missing)} open; give a number for each, as in --at {example}"
            )
        if complete:
            self._check_distinct(bound)
        return bound

    def _check_distinct(self, bound: Mapping[str, int]) -> None:
        for left, right in self.distinct:
            if value_at(left, bound) == value_at(right, bound):
                sizes = ", ".join(f"{name}={bound[name]}" for name in sorted(Dim.of(left - right).names))
                raise UnknownSize(
                    f"network {self.name!r} at {sizes}: {left} and {right} are both {value_at(left, bound)}, so its layers "
                    "are others there; build it with these parameters given as numbers"
                )

    def size_named(self, name: str, value: int) -> str | None:
        """The open size that a caller's name means, as in ``bind``; None for an axis that is fixed at this very number."""
        if name in self.sizes:
            return name
        axis = self._conventional_axis(name)
        if axis is None:
            known = f"its sizes are {', '.join(self.sizes)}" if self.sizes else "it leaves no size open"
            hint = f"; {nearest(name, self.sizes)}" if self.sizes else ""
            raise UnknownSize(f"network {self.name!r} has no size {name!r}: {known}{hint}")
        if isinstance(axis, int):
            if axis != value:
                raise UnknownSize(
                    f"size {name}={value}: network {self.name!r} fixes that axis at {axis}; "
                    f"free it with sizes (--sizes '{next(iter(self.inputs))}=...')"
                )
            return None
        sizes = sorted(axis.names)
        if axis != Dim.size(sizes[0]):
            raise UnknownSize(
                f"size {name}={value}: that axis of network {self.name!r} is {axis}; give {' and '.join(sizes)} instead"
            )
        return sizes[0]

    def _conventional_axis(self, name: str) -> Extent | None:
        first = next(iter(self.inputs.values()), None)
        shape = (first.shape if first else None) or ()
        axes = {"N": 0} if shape else {}
        if len(shape) == 4:
            axes |= {"H": 2, "W": 3}
        if len(shape) == 2:
            axes |= {"S": 1}
        return shape[axes[name]] if name in axes else None

    def with_name(self, name: str) -> Network:
        return replace(self, name=name)

    def __repr__(self) -> str:
        open_sizes = f", open: {', '.join(self.sizes)}" if self.sizes else ""
        return f"<Network {self.name!r}: {len(self.layers)} layers{open_sizes}>"


def _whole(value: object) -> int | None:
    """A whole number from 0 up as Python's own (numpy's would overflow); None for anything else."""
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None
    return number if number >= 0 else None
