"""Ops that change how elements lie, and not what they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from costmodel.dims import Extent, product, total
from costmodel.errors import MalformedModel
from costmodel.graph import Cost, Shape, Tensor
from costmodel.ops.registry import rule
from costmodel.ops.shapes import broadcast, normal_axes, normal_axis, reshape, same, with_value
from costmodel.ops.value_layout import Unknowns, extents, index_array, moved, scalar, size_of

# -- what a tensor is ---------------------------------------------------------------------------------------------


@rule("Shape")
def shape_of(data, *, start=0, end=None):
    """No arithmetic; the data are not read."""
    kept = data.dims[slice(start, end)]
    return Cost((with_value(Tensor("int64", (len(kept),)), kept),), reads=(0,))


@rule("Size")
def size(data):
    """No arithmetic; the data are not read."""
    return Cost((with_value(Tensor("int64", ()), (data.size,)),), reads=(0,))


# -- views: the same elements in the same order -------------------------------------------------------------------


def _view(data: Tensor, shape: Sequence[Extent] | None, *given: Tensor | None, unknown: Unknowns | None = None) -> Cost:
    y = data.to(shape)
    positions = tuple(range(1, len(given) + 1))
    return Cost(
        (replace(moved(y, lambda array: array, data), fill=data.fill),),
        view_of=0,
        reads=(0, *size_of(*given)),
        not_learnable=positions,
        bounds=unknown.bounds if unknown else (),
    )


@rule("Identity")
def identity(x):
    """No arithmetic; a view that copies nothing."""
    return Cost((x,), view_of=0, reads=(0,))


@rule("Reshape")
def reshape_to_attribute(data, *, shape, consumed_inputs=None):
    """No arithmetic; a view that copies nothing."""
    return _view(data, _target(data, shape, Unknowns("Reshape"), zeros_copy=True))


@rule("Reshape", since=5)
def reshape_to(data, shape, *, allowzero=0, name):
    """No arithmetic; a view that copies nothing. Of the extents that depend on data, the last takes what is left."""
    unknown = Unknowns(name)
    wanted = extents(shape)
    target = None if wanted is None else _target(data, wanted, unknown, zeros_copy=not allowzero)
    return _view(data, target, shape, unknown=unknown)


def _target(data: Tensor, wanted: Sequence[Extent | None], unknown: Unknowns, *, zeros_copy: bool) -> Shape:
    """The extents that a Reshape gives: the elements settle one unknown extent, the others become new sizes."""
    found = [_copied(data, axis) if zeros_copy and extent == 0 else extent for axis, extent in enumerate(wanted)]
    bad = [extent for extent in found if isinstance(extent, int) and extent < -1]
    if bad:
        raise MalformedModel(f"{bad[0]} is no extent of a target shape; it may hold numbers from 0 up and one -1")
    if None in found and -1 not in found:
        found[max(axis for axis, extent in enumerate(found) if extent is None)] = -1
    return reshape(data.size, unknown.filled(found, at_most=data.size))


def _copied(data: Tensor, axis: int) -> Extent:
    """What a 0 in a target shape stands for."""
    if axis >= data.rank:
        raise MalformedModel(f"the target shape has a 0 at axis {axis}; the input has only {data.rank} axes to copy from")
    return data.dims[axis]


@rule("Flatten")
def flatten(x, *, axis=1):
    """No arithmetic; a view that copies nothing."""
    at = x.rank if axis == x.rank else normal_axis(axis, x.rank)
    return _view(x, (product(x.dims[:at]), product(x.dims[at:])))


@rule("Squeeze")
def squeeze_attribute(data, *, axes=None):
    """No arithmetic; a view that copies nothing. Without axes every extent of 1 goes; open sizes stay."""
    return _view(data, _squeezed(data, axes))


@rule("Squeeze", since=13)
def squeeze(data, axes=None, *, name):
    """No arithmetic; a view that copies nothing. Without axes every extent of 1 goes; open sizes stay."""
    if axes is None:
        return _view(data, _squeezed(data, None))
    found = index_array(axes)
    if found is not None:
        return _view(data, _squeezed(data, found.ravel().tolist()), axes)
    return _of_rank(data, lambda count: data.rank - count, axes, name)


def _squeezed(data: Tensor, axes: Sequence[int] | None) -> Shape:
    if axes is None:
        return tuple(extent for extent in data.dims if extent != 1)
    gone = normal_axes(axes, data.rank)
    for axis in gone:
        same(data.dims[axis], 1, f"the extent of the squeezed axis {axis} and 1")
    return tuple(extent for axis, extent in enumerate(data.dims) if axis not in gone)


@rule("Unsqueeze")
def unsqueeze_attribute(data, *, axes):
    """No arithmetic; a view that copies nothing."""
    return _view(data, _unsqueezed(data, axes))


@rule("Unsqueeze", since=13)
def unsqueeze(data, axes, *, name):
    """No arithmetic; a view that copies nothing."""
    found = index_array(axes)
    if found is not None:
        return _view(data, _unsqueezed(data, found.ravel().tolist()), axes)
    return _of_rank(data, lambda count: data.rank + count, axes, name)


def _unsqueezed(data: Tensor, axes: Sequence[int]) -> Shape:
    rank = data.rank + len(axes)
    new = normal_axes(axes, rank)
    old = iter(data.dims)
    return tuple(1 if axis in new else next(old) for axis in range(rank))


def _of_rank(data: Tensor, rank_after, axes: Tensor, name: str) -> Cost:
    """A view whose axes depend on data: only their number is known."""
    unknown = Unknowns(name)
    count = axes.size
    shape = unknown.filled((None,) * rank_after(count), at_most=data.size) if isinstance(count, int) else None
    return _view(data, shape, axes, unknown=unknown)


# -- copies -------------------------------------------------------------------------------------------------------


@rule("Transpose")
def transpose(data, *, perm=None):
    """No arithmetic; a copy."""
    order = tuple(reversed(range(data.rank))) if perm is None else tuple(perm)
    if sorted(order) != list(range(data.rank)):
        raise MalformedModel(f"perm {order} does not order the {data.rank} axes of the input")
    y = data.to(data.dims[axis] for axis in order)
    return Cost((moved(y, lambda array: array.transpose(order), data),))


@rule("Concat")
def concat_first(*inputs, axis=1):
    """No arithmetic; a copy."""
    return concat(*inputs, axis=axis)


@rule("Concat", since=4)
def concat(*inputs, axis):
    """No arithmetic; a copy."""
    y = inputs[0].to(concatenated([tensor.dims for tensor in inputs], axis))
    return Cost((moved(y, lambda *arrays: np.concatenate(arrays, axis), *inputs),))


def concatenated(shapes: Sequence[Shape], axis: int) -> Shape:
    """The shape of tensors that are put one after the other along an axis.

    >>> concatenated([(2, 3), (2, 5)], -1)
    (2, 8)
    """
    at = normal_axis(axis, len(shapes[0]))
    if any(len(shape) != len(shapes[0]) for shape in shapes):
        raise MalformedModel(f"tensors of ranks {[len(shape) for shape in shapes]} cannot be concatenated")
    joined = list(shapes[0])
    for shape in shapes[1:]:
        for i, extent in enumerate(shape):
            if i != at:
                joined[i] = same(joined[i], extent, f"extents of axis {i} beside the concatenated axis {at}")
    joined[at] = total(shape[at] for shape in shapes)
    return tuple(joined)


@rule("Expand", since=8)
def expand(x, shape, *, name):
    """No arithmetic; a copy that reads each element once."""
    unknown = Unknowns(name)
    wanted = extents(shape)
    if wanted is None:
        return Cost((x.to(None),), not_learnable=(1,))
    y = x.to(broadcast(x.dims, _expanded(x.dims, wanted, unknown)))
    y = moved(y, lambda array: np.broadcast_to(array, [int(extent) for extent in y.dims]), x)
    return Cost((replace(y, fill=x.fill),), not_learnable=(1,), bounds=unknown.bounds)


def _expanded(shape: Shape, wanted: Sequence[Extent | None], unknown: Unknowns) -> Shape:
    """The target with new sizes for what is unknown; an extent of the input above 1 leaves no choice."""
    beside = (1,) * (len(wanted) - len(shape)) + tuple(shape)[max(len(shape) - len(wanted), 0) :]
    settled = [
        old if new is None and isinstance(old, int) and old != 1 else new for old, new in zip(beside, wanted, strict=True)
    ]
    return unknown.filled(settled)


@rule("Tile")
def tile_axis(x, tiles, axis, *, name):
    """No arithmetic; a copy that reads each element once."""
    unknown = Unknowns(name)
    at, times = extents(axis), extents(tiles)
    if at is None or times is None or not isinstance(at[0], int):
        shape: Sequence[Extent | None] = (None,) * x.rank
    else:
        shape = [
            extent if i != normal_axis(at[0], x.rank) else None if times[0] is None else extent * times[0]
            for i, extent in enumerate(x.dims)
        ]
    return Cost((x.to(unknown.filled(shape)),), not_learnable=(1, 2), bounds=unknown.bounds)


@rule("Tile", since=6)
def tile(x, repeats, *, name):
    """No arithmetic; a copy that reads each element once."""
    unknown = Unknowns(name)
    times = extents(repeats)
    if times is None:
        times = (None,) * x.rank
    if len(times) != x.rank:
        raise MalformedModel(f"{len(times)} repeats do not fit the {x.rank} axes of the input")
    scaled = (None if many is None else extent * many for extent, many in zip(x.dims, times, strict=True))
    y = x.to(unknown.filled(tuple(scaled)))
    value = moved(y, lambda array: np.tile(array, [int(many or 0) for many in times]), x)
    return Cost((value,), not_learnable=(1,), bounds=unknown.bounds)


@rule("DepthToSpace")
def depth_to_space(x, *, blocksize, mode="DCR"):
    """No arithmetic; a copy."""
    batch, channels, *spatial = x.dims
    block = blocksize ** len(spatial)
    if blocksize < 1 or (isinstance(channels, int) and channels % block):
        raise MalformedModel(f"{channels} channels do not form blocks of {blocksize} along {len(spatial)} axes")
    return Cost((x.to((batch, channels // block, *(extent * blocksize for extent in spatial))),))


@rule("SpaceToDepth")
def space_to_depth(x, *, blocksize, mode="DCR"):
    """No arithmetic; a copy."""
    batch, channels, *spatial = x.dims
    if blocksize < 1 or any(isinstance(extent, int) and extent % blocksize for extent in spatial):
        raise MalformedModel(f"extents {spatial} do not form blocks of {blocksize}")
    shape = (batch, channels * blocksize ** len(spatial), *(extent // blocksize for extent in spatial))
    return Cost((x.to(shape),))


@rule("ReverseSequence", since=10)
def reverse_sequence(x, sequence_lens, *, batch_axis=1, time_axis=0):
    """No arithmetic; a copy."""
    batch = x.dims[normal_axis(batch_axis, x.rank)]
    same(sequence_lens.dims[0], batch, "sequence lengths and the batch")
    return Cost((x.to(x.dims),), not_learnable=(1,))


@rule("Trilu", since=14)
@rule("Trilu", domain="com.microsoft")
def trilu(x, k=None, *, upper=1):
    """No arithmetic; a copy that may take over the input's memory."""
    if x.rank < 2:
        raise MalformedModel(f"a triangle needs at least 2 axes, the input has {x.rank}")
    y = x.to(x.dims)
    diagonal = scalar(k) if k is not None else 0
    if isinstance(diagonal, int):
        y = moved(y, lambda array: (np.triu if upper else np.tril)(array, diagonal), x)
    return Cost((y,), in_place=(0,), not_learnable=(1,))
