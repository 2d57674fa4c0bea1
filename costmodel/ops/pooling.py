"""Pools: one result per window that slides over the spatial axes, or per channel."""

from __future__ import annotations

from collections.abc import Sequence

from costmodel.dims import Extent, product
from costmodel.errors import MalformedModel
from costmodel.graph import Cost, Tensor
from costmodel.ops.elementwise import count
from costmodel.ops.registry import rule
from costmodel.ops.shapes import same, windows
from costmodel.ops.value_layout import Unknowns, extents

# pool: what each element of a window takes, what the result takes on top
MAX = ("compare", "")
AVERAGE = ("add", "divide")
LP = ("power, add", "root")


def _pool(x: Tensor, steps: tuple[str, str], kernel: Sequence[int], **sliding) -> Cost:
    batch, channels, *spatial = x.dims
    y = x.to((batch, channels, *windows(tuple(spatial), kernel=tuple(kernel), **sliding)))
    return _pooled(y, steps, product(kernel))


def _global_pool(x: Tensor, steps: tuple[str, str]) -> Cost:
    batch, channels, *spatial = x.dims
    y = x.to((batch, channels, *(1 for _ in spatial)))
    return _pooled(y, steps, product(spatial))


def _pooled(y: Tensor, steps: tuple[str, str], elements: Extent) -> Cost:
    each, final = steps
    return Cost((y,), other_flops=y.size * (count(each) * elements + count(final)))


@rule("MaxPool")
def max_pool(
    x, *, kernel_shape, auto_pad="NOTSET", ceil_mode=0, dilations=None, pads=None, storage_order=0, strides=None, n_outputs
):
    """1 per window element: compare."""
    cost = _pool(
        x, MAX, kernel_shape, strides=strides, dilations=dilations, pads=pads, auto_pad=auto_pad, ceil=bool(ceil_mode)
    )
    y, = cost.outputs
    return Cost((y, y.to(y.dims, dtype="int64"))[:n_outputs], other_flops=cost.other_flops)


@rule("AveragePool")
def average_pool(
    x, *, kernel_shape, auto_pad="NOTSET", ceil_mode=0, count_include_pad=0, dilations=None, pads=None, strides=None
):
    """1 per window element: add; 1 per result: divide."""
    return _pool(
        x, AVERAGE, kernel_shape, strides=strides, dilations=dilations, pads=pads, auto_pad=auto_pad, ceil=bool(ceil_mode)
    )


@rule("LpPool")
def lp_pool(x, *, kernel_shape, auto_pad="NOTSET", ceil_mode=0, dilations=None, p=2, pads=None, strides=None):
    """2 per window element: power, add; 1 per result: root."""
    return _pool(
        x, LP, kernel_shape, strides=strides, dilations=dilations, pads=pads, auto_pad=auto_pad, ceil=bool(ceil_mode)
    )


@rule("GlobalMaxPool")
def global_max_pool(x):
    """1 per element of the input: compare."""
    return _global_pool(x, MAX)


@rule("GlobalAveragePool")
def global_average_pool(x):
    """1 per element of the input: add; 1 per result: divide."""
    return _global_pool(x, AVERAGE)


@rule("GlobalLpPool")
def global_lp_pool(x, *, p=2):
    """2 per element of the input: power, add; 1 per result: root."""
    return _global_pool(x, LP)


@rule("MaxUnpool")
def max_unpool(x, indices, output_shape=None, *, kernel_shape, pads=None, strides=None, name):
    """No arithmetic: each element goes to where it was the maximum."""
    batch, channels, *spatial = x.dims
    same(x.size, indices.size, "elements and indices")
    if output_shape is not None:
        return Cost((x.to(Unknowns(name).filled(extents(output_shape) or (None,) * x.rank)),))
    steps = strides or (1,) * len(spatial)
    flat = pads or (0,) * (2 * len(spatial))
    if not len(spatial) == len(kernel_shape) == len(steps) == len(flat) // 2:
        raise MalformedModel(f"kernel_shape {kernel_shape}, strides {steps} and pads {flat} do not fit {len(spatial)} axes")
    padding = zip(flat[: len(spatial)], flat[len(spatial) :], strict=True)
    before = [
        (extent - 1) * step + kernel - begin - end
        for extent, step, kernel, (begin, end) in zip(spatial, steps, kernel_shape, padding, strict=True)
    ]
    return Cost((x.to((batch, channels, *before)),))


@rule("MaxRoiPool")
def max_roi_pool(x, rois, *, pooled_shape, spatial_scale=1.0):
    """1 per element of a region: compare; a region, which is data, is taken to be the whole of x."""
    _, channels, *spatial = x.dims
    regions, _ = rois.dims
    y = x.to((regions, channels, *pooled_shape))
    return Cost((y,), other_flops=regions * channels * product(spatial), not_learnable=(1,))
