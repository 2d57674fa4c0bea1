"""What the parts of a candidate may be: a choice, a row of parts, several of one kind, or one that bounds the next.

An axis knows how many values it has, draws one, lists all, and writes each as whole numbers (its encoding), so that a
search space is no more than a record and an axis for each of its fields.

>>> units = Several(Row((Choice((3, 5, 7)), Choice((3, 4, 6)))), counts=(2, 3, 4))
>>> units.size  # 9 ** 2 + 9 ** 3 + 9 ** 4
7371
>>> units.encode(((3, 6), (7, 3)))
[0, 0, 2, 2, 0, 0, 0, 0, 0]
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from costmodel.errors import InvalidChoice, nearest


class Axis(Protocol):
    """All values that a part of a candidate may have; ``size`` is their number, ``width`` that of the numbers that
    encode one.
    """

    @property
    def size(self) -> int: ...

    @property
    def width(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def sample(self, rng: np.random.Generator) -> Any:
        """One value; every choice within it is drawn uniformly."""

    def check(self, value: Any, place: str) -> None:
        """Raise InvalidChoice, with the place and the nearest value, for what is not on the axis."""

    def encode(self, value: Any) -> list[int]:
        """The value as whole numbers: positions among choices, numbers of parts; 0 for parts that are not there."""

    def decode(self, numbers: Sequence[int], place: str) -> Any:
        """The value of an encoding. Raises InvalidChoice for a number out of range."""


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: Sequence[Hashable]
    width = 1

    @cached_property
    def positions(self) -> dict[Hashable, int]:
        return {value: position for position, value in enumerate(self.values)}

    @property
    def size(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def sample(self, rng: np.random.Generator) -> Any:
        return self.values[int(rng.integers(len(self.values)))]

    def check(self, value: Any, place: str) -> None:
        try:
            known = value in self.positions
        except TypeError:
            raise InvalidChoice(f"{place}: {value!r} is no value but a collection; give tuples for lists") from None
        if not known:
            raise InvalidChoice(f"{place}: there is no choice {value!r}; {_nearest(value, self.values)}")

    def encode(self, value: Any) -> list[int]:
        return [self.positions[value]]

    def decode(self, numbers: Sequence[int], place: str) -> Any:
        (position,) = numbers
        if not 0 <= position < len(self.values):
            raise InvalidChoice(f"{place}: {position} numbers none of the {len(self.values)} choices, which count from 0")
        return self.values[position]


@dataclass(frozen=True)
class Row:
    """A tuple with a part on each of some axes."""

    axes: tuple[Axis, ...]

    @cached_property
    def size(self) -> int:
        return math.prod(axis.size for axis in self.axes)

    @cached_property
    def width(self) -> int:
        return sum(axis.width for axis in self.axes)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return _products(self.axes)

    def sample(self, rng: np.random.Generator) -> tuple[Any, ...]:
        return tuple([axis.sample(rng) for axis in self.axes])

    def check(self, value: Any, place: str) -> None:
        _check_length(value, (len(self.axes),), place)
        for i, (axis, part) in enumerate(zip(self.axes, value, strict=True)):
            axis.check(part, f"{place}[{i}]")

    def encode(self, value: Any) -> list[int]:
        return [number for axis, part in zip(self.axes, value, strict=True) for number in axis.encode(part)]

    def decode(self, numbers: Sequence[int], place: str) -> tuple[Any, ...]:
        rest = iter(numbers)
        return tuple(
            [axis.decode(list(itertools.islice(rest, axis.width)), f"{place}[{i}]") for i, axis in enumerate(self.axes)]
        )


@dataclass(frozen=True)
class Several:
    """A tuple of parts on one axis, as many as one of ``counts``; with more than one of these, the encoding begins
    with the count's position.
    """

    axis: Axis
    counts: tuple[int, ...]

    @cached_property
    def size(self) -> int:
        return sum(self.axis.size**count for count in self.counts)

    @cached_property
    def width(self) -> int:
        return max(self.counts) * self.axis.width + self._varies

    @property
    def _varies(self) -> bool:
        return len(self.counts) > 1

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return itertools.chain.from_iterable(_products([self.axis] * count) for count in self.counts)

    def sample(self, rng: np.random.Generator) -> tuple[Any, ...]:
        count = self.counts[int(rng.integers(len(self.counts)))] if self._varies else self.counts[0]
        return tuple([self.axis.sample(rng) for _ in range(count)])

    def check(self, value: Any, place: str) -> None:
        _check_length(value, self.counts, place)
        for i, part in enumerate(value):
            self.axis.check(part, f"{place}[{i}]")

    def encode(self, value: Any) -> list[int]:
        numbers = [self.counts.index(len(value))] if self._varies else []
        for part in value:
            numbers += self.axis.encode(part)
        return numbers + [0] * (self.width - len(numbers))

    def decode(self, numbers: Sequence[int], place: str) -> tuple[Any, ...]:
        rest = iter(numbers)
        count = Choice(self.counts).decode([next(rest)], f"{place}: count") if self._varies else self.counts[0]
        return tuple(
            [self.axis.decode(list(itertools.islice(rest, self.axis.width)), f"{place}[{i}]") for i in range(count)]
        )


@dataclass(frozen=True)
class Then:
    """A pair: a value of ``first``, and one on the axis that a function gives for it, which encodes as one number.

    >>> pairs = Then(Choice((4, 8)), lambda width: Choice(range(1, 16 // width + 1)))
    >>> list(pairs)
    [(4, 1), (4, 2), (4, 3), (4, 4), (8, 1), (8, 2)]
    """

    first: Axis
    second: Callable[[Any], Choice]

    @cached_property
    def size(self) -> int:
        return sum(self.second(value).size for value in self.first)

    @property
    def width(self) -> int:
        return self.first.width + 1

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return ((value, other) for value in self.first for other in self.second(value))

    def sample(self, rng: np.random.Generator) -> tuple[Any, Any]:
        value = self.first.sample(rng)
        return value, self.second(value).sample(rng)

    def check(self, value: Any, place: str) -> None:
        _check_length(value, (2,), place)
        first, second = value
        self.first.check(first, f"{place}[0]")
        self.second(first).check(second, f"{place}[1]")

    def encode(self, value: Any) -> list[int]:
        first, second = value
        return [*self.first.encode(first), *self.second(first).encode(second)]

    def decode(self, numbers: Sequence[int], place: str) -> tuple[Any, Any]:
        *most, last = numbers
        first = self.first.decode(most, f"{place}[0]")
        return first, self.second(first).decode([last], f"{place}[1]")


def _products(axes: Sequence[Axis]) -> Iterator[tuple[Any, ...]]:
    """As itertools.product, without a copy of every axis: the first of a large space is there at once."""
    if not axes:
        return iter([()])
    first, *rest = axes
    return ((value, *others) for value in first for others in _products(rest))


def _check_length(value: Any, counts: tuple[int, ...], place: str) -> None:
    wanted = " or ".join(map(str, counts))
    if not isinstance(value, tuple):
        raise InvalidChoice(f"{place}: {value!r} must be a tuple of {wanted}, not {type(value).__name__}")
    if len(value) not in counts:
        raise InvalidChoice(f"{place}: {value!r} has {len(value)} parts, not {wanted}")


def _nearest(value: Any, values: Iterable[Any]) -> str:
    known = list(values)
    if isinstance(value, (int, float)) and all(isinstance(other, (int, float)) for other in known):
        return f"the nearest is {min(known, key=lambda other: abs(other - value))}"
    return nearest(str(value), map(str, known))
