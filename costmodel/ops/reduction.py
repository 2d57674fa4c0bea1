"""Ops that fold elements together: reductions, searches along an axis, running sums, losses, determinants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from costmodel.dims import Extent
from costmodel.errors import MalformedModel
from costmodel.graph import Cost, Shape, Tensor
from costmodel.ops import values
from costmodel.ops.elementwise import count
from costmodel.ops.registry import rule
from costmodel.ops.shapes import normal_axes, normal_axis, reusable, same
from costmodel.ops.value_layout import Unknowns, extent_of


class Row(NamedTuple):
    """What one input element takes, what one result takes on top, and how elements that carry shapes are computed."""

    steps: str
    final: str = ""
    value: values.Function | None = None
    axes_input_since: int = 18


REDUCTIONS = {
    "ReduceL1": Row("absolute value, add"),
    "ReduceL2": Row("square, add", "square root"),
    "ReduceLogSum": Row("add", "log"),
    "ReduceLogSumExp": Row("exp, add", "log"),
    "ReduceMax": Row("compare", value=values.largest_of),
    "ReduceMean": Row("add", "divide", value=values.mean),
    "ReduceMin": Row("compare", value=values.smallest_of),
    "ReduceProd": Row("multiply", value=values.product_of),
    "ReduceSum": Row("add", value=values.total, axes_input_since=13),
    "ReduceSumSquare": Row("square, add"),
}
REDUCED_LOSSES = {"none": 0, "sum": 1, "mean": 1}  # additions per loss


def reduced_shape(shape: Shape, axes: Sequence[int], *, keepdims: int) -> Shape:
    """The shape after a reduction over axes counted from 0 up.

    >>> reduced_shape((2, 3, 4), (1,), keepdims=1), reduced_shape((2, 3, 4), (1,), keepdims=0)
    ((2, 1, 4), (2, 4))
    """
    if keepdims:
        return tuple(1 if axis in axes else extent for axis, extent in enumerate(shape))
    return tuple(extent for axis, extent in enumerate(shape) if axis not in axes)


def _reduce(row: Row, data: Tensor, axes: Sequence[int], *, keepdims: int) -> Cost:
    shape = reduced_shape(data.dims, axes, keepdims=keepdims)
    y = values.reduced(row.value, data, axes, shape, data.dtype)
    flops = data.size * count(row.steps) + y.size * count(row.final)
    return Cost((y,), other_flops=flops, in_place=reusable(y, data))


def _by_attribute(row: Row) -> Callable[..., Cost]:
    def body(data, *, axes=None, keepdims=1):
        chosen = normal_axes(axes, data.rank) if axes else range(data.rank)
        return _reduce(row, data, chosen, keepdims=keepdims)

    return body


def _by_input(row: Row) -> Callable[..., Cost]:
    def body(data, axes=None, *, keepdims=1, noop_with_empty_axes=0, name):
        if axes is None or axes.size == 0:
            return _reduce(row, data, () if noop_with_empty_axes else range(data.rank), keepdims=keepdims)
        given = [axis for axis in axes.value or () if isinstance(axis, int)]
        if len(given) != axes.size:
            return _reduce_over_any(row, data, axes.size, keepdims=keepdims, name=name)
        return _reduce(row, data, normal_axes(given, data.rank), keepdims=keepdims)

    return body


def _reduce_over_any(row: Row, data: Tensor, axes: Extent, *, keepdims: int, name: str) -> Cost:
    """A reduction over so many axes, of which only the data says which they are."""
    unknown = Unknowns(name)
    if keepdims:
        y = data.to([unknown.extent(f"axis{axis}", at_most=extent) for axis, extent in enumerate(data.dims)])
    else:
        y = data.to(unknown.filled((None,) * (data.rank - axes), at_most=data.size) if isinstance(axes, int) else None)
    final = y.size * count(row.final) if y.is_known else 0
    return Cost((y,), other_flops=data.size * count(row.steps) + final, bounds=unknown.bounds)


for _op, _row in REDUCTIONS.items():
    _final = f"; {_row.final} per result" if _row.final else ""
    _words = f"{count(_row.steps)} per element of the input: {_row.steps}{_final}."
    for _body, _since in ((_by_attribute(_row), 1), (_by_input(_row), _row.axes_input_since)):
        _body.__doc__ = _words
        rule(_op, since=_since)(_body)


@rule("ArgMax", "ArgMin")
def arg_max(data, *, axis=0, keepdims=1, select_last_index=0):
    """1 per element of the input: compare."""
    axes = (normal_axis(axis, data.rank),)
    return Cost((data.to(reduced_shape(data.dims, axes, keepdims=keepdims), dtype="int64"),), other_flops=data.size)


@rule("CumSum")
def cum_sum(x, axis, *, exclusive=0, reverse=0):
    """1 per element: add."""
    return _running(values.add, 0, x, axis, exclusive=bool(exclusive), reverse=bool(reverse))


@rule("CumProd")
def cum_prod(x, axis, *, exclusive=0, reverse=0):
    """1 per element: multiply."""
    return _running(values.multiply, 1, x, axis, exclusive=bool(exclusive), reverse=bool(reverse))


def _running(function: values.Function, first: int, x: Tensor, axis: Tensor, *, exclusive: bool, reverse: bool) -> Cost:
    y = x.to(x.dims)
    along = extent_of(axis)
    if isinstance(along, int):
        y = values.running(function, first, x, normal_axis(along, x.rank), exclusive=exclusive, reverse=reverse)
    return Cost((y,), other_flops=y.size, in_place=reusable(y, x))


@rule("Det")
def det(x):
    """Per n x n matrix n(n-1)/2 divisions and n(n-1)(2n-1)/3 multiplications and subtractions (LU), n multiplications."""
    *batch, rows, columns = x.dims
    n = same(rows, columns, "rows and columns")
    per_matrix = n * (n - 1) // 2 + n * (n - 1) * (2 * n - 1) // 3 + n
    y = x.to(batch)
    return Cost((y,), other_flops=y.size * per_matrix, scratch_bytes=x.nbytes)


@rule("NegativeLogLikelihoodLoss")
def negative_log_likelihood_loss(log_prob, target, weight=None, *, ignore_index=None, reduction="mean"):
    """Per target: negate, with weights multiply (for a mean also add them up), with a reduction add; a mean divides once."""
    losses = _losses(log_prob, target, reduction)
    reads = (target.size, target.size, target.size) if weight is not None else (target.size, target.size)
    flops = _loss_flops(target, weight, reduction)
    return Cost((losses,), other_flops=flops, reads=reads, not_learnable=(2,))


@rule("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy_loss(scores, labels, weights=None, *, ignore_index=None, reduction="mean"):
    """5 per score and a log per label for the logarithmic softmax; the rest as NegativeLogLikelihoodLoss."""
    losses = _losses(scores, labels, reduction)
    log_prob = scores.to(scores.dims)
    flops = 5 * scores.size + labels.size + _loss_flops(labels, weights, reduction)
    return Cost((losses, log_prob), other_flops=flops, not_learnable=(2,))


def _losses(scores: Tensor, target: Tensor, reduction: str) -> Tensor:
    if reduction not in REDUCED_LOSSES:
        raise MalformedModel(f"reduction {reduction!r} is none of {', '.join(REDUCED_LOSSES)}")
    batch, _, *spatial = scores.dims
    for extent, labelled in zip((batch, *spatial), target.dims, strict=True):
        same(extent, labelled, "extents of the scores, without classes, and of the target")
    return scores.to(target.dims if reduction == "none" else ())


def _loss_flops(target: Tensor, weight: Tensor | None, reduction: str) -> Extent:
    per_target = 1 + (weight is not None) * (1 + (reduction == "mean")) + REDUCED_LOSSES[reduction]
    return target.size * per_target + (reduction == "mean")
