"""Convolutions."""

from __future__ import annotations

from costmodel.dims import product
from costmodel.errors import MalformedModel
from costmodel.graph import Cost
from costmodel.ops.registry import rule
from costmodel.ops.shapes import same, windows


@rule("Conv")
def conv(x, w, b=None, *, strides=None, pads=None, dilations=None, group=1, auto_pad="NOTSET", kernel_shape=None):
    """One multiply-add per filter weight and output element; one addition per output element for a bias."""
    batch, channels, *spatial = x.dims
    filters, depth, *kernel = w.dims
    if group < 1 or (isinstance(filters, int) and filters % group):
        raise MalformedModel(f"{filters} filters do not form {group} groups")
    same(channels, depth * group, "input channels and group * filter depth")
    if kernel_shape is not None and tuple(kernel_shape) != tuple(kernel):
        raise MalformedModel(f"kernel_shape {tuple(kernel_shape)} contradicts the filter {tuple(kernel)}")
    extents = windows(
        spatial, kernel=kernel, strides=strides, dilations=dilations, pads=pads, auto_pad=auto_pad
    )
    y = x.to((batch, filters, *extents))
    return Cost((y,), macs=y.size * depth * product(kernel), other_flops=y.size if b is not None else 0)
