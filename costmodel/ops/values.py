"""Arithmetic on the elements of small tensors that carry shapes.

An element is a number, a count (Dim), a quotient of counts (Ratio: shape arithmetic in floats, before it is rounded
again), a text, or None where it is unknown. Numbers are computed as the dtype would store them, so that a size which a
runtime gets by way of float32 comes out the same; open sizes are computed exactly.
"""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial, reduce
from itertools import accumulate
from typing import Any

import numpy as np

from costmodel.dims import Dim, Extent, bounds, floor_divide, lowest_terms, positive
from costmodel.dims import maximum as dims_maximum
from costmodel.dims import minimum as dims_minimum
from costmodel.graph import DTYPE_BITS, Shape, Tensor
from costmodel.ops.value_layout import Objects, moved

Function = Callable[..., Any]

FLOAT_FORMATS = {"float64": "d", "float32": "f", "float16": "e"}
MAX_POWER = 16


@dataclass(frozen=True, slots=True)
class Ratio:
    """A quotient of counts in lowest terms, with a divisor that is not negative.

    >>> half = Ratio.of(Dim.size("H")) * Ratio.of(0.5)
    >>> math.floor(half), math.ceil(half)
    (Dim('H//2'), Dim('(H + 1)//2'))

    Arithmetic raises ArithmeticError where the result cannot be stated as such a quotient.
    """

    num: Extent
    den: Extent = 1

    @staticmethod
    def of(element: Any) -> Ratio:
        if isinstance(element, Ratio):
            return element
        if isinstance(element, (int, Dim)):
            return Ratio(element)
        fraction = element if isinstance(element, Fraction) else simplest(element)
        return Ratio(fraction.numerator, fraction.denominator)

    @staticmethod
    def quotient(num: Extent, den: Extent) -> Ratio:
        low, high = bounds(den)
        if den == 0 or low < 0 < high:
            raise ArithmeticError(f"the divisor {den} may be negative or 0")
        return Ratio(*lowest_terms(num, den) if low >= 0 else lowest_terms(-num, -den))

    @property
    def element(self) -> Extent | Ratio:
        """The count itself where nothing is divided."""
        return self.num if self.den == 1 else self

    def __add__(self, other: Ratio) -> Ratio:
        return Ratio.quotient(self.num * other.den + other.num * self.den, self.den * other.den)

    def __sub__(self, other: Ratio) -> Ratio:
        return self + -other

    def __neg__(self) -> Ratio:
        return Ratio(-self.num, self.den)

    def __mul__(self, other: Ratio) -> Ratio:
        return Ratio.quotient(self.num * other.num, self.den * other.den)

    def __truediv__(self, other: Ratio) -> Ratio:
        return Ratio.quotient(self.num * other.den, self.den * other.num)

    def __mod__(self, other: Ratio) -> Ratio:
        return self - other * Ratio(math.floor(self / other))

    def __pow__(self, other: Ratio) -> Ratio:
        if other.den != 1 or not isinstance(other.num, int) or not 0 <= other.num <= MAX_POWER:
            raise ArithmeticError(f"counts are raised to whole powers from 0 to {MAX_POWER}, not to {other.element}")
        return Ratio(self.num**other.num, self.den**other.num)

    def __abs__(self) -> Ratio:
        return Ratio(dims_maximum(self.num, -self.num), self.den)

    def __floor__(self) -> Extent:
        return floor_divide(self.num, self.den)

    def __ceil__(self) -> Extent:
        return -floor_divide(-self.num, self.den)

    def __trunc__(self) -> Extent:
        """Towards 0; a count of unknown sign is taken as not negative, as sizes are."""
        return math.ceil(self) if bounds(self.num)[1] <= 0 else math.floor(self)

    def __round__(self) -> Extent:
        """To the nearest; ties, which go to the even side, cannot occur with an odd divisor."""
        if not isinstance(self.den, int) or self.den % 2 == 0:
            raise ArithmeticError(f"whether {self.num} / {self.den} lies half way between two numbers depends on sizes")
        return floor_divide(2 * self.num + self.den, 2 * self.den)


def simplest(number: float) -> Fraction:
    """The fraction with a small divisor that a float stands for.

    >>> simplest(1.3333333730697632), simplest(0.1)
    (Fraction(4, 3), Fraction(1, 10))
    """
    width = partial(_rounded, code="f") if _rounded(number, "f") == number else float
    limit = 1
    while width(found := Fraction(number).limit_denominator(limit)) != number:
        limit *= 10
    return found


