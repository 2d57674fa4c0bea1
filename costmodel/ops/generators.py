"""Ops that make tensors from nothing, or from a shape."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from costmodel.dims import Extent, ceil_divide, maximum
from costmodel.errors import MalformedModel
from costmodel.graph import Cost, Element, Tensor, dtype_numbered
from costmodel.ops.registry import rule
from costmodel.ops.shapes import VALUE_LIMIT, with_value
from costmodel.ops.value_layout import Unknowns, extents, moved, scalar, whole


@rule("Constant")
def constant(
    *,
    value=None,
    sparse_value=None,
    value_int=None,
    value_ints=None,
    value_float=None,
    value_floats=None,
    value_string=None,
    value_strings=None,
):
    """No arithmetic; the output is stored data."""
    scalars = (("int64", value_int), ("float32", value_float), ("string", value_string))
    lists = (("int64", value_ints), ("float32", value_floats), ("string", value_strings))
    made = [
        *(tensor for tensor in (value, sparse_value) if tensor is not None),
        *(Tensor(dtype, (), (one,)) for dtype, one in scalars if one is not None),
        *(with_value(Tensor(dtype, (len(many),)), many) for dtype, many in lists if many is not None),
    ]
    if len(made) != 1:
        raise MalformedModel(f"a Constant has exactly one value attribute, this one {len(made)}")
    return Cost((made[0],), stores=True)


@rule("ConstantOfShape", since=9)
def constant_of_shape(shape, *, value=None, name):
    """No arithmetic; the output is stored data, as a file could hold it."""
    unknown = Unknowns(name)
    fill = Tensor("float32", (1,), (0.0,)) if value is None else value
    wanted = extents(shape)
    y = fill.to(None if wanted is None else unknown.filled(wanted))
    element = scalar(fill)
    y = moved(y, lambda _: np.full([int(extent) for extent in y.dims], element, dtype=object), fill)
    return Cost((replace(y, fill=element),), not_learnable=(0,), stores=True, bounds=unknown.bounds)


@rule("EyeLike", since=9)
def eye_like(x, *, dtype=None, k=0):
    """No arithmetic; the input's elements are not read; the output is stored data, as a file could hold it."""
    if x.rank != 2:
        raise MalformedModel(f"an identity matrix has 2 axes, the input has {x.rank}")
    return Cost((_like(x, dtype),), reads=(0,), stores=True)


def _like(x: Tensor, dtype: int | None) -> Tensor:
    return x.to(x.dims, dtype=None if dtype is None else dtype_numbered(dtype))


# -- Range --------------------------------------------------------------------------------------------------------


@rule("Range", since=11)
def range_(start, limit, delta, *, stash_type=1, name):
    """One addition per element."""
    unknown = Unknowns(name)
    first: Any = scalar(start)
    step: Any = scalar(delta)
    length = _length(first, scalar(limit), step)
    y = start.to((unknown.extent("length") if length is None else length,))
    if isinstance(length, int) and length <= VALUE_LIMIT:
        y = with_value(y, [first + i * step for i in range(length)])
    return Cost((y,), other_flops=y.size, not_learnable=(0, 1, 2), bounds=unknown.bounds)


@rule("Range", domain="com.microsoft")
def range_microsoft(start, limit, delta=None, *, name):
    """One addition per element."""
    return range_(start, limit, Tensor(start.dtype, (), (1,)) if delta is None else delta, name=name)


def _length(start: Element, limit: Element, step: Element) -> Extent | None:
    """How many numbers there are from start to before limit; None where it depends on data."""
    if step == 0:
        raise MalformedModel("a range with step 0 never ends; give one above or below 0")
    exact = [Fraction(number) for number in (start, limit, step) if isinstance(number, (int, float, Fraction))]
    if len(exact) == 3:
        return max(0, math.ceil((exact[1] - exact[0]) / exact[2]))
    begin, end, gap = whole(start), whole(limit), whole(step)
    if begin is None or end is None or not isinstance(gap, int):
        return None
    return maximum(0, ceil_divide(end - begin, gap) if gap > 0 else ceil_divide(begin - end, -gap))


# -- random numbers -----------------------------------------------------------------------------------------------


@rule("RandomNormal")
def random_normal(*, shape, dtype=1, mean=0.0, scale=1.0, seed=None):
    """One drawn number per element counts as one operation."""
    return _drawn(Tensor(dtype_numbered(dtype), tuple(shape)))


@rule("RandomUniform")
def random_uniform(*, shape, dtype=1, low=0.0, high=1.0, seed=None):
    """One drawn number per element counts as one operation."""
    return _drawn(Tensor(dtype_numbered(dtype), tuple(shape)))


@rule("RandomNormalLike")
def random_normal_like(x, *, dtype=None, mean=0.0, scale=1.0, seed=None):
    """One drawn number per element counts as one operation; the input's elements are not read."""
    return _drawn(_like(x, dtype), reads=(0,))


@rule("RandomUniformLike")
def random_uniform_like(x, *, dtype=None, low=0.0, high=1.0, seed=None):
    """One drawn number per element counts as one operation; the input's elements are not read."""
    return _drawn(_like(x, dtype), reads=(0,))


def _drawn(y: Tensor, reads: tuple[Extent, ...] | None = None) -> Cost:
    return Cost((y,), other_flops=y.size, reads=reads)


@rule("Bernoulli", since=15)
def bernoulli(x, *, dtype=None, seed=None):
    """A drawn number and a comparison per element."""
    y = _like(x, dtype)
    return Cost((y,), other_flops=2 * y.size)


@rule("Multinomial", since=7)
def multinomial(x, *, dtype=6, sample_size=1, seed=None):
    """An exponential and an addition per class; a drawn number and a comparison per class and sample."""
    batch, classes = x.dims
    y = Tensor(dtype_numbered(dtype), (batch, sample_size))
    return Cost((y,), other_flops=2 * x.size + 2 * y.size * classes)
