"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from costmodel.dims import Extent, minimum, product
from costmodel.errors import MalformedModel
from costmodel.graph import Cost, Shape
from costmodel.ops.registry import rule
from costmodel.ops.shapes import same, window_pads, windows


@rule("Conv")
def conv(x, w, b=None, *, strides=None, pads=None, dilations=None, group=1, auto_pad="NOTSET", kernel_shape=None):
    """One multiply-add per filter weight and output element; one addition per output element for a bias."""
    batch, channels, *spatial = x.dims
    filters, depth, *kernel = w.dims
    _check_groups(filters, group, "filters")
    _check_kernel(kernel, kernel_shape)
    same(channels, depth * group, "input channels and group * filter depth")
    extents = windows(spatial, kernel=kernel, strides=strides, dilations=dilations, pads=pads, auto_pad=auto_pad)
    y = x.to((batch, filters, *extents))
    return Cost((y,), macs=y.size * depth * product(kernel), other_flops=y.size if b is not None else 0)


@rule("ConvTranspose")
def conv_transpose(
    x, w, b=None,
    *, strides=None, pads=None, dilations=None, group=1, auto_pad="NOTSET", kernel_shape=None, output_padding=None,
    output_shape=None,
):  # fmt: skip
    """One multiply-add per input element and weight of its channel's filters; one addition per output element for a bias."""
    batch, channels, *spatial = x.dims
    depth, filters, *kernel = w.dims
    _check_groups(channels, group, "input channels")
    _check_kernel(kernel, kernel_shape)
    same(channels, depth, "input channels and filter depth")
    extents = (output_shape or ())[-len(spatial) :] or _transposed(
        spatial, kernel, strides=strides, pads=pads, dilations=dilations, auto_pad=auto_pad, output_padding=output_padding
    )
    y = x.to((batch, filters * group, *extents))
    return Cost((y,), macs=x.size * filters * product(kernel), other_flops=y.size if b is not None else 0)


@rule("DeformConv")
def deform_conv(
    x, w, offset, b=None, mask=None,
    *, strides=None, pads=None, dilations=None, group=1, offset_group=1, kernel_shape=None,
):  # fmt: skip
    """Multiply-adds as Conv; per sampled element 2 per coordinate, 2 * 2**axes - 1 to interpolate, 1 for a mask."""
    cost = conv(x, w, b, strides=strides, pads=pads, dilations=dilations, group=group, kernel_shape=kernel_shape)
    y, = cost.outputs
    batch, channels, *_ = x.dims
    _, _, *extents = y.dims
    _, _, *kernel = w.dims
    axes = len(kernel)
    needed = (batch, offset_group * axes * product(kernel), *extents)
    for stated, extent in zip(offset.dims, needed, strict=True):
        same(stated, extent, "extents of the offsets and of what is sampled")
    sampled = batch * channels * product(kernel) * product(extents)
    interpolation = 2 * axes + 2 * 2**axes - 1 + (mask is not None)
    return Cost((y,), macs=cost.macs, other_flops=cost.other_flops + sampled * interpolation)


def _transposed(
    spatial: Shape,
    kernel: Shape,
    *,
    strides: Sequence[int] | None,
    pads: Sequence[int] | None,
    dilations: Sequence[int] | None,
    auto_pad: str,
    output_padding: Sequence[int] | None,
) -> Shape:
    """Where the last window ends, less the padding; SAME pads down to extent * stride."""
    steps = tuple(strides or (1,) * len(spatial))
    gaps = tuple(dilations or (1,) * len(spatial))
    more = tuple(output_padding or (0,) * len(spatial))
    if not len(kernel) == len(steps) == len(gaps) == len(more) == len(spatial):
        raise MalformedModel(
            f"kernel {kernel}, strides {steps}, dilations {gaps} and output_padding {more} "
            f"must have {len(spatial)} numbers each"
        )
    full = tuple(
        step * (extent - 1) + extra + gap * (size - 1) + 1
        for extent, size, step, gap, extra in zip(spatial, kernel, steps, gaps, more, strict=True)
    )
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        return tuple(minimum(whole, extent * step) for whole, extent, step in zip(full, spatial, steps, strict=True))
    sides = window_pads(spatial, kernel=kernel, strides=steps, dilations=gaps, pads=pads, auto_pad=auto_pad)
    return tuple(whole - begin - end for whole, (begin, end) in zip(full, sides, strict=True))


def _check_groups(channels: Extent, group: Extent, what: str) -> None:
    if isinstance(group, int) and (group < 1 or (isinstance(channels, int) and channels % group)):
        raise MalformedModel(f"{channels} {what} do not form {group} groups")


def _check_kernel(kernel: Sequence[Extent], stated: Sequence[int] | None) -> None:
    if stated is not None and tuple(stated) != tuple(kernel):
        raise MalformedModel(f"kernel_shape {tuple(stated)} contradicts the filter {tuple(kernel)}")