def stored(element: Any, dtype: str) -> Any:
    """The element as a tensor of this dtype holds it; None where that is unknown. This is what Cast does.

    >>> stored(2.75, "int64"), stored(300, "uint8"), stored(0.1, "float32")
    (2, 44, 0.10000000149011612)
    >>> stored(Ratio(Dim.size("H"), 2), "int64"), stored(Dim.size("H"), "bool")
    (Dim('H//2'), 1)
    """
    if element is None or isinstance(element, str):
        return element if dtype == "string" else None
    if dtype == "bool":
        return not_(equal(element, 0))
    if dtype.startswith(("int", "uint")):
        return _whole(element, DTYPE_BITS[dtype], signed=dtype.startswith("int"))
    if dtype not in FLOAT_FORMATS:
        return None
    return element if isinstance(element, (Dim, Ratio)) else _rounded(element, FLOAT_FORMATS[dtype])


def _whole(element: Any, bits: int, *, signed: bool) -> Extent | None:
    if isinstance(element, (Dim, Ratio)):
        return math.trunc(Ratio.of(element))
    least = -(1 << bits - 1) if signed else 0
    if isinstance(element, int):
        return (element - least) % (1 << bits) + least
    if not math.isfinite(element):
        return None
    number = math.trunc(element)
    return number if least <= number < least + (1 << bits) else None  # beyond the range, ONNX leaves the result open


def _rounded(number: float | Fraction, code: str) -> float:
    try:
        return float(struct.unpack(code, struct.pack(code, float(number)))[0])
    except OverflowError:
        return math.inf if number > 0 else -math.inf


# -- functions of elements --------------------------------------------------------------------------------------


def lifted(function: Function) -> Function:
    """A function of numbers as one of elements: through Ratio where sizes are open, None where there is no result."""

    def apply(*elements: Any) -> Any:
        if any(element is None for element in elements):
            return None
        try:
            if not _is_open(elements):
                return function(*elements)
            result = function(*map(Ratio.of, elements))
        except (ArithmeticError, ValueError):
            return None
        return result.element if isinstance(result, Ratio) else result

    return apply


def of_numbers(function: Function) -> Function:
    """A function that has a result for numbers only."""

    def apply(*elements: Any) -> Any:
        if any(element is None for element in elements) or _is_open(elements):
            return None
        try:
            return function(*elements)
        except (ArithmeticError, ValueError):
            return None

    return apply


def _is_open(elements: Iterable[Any]) -> bool:
    return any(isinstance(element, (Dim, Ratio)) for element in elements)


def _extremum(of_plain: Function, of_counts: Function) -> Function:
    def apply(a: Any, b: Any) -> Any:
        if not isinstance(a, Ratio):
            return of_plain(a, b)
        if a.den == b.den:
            return Ratio.quotient(of_counts(a.num, b.num), a.den)
        return Ratio.quotient(of_counts(a.num * b.den, b.num * a.den), a.den * b.den)

    return apply


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, Ratio):
        return base**exponent
    power = math.pow(base, exponent)
    return base**exponent if isinstance(base, int) and isinstance(exponent, int) and abs(power) < 2**63 else power


def _truncated_quotient(a: Any, b: Any) -> Any:
    return math.trunc(a / b if isinstance(a, Ratio) else Fraction(a) / Fraction(b))


add = lifted(operator.add)
subtract = lifted(operator.sub)
multiply = lifted(operator.mul)
divide = lifted(operator.truediv)
divide_whole = lifted(_truncated_quotient)
modulo = lifted(operator.mod)
power = lifted(_power)
negate = lifted(operator.neg)
absolute = lifted(abs)
floor = lifted(math.floor)
ceil = lifted(math.ceil)
round_even = lifted(round)
largest = lifted(_extremum(max, dims_maximum))
smallest = lifted(_extremum(min, dims_minimum))
remainder = of_numbers(math.fmod)
square_root = of_numbers(math.sqrt)
bitwise_and = of_numbers(operator.and_)
bitwise_or = of_numbers(operator.or_)
bitwise_xor = of_numbers(operator.xor)
bitwise_not = of_numbers(operator.invert)
shift_left = of_numbers(lambda x, bits: x << bits if bits < 64 else 0)
shift_right = of_numbers(operator.rshift)
is_nan = of_numbers(lambda x: int(x != x))


def reciprocal(x: Any) -> Any:
    return divide(1, x)


def relu(x: Any) -> Any:
    return largest(x, 0)


def greater(a: Any, b: Any) -> Extent | None:
    """1 where it is so, else 0, as a count where that depends on sizes. All comparisons give their answer this way.

    >>> h = Dim.size("H")
    >>> greater(h, 0), greater(h, h), greater(h, 32)
    (1, 0, Dim('min(1, max(0, H - 32))'))
    """
    order = _order(a, b)
    return None if order is None else positive(order)


