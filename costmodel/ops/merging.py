"""One tensor for several: the outputs of two branches, the elements of a sequence, the states of a loop's trips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from costmodel.dims import Dim, Extent, maximum
from costmodel.errors import MalformedModel
from costmodel.graph import Element, MapOf, OptionalOf, SequenceOf, Tensor
from costmodel.ops.value_layout import Unknowns


def merged(tensors: Sequence[Tensor], unknown: Unknowns, what: str, *, weight: Dim | None = None) -> Tensor:
    """What can be said of all: an extent in which they differ becomes a new size, a rank in which they differ is unknown.

    ``weight``, a count that is 0 or 1, tells the first of two from the second; then extents and values stay exact.

    >>> n = Dim.size("N")
    >>> merged([Tensor("int64", (n, 3)), Tensor("int64", (n, 4))], Unknowns("if"), "output").shape
    (Dim('N'), Dim("'if.output_axis1'"))
    """
    if all(other == tensors[0] for other in tensors):
        return tensors[0]
    result = _Merger(unknown, weight).merge(tensors, what)
    return replace(result, constant=all(tensor.constant for tensor in tensors))


@dataclass(frozen=True, slots=True)
class _Merger:
    unknown: Unknowns
    weight: Dim | None

    def merge(self, tensors: Sequence[Any], place: str) -> Tensor:
        first = tensors[0]
        if any(type(tensor) is not type(first) or tensor.dtype != first.dtype for tensor in tensors):
            kinds = ", ".join(getattr(tensor, "kind", tensor.dtype) for tensor in tensors)
            raise MalformedModel(f"values of different types ({kinds}) stand in one place")
        if isinstance(first, SequenceOf):
            return self._sequences(tensors, place)
        if isinstance(first, OptionalOf):
            return self._optionals(tensors, place)
        if isinstance(first, MapOf):
            return MapOf.of(first.key_dtype, first.dtype, self._extent([x.length for x in tensors], f"{place}_length"))
        return self._tensors(tensors, place)

    def _tensors(self, tensors: Sequence[Tensor], place: str) -> Tensor:
        first = tensors[0]
        if any(x.shape is None for x in tensors) or len({x.rank for x in tensors}) > 1:
            return Tensor(first.dtype, None)
        columns = zip(*(x.dims for x in tensors), strict=True)
        shape = tuple(self._extent(column, f"{place}_axis{axis}") for axis, column in enumerate(columns))
        if any(x.value is None or x.shape != first.shape for x in tensors):
            return Tensor(first.dtype, shape)
        value = tuple(self._element(column) for column in zip(*(x.value or () for x in tensors), strict=True))
        return Tensor(first.dtype, shape, value if any(element is not None for element in value) else None)

    def _sequences(self, tensors: Sequence[SequenceOf], place: str) -> Tensor:
        known = {x.elements for x in tensors}
        filled = [x.element for x in tensors if x.length != 0] or [tensors[0].element]
        length = self._extent([x.length for x in tensors], f"{place}_length")
        return SequenceOf.of(self.merge(filled, f"{place}_element"), length, known.pop() if len(known) == 1 else None)

    def _optionals(self, tensors: Sequence[OptionalOf], place: str) -> Tensor:
        presence = {x.is_present for x in tensors}
        filled = [x.element for x in tensors if x.is_present is not False] or [tensors[0].element]
        return OptionalOf.of(self.merge(filled, place), presence.pop() if len(presence) == 1 else None)

    def _extent(self, extents: Sequence[Extent], place: str) -> Extent:
        if all(extent == extents[0] for extent in extents):
            return extents[0]
        return self._weighed(extents) or self.unknown.extent(place, at_most=maximum(*extents))

    def _element(self, elements: Sequence[Element]) -> Element:
        if all(element == elements[0] for element in elements):
            return elements[0]
        return self._weighed(elements)

    def _weighed(self, pair: Sequence[Any]) -> Extent | None:
        if self.weight is None or not all(isinstance(count, (int, Dim)) for count in pair):
            return None
        first, second = pair
        weighed: Extent = self.weight * first + (1 - self.weight) * second
        return weighed
