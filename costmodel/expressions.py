"""Reading counts from text, and handing them to sympy.

The grammar is Python's for ``+ - * // ** ()`` over whole numbers and names, with the functions ``floor(a / b)``
(written ``a//b``), ``ceil``, ``max`` and ``min``. A name that is not an identifier stands in single quotes. Texts
come from files that are not trusted: nothing is evaluated as Python, and length, depth and powers are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING

from costmodel.dims import Atom, Dim, Extent, ceil_divide, floor_divide, maximum, minimum
from costmodel.errors import ParseError

if TYPE_CHECKING:
    import sympy

MAX_LENGTH = 100_000
MAX_DEPTH = 100
MAX_POWER = 16
MAX_DIGITS = 400

_TOKEN = re.compile(r"\s*(?:(\d+)|('(?:[^'\\]|\\.)*')|([^\W\d]\w*)|(\*\*|//|[-+*/(),]))")

FUNCTIONS: dict[str, Callable[..., Extent]] = {"max": maximum, "min": minimum}


def parse(text: str) -> Extent:
    """Read a count.

    >>> parse("N*64*((H - 1)//2 + 1)**2").at(N=1, H=224)
    802816
    >>> parse("ceil(H/32)")
    Dim('(H + 31)//32')
    """
    if len(text) > MAX_LENGTH:
        raise ParseError(f"an expression of {len(text)} characters is longer than the {MAX_LENGTH} allowed")
    return _Parser(text).whole()


class _Parser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._tokens())
        self.position = 0
        self.depth = 0

    def _tokens(self) -> list[tuple[str, str, int]]:
        found, at = [], 0
        end = len(self.text.rstrip())
        while at < end:
            match = _TOKEN.match(self.text, at)
            if match is None:
                at += len(self.text[at:]) - len(self.text[at:].lstrip())
                raise self._fault(at, "a number, a name or one of + - * // ** ( ) , must stand here")
            kind = ("number", "quoted", "name", "sign")[int(match.lastindex or 1) - 1]
            found.append((kind, match.group(int(match.lastindex or 1)), match.start(int(match.lastindex or 1))))
            at = match.end()
        return found

    def _fault(self, at: int, rule: str) -> ParseError:
        shown = self.text if len(self.text) <= 80 else self.text[max(0, at - 40) : at + 40]
        return ParseError(f"cannot read {shown!r} at character {at + 1}: {rule}")

    def _here(self) -> int:
        return self.tokens[self.position][2] if self.position < len(self.tokens) else len(self.text)

    def _sees(self, *signs: str) -> str | None:
        if self.position < len(self.tokens):
            kind, token, _ = self.tokens[self.position]
            if kind == "sign" and token in signs:
                self.position += 1
                return token
        return None

    def _expect(self, sign: str) -> None:
        if not self._sees(sign):
            raise self._fault(self._here(), f"{sign!r} is missing")

    def whole(self) -> Extent:
        result = self._sum()
        if self.position < len(self.tokens):
            raise self._fault(self._here(), "the expression should end here")
        return result

    def _sum(self) -> Extent:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._fault(self._here(), f"brackets are nested deeper than {MAX_DEPTH}")
        result = self._term()
        while sign := self._sees("+", "-"):
            term = self._term()
            result = result + term if sign == "+" else result - term
        self.depth -= 1
        return result

    def _term(self) -> Extent:
        result = self._signed()
        while sign := self._sees("*", "//"):
            here = self._here()
            factor = self._signed()
            if sign == "//" and factor == 0:
                raise self._fault(here, "division by 0")
            result = result * factor if sign == "*" else floor_divide(result, factor)
        return result

    def _signed(self) -> Extent:
        negative = False
        while sign := self._sees("-", "+"):
            negative ^= sign == "-"
        power = self._power()
        return -power if negative else power

    def _power(self) -> Extent:
        base = self._primary()
        if self._sees("**"):
            here = self._here()
            exponent = self._primary()
            if not isinstance(exponent, int) or exponent > MAX_POWER:
                raise self._fault(here, f"a power must be a whole number of at most {MAX_POWER}")
            return base**exponent
        return base

    def _primary(self) -> Extent:
        if self._sees("("):
            inside = self._sum()
            self._expect(")")
            return inside
        if self.position >= len(self.tokens):
            raise self._fault(len(self.text), "a number, a name or a bracket is missing")
        kind, token, at = self.tokens[self.position]
        self.position += 1
        if kind == "number":
            if len(token) > MAX_DIGITS:
                raise self._fault(at, f"a number has more than {MAX_DIGITS} digits")
            return int(token)
        if kind == "quoted":
            return Dim.size(re.sub(r"\\(.)", r"\1", token[1:-1]))
        if kind == "name":
            return self._call(token, at) if self._sees("(") else Dim.size(token)
        raise self._fault(at, "a number, a name or a bracket must stand here")

    def _call(self, name: str, at: int) -> Extent:
        if name in ("floor", "ceil"):
            num = self._sum()
            den = self._sum() if self._sees("/") else 1
            self._expect(")")
            if den == 0:
                raise self._fault(at, "division by 0")
            return floor_divide(num, den) if name == "floor" else ceil_divide(num, den)
        if name not in FUNCTIONS:
            raise self._fault(at, f"{name!r} is not a function; there are floor, ceil, max, min")
        arguments = [self._sum()]
        while self._sees(","):
            arguments.append(self._sum())
        self._expect(")")
        return FUNCTIONS[name](*arguments)


def to_sympy(dim: Dim) -> sympy.Expr:
    """A count as a sympy expression: sizes are positive integer symbols.

    >>> to_sympy(parse("64*(H + 1)//2"))
    32*H + 32
    """
    import sympy

    def of(extent: Extent) -> sympy.Expr:
        if isinstance(extent, int):
            return sympy.Integer(extent)
        terms = [
            sympy.Mul(sympy.Integer(coefficient), *(atom_of(atom) ** power for atom, power in monomial))
            for monomial, coefficient in extent.terms.items()
        ]
        return sympy.Add(*terms)

    def atom_of(atom: Atom) -> sympy.Expr:
        if atom.kind == "size":
            return sympy.Symbol(atom.args[0], integer=True, positive=True)
        args = [of(arg) for arg in atom.args]
        if atom.kind == "floor":
            return sympy.floor(args[0] / args[1])
        return reduce(sympy.Max if atom.kind == "max" else sympy.Min, args)

    return of(dim)
