"""The expressions of network specs: arithmetic over numbers, open sizes, texts and lists.

The syntax is Python's, read by Python's parser and walked node by node over a short list of what is allowed; nothing is
ever run. Fractions stay exact (``width = 0.35`` is 7/20) and a size may stay open:

>>> evaluate("make_divisible(32 * width, 8)", {"width": Fraction("0.35")})
16
>>> evaluate("make_divisible(6 * C, 8)", {"C": Dim.size("C")}).at(C=24)
144
>>> evaluate("stride == 1 and channels == out", {"stride": 1, "channels": 64, "out": 64})
True
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, Union

from costmodel.dims import Dim, Extent, bounds, floor_divide, maximum, minimum
from costmodel.errors import ParseError, nearest

MAX_LENGTH = 1000
MAX_POWER = 16


@dataclass(frozen=True, slots=True)
class Quotient:
    """An open size over a whole number, on its way to becoming whole.

    >>> evaluate("make_divisible(32 * width)", {"width": opened("w/100")}).at(w=75)
    24
    """

    num: Dim
    den: int

    def __str__(self) -> str:
        return f"({self.num})/{self.den}"


Number = Union[int, Dim, Fraction, Quotient]
Value = Union[Number, str, bool, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression may name. ``distinct`` collects pairs of open numbers that a comparison took to be different,
    as they mostly are, though some sizes make them equal.
    """

    names: Mapping[str, Any]
    distinct: list[tuple[Extent, Extent]] | None = None


def evaluate(text: str, names: Mapping[str, Any], distinct: list[tuple[Extent, Extent]] | None = None) -> Any:
    """The value of an expression over these names.

    Where ``distinct`` is given, it takes the pairs of open numbers that were compared and taken to be different.
    Raises ParseError for what is no expression, for an unknown name (with the nearest) and for operands that do not fit.
    """
    try:
        return _value(_parsed(text), Scope(names, distinct))
    except RecursionError:
        raise ParseError(f"{text[:40]!r} ... is nested too deep") from None


class _EverySize(dict[str, Any]):
    """Every name as the open size of this name."""

    def __missing__(self, name: str) -> Dim:
        return Dim.size(name)


def opened(text: str) -> Any:
    """The value of an expression in which every name is an open size.

    >>> opened("w"), str(opened("w/100"))
    (Dim('w'), '(w)/100')
    """
    return evaluate(text, _EverySize())


