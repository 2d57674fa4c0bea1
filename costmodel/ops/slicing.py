"""Ops that cut axes and pad them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Union

import numpy as np

from costmodel.dims import Extent, bounds, ceil_divide, maximum, minimum, product, total
from costmodel.errors import MalformedModel
from costmodel.graph import Cost, Element, Tensor
from costmodel.ops.registry import rule
from costmodel.ops.shapes import normal_axes, normal_axis, same
from costmodel.ops.value_layout import Objects, Unknowns, extents, moved, scalar, size_of

BEYOND = 10**9  # "to the end": exporters write the largest number of 32 or 64 bits, or a round one; no axis is longer


Places = Sequence[Union[Extent, None]]
Sides = tuple[Union[Extent, None], Union[Extent, None]]

# -- Slice --------------------------------------------------------------------------------------------------------


class Cut(NamedTuple):
    """``length`` elements of an axis, from ``begin`` on, ``step`` apart."""

    begin: Extent
    step: int
    length: Extent


def cut(extent: Extent, start: Extent, end: Extent, step: int = 1) -> Cut:
    """What start:end:step takes of an axis (ONNX operators, Slice: places beyond the axis are clamped to it).

    >>> from costmodel.dims import Dim
    >>> s = Dim.size("S")
    >>> cut(s, 1, BEYOND).length, cut(s, -2, BEYOND).length, cut(512, 0, s).length, cut(10, -1, -BEYOND, -2).length
    (Dim('S - 1'), Dim('min(2, S)'), Dim('min(512, S)'), 5)
    """
    if step == 0:
        raise MalformedModel("a slice has step 0; it must go forwards or backwards")
    first, last = from_begin(start, extent), from_begin(end, extent)
    if step < 0:
        begin = maximum(0, minimum(extent - 1, first))
        return Cut(begin, step, maximum(0, ceil_divide(begin - maximum(-1, minimum(extent - 1, last)), -step)))
    room = minimum(extent, last, extent - first, last - first)  # min(extent, last) - max(0, first)
    return Cut(maximum(0, minimum(extent, first)), step, ceil_divide(maximum(0, room), step))


def from_begin(place: Extent, extent: Extent) -> Extent:
    """A place on an axis counted from its begin; a negative one counts from the end, a huge one stays outside.

    >>> from_begin(-1, 8), from_begin(-BEYOND, 8)
    (7, -1)

    An open place that may have either sign takes the extent times 1 if it is below 0, times 0 if not.
    """
    if isinstance(place, int) and abs(place) >= BEYOND:
        return extent if place > 0 else -1
    low, high = bounds(place)
    if low >= 0:
        return place
    return place + extent if high < 0 else place + extent * minimum(1, maximum(0, -place))


@rule("Slice")
def slice_attributes(data, *, starts, ends, axes=None, name):
    """No arithmetic; a copy that reads the elements it keeps."""
    return _sliced(data, starts, ends, range(len(starts)) if axes is None else axes, None, (), name)


@rule("Slice", since=10)
def slice_inputs(data, starts, ends, axes=None, steps=None, *, name):
    """No arithmetic; a copy that reads the elements it keeps."""
    count = starts.size
    first = tuple(range(count)) if isinstance(count, int) else None
    sliced = first if axes is None else extents(axes)
    return _sliced(data, extents(starts), extents(ends), sliced, extents(steps), (starts, ends, axes, steps), name)


def _sliced(
    data: Tensor,
    starts: Places | None,
    ends: Places | None,
    axes: Places | None,
    steps: Places | None,
    given: Sequence[Tensor | None],
    name: str,
) -> Cost:
    unknown = Unknowns(name)
    cuts: dict[int, Cut | None] = dict.fromkeys(range(data.rank))
    chosen = _axes_known(axes, data.rank)
    if chosen is not None:
        many = len(chosen)
        places = zip(_places(starts, many), _places(ends, many), _places(steps or (1,) * many, many), strict=True)
        cuts = {axis: _cut_if_known(data.dims[axis], *place) for axis, place in zip(chosen, places, strict=True)}
    y = data.to([_kept(extent, axis, cuts, unknown) for axis, extent in enumerate(data.dims)])
    return Cost(
        (moved(y, lambda array: _taken(array, cuts), data),),
        reads=(y.size, *size_of(*given)),
        not_learnable=tuple(range(1, len(given) + 1)),
        bounds=unknown.bounds,
    )


def _axes_known(axes: Places | None, rank: int) -> tuple[int, ...] | None:
    """The axes counted from 0, None where they depend on data."""
    numbers = [axis for axis in axes or () if isinstance(axis, int)]
    return None if axes is None or len(numbers) < len(axes) else normal_axes(numbers, rank)


def _places(places: Places | None, many: int) -> Places:
    if places is not None and len(places) != many:
        raise MalformedModel(f"a slice of {many} axes has {len(places)} starts, ends or steps; each axis needs one")
    return (None,) * many if places is None else places


def _cut_if_known(extent: Extent, start: Extent | None, end: Extent | None, step: Extent | None) -> Cut | None:
    return cut(extent, start, end, step) if start is not None and end is not None and isinstance(step, int) else None


def _kept(extent: Extent, axis: int, cuts: Mapping[int, Cut | None], unknown: Unknowns) -> Extent:
    one = cuts.get(axis, Cut(0, 1, extent))
    return unknown.extent(f"axis{axis}", at_most=extent) if one is None else one.length


def _taken(array: Objects, cuts: Mapping[int, Cut | None]) -> Objects | None:
    for axis, one in cuts.items():
        if one is None or not isinstance(one.begin, int) or not isinstance(one.length, int):
            return None
        array = array.take(range(one.begin, one.begin + one.length * one.step, one.step), axis)
    return array


# -- Split --------------------------------------------------------------------------------------------------------


@rule("Split")
def split_first(x, sizes=None, *, split=None, axis=0, n_outputs, name):
    """No arithmetic; a copy. Without sizes the parts are equal."""
    return _split(x, split if sizes is None else _unless_open(sizes, n_outputs), axis, n_outputs, name)


@rule("Split", since=2)
def split_attribute(x, *, split=None, axis=0, n_outputs, name):
    """No arithmetic; a copy. Without sizes the parts are equal."""
    return _split(x, split, axis, n_outputs, name)


@rule("Split", since=13)
def split_input(x, split=None, *, axis=0, num_outputs=None, n_outputs, name):
    """No arithmetic; a copy. Without sizes the parts are equal, the last of num_outputs takes what is left."""
    wanted = None if split is None else _unless_open(split, n_outputs)
    if num_outputs is not None:
        part = ceil_divide(x.dims[normal_axis(axis, x.rank)], num_outputs)
        wanted = (*(part,) * (num_outputs - 1), None)
    return _split(x, wanted, axis, n_outputs, name)


def _unless_open(sizes: Tensor, parts: int) -> Places:
    found = extents(sizes)
    return (None,) * parts if found is None else found


def _split(x: Tensor, wanted: Places | None, axis: int, parts: int, name: str) -> Cost:
    unknown = Unknowns(name)
    at = normal_axis(axis, x.rank)
    sizes = _part_sizes(x.dims[at], wanted, parts, unknown)
    outputs = []
    for i, size in enumerate(sizes):
        y = x.to((*x.dims[:at], size, *x.dims[at + 1 :]))
        piece = {at: Cut(total(sizes[:i]), 1, size)}
        outputs.append(moved(y, partial(_taken, cuts=piece), x))
    return Cost(tuple(outputs), not_learnable=(1,), bounds=unknown.bounds)


def _part_sizes(
    extent: Extent, wanted: Places | None, parts: int, unknown: Unknowns
) -> tuple[Extent, ...]:
    """The extent of each part; a single unknown one takes what is left."""
    if wanted is None:
        if isinstance(extent, int) and extent % parts:
            raise MalformedModel(f"an extent of {extent} does not split into {parts} equal parts")
        return (extent // parts,) * parts
    if len(wanted) != parts:
        raise MalformedModel(f"{len(wanted)} sizes are given for {parts} parts")
    known = [size for size in wanted if size is not None]
    if len(known) == parts:
        same(total(known), extent, "the sum of the parts and the split extent")
    if len(known) == parts - 1:
        return tuple(extent - total(known) if size is None else size for size in wanted)
    return tuple(
        unknown.extent(f"part{i}", at_most=extent) if size is None else size for i, size in enumerate(wanted)
    )


# -- padding ------------------------------------------------------------------------------------------------------


@rule("Pad")
def pad_first(data, *, paddings, mode="constant", value=0.0, name):
    """No arithmetic; a copy."""
    return _padded(data, paddings, None, mode, value, name)


@rule("Pad", since=2)
def pad_attribute(data, *, pads, mode="constant", value=0.0, name):
    """No arithmetic; a copy."""
    return _padded(data, pads, None, mode, value, name)


@rule("Pad", since=11)
def pad_input(data, pads, constant_value=None, axes=None, *, mode="constant", name):
    """No arithmetic; a copy."""
    value = 0 if constant_value is None else scalar(constant_value)
    return _padded(data, extents(pads), axes, mode, value, name)


@rule("Pad", domain="com.microsoft")
def pad_microsoft(data, pads, value=None, *, mode="constant", name):
    """No arithmetic; a copy."""
    return _padded(data, extents(pads), None, mode, 0 if value is None else scalar(value), name)


def _padded(data: Tensor, pads: Places | None, axes: Tensor | None, mode: str, value: Element, name: str) -> Cost:
    unknown = Unknowns(name)
    chosen = range(data.rank) if axes is None else _axes_known(extents(axes), data.rank)
    sides: dict[int, Sides] = dict.fromkeys(range(data.rank) if chosen is None else chosen, (None, None))
    if chosen is not None and pads is not None:
        many = len(chosen)
        if len(pads) != 2 * many:
            raise MalformedModel(f"{len(pads)} pads are given for {many} axes; each needs two")
        sides = dict(zip(chosen, zip(pads[:many], pads[many:], strict=True), strict=True))
    y = data.to([_padded_extent(extent, axis, sides, unknown) for axis, extent in enumerate(data.dims)])
    y = moved(y, lambda array: _padded_value(array, sides, mode, value), data)
    return Cost((y,), not_learnable=(1, 2, 3), bounds=unknown.bounds)


def _padded_extent(extent: Extent, axis: int, sides: Mapping[int, Sides], unknown: Unknowns) -> Extent:
    before, after = sides.get(axis, (0, 0))
    if before is None or after is None:
        return unknown.extent(f"axis{axis}")
    padded = extent + before + after
    if isinstance(padded, int) and padded < 0:
        raise MalformedModel(f"pads ({before}, {after}) take more from axis {axis} than its {extent} elements")
    return padded


def _padded_value(array: Objects, sides: Mapping[int, Sides], mode: str, value: Element) -> Any:
    """Negative pads cut first."""
    width = [sides.get(axis, (0, 0)) for axis in range(array.ndim)]
    pads = [(before, after) for before, after in width if isinstance(before, int) and isinstance(after, int)]
    if len(pads) < array.ndim:
        return None
    kept = array[tuple(slice(max(-before, 0), min(after, 0) or None) for before, after in pads)]
    grown = [(max(before, 0), max(after, 0)) for before, after in pads]
    how: dict[str, Any] = {"constant_values": value} if mode == "constant" else {"mode": mode}
    return np.pad(kept, grown, **how)


@rule("CenterCropPad", since=18)
def center_crop_pad(x, shape, *, axes=None, name):
    """No arithmetic; a copy that reads the elements it keeps."""
    unknown = Unknowns(name)
    changed = tuple(range(x.rank)) if axes is None else normal_axes(axes, x.rank)
    wanted = extents(shape) or (None,) * len(changed)
    if len(wanted) != len(changed):
        raise MalformedModel(f"{len(wanted)} extents are given for {len(changed)} axes")
    extent = dict(zip(changed, wanted, strict=True))
    y = x.to(unknown.filled([extent.get(axis, old) for axis, old in enumerate(x.dims)]))
    kept = product(minimum(old, new) for old, new in zip(x.dims, y.dims, strict=True))
    return Cost((y,), reads=(kept, *size_of(shape)), not_learnable=(1,), bounds=unknown.bounds)
