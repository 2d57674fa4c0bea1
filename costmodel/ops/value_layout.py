"""Moving the elements of small tensors whose value is known, and new sizes for extents that are not.

Tensors that carry shapes go through the layout ops like any other. Their elements are numbers, counts or unknown; numpy
moves them as objects, so that one line per op says how, and the same line would move numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from costmodel.dims import Dim, Extent, product
from costmodel.graph import Element, Tensor
from costmodel.ops.engine import fresh
from costmodel.ops.shapes import VALUE_LIMIT, with_value

Objects = np.ndarray[Any, np.dtype[np.object_]]


def elements(tensor: Tensor | None) -> tuple[Element, ...] | None:
    """Every element of a small tensor, None for each that is unknown; None if they are too many, or uncounted.

    >>> elements(Tensor("int64", (2,)))
    (None, None)
    """
    if tensor is None:
        return None
    if tensor.value is not None:
        return tensor.value
    size = product(tensor.dims)
    return (None,) * size if isinstance(size, int) and size <= VALUE_LIMIT else None


def extents(tensor: Tensor | None) -> tuple[Extent | None, ...] | None:
    """The elements as extents, None for each that is not a whole number; None if they are uncounted.

    >>> extents(Tensor("int64", (3,), (Dim.size("N"), None, 4.0)))
    (Dim('N'), None, 4)
    """
    found = elements(tensor)
    return None if found is None else tuple(map(whole, found))


def whole(element: Element) -> Extent | None:
    """An element that is a whole number or a count; None for any other."""
    if isinstance(element, (int, Dim)):
        return element
    return int(element) if isinstance(element, float) and element.is_integer() else None


def scalar(tensor: Tensor | None) -> Element:
    """The one element of a scalar or of a tensor of size 1; None if it is unknown."""
    return tensor.value[0] if tensor is not None and tensor.value is not None and len(tensor.value) == 1 else None


def extent_of(tensor: Tensor | None) -> Extent | None:
    """The one element, where it is a whole number or a count."""
    return whole(scalar(tensor))


def numbers(tensor: Tensor) -> Objects | None:
    """The value as an array, if every element is a number."""
    if tensor.value is None or not all(isinstance(element, (int, float, Fraction)) for element in tensor.value):
        return None
    return objects(tensor)


def index_array(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    """The value as an array that can index another, if every element is a whole number."""
    found = numbers(tensor)
    return None if found is None else found.astype(np.int64)


def objects(tensor: Tensor) -> Objects | None:
    """The elements of a small tensor as an array of its shape."""
    found = elements(tensor)
    if found is None:
        return None
    array = np.empty(len(found), dtype=object)
    array[:] = found
    return array.reshape([int(extent) for extent in tensor.dims])


def moved(y: Tensor, operation: Callable[..., Any], *tensors: Tensor) -> Tensor:
    """``y`` with the value that an operation of numpy makes of the elements of tensors; without, if there is none.

    The operation may give None where it cannot say.

    >>> shape = Tensor("int64", (3,), (Dim.size("N"), 3, 8))
    >>> moved(shape, lambda array: array[::-1], shape).value
    (8, 3, Dim('N'))
    """
    size = product(y.shape) if y.shape is not None else None
    if not isinstance(size, int) or size > VALUE_LIMIT or all(tensor.value is None for tensor in tensors):
        return y
    if size == 0:
        return with_value(y, ())
    arrays = [objects(tensor) for tensor in tensors]
    result = None if any(array is None for array in arrays) else operation(*arrays)
    if result is None:
        return y
    value = tuple(np.asarray(result, dtype=object).ravel().tolist())
    return y if all(element is None for element in value) else with_value(y, value)


class Unknowns:
    """The new sizes of one layer, for extents that depend on data, with the most that each can be.

    >>> unknown = Unknowns("nms_3")
    >>> unknown.extent("selected", at_most=300), unknown.bounds
    (Dim("'nms_3.selected'"), (('nms_3.selected', 300),))
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.bounds: tuple[tuple[str, Extent], ...] = ()

    def extent(self, what: str, *, at_most: Extent | None = None) -> Extent:
        """A new size; 0 where it cannot be more."""
        if at_most == 0:
            return 0
        if at_most is not None:
            self.bounds += ((f"{self.name}.{what}", at_most),)
        return fresh(self.name, what)

    def filled(self, wanted: Sequence[Extent | None], *, at_most: Extent | None = None) -> tuple[Extent, ...]:
        """A shape with a new size for each extent that is None."""
        return tuple(
            self.extent(f"axis{axis}", at_most=at_most) if extent is None else extent for axis, extent in enumerate(wanted)
        )


def size_of(*tensors: Tensor | None) -> tuple[Extent, ...]:
    """How many elements each tensor has; none for an omitted one."""
    return tuple(0 if tensor is None else tensor.size for tensor in tensors)
