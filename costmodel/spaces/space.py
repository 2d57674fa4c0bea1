"""A search space: a record of what can be chosen, and a function that builds the network of a choice.

>>> from typing import NamedTuple
>>> from costmodel.spaces.axes import Choice
>>> class Plain(NamedTuple):
...     depth: int
...     width: int
>>> def define(b, candidate):
...     x = b.input("x", ("N", 3, 32, 32))
...     for _ in range(candidate.depth):
...         x = b.relu(b.conv(x, candidate.width, kernel=3, padding="half"))
...     return b.linear(b.flatten(b.global_average_pool(x)), 10)
>>> plain = Space("plain", Plain, {"depth": Choice(range(1, 6)), "width": Choice((16, 32, 64))}, define)
>>> plain.size, plain.network(Plain(depth=2, width=32))
(15, <Network 'plain': 7 layers, open: N>)
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from costmodel.build import Builder
from costmodel.errors import CostModelError, InvalidChoice, ParseError
from costmodel.graph import Network
from costmodel.spaces.axes import Axis, Row

Candidate = TypeVar("Candidate", bound=tuple[Any, ...])


class Text(NamedTuple):
    """How a field writes its candidates. ``read`` raises ValueError, with what is wrong, for what it cannot read."""

    form: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]


@dataclass(frozen=True, eq=False)
class Space(Generic[Candidate]):
    """The candidates of a search and how their networks are built.

    ``record`` is a NamedTuple with a field for each of ``axes``; a candidate is one of its instances. ``define`` adds the
    candidate's layers to a builder and returns the output. ``defaults`` gives numbers for the sizes that the networks leave
    open, ``text`` the form in which the field writes candidates (else they are JSON objects).
    """

    name: str
    record: type[Candidate]
    axes: Mapping[str, Axis]
    define: Callable[[Builder, Candidate], str]
    defaults: Mapping[str, int] = field(default_factory=lambda: {"N": 1})
    text: Text | None = None

    @cached_property
    def _row(self) -> Row:
        return Row(tuple(self.axes.values()))

    @property
    def size(self) -> int:
        """The number of candidates."""
        return self._row.size

    def __iter__(self) -> Iterator[Candidate]:
        """All candidates; the last field changes first."""
        return map(self._made, self._row)

    def __contains__(self, candidate: object) -> bool:
        try:
            self.check(candidate)
        except InvalidChoice:
            return False
        return True

    def check(self, candidate: Any) -> None:
        """Raise InvalidChoice, with the field and the nearest value, for what is no candidate."""
        if not isinstance(candidate, self.record):
            wanted = f"{self.record.__name__}({', '.join(self.axes)})"
            raise InvalidChoice(f"{self.name}: a candidate is a {wanted}, not {candidate!r}")
        for (name, axis), part in zip(self.axes.items(), candidate, strict=True):
            axis.check(part, f"{self.name}: {name}")

    def sample(self, rng: np.random.Generator | int | None = None) -> Candidate:
        """A candidate, every choice drawn uniformly: by a numpy generator, or from a seed."""
        return self._made(self._row.sample(np.random.default_rng(rng)))

    def network(self, candidate: Candidate, **sizes: int) -> Network:
        """The network of a candidate; ``sizes`` fixes some of the sizes that it leaves open, such as ``N=1``.

        Raises InvalidChoice for what is no candidate and UnknownSize for a size that the network does not have.
        """
        self.check(candidate)
        b = Builder(self.name, sizes=sizes)
        return b.finish(self.define(b, candidate), defaults=self.defaults)

    def encode(self, candidate: Candidate) -> NDArray[np.int64]:
        """The candidate as a vector of whole numbers, all of one length: the position of each choice on its axis."""
        self.check(candidate)
        return np.array(self._row.encode(candidate), dtype=np.int64)

    def decode(self, vector: Sequence[int] | NDArray[Any]) -> Candidate:
        """The candidate of a vector. Raises InvalidChoice for a wrong length or a position that is not there."""
        numbers = [int(number) for number in vector]
        if len(numbers) != self._row.width:
            raise InvalidChoice(f"{self.name}: a candidate is encoded as {self._row.width} numbers, not {len(numbers)}")
        return self._made(self._row.decode(numbers, self.name))

    def parse(self, text: str) -> Candidate:
        """The candidate that a text names; raises ParseError for one that does not follow the form.

        A text in the form that names no candidate of this space raises InvalidChoice.
        """
        form = self.text.form if self.text else json.dumps(dict.fromkeys(self.axes, "..."))
        try:
            candidate = self.text.read(text) if self.text else self._from_json(text)
        except CostModelError:
            raise
        except (ValueError, TypeError, KeyError) as error:
            raise ParseError(f"{self.name}: {text!r} does not name a candidate ({error}); write it as {form}") from None
        self.check(candidate)
        return candidate

    def format(self, candidate: Candidate) -> str:
        """The text that ``parse`` reads."""
        self.check(candidate)
        return self.text.write(candidate) if self.text else json.dumps(dict(zip(self.axes, candidate, strict=True)))

    def _from_json(self, text: str) -> Candidate:
        fields = json.loads(text)
        if not isinstance(fields, dict) or fields.keys() != self.axes.keys():
            raise ValueError(f"it must have exactly the fields {', '.join(self.axes)}")
        return self._made([frozen(fields[name]) for name in self.axes])

    def _made(self, parts: Any) -> Candidate:
        return self.record(*parts)

    def __repr__(self) -> str:
        size = str(self.size) if self.size < 10**9 else f"about 10**{math.log10(self.size):.0f}"
        return f"<Space {self.name!r}: {size} candidates>"


def frozen(value: Any) -> Any:
    """Lists as tuples, at any depth."""
    return tuple(map(frozen, value)) if isinstance(value, (list, tuple)) else value
