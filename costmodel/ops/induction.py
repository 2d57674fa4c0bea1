"""What a loop carries from trip to trip, as functions of the trip's number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from costmodel.dims import Dim, Extent
from costmodel.errors import MalformedModel
from costmodel.graph import Body, MapOf, OptionalOf, SequenceOf, Tensor
from costmodel.ops.value_layout import Unknowns


@dataclass(frozen=True, slots=True)
class Induction:
    """The states of a loop as functions of ``trip``, a size that numbers the trips from 1 on.

    A number (an extent, or an element of a small tensor) that the first trip leaves as it is stays; one that it raises
    is taken to rise by as much in every trip. The next look at the body confirms that, or the extent becomes a new size
    and the element unknown; so the search ends.
    """

    trip: str
    unknown: Unknowns

    @property
    def number(self) -> Dim:
        return Dim.size(self.trip)

    def solve(
        self, run: Callable[[Sequence[Tensor]], Body], initial: Sequence[Tensor], *, first_output: int
    ) -> tuple[Body, list[Tensor]]:
        """The body in any trip, and its states there; their successors are its results from ``first_output`` on."""
        states = list(initial)
        while True:
            body = run(states)
            results = body.results[first_output : first_output + len(states)]
            found = [
                self._state(start, state, result, f"state{i}")
                for i, (start, state, result) in enumerate(zip(initial, states, results, strict=True))
            ]
            if found == states:
                return body, states
            states = found

    def after(self, trips: Extent, states: Sequence[Tensor]) -> list[Tensor]:
        """The states behind the last trip: those that one more would find."""
        following = {self.trip: trips + 1}
        return [state.mapped(lambda count: count.subs(following) if isinstance(count, Dim) else count) for state in states]

    def _state(self, start: Any, state: Any, result: Any, place: str) -> Tensor:
        if type(start) is not type(result) or start.dtype != result.dtype:
            raise MalformedModel(f"{place} goes into the body as {_type_text(start)} and comes back as {_type_text(result)}")
        constant = state.constant and result.constant
        if isinstance(start, SequenceOf):
            length = self._extent(start.length, state.length, result.length, f"{place}_length")
            if start.length == 0 and state == start:
                return SequenceOf.of(result.element, length)
            element = self._state(start.element if start.length else state.element, state.element, result.element, place)
            kept = state.elements if state.elements == result.elements else None
            return replace(SequenceOf.of(element, length, kept), constant=constant)
        if isinstance(start, OptionalOf):
            element = self._state(start.element, state.element, result.element, place)
            present = state.is_present if state.is_present == result.is_present else None
            return replace(OptionalOf.of(element, present), constant=constant)
        if isinstance(start, MapOf):
            length = self._extent(start.length, state.length, result.length, f"{place}_length")
            return replace(MapOf.of(start.key_dtype, start.dtype, length), constant=constant)
        return self._tensor(start, state, result, place, constant=constant)

    def _tensor(self, start: Tensor, state: Tensor, result: Tensor, place: str, *, constant: bool) -> Tensor:
        if state.shape is None or result.shape is None or state.rank != result.rank or start.shape is None:
            return Tensor(start.dtype, None, constant=constant)
        columns = enumerate(zip(start.shape, state.shape, result.shape, strict=True))
        shape = tuple(self._extent(*column, f"{place}_axis{axis}") for axis, column in columns)
        value = None
        if state.value is not None and result.value is not None and start.value is not None and shape == state.shape:
            elements = zip(start.value, state.value, result.value, strict=True)
            value = tuple(self._element(*column) for column in elements)
        known = value is not None and any(element is not None for element in value)
        return Tensor(start.dtype, shape, value if known else None, constant)

    def _extent(self, start: Extent, state: Extent, result: Extent, place: str) -> Extent:
        found = self._number(start, state, result)
        return self.unknown.extent(place) if found is None else found

    def _element(self, start: Any, state: Any, result: Any) -> Any:
        if all(isinstance(element, (int, Dim)) for element in (start, state, result)):
            return self._number(start, state, result)
        return state if state == result else None

    def _number(self, start: Extent, state: Extent, result: Extent) -> Extent | None:
        """The count as a function of the trip; None where no trip-by-trip rule shows."""
        if result == self._next(state):
            return state
        if state != start:
            return None
        step = result - start
        if isinstance(step, Dim) and self.trip in step.names:
            return None
        return start + (self.number - 1) * step

    def _next(self, extent: Extent) -> Extent:
        return extent.subs({self.trip: self.number + 1}) if isinstance(extent, Dim) else extent


def _type_text(tensor: Tensor) -> str:
    return tensor.dtype if type(tensor) is Tensor else getattr(tensor, "kind", tensor.dtype)