def less(a: Any, b: Any) -> Extent | None:
    return greater(b, a)


def greater_or_equal(a: Any, b: Any) -> Extent | None:
    return not_(greater(b, a))


def less_or_equal(a: Any, b: Any) -> Extent | None:
    return not_(greater(a, b))


def equal(a: Any, b: Any) -> Extent | None:
    order = _order(a, b)
    return None if order is None else 1 - positive(dims_maximum(order, -order))


def _order(a: Any, b: Any) -> Extent | None:
    """A count with the sign of a - b; None where that is unknown, or beside NaN."""
    if _is_open((a, b)):
        difference = subtract(a, b)
        return None if difference is None else Ratio.of(difference).num
    return None if a is None or b is None or a != a or b != b else (a > b) - (a < b)


def and_(a: Any, b: Any) -> Extent | None:
    return 0 if a == 0 or b == 0 else None if a is None or b is None else dims_minimum(a, b)


def or_(a: Any, b: Any) -> Extent | None:
    return 1 if a == 1 or b == 1 else None if a is None or b is None else dims_maximum(a, b)


def xor_(a: Any, b: Any) -> Extent | None:
    return not_(equal(a, b))


def not_(a: Any) -> Extent | None:
    return None if a is None else 1 - a


def where(condition: Any, x: Any, y: Any) -> Any:
    """The chosen side, weighed by a condition on sizes; where the condition is unknown, what both sides agree on."""
    if condition is None or x == y:
        return x if x == y else None
    if isinstance(condition, Dim):
        return add(y, multiply(condition, subtract(x, y)))
    return x if condition else y


def clip(x: Any, low: Any, high: Any) -> Any:
    return smallest(largest(x, low), high)


def sign(x: Any) -> Any:
    return subtract(greater(x, 0), less(x, 0))


def total(*elements: Any) -> Any:
    return reduce(add, elements, 0)


def product_of(*elements: Any) -> Any:
    return reduce(multiply, elements, 1)


def largest_of(*elements: Any) -> Any:
    return reduce(largest, elements) if elements else None


def smallest_of(*elements: Any) -> Any:
    return reduce(smallest, elements) if elements else None


def mean(*elements: Any) -> Any:
    return divide(total(*elements), len(elements))


# -- functions of tensors ---------------------------------------------------------------------------------------


def computed(function: Function | None, inputs: Sequence[Tensor], shape: Shape, dtype: str) -> Tensor:
    """An elementwise result with its value, where that follows from what is known of the inputs.

    >>> shape = Tensor("int64", (3,), (1, 3, Dim.size("H")))
    >>> computed(multiply, (shape, Tensor("int64", (), (2,))), (3,), "int64").value
    (2, 6, Dim('2*H'))
    """
    y = Tensor(dtype, tuple(shape))
    if function is None:
        return y

    def elementwise(*arrays: Objects) -> list[Any]:
        columns = [np.broadcast_to(array, [int(extent) for extent in shape]).ravel() for array in arrays]
        return [stored(function(*elements), dtype) for elements in zip(*columns, strict=True)]

    return moved(y, elementwise, *inputs)


def reduced(function: Function | None, x: Tensor, axes: Sequence[int], shape: Shape, dtype: str) -> Tensor:
    """A reduction over some axes to this shape, with its value where that of the input is known."""
    y = Tensor(dtype, tuple(shape))
    if function is None or not axes:
        return y

    def folded(array: Objects) -> list[Any]:
        lines = np.moveaxis(array, axes, range(-len(axes), 0)).reshape(int(y.size), -1)
        return [stored(function(*line), dtype) for line in lines]

    return moved(y, folded, x)


def running(function: Function, first: int, x: Tensor, axis: int, *, exclusive: bool, reverse: bool) -> Tensor:
    """Partial results along an axis, as in a cumulative sum; ``first`` is what an exclusive one begins with."""

    def along(array: Objects) -> Objects:
        lines = np.moveaxis(array, axis, -1)[..., :: -1 if reverse else 1]
        found = np.empty_like(lines)
        for place in np.ndindex(lines.shape[:-1]):
            line = [first, *lines[place][:-1]] if exclusive else lines[place]
            found[place] = [stored(e, x.dtype) for e in accumulate(line, lambda a, b: stored(function(a, b), x.dtype))]
        return np.moveaxis(found[..., :: -1 if reverse else 1], -1, axis)

    return moved(Tensor(x.dtype, x.dims), along, x)
