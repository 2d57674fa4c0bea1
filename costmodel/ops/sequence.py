"""Sequences and optionals: values that hold tensors. The ops move references or copy; none of them calculates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from costmodel.dims import Extent, ceil_divide, total
from costmodel.errors import MalformedModel
from costmodel.graph import Cost, OptionalOf, SequenceOf, Tensor, dtype_numbered
from costmodel.ops.control import with_bodies
from costmodel.ops.merging import merged
from costmodel.ops.registry import rule
from costmodel.ops.shapes import normal_axis, same
from costmodel.ops.value_layout import Unknowns, extent_of, extents

MAX_ELEMENTS = 256  # of a sequence whose elements are told apart


def sequence_of(elements: Sequence[Tensor], unknown: Unknowns) -> SequenceOf:
    """A sequence of at least one known element."""
    shared = merged(elements, unknown, "element")
    kept = [replace(element, constant=False) for element in elements]
    return SequenceOf.of(replace(shared, constant=False), len(elements), kept if len(kept) <= MAX_ELEMENTS else None)


def _sequence(value: Tensor) -> SequenceOf:
    if not isinstance(value, SequenceOf):
        raise MalformedModel(f"a sequence is needed here, not a {getattr(value, 'kind', 'tensor')}")
    return value


@rule("SequenceEmpty", since=11)
def sequence_empty(*, dtype=1):
    """No arithmetic; there is nothing in it."""
    return Cost((SequenceOf.of(Tensor(dtype_numbered(dtype), None), 0, ()),))


@rule("SequenceConstruct", since=11)
def sequence_construct(*inputs, name):
    """No arithmetic; a copy of every tensor."""
    unknown = Unknowns(name)
    return Cost((sequence_of(inputs, unknown),), bounds=unknown.bounds)


@rule("SequenceLength", since=11)
def sequence_length(input_sequence):
    """No arithmetic; the length is known."""
    length = _sequence(input_sequence).length
    return Cost((Tensor("int64", (), (length,)),), reads=(0,))


def _place(position: Tensor | None, length: Extent, *, last: Extent) -> int | None:
    """The position from 0 up, if it and, where it counts from the end, the length are numbers."""
    place = last if position is None else extent_of(position)
    if isinstance(place, int) and place < 0 and isinstance(length, int):
        place += length
    return place if isinstance(place, int) and place >= 0 else None


@rule("SequenceAt", since=11)
def sequence_at(input_sequence, position):
    """No arithmetic; a copy of one element."""
    sequence = _sequence(input_sequence)
    place = _place(position, sequence.length, last=0)
    if sequence.elements is None or place is None:
        return Cost((replace(sequence.element, constant=False),), reads=(_numbers(sequence.element), 1), not_learnable=(1,))
    if place >= len(sequence.elements):
        raise MalformedModel(f"there is no element {place} in a sequence of {len(sequence.elements)}")
    chosen = sequence.elements[place]
    return Cost((chosen,), reads=(_numbers(chosen), 1), not_learnable=(1,))


def _numbers(element: Tensor) -> Extent:
    return element.size if element.shape is not None else 0


@rule("SequenceInsert", since=11)
def sequence_insert(input_sequence, tensor, position=None, *, name):
    """No arithmetic; a copy of the tensor."""
    sequence = _sequence(input_sequence)
    unknown = Unknowns(name)
    place = _place(position, sequence.length, last=sequence.length)
    if sequence.elements is not None and place is not None and len(sequence.elements) < MAX_ELEMENTS:
        elements = [*sequence.elements[:place], tensor, *sequence.elements[place:]]
        return Cost((sequence_of(elements, unknown),), not_learnable=(2,), bounds=unknown.bounds)
    pair = [tensor] if sequence.length == 0 else [sequence.element, tensor]
    element = replace(merged(pair, unknown, "element"), constant=False)
    return Cost((SequenceOf.of(element, sequence.length + 1),), not_learnable=(2,), bounds=unknown.bounds)


@rule("SequenceErase", since=11)
def sequence_erase(input_sequence, position=None):
    """No arithmetic; the others stay."""
    sequence = _sequence(input_sequence)
    place = _place(position, sequence.length, last=-1)
    known = sequence.elements
    if known is not None and place is not None:
        if place >= len(known):
            raise MalformedModel(f"there is no element {place} in a sequence of {len(known)}")
        known = (*known[:place], *known[place + 1 :])
    else:
        known = None
    return Cost((SequenceOf.of(sequence.element, sequence.length - 1, known),), not_learnable=(1,))


@rule("SplitToSequence", since=11)
def split_to_sequence(x, split=None, *, axis=0, keepdims=1, name):
    """No arithmetic; a copy."""
    unknown = Unknowns(name)
    along = normal_axis(axis, x.rank)
    before, extent, after = x.dims[:along], x.dims[along], x.dims[along + 1 :]

    def part(size: Extent) -> Tensor:
        return Tensor(x.dtype, (*before, size, *after))

    if split is None:
        piece = part(1) if keepdims else x.to((*before, *after))
        return Cost((_repeated(piece, extent),))
    if split.rank == 0:
        size = extent_of(split)
        if size is None:
            length = unknown.extent("length", at_most=extent)
            return Cost(
                (SequenceOf.of(part(unknown.extent("part", at_most=extent)), length),),
                not_learnable=(1,),
                bounds=unknown.bounds,
            )
        return Cost((_chunks(part, extent, size, unknown),), not_learnable=(1,), bounds=unknown.bounds)
    sizes = extents(split)
    if sizes is None:
        parts = SequenceOf.of(part(unknown.extent("part", at_most=extent)), split.size)
    else:
        filled = unknown.filled(sizes, at_most=extent)
        if None not in sizes:
            same(total(filled), extent, "the sum of the parts and the extent that is split")
        parts = sequence_of([part(size) for size in filled], unknown)
    return Cost((parts,), not_learnable=(1,), bounds=unknown.bounds)


def _repeated(piece: Tensor, length: Extent) -> SequenceOf:
    known = (piece,) * length if isinstance(length, int) and length <= MAX_ELEMENTS else None
    return SequenceOf.of(piece, length, known)


def _chunks(part, extent: Extent, size: Extent, unknown: Unknowns) -> SequenceOf:
    """Parts of one size; the last may be smaller."""
    length = ceil_divide(extent, size)
    rest = extent - (length - 1) * size
    if rest == size:
        return _repeated(part(size), length)
    if isinstance(length, int) and length <= MAX_ELEMENTS:
        return sequence_of([part(size)] * (length - 1) + [part(rest)], unknown)
    return SequenceOf.of(merged([part(size), part(rest)], unknown, "element"), length)


@rule("ConcatFromSequence", since=11)
def concat_from_sequence(input_sequence, *, axis, new_axis=0):
    """No arithmetic; a copy."""
    sequence = _sequence(input_sequence)
    rank = sequence.element.rank
    if new_axis:
        shape = list(sequence.element.dims)
        shape.insert(normal_axis(axis, rank + 1), sequence.length)
        return Cost((sequence.element.to(shape),))
    along = normal_axis(axis, rank)
    shape = list(sequence.element.dims)
    if sequence.elements is None:
        shape[along] = sequence.length * shape[along]
    else:
        shape[along] = total(element.dims[along] for element in sequence.elements)
    return Cost((sequence.element.to(shape),))


@rule("SequenceMap", since=17)
def sequence_map(input_sequence, *additional_inputs, body, name, run_body):
    """What the body counts, summed over the elements."""
    unknown = Unknowns(name)
    given = (_sequence(input_sequence), *additional_inputs)
    sequences = [value for value in given if isinstance(value, SequenceOf)]
    length = sequences[0].length
    for sequence in sequences:
        length = same(length, sequence.length, "the lengths of the sequences")

    def run(place: int | None):
        return run_body(body, [_element(value, place) for value in given], called="body")

    alike = all(sequence.elements is None or len(set(sequence.elements)) == 1 for sequence in sequences)
    if alike or not isinstance(length, int):
        once = run(None)
        outputs = [_repeated(replace(result, constant=False), length) for result in once.results]
        return with_bodies(outputs, [once.repeated(length)], unknown)
    runs = [run(place) for place in range(length)]
    outputs = [sequence_of(results, unknown) for results in zip(*(one.results for one in runs), strict=True)]
    return with_bodies(outputs, runs, unknown)


def _element(value: Tensor, place: int | None) -> Tensor:
    if not isinstance(value, SequenceOf):
        return value
    return value.element if place is None or value.elements is None else value.elements[place]


# -- optionals ----------------------------------------------------------------------------------------------------


@rule("Optional", since=15)
def optional(x=None, *, type=None):  # noqa: A002 - ONNX's name
    """No arithmetic; the value itself, or nothing."""
    if x is not None:
        return Cost((OptionalOf.of(replace(x, constant=False), True),))
    if type is None:
        raise MalformedModel("an Optional without an input needs the attribute type")
    return Cost((OptionalOf.of(type, False),))


@rule("OptionalHasElement", since=15)
def optional_has_element(x=None):
    """No arithmetic; whether there is a value."""
    present = x.is_present if isinstance(x, OptionalOf) else x is not None
    return Cost((Tensor("bool", (), None if present is None else (int(present),)),), reads=(0,))


@rule("OptionalGetElement", since=15)
def optional_get_element(x):
    """No arithmetic; the value itself."""
    if isinstance(x, OptionalOf) and x.is_present is False:
        raise MalformedModel("there is no element in the optional")
    return Cost((replace(x.element if isinstance(x, OptionalOf) else x, constant=False),), view_of=0)
