"""Integer polynomials in named sizes, the numbers that everything is counted with.

A count is either a plain ``int`` or a :class:`Dim`: a polynomial with integer coefficients whose variables are
*atoms*: a named size, or the floor of a quotient, the maximum or the minimum of other counts. Sizes are integers
that are at least 1 (a runtime may bind 0 to an empty axis; evaluation accepts that).

Canonical form makes equal counts equal objects: multiples of the divisor leave a floor, nested floors merge, and
quotients that are exact divide. So the extent of a feature map after five strided convolutions is one atom:

>>> h = Dim.size("H")
>>> for _ in range(5):
...     h = (h + 2 - 3) // 2 + 1
>>> h
Dim('(H + 31)//32')
>>> (h * h * 64).at(H=224)
3136
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Union, cast

from costmodel.errors import ParseError, UnknownSize

if TYPE_CHECKING:
    import sympy

Extent = Union[int, "Dim"]
Monomial = tuple[tuple["Atom", int], ...]

RESERVED = ("floor", "ceil", "max", "min")
MAX_TERMS = 256  # of a sum that has no closed form here


class Atom:
    """A variable of the polynomial: a size, or a floor, max or min of other counts. Equal by its printed text."""

    __slots__ = ("_hash", "args", "kind", "text")

    def __init__(self, kind: str, args: tuple[Any, ...], text: str) -> None:
        self.kind = kind
        self.args = args
        self.text = text
        self._hash = hash((kind, text))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Atom) and self.text == other.text and self.kind == other.kind)

    def __reduce__(self) -> tuple[Any, ...]:
        return Atom, (self.kind, self.args, self.text)

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        if self.kind == "size":
            try:
                return sizes[self.args[0]]
            except KeyError:
                raise UnknownSize(f"size {self.text} has no value; give it, as in .at({self.text}=1)") from None
        values = [value_at(arg, sizes) for arg in self.args]
        if self.kind == "floor":
            if values[1] == 0:
                raise UnknownSize(f"{self.text}: the divisor is 0 at {dict(sizes)}")
            return values[0] // values[1]
        return max(values) if self.kind == "max" else min(values)


class Dim:
    """A count with sizes left open. Immutable, hashable; arithmetic gives ``int`` where nothing is open.

    >>> n, s = Dim.size("N"), Dim.size("S")
    >>> (n * s * 768) // (n * s)
    768
    >>> str(4 * n * (s + 1) // 2)
    '2*N*S + 2*N'
    >>> Dim.parse("max(N, 4)*'seq.len'").at({"N": 2, "seq.len": 3})
    12
    """

    __slots__ = ("_hash", "_text", "terms")

    terms: Mapping[Monomial, int]

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        self.terms = terms
        self._hash: int | None = None
        self._text: str | None = None

    @staticmethod
    def size(name: str) -> Dim:
        """The open size of this name."""
        return _size(name)

    @staticmethod
    def of(value: Extent) -> Dim:
        """The same count as a Dim, also where it is a plain number.

        >>> Dim.of(7).at()
        7
        """
        return value if isinstance(value, Dim) else Dim({(): value} if value else {})

    @staticmethod
    def parse(text: str) -> Extent:
        """Read what ``str`` prints. Names that are not identifiers stand in single quotes.

        >>> Dim.parse("(H - 1)//2 + 1")
        Dim('(H + 1)//2')

        Raises ParseError with the position of the fault.
        """
        from costmodel.expressions import parse

        return parse(text)

    @property
    def names(self) -> frozenset[str]:
        """The sizes that the count depends on."""
        return frozenset(_names(self))

    @property
    def expr(self) -> sympy.Expr:
        """The same polynomial as a sympy expression over positive integer symbols."""
        from costmodel.expressions import to_sympy

        return to_sympy(self)

    def at(self, values: Mapping[str, int] | None = None, /, **sizes: int) -> int:
        """The exact integer at one point; sizes that are not part of the count are ignored.

        >>> Dim.size("N").at(N=8, H=224)
        8
        """
        return value_at(self, {**(values or {}), **sizes})

    def subs(self, values: Mapping[str, Extent]) -> Extent:
        """The count with some sizes replaced by numbers or by other counts.

        >>> (Dim.size("H") // 32).subs({"H": 224})
        7
        """
        return _substitute(self, values, {})

    # -- arithmetic ---------------------------------------------------------------------------------------------

    def __add__(self, other: Extent) -> Extent:
        if isinstance(other, int):
            if not other:
                return self
            terms = dict(self.terms)
            terms[()] = terms.get((), 0) + other
            if not terms[()]:
                del terms[()]
            return _made(terms)
        if not isinstance(other, Dim):
            return NotImplemented
        terms = dict(self.terms)
        for monomial, coefficient in other.terms.items():
            total = terms.get(monomial, 0) + coefficient
            if total:
                terms[monomial] = total
            else:
                terms.pop(monomial, None)
        return _made(terms)

    __radd__ = __add__

    def __neg__(self) -> Extent:
        return Dim({monomial: -coefficient for monomial, coefficient in self.terms.items()})

    def __sub__(self, other: Extent) -> Extent:
        return self + -other

    def __rsub__(self, other: Extent) -> Extent:
        return -self + other

    def __mul__(self, other: Extent) -> Extent:
        if isinstance(other, int):
            if other == 1:
                return self
            return Dim({m: c * other for m, c in self.terms.items()}) if other else 0
        if not isinstance(other, Dim):
            return NotImplemented
        terms: dict[Monomial, int] = {}
        for left, a in self.terms.items():
            for right, b in other.terms.items():
                monomial = _product(left, right)
                terms[monomial] = terms.get(monomial, 0) + a * b
        return _made({monomial: c for monomial, c in terms.items() if c})

    __rmul__ = __mul__

    def __pow__(self, exponent: int) -> Extent:
        if not isinstance(exponent, int) or exponent < 0:
            raise ParseError(f"a count can be raised to whole powers of at least 0 only, not to {exponent}")
        return math.prod([self] * exponent)

    def __floordiv__(self, other: Extent) -> Extent:
        return floor_divide(self, other)

    def __rfloordiv__(self, other: Extent) -> Extent:
        return floor_divide(other, self)

    def __mod__(self, other: Extent) -> Extent:
        return self - other * floor_divide(self, other)

    def __rmod__(self, other: Extent) -> Extent:
        return other - self * floor_divide(other, self)

    # -- comparison and text ------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Dim):
            return self is other or self.terms == other.terms
        if isinstance(other, int):
            return not self.terms if other == 0 else self.terms == {(): other}
        return NotImplemented

    def __hash__(self) -> int:
        if self._hash is None:
            constant = _constant(self.terms)
            self._hash = hash(constant) if constant is not None else hash(frozenset(self.terms.items()))
        return self._hash

    def __bool__(self) -> bool:
        return bool(self.terms)

    def __int__(self) -> int:
        constant = _constant(self.terms)
        if constant is None:
            raise UnknownSize(f"{self} is not a number until {', '.join(sorted(self.names))} are given")
        return constant

    def __reduce__(self) -> tuple[Any, ...]:
        return Dim, (dict(self.terms),)

    def __str__(self) -> str:
        if self._text is None:
            self._text = _sum_text(self.terms)
        return self._text

    def __repr__(self) -> str:
        return f"Dim({str(self)!r})"


def value_at(extent: Extent, sizes: Mapping[str, int]) -> int:
    """The exact integer of a count at one point."""
    if isinstance(extent, int):
        return extent
    total = 0
    for monomial, coefficient in extent.terms.items():
        for atom, power in monomial:
            coefficient *= atom.evaluate(sizes) ** power
        total += coefficient
    return total


def floor_divide(num: Extent, den: Extent) -> Extent:
    """The floor of a quotient: exact where it divides, else a floor atom in lowest terms.

    >>> n, h = Dim.size("N"), Dim.size("H")
    >>> floor_divide(6 * n * h + 2 * n, 2 * n)
    Dim('3*H + 1')
    >>> floor_divide(floor_divide(h, 2) + 1, 3)
    Dim('(H + 2)//6')
    """
    if isinstance(den, int):
        if den == 0:
            raise ZeroDivisionError("a count was divided by 0")
        if isinstance(num, int):
            return num // den
        return floor_divide(-num, -den) if den < 0 else _floor_by_int(num, den)
    if num == 0:
        return 0
    if num == den:
        return 1
    num_reduced, den_reduced = _cancel(Dim.of(num), den)
    if isinstance(den_reduced, int):
        return floor_divide(num_reduced, den_reduced)
    quotient, remainder = _divide(Dim.of(num_reduced), den_reduced)
    if not remainder:
        return quotient
    return _atom("floor", (num_reduced, den_reduced))


def ceil_divide(num: Extent, den: Extent) -> Extent:
    """The ceiling of a quotient, as a floor: ceil(a / b) = floor((a + b - 1) / b) for a positive b.

    >>> ceil_divide(Dim.size("H"), 32)
    Dim('(H + 31)//32')
    """
    return floor_divide(num + den - 1, den)


def lowest_terms(num: Extent, den: Extent) -> tuple[Extent, Extent]:
    """A quotient without the factors that all of its terms share; the divisor is 1 where it divides.

    >>> h = Dim.size("H")
    >>> lowest_terms(6 * h, 4), lowest_terms(h * h, 2 * h), lowest_terms(h * h + h, h)
    ((Dim('3*H'), 2), (Dim('H'), 2), (Dim('H + 1'), 1))
    """
    whole = floor_divide(num, den)
    return (whole, 1) if whole * den == num else _cancel(Dim.of(num), Dim.of(den))


def maximum(*extents: Extent) -> Extent:
    """The largest count; settled at once where bounds decide it.

    >>> n = Dim.size("N")
    >>> maximum(n, 1), maximum(n + 2, n), maximum(n, 4)
    (Dim('N'), Dim('N + 2'), Dim('max(4, N)'))
    """
    return _extremum("max", extents)


def minimum(*extents: Extent) -> Extent:
    """The smallest count; settled at once where bounds decide it.

    >>> minimum(Dim.size("S"), 512)
    Dim('min(512, S)')
    """
    return _extremum("min", extents)


def bounds(extent: Extent) -> tuple[float, float]:
    """Least and greatest value that the count can take while every size is at least 1.

    >>> bounds(Dim.size("H") - 1)
    (0, inf)
    """
    if isinstance(extent, int):
        return extent, extent
    paired = _floor_difference(extent)
    if paired is not None:
        return paired
    low: float = 0
    high: float = 0
    for monomial, coefficient in extent.terms.items():
        term_low, term_high = _monomial_bounds(monomial)
        low += coefficient * (term_low if coefficient > 0 else term_high)
        high += coefficient * (term_high if coefficient > 0 else term_low)
    return low, high


def positive(extent: Extent) -> Extent:
    """1 where a count is above 0, else 0: what weighs a cost that is there only under a condition on sizes.

    >>> s = Dim.size("S")
    >>> positive(s - 32).at(S=33), positive(s + 1), positive(3 * s - 4 * s * s)
    (1, 1, 0)
    """
    low, high = _bounds_above_one(extent) if isinstance(extent, Dim) else (extent, extent)
    if low >= 1 or high <= 0:
        return int(low >= 1)
    return minimum(1, maximum(0, extent))


def summed(count: Extent, name: str, last: Extent) -> Extent:
    """The sum of a count while the size of this name runs through 1, 2, ... last.

    >>> n, k = Dim.size("N"), Dim.size("k")
    >>> summed(2 * k + 1, "k", n)
    Dim('N**2 + 2*N')

    Exact for counts up to the third power of the size, and where ``last`` is a number of at most 256; otherwise, where
    the size stands in a floor, maximum or minimum, the last value is taken for all.
    """
    if not isinstance(count, Dim) or name not in count.names:
        return count * last
    parts = _by_power(count, name)
    if parts is not None and max(parts) <= 3:
        square = last * (last + 1)
        sums = (4 * last, 2 * square, 2 * square * (2 * last + 1), square * square)
        divisors = (4, 4, 12, 4)
        return total(floor_divide(part * sums[power], divisors[power]) for power, part in parts.items())
    if isinstance(last, int) and last <= MAX_TERMS:
        return total(count.subs({name: k}) for k in range(1, last + 1))
    return count.subs({name: last}) * last


def product(extents: Iterable[Extent]) -> Extent:
    """The product of counts; 1 for none."""
    result: Extent = 1
    for extent in extents:
        result = result * extent
    return result


def total(extents: Iterable[Extent]) -> Extent:
    """The sum of many counts, gathered in one pass."""
    return weighted_total((extent, 1) for extent in extents)


def weighted_total(parts: Iterable[tuple[Extent, int]]) -> Extent:
    """The sum of many counts, each so many times, gathered in one pass.

    >>> weighted_total([(Dim.size("N"), 3), (5, 2), (Dim.size("N") + 1, 1)])
    Dim('4*N + 11')
    """
    number = 0
    terms: dict[Monomial, int] = {}
    for extent, times in parts:
        if isinstance(extent, int):
            number += extent * times
        else:
            for monomial, coefficient in extent.terms.items():
                terms[monomial] = terms.get(monomial, 0) + coefficient * times
    if not terms:
        return number
    terms[()] = terms.get((), 0) + number
    return _made({monomial: c for monomial, c in terms.items() if c})


# -- how it works -----------------------------------------------------------------------------------------------


def _bounds_above_one(dim: Dim) -> tuple[float, float]:
    """Bounds from writing every size as 1 and the rest above it: then what has one sign everywhere cannot cancel."""
    rest: Extent = 0
    for monomial, coefficient in dim.terms.items():
        term: Extent = coefficient
        for atom, power in monomial:
            if _atom_bounds(atom)[0] < 0:
                return -math.inf, math.inf
            term = term * (_size(atom.args[0]) + 1 if atom.kind == "size" else Dim({((atom, 1),): 1})) ** power
        rest = rest + term
    if not isinstance(rest, Dim):
        return rest, rest
    least = rest.terms.get((), 0)
    signs = {coefficient > 0 for monomial, coefficient in rest.terms.items() if monomial}
    return (-math.inf if False in signs else least), (math.inf if True in signs else least)


def _by_power(dim: Dim, name: str) -> dict[int, Extent] | None:
    """The coefficients of the powers of a size; None where the size stands in an atom."""
    parts: dict[int, Extent] = {}
    for monomial, coefficient in dim.terms.items():
        powers = [power for atom, power in monomial if atom.kind == "size" and atom.args[0] == name]
        rest = tuple(item for item in monomial if item[0].kind != "size" or item[0].args[0] != name)
        term = _made({rest: coefficient})
        if isinstance(term, Dim) and name in term.names:
            return None
        power = powers[0] if powers else 0
        parts[power] = parts.get(power, 0) + term
    return parts


def _made(terms: dict[Monomial, int]) -> Extent:
    constant = _constant(terms)
    return Dim(terms) if constant is None else constant


def _constant(terms: Mapping[Monomial, int]) -> int | None:
    if not terms:
        return 0
    return terms[()] if len(terms) == 1 and () in terms else None


@lru_cache(maxsize=4096)
def _size(name: str) -> Dim:
    text = name if name.isidentifier() and name not in RESERVED else _quoted(name)
    return Dim({((Atom("size", (name,), text), 1),): 1})


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


@lru_cache(maxsize=65536)
def _product(left: Monomial, right: Monomial) -> Monomial:
    powers = dict(left)
    for atom, power in right:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted(powers.items(), key=lambda item: item[0].text))


def _quotient(left: Monomial, right: Monomial) -> Monomial | None:
    powers = dict(left)
    for atom, power in right:
        rest = powers.get(atom, 0) - power
        if rest < 0:
            return None
        if rest:
            powers[atom] = rest
        else:
            del powers[atom]
    return tuple(sorted(powers.items(), key=lambda item: item[0].text))


def _atom(kind: str, args: tuple[Extent, ...]) -> Dim:
    if kind == "floor":
        num, den = args
        text = f"{_operand(num)}//{_operand(den)}"
    else:
        text = f"{kind}({', '.join(str(arg) for arg in args)})"
    return Dim({((Atom(kind, args, text), 1),): 1})


def _operand(extent: Extent) -> str:
    text = str(extent)
    simple = isinstance(extent, int) and extent >= 0
    if isinstance(extent, Dim) and len(extent.terms) == 1:
        (monomial, coefficient), = extent.terms.items()
        simple = coefficient == 1 and len(monomial) == 1 and monomial[0][1] == 1 and monomial[0][0].kind != "floor"
    return text if simple else f"({text})"


def _floor_by_int(num: Dim, den: int) -> Extent:
    if den == 1:
        return num
    if all(coefficient < 0 for monomial, coefficient in num.terms.items() if monomial):
        return -floor_divide(-num + (den - 1), den)
    whole: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = {}
    for monomial, coefficient in num.terms.items():
        quotient, remainder = divmod(coefficient, den)
        if quotient:
            whole[monomial] = quotient
        if remainder:
            rest[monomial] = remainder
    constant = rest.pop((), 0)
    if not rest:
        return _made(whole)
    common = math.gcd(den, *rest.values())
    inner = _made({m: c // common for m, c in rest.items()}) + constant // common
    den //= common
    if den == 1:
        return _made(whole) + inner
    return _made(whole) + _merged_floor(cast(Dim, inner), den)


def _merged_floor(num: Dim, den: int) -> Extent:
    """floor((floor(a / b) + c) / d) = floor((a + b * c) / (b * d)) for positive integers b and d."""
    constant = num.terms.get((), 0)
    rest = [(m, c) for m, c in num.terms.items() if m]
    if len(rest) == 1 and rest[0][1] == 1 and len(rest[0][0]) == 1:
        atom, power = rest[0][0][0]
        if power == 1 and atom.kind == "floor" and isinstance(atom.args[1], int):
            a, b = atom.args
            return floor_divide(a + b * constant, b * den)
    return _atom("floor", (num, den))


def _cancel(num: Dim, den: Dim) -> tuple[Extent, Extent]:
    """Divide both by the monomial and the integer that all of their terms share."""
    monomials = [*num.terms, *den.terms]
    shared = dict(monomials[0])
    for monomial in monomials[1:]:
        powers = dict(monomial)
        shared = {atom: min(power, powers[atom]) for atom, power in shared.items() if atom in powers}
    common = tuple(sorted(shared.items(), key=lambda item: item[0].text))
    factor = math.gcd(*num.terms.values(), *den.terms.values())

    def reduced(dim: Dim) -> Extent:
        return _made({cast(Monomial, _quotient(m, common)): c // factor for m, c in dim.terms.items()})

    return reduced(num), reduced(den)


def _divide(num: Dim, den: Dim) -> tuple[Extent, Extent]:
    """Polynomial division by the leading term; stops with a remainder as soon as a step is not exact."""

    def order(monomial: Monomial) -> tuple[Any, ...]:
        return sum(power for _, power in monomial), tuple((atom.text, power) for atom, power in monomial)

    lead = max(den.terms, key=order)
    quotient: Extent = 0
    rest: Extent = num
    while isinstance(rest, Dim) and rest:
        top = max(rest.terms, key=order)
        monomial = _quotient(top, lead)
        if monomial is None or rest.terms[top] % den.terms[lead]:
            return quotient, rest
        step = _made({monomial: rest.terms[top] // den.terms[lead]})
        following = rest - step * den
        if isinstance(following, Dim) and len(following.terms) > len(num.terms) + len(den.terms):
            return quotient, rest
        quotient, rest = quotient + step, following
    return quotient, rest


def _extremum(kind: str, extents: Iterable[Extent]) -> Extent:
    flat: list[Extent] = []
    for extent in extents:
        flat.extend(_arguments(kind, extent))
    kept: list[Extent] = []
    for candidate in flat:
        if any(_dominates(kind, other, candidate) for other in kept):
            continue
        kept = [other for other in kept if not _dominates(kind, candidate, other)] + [candidate]
    if len(kept) == 1:
        return kept[0]
    return _atom(kind, tuple(sorted(kept, key=lambda extent: (isinstance(extent, Dim), str(extent)))))


def _arguments(kind: str, extent: Extent) -> tuple[Extent, ...]:
    if isinstance(extent, Dim) and len(extent.terms) == 1:
        (monomial, coefficient), = extent.terms.items()
        if coefficient == 1 and len(monomial) == 1:
            atom, power = monomial[0]
            if power == 1 and atom.kind == kind:
                return atom.args
    return (extent,)


def _dominates(kind: str, winner: Extent, loser: Extent) -> bool:
    """Whether an argument decides against another: by bounds, or by absorption, as in max(a, min(a, b)) = a."""
    inner = _arguments("min" if kind == "max" else "max", loser)
    if len(inner) > 1 and any(_dominates(kind, winner, argument) for argument in inner):
        return True
    low, high = bounds(winner - loser)
    return low >= 0 if kind == "max" else high <= 0


def _monomial_bounds(monomial: Monomial) -> tuple[float, float]:
    low: float = 1
    high: float = 1
    for atom, power in monomial:
        atom_low, atom_high = _atom_bounds(atom)
        if atom_low < 0:
            return -math.inf, math.inf
        low *= atom_low**power
        high = high * atom_high**power if high and atom_high else 0  # not 0 * infinity
    return low, high


def _floor_difference(dim: Dim) -> tuple[float, float] | None:
    """Bounds of floor(a / d) - floor(b / d) + c where a - b is a number k: from floor(k / d) to ceil(k / d)."""
    floors = {c: m[0][0] for m, c in dim.terms.items() if len(m) == 1 and m[0][1] == 1 and m[0][0].kind == "floor"}
    if set(floors) != {1, -1} or len(dim.terms) - (() in dim.terms) != 2:
        return None
    (a, d), (b, e) = floors[1].args, floors[-1].args
    gap = a - b
    if d != e or not isinstance(d, int) or not isinstance(gap, int):
        return None
    constant = dim.terms.get((), 0)
    return gap // d + constant, -(-gap // d) + constant


def _atom_bounds(atom: Atom) -> tuple[float, float]:
    if atom.kind == "size":
        return 1, math.inf
    sides = [bounds(arg) for arg in atom.args]
    if atom.kind == "max":
        return max(low for low, _ in sides), max(high for _, high in sides)
    if atom.kind == "min":
        return min(low for low, _ in sides), min(high for _, high in sides)
    (num_low, num_high), (den_low, den_high) = sides
    if num_low < 0 or den_low <= 0:
        return (-math.inf if num_low < 0 else 0), (num_high if den_low >= 1 else math.inf)
    low = num_low // den_high if den_high != math.inf else 0
    return low, (math.inf if num_high == math.inf else num_high // den_low)


def _names(dim: Dim) -> Iterable[str]:
    for monomial in dim.terms:
        for atom, _ in monomial:
            if atom.kind == "size":
                yield atom.args[0]
            else:
                for arg in atom.args:
                    if isinstance(arg, Dim):
                        yield from _names(arg)


def _substitute(dim: Dim, values: Mapping[str, Extent], seen: dict[Atom, Extent]) -> Extent:
    result: Extent = 0
    for monomial, coefficient in dim.terms.items():
        term: Extent = coefficient
        for atom, power in monomial:
            if atom not in seen:
                seen[atom] = _substitute_atom(atom, values, seen)
            term = term * seen[atom] ** power
        result = result + term
    return result


def _substitute_atom(atom: Atom, values: Mapping[str, Extent], seen: dict[Atom, Extent]) -> Extent:
    if atom.kind == "size":
        name = atom.args[0]
        return values[name] if name in values else _size(name)
    args = [_substitute(arg, values, seen) if isinstance(arg, Dim) else arg for arg in atom.args]
    return floor_divide(args[0], args[1]) if atom.kind == "floor" else _extremum(atom.kind, args)


def _sum_text(terms: Mapping[Monomial, int]) -> str:
    if not terms:
        return "0"
    degree = {monomial: sum(power for _, power in monomial) for monomial in terms}
    ordered = sorted(terms, key=lambda m: (-degree[m], [(atom.text, power) for atom, power in m]))
    parts: list[str] = []
    for monomial in ordered:
        negative = terms[monomial] < 0
        text = _term_text(monomial, terms[monomial])
        parts.append((" - " if negative else " + ") + text if parts else ("-" + text if negative else text))
    return "".join(parts)


def _term_text(monomial: Monomial, coefficient: int) -> str:
    """A term without its sign; a lone floor needs brackets only after a minus, which binds tighter than //."""
    factors = [] if abs(coefficient) == 1 and monomial else [str(abs(coefficient))]
    for atom, power in sorted(monomial, key=lambda item: (item[0].kind != "size", item[0].text)):
        alone = coefficient == 1 and len(monomial) == 1 and power == 1
        text = f"({atom.text})" if atom.kind == "floor" and not alone else atom.text
        factors.append(text if power == 1 else f"{text}**{power}")
    return "*".join(factors)