@lru_cache(maxsize=4096)
def _parsed(text: str) -> ast.expr:
    if len(text) > MAX_LENGTH:
        raise ParseError(f"an expression of {len(text)} characters is longer than the {MAX_LENGTH} allowed")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ParseError(f"{text!r} is no expression: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ParseError(f"{text!r} is no expression: {error}") from None


def _value(node: ast.expr, scope: Scope) -> Any:
    read = _READERS.get(type(node))
    if read is None:
        kind = type(node).__name__
        raise ParseError(f"{ast.unparse(node)!r}: {kind} has no place in an expression; see docs/add-a-network")
    return read(node, scope)


def _constant(node: ast.Constant, scope: Scope) -> Any:
    if isinstance(node.value, float):
        return Fraction(repr(node.value))
    if isinstance(node.value, (bool, int, str)):
        return node.value
    raise ParseError(f"{node.value!r} is neither a number nor a text")


def _name(node: ast.Name, scope: Scope) -> Any:
    try:
        return scope.names[node.id]
    except KeyError:
        raise ParseError(f"there is no {node.id!r} here; {nearest(node.id, scope.names)}") from None


def _list(node: ast.List | ast.Tuple, scope: Scope) -> tuple[Any, ...]:
    return tuple(_value(element, scope) for element in node.elts)


def _subscript(node: ast.Subscript, scope: Scope) -> Any:
    whole, index = _value(node.value, scope), _value(node.slice, scope)
    if not isinstance(whole, tuple) or not isinstance(index, int) or not -len(whole) <= index < len(whole):
        raise ParseError(f"{ast.unparse(node)!r}: there is no element {index!r} in {whole!r}")
    return whole[index]


def _unary(node: ast.UnaryOp, scope: Scope) -> Any:
    value = _value(node.operand, scope)
    if isinstance(node.op, ast.Not):
        return not _truth(value, node.operand)
    if isinstance(node.op, ast.USub):
        return _OPERATORS[ast.Sub](0, value)
    raise ParseError(f"{ast.unparse(node)!r}: a sign must be - or not")


def _binary(node: ast.BinOp, scope: Scope) -> Any:
    operate = _OPERATORS.get(type(node.op))
    if operate is None:
        raise ParseError(f"{ast.unparse(node)!r}: an operator must be one of + - * / // % **")
    left, right = _value(node.left, scope), _value(node.right, scope)
    try:
        return operate(left, right)
    except (TypeError, ZeroDivisionError) as error:
        raise ParseError(f"{ast.unparse(node)!r} with {left!r} and {right!r}: {error}") from None


def _compare(node: ast.Compare, scope: Scope) -> bool:
    left = _value(node.left, scope)
    for operation, operand in zip(node.ops, node.comparators, strict=True):
        right = _value(operand, scope)
        if not _compared(type(operation), left, right, node, scope):
            return False
        left = right
    return True


def _compared(operation: type[ast.cmpop], left: Any, right: Any, node: ast.expr, scope: Scope) -> bool:
    if operation in (ast.Eq, ast.NotEq):
        return _is_equal(left, right, scope) is (operation is ast.Eq)
    if operation in (ast.In, ast.NotIn) and isinstance(right, tuple):
        return bool((left in right) is (operation is ast.In))
    order = _ORDERS.get(operation)
    if order is None or isinstance(left, (str, tuple)) or isinstance(right, (str, tuple)):
        raise ParseError(f"{ast.unparse(node)!r} does not compare {left!r} with {right!r}")
    low, high = bounds(_parts(_OPERATORS[ast.Sub](left, right))[0])
    if order(low, 0) != order(high, 0):
        raise ParseError(f"{ast.unparse(node)!r} depends on the open sizes in {left} and {right}; give them numbers")
    return bool(order(low, 0))


def _is_equal(left: Any, right: Any, scope: Scope) -> bool:
    """Equal for all sizes; open numbers that are equal for some sizes only are noted."""
    is_equal = bool(left == right)
    if not is_equal and scope.distinct is not None and all(isinstance(side, (int, Dim)) for side in (left, right)):
        low, high = bounds(left - right)
        if low <= 0 <= high:
            scope.distinct.append((left, right))
    return is_equal


def _junction(node: ast.BoolOp, scope: Scope) -> bool:
    settles = isinstance(node.op, ast.Or)
    return settles if any(_truth(_value(v, scope), v) is settles for v in node.values) else not settles


def _choice(node: ast.IfExp, scope: Scope) -> Any:
    return _value(node.body if _truth(_value(node.test, scope), node.test) else node.orelse, scope)


def _truth(value: Any, node: ast.expr) -> bool:
    if not isinstance(value, bool):
        raise ParseError(f"{ast.unparse(node)!r} is {value!r}; it must be true or false")
    return value


def _call(node: ast.Call, scope: Scope) -> Any:
    function = FUNCTIONS.get(node.func.id) if isinstance(node.func, ast.Name) else None
    if function is None or node.keywords:
        called = ast.unparse(node.func)
        raise ParseError(f"{called!r} is no function here; {nearest(called, FUNCTIONS)}")
    arguments = [_value(argument, scope) for argument in node.args]
    try:
        return function(*arguments)
    except (TypeError, ZeroDivisionError, ValueError) as error:
        raise ParseError(f"{ast.unparse(node)!r}: {error}") from None


_READERS: Mapping[type[ast.expr], Callable[[Any, Scope], Any]] = {
    ast.Constant: _constant, ast.Name: _name, ast.List: _list, ast.Tuple: _list, ast.Subscript: _subscript,
    ast.UnaryOp: _unary, ast.BinOp: _binary, ast.Compare: _compare, ast.BoolOp: _junction, ast.IfExp: _choice,
    ast.Call: _call,
}  # fmt: skip


# -- arithmetic on numbers of any kind: a numerator, which may be open, over a whole number ---------------------


def _parts(number: Any) -> tuple[Extent, int]:
    if isinstance(number, (int, Dim)) and not isinstance(number, bool):
        return number, 1
    if isinstance(number, Fraction):
        return number.numerator, number.denominator
    if isinstance(number, Quotient):
        return number.num, number.den
    raise TypeError(f"{number!r} is no number")


def _number(num: Extent, den: Extent) -> Number:
    """The simplest number that is this quotient."""
    if not isinstance(den, int):
        rest = num // den
        if rest * den != num:
            raise TypeError(f"{num} cannot be divided by the open {den}; use // for a whole quotient")
        return rest
    if isinstance(num, int):
        quotient = Fraction(num, den)
        return quotient.numerator if quotient.denominator == 1 else quotient
    whole = num // den
    return whole if whole * den == num else Quotient(num, den)


def _plus(left: Any, right: Any) -> Number:
    (a, b), (c, d) = _parts(left), _parts(right)
    return _number(a * d + c * b, b * d)


def _minus(left: Any, right: Any) -> Number:
    (a, b), (c, d) = _parts(left), _parts(right)
    return _number(a * d - c * b, b * d)


def _times(left: Any, right: Any) -> Number:
    (a, b), (c, d) = _parts(left), _parts(right)
    return _number(a * c, b * d)


def _over(left: Any, right: Any) -> Number:
    (a, b), (c, d) = _parts(left), _parts(right)
    if c == 0:
        raise ZeroDivisionError("division by 0")
    return _number(a * d, b * c)


def _whole_quotient(left: Any, right: Any) -> Extent:
    (a, b), (c, d) = _parts(left), _parts(right)
    return floor_divide(a * d, b * c)


def _remainder(left: Any, right: Any) -> Number:
    return _minus(left, _times(right, _whole_quotient(left, right)))


def _power(left: Any, right: Any) -> Number:
    if not isinstance(right, int) or not 0 <= right <= MAX_POWER:
        raise TypeError(f"a power must be a whole number from 0 to {MAX_POWER}")
    result: Number = 1
    for _ in range(right):
        result = _times(result, left)
    return result


_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: _plus, ast.Sub: _minus, ast.Mult: _times, ast.Div: _over, ast.FloorDiv: _whole_quotient,
    ast.Mod: _remainder, ast.Pow: _power,
}  # fmt: skip

