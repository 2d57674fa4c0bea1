"""What a loop carries from trip to trip, as functions of the trip's number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
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
    (``invented`` holds them) and the element unknown; so the search ends.
    """

    trip: str
    unknown: Unknowns
    invented: list[Extent] = field(default_factory=list)

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
        if isinstance(start, OptionalOf) and not isinstance(result, OptionalOf):
            result = OptionalOf.of(result, True)
        if type(start) is not type(result) or start.dtype != result.dtype:
            raise MalformedModel(f"{place} goes into the body as {_type_text(start)} and comes back as {_type_text(result)}")
        found = _FORMS.get(type(start), Induction._tensor)(self, start, state, result, place)
        return replace(found, constant=state.constant and result.constant)

    def _sequence(self, start: SequenceOf, state: SequenceOf, result: SequenceOf, place: str) -> Tensor:
        length = self._extent(start.length, state.length, result.length, f"{place}_length")
        if start.length == 0 and state == start:
            return SequenceOf.of(result.element, length)
        element = self._state(start.element if start.length else state.element, state.element, result.element, place)
        return SequenceOf.of(element, length, state.elements if state.elements == result.elements else None)

    def _optional(self, start: OptionalOf, state: OptionalOf, result: OptionalOf, place: str) -> Tensor:
        first, former = (result.element if x.is_present is False else x.element for x in (start, state))
        present = state.is_present if state.is_present == result.is_present else None
        return OptionalOf.of(self._state(first, former, result.element, place), present)

    def _map(self, start: MapOf, state: MapOf, result: MapOf, place: str) -> Tensor:
        length = self._extent(start.length, state.length, result.length, f"{place}_length")
        return MapOf.of(start.key_dtype, start.dtype, length)

    def _tensor(self, start: Tensor, state: Tensor, result: Tensor, place: str) -> Tensor:
        if state.shape is None or result.shape is None or state.rank != result.rank or start.shape is None:
            return Tensor(start.dtype, None)
        columns = enumerate(zip(start.shape, state.shape, result.shape, strict=True))
        shape = tuple(self._extent(*column, f"{place}_axis{axis}") for axis, column in columns)
        value = None
        if state.value is not None and result.value is not None and start.value is not None and shape == state.shape:
            elements = zip(start.value, state.value, result.value, strict=True)
            value = tuple(self._element(*column) for column in elements)
        known = value is not None and any(element is not None for element in value)
        return Tensor(start.dtype, shape, value if known else None)

    def _extent(self, start: Extent, state: Extent, result: Extent, place: str) -> Extent:
        found = state if state in self.invented else self._number(start, state, result)
        if found is None:
            found = self.unknown.extent(place)
            self.invented.append(found)
        return found

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


_FORMS: dict[type, Callable[..., Tensor]] = {
    SequenceOf: Induction._sequence,
    OptionalOf: Induction._optional,
    MapOf: Induction._map,
}


def _type_text(tensor: Tensor) -> str:
    return tensor.dtype if type(tensor) is Tensor else getattr(tensor, "kind", tensor.dtype)

