"""Ops on channels in blocks, which ONNX Runtime writes where it saves a network that it optimised for its own processor.

The filters are stored as the kernel reads them: their channels are filled up to whole blocks, and what is filled counts too.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from costmodel.graph import Cost
from costmodel.ops.activations import activation_flops
from costmodel.ops.conv import conv
from costmodel.ops.pooling import average_pool, global_average_pool, global_max_pool, max_pool
from costmodel.ops.registry import rule
from costmodel.ops.resize import upsample_by_attribute

blocked = partial(rule, domain="com.microsoft.nchwc")

blocked("AveragePool")(average_pool)
blocked("GlobalAveragePool")(global_average_pool)
blocked("GlobalMaxPool")(global_max_pool)
blocked("MaxPool")(max_pool)


@blocked("Conv")
def blocked_conv(
    x, w, b=None, sum=None,  # noqa: A002 - ONNX Runtime's name
    *, activation=None, activation_params=None, auto_pad="NOTSET", dilations=None, group=1, kernel_shape=None, pads=None,
    strides=None,
):  # fmt: skip
    """As Conv; per output element one addition for what is summed and the operations of the activation."""
    plain = conv(
        x, w, b, auto_pad=auto_pad, dilations=dilations, group=group, kernel_shape=kernel_shape, pads=pads, strides=strides
    )
    y, = plain.outputs
    per_element = activation_flops(activation) + (sum is not None)
    return replace(plain, other_flops=plain.other_flops + y.size * per_element, in_place=() if sum is None else (3,))


@blocked("ReorderInput")
def into_blocks(x, *, channels_last=0):
    """No arithmetic; a copy with the channels in blocks. An input has them in whole blocks."""
    batch, *rest = x.dims
    if channels_last:
        *spatial, channels = rest
    else:
        channels, *spatial = rest
    return Cost((x.to((batch, channels, *spatial)),))


@blocked("ReorderOutput")
def out_of_blocks(x, *, channels, channels_last=0):
    """No arithmetic; a copy without the blocks and what filled them up."""
    batch, _, *spatial = x.dims
    return Cost((x.to((batch, *spatial, channels) if channels_last else (batch, channels, *spatial)),))


@blocked("Upsample")
def blocked_upsample(x, *, coordinate_transformation_mode="asymmetric", mode="nearest", scales, name):
    """Per result 7 (bilinear): 4 samples multiplied and added; nothing for nearest."""
    return upsample_by_attribute(x, scales=scales, mode=mode, name=name)
