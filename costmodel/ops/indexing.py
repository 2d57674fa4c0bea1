"""Ops that pick elements by index or by value, or put them somewhere by index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from costmodel.dims import Dim, Extent, bounds, minimum
from costmodel.errors import MalformedModel
from costmodel.graph import Cost, Element, Tensor
from costmodel.ops.registry import rule
from costmodel.ops.shapes import normal_axis, with_value
from costmodel.ops.value_layout import Objects, Unknowns, extent_of, index_array, moved, numbers

# -- gathering ----------------------------------------------------------------------------------------------------


@rule("Gather")
def gather(data, indices, *, axis=0):
    """No arithmetic; a copy that reads the elements it picks."""
    at = normal_axis(axis, data.rank)
    y = data.to((*data.dims[:at], *indices.dims, *data.dims[at + 1 :]))
    return _gathered(y, data, indices, lambda array, picks: array.take(picks, at))


@rule("GatherElements", since=11)
def gather_elements(data, indices, *, axis=0):
    """No arithmetic; a copy that reads the elements it picks."""
    at = normal_axis(axis, data.rank)
    if indices.rank != data.rank:
        raise MalformedModel(f"indices of rank {indices.rank} do not fit data of rank {data.rank}")
    return _gathered(data.to(indices.dims), data, indices, lambda array, picks: array[_places(picks, at)])


@rule("GatherND", since=11)
@rule("GatherND", domain="com.microsoft")
def gather_nd(data, indices, *, batch_dims=0):
    """No arithmetic; a copy that reads the elements it picks."""
    depth = _index_depth(data, indices, batch_dims)
    y = data.to((*indices.dims[:-1], *data.dims[batch_dims + depth :]))
    return _gathered(y, data, indices, lambda array, picks: array[_slice_places(picks, batch_dims)])


def _gathered(y: Tensor, data: Tensor, indices: Tensor, pick: Callable[[Objects, Any], Any]) -> Cost:
    picks = index_array(indices)
    if picks is not None:
        y = moved(y, lambda array: pick(array, picks), data)
    return Cost((y,), reads=(y.size, indices.size), not_learnable=(1,))


def _places(picks: Any, axis: int) -> tuple[Any, ...]:
    """Indices along one axis as an index of numpy: on every other axis an element stays where it is."""
    return tuple(picks if i == axis else place for i, place in enumerate(np.indices(picks.shape, sparse=True)))


def _slice_places(picks: Any, batch_dims: int = 0) -> tuple[Any, ...]:
    """Indices of slices, along the last axis of ``picks``, as an index of numpy behind the batch axes."""
    batch = np.indices(picks.shape[:-1], sparse=True)[:batch_dims]
    return (*batch, *np.moveaxis(picks, -1, 0))


def _index_depth(data: Tensor, indices: Tensor, batch_dims: int = 0) -> int:
    """How many axes one index covers."""
    depth = indices.dims[-1] if indices.rank > batch_dims else None
    if not isinstance(depth, int) or not 0 <= depth <= data.rank - batch_dims:
        raise MalformedModel(f"indices of {depth} numbers behind {batch_dims} batch axes do not fit rank {data.rank}")
    return depth


# -- scattering ---------------------------------------------------------------------------------------------------


@rule("Scatter", since=9)
@rule("ScatterElements", since=11)
def scatter_elements(data, indices, updates, *, axis=0, reduction="none"):
    """One operation per update where a reduction is asked for; a copy of the data that may take over their memory."""
    at = normal_axis(axis, data.rank)
    return _scattered(data, indices, updates, reduction, lambda picks: _places(picks, at))


@rule("ScatterND", since=11)
def scatter_nd(data, indices, updates, *, reduction="none"):
    """One operation per update where a reduction is asked for; a copy of the data that may take over their memory."""
    _index_depth(data, indices)
    return _scattered(data, indices, updates, reduction, _slice_places)


def _scattered(data: Tensor, indices: Tensor, updates: Tensor, reduction: str, places: Callable[[Any], Any]) -> Cost:
    y, picks = data.to(data.dims), index_array(indices)

    def written(array: Objects, new: Objects) -> Objects:
        array[places(picks)] = new
        return array

    if picks is not None and reduction == "none":
        y = moved(y, written, data, updates)
    return Cost((y,), other_flops=0 if reduction == "none" else updates.size, in_place=(0,), not_learnable=(1,))


@rule("TensorScatter", since=24)
def tensor_scatter(past_cache, update, write_indices=None, *, axis=-2, mode="linear"):
    """No arithmetic; a copy of the cache that may take over its memory."""
    if update.rank != past_cache.rank:
        raise MalformedModel(f"an update of rank {update.rank} does not fit a cache of rank {past_cache.rank}")
    return Cost((past_cache.to(past_cache.dims),), in_place=(0,), not_learnable=(2,))


@rule("OneHot", since=9)
def one_hot(indices, depth, values, *, axis=-1, name):
    """No arithmetic; every output element is written once."""
    unknown = Unknowns(name)
    at = normal_axis(axis, indices.rank + 1)
    wide = extent_of(depth)
    shape = (*indices.dims[:at], unknown.extent("depth") if wide is None else wide, *indices.dims[at:])
    return Cost((values.to(shape),), not_learnable=(0, 1, 2), bounds=unknown.bounds)


# -- picking by value ---------------------------------------------------------------------------------------------


@rule("TopK")
def top_k_attribute(x, *, k, axis=-1, name):
    """One comparison per element: the work of a selection, whatever k; sorting the selected is not counted."""
    return _top(x, k, axis, True, name)


@rule("TopK", since=10)
def top_k(x, k, *, axis=-1, largest=1, sorted=1, name):  # noqa: A002 - ONNX's name
    """One comparison per element: the work of a selection, whatever k; sorting the selected is not counted."""
    return _top(x, extent_of(k), axis, bool(largest), name)


def _top(x: Tensor, k: Extent | None, axis: int, largest: bool, name: str) -> Cost:
    unknown = Unknowns(name)
    at = normal_axis(axis, x.rank)
    extent = x.dims[at]
    if isinstance(k, int) and isinstance(extent, int) and not 0 <= k <= extent:
        raise MalformedModel(f"k={k} of {extent} elements along axis {at}; it must not exceed them")
    many = unknown.extent("k", at_most=extent) if k is None else k
    shape = (*x.dims[:at], many, *x.dims[at + 1 :])
    values, places = x.to(shape), x.to(shape, dtype="int64")
    if numbers(x) is not None and isinstance(many, int):
        values = moved(values, lambda array: np.take_along_axis(array, _best(array, at, many, largest), at), x)
        places = moved(places, lambda array: _best(array, at, many, largest), x)
    return Cost((values, places), other_flops=x.size, not_learnable=(1,), bounds=unknown.bounds)


def _best(array: Objects, axis: int, k: int, largest: bool) -> Any:
    order = np.argsort(-array if largest else array, axis=axis, kind="stable")
    return order.take(range(k), axis)


@rule("NonZero", since=9)
def non_zero(x, *, name):
    """One comparison per element."""
    unknown = Unknowns(name)
    tests = [_is_nonzero(element) for element in x.value] if x.value is not None else [None]
    if None not in tests:
        where = np.argwhere(np.array(tests, dtype=bool).reshape([int(extent) for extent in x.dims])).T
        y = with_value(Tensor("int64", where.shape), where.ravel().tolist())
    elif x.fill is not None:
        y = Tensor("int64", (x.rank, x.size if x.fill else 0))
    else:
        y = Tensor("int64", (x.rank, unknown.extent("nonzero", at_most=x.size)))
    return Cost((y,), other_flops=x.size, bounds=unknown.bounds)


def _is_nonzero(element: Element) -> bool | None:
    if isinstance(element, Dim):
        low, high = bounds(element)
        return True if low > 0 or high < 0 else None
    return None if element is None else bool(element)


@rule("Compress", since=9)
def compress(x, condition, *, axis=None, name):
    """No arithmetic; a copy that reads the elements it keeps."""
    unknown = Unknowns(name)
    at = None if axis is None else normal_axis(axis, x.rank)
    kept = index_array(condition)
    most = minimum(x.size if at is None else x.dims[at], condition.size)
    many = unknown.extent("selected", at_most=most) if kept is None else int(np.count_nonzero(kept))
    y = x.to((many,) if at is None else (*x.dims[:at], many, *x.dims[at + 1 :]))
    if kept is not None:
        y = moved(y, lambda array: np.compress(kept != 0, array, at), x)
    return Cost((y,), reads=(y.size, condition.size), not_learnable=(1,), bounds=unknown.bounds)


@rule("Unique", since=11)
def unique(x, *, axis=None, sorted=1, name):  # noqa: A002 - ONNX's name
    """One comparison per element; sorting takes more, by a factor that depends on data."""
    unknown = Unknowns(name)
    at = None if axis is None else normal_axis(axis, x.rank)
    extent = x.size if at is None else x.dims[at]
    known = numbers(x)
    many = unknown.extent("unique", at_most=extent) if known is None else _distinct(known, at)
    y = x.to((many,) if at is None else (*x.dims[:at], many, *x.dims[at + 1 :]))
    counts = Tensor("int64", (many,))
    return Cost((y, counts, Tensor("int64", (extent,)), counts), other_flops=x.size, bounds=unknown.bounds)


def _distinct(array: Objects, axis: int | None) -> int:
    slices = array.reshape(-1, 1) if axis is None else np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    return len({tuple(row) for row in slices.tolist()})


@rule("NonMaxSuppression", since=10)
def non_max_suppression(
    boxes, scores, max_output_boxes_per_class=None, iou_threshold=None, score_threshold=None, *, center_point_box=0, name
):
    """One comparison per score; how often boxes are compared with each other depends on data and is not counted."""
    unknown = Unknowns(name)
    batch, classes, many = scores.dims
    per_class = 0 if max_output_boxes_per_class is None else extent_of(max_output_boxes_per_class)
    most = batch * classes * (many if per_class is None else minimum(many, per_class))
    y = Tensor("int64", (unknown.extent("selected", at_most=most), 3))
    return Cost((y,), other_flops=scores.size, not_learnable=(2, 3, 4), bounds=unknown.bounds)