_ORDERS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip


# -- functions --------------------------------------------------------------------------------------------------


def make_divisible(number: Any, by: int = 8) -> Extent:
    """The nearest multiple, at least one, and the next one up where rounding down would lose more than a tenth.

    This is how the MobileNet and EfficientNet families round widths.

    >>> make_divisible(Fraction("22.4"), 8), make_divisible(11), make_divisible(2)
    (24, 16, 8)
    """
    num, den = _parts(number)
    rounded = maximum(by, floor_divide(2 * num + by * den, 2 * den * by) * by)
    lost_too_much = minimum(1, maximum(0, 9 * num - 10 * den * rounded))
    return rounded + by * lost_too_much


def _floor(number: Any) -> Extent:
    return floor_divide(*_parts(number))


def _ceil(number: Any) -> Extent:
    return -_floor(_times(number, -1))


def _round(number: Any) -> Extent:
    """To the nearest whole number, halves up."""
    return _floor(_plus(number, Fraction(1, 2)))


def _largest(*numbers: Any) -> Any:
    return max(numbers) if _closed(numbers) else maximum(*map(_whole, numbers))


def _smallest(*numbers: Any) -> Any:
    return min(numbers) if _closed(numbers) else minimum(*map(_whole, numbers))


def _closed(numbers: tuple[Any, ...]) -> bool:
    return all(isinstance(_parts(number)[0], int) for number in numbers)


def _whole(number: Any) -> Extent:
    num, den = _parts(number)
    if den != 1:
        raise TypeError(f"{number} beside an open size must be whole")
    return num


def _sum(numbers: tuple[Any, ...]) -> Number:
    result: Number = 0
    for number in numbers:
        result = _plus(result, number)
    return result


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "make_divisible": make_divisible, "max": _largest, "min": _smallest, "floor": _floor, "ceil": _ceil, "round": _round,
    "sum": _sum, "len": len,
}  # fmt: skip
