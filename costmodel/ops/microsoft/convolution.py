"""Convolutions and pools in ONNX Runtime's layouts, and with an activation behind them."""

from __future__ import annotations

from dataclasses import replace

from costmodel.dims import product
from costmodel.errors import MalformedModel
from costmodel.graph import Cost, Tensor
from costmodel.ops.activations import activation_flops
from costmodel.ops.conv import conv, conv_transpose
from costmodel.ops.microsoft.domain import microsoft
from costmodel.ops.pooling import max_pool
from costmodel.ops.shapes import same
from costmodel.ops.value_layout import extents


def channels_first(x: Tensor) -> Tensor:
    """The tensor as its channels-first twin would be."""
    batch, *spatial, channels = x.dims
    return x.to((batch, channels, *spatial))


def channels_last(cost: Cost) -> Cost:
    """The cost with its first output's channels behind."""
    y, *others = cost.outputs
    batch, channels, *spatial = y.dims
    return replace(cost, outputs=(y.to((batch, *spatial, channels)), *others))


def _fused(cost: Cost, z: Tensor | None, activation: str | None) -> Cost:
    y, = cost.outputs
    per_element = activation_flops(activation) + (z is not None)
    return replace(cost, other_flops=cost.other_flops + y.size * per_element, in_place=() if z is None else (3,))


@microsoft("FusedConv")
def fused_conv(
    x, w, b=None, z=None, *, activation=None, activation_params=None, auto_pad="NOTSET", dilations=None, group=1,
    kernel_shape=None, pads=None, strides=None,
):  # fmt: skip
    """As Conv; per output element one addition for z and the operations of the activation."""
    plain = conv(
        x, w, b, auto_pad=auto_pad, dilations=dilations, group=group, kernel_shape=kernel_shape, pads=pads, strides=strides
    )
    return _fused(plain, z, activation)


@microsoft("NhwcFusedConv")
def nhwc_fused_conv(
    x, w, b=None, z=None, *, activation=None, activation_params=None, auto_pad="NOTSET", dilations=None, group=1,
    kernel_shape=None, pads=None, strides=None,
):  # fmt: skip
    """As FusedConv, channels last."""
    plain = conv(
        channels_first(x), w, b, auto_pad=auto_pad, dilations=dilations, group=group, kernel_shape=kernel_shape, pads=pads,
        strides=strides,
    )  # fmt: skip
    return channels_last(_fused(plain, z, activation))


@microsoft("NhwcConv")
def nhwc_conv(
    x, w, b=None, *, auto_pad="NOTSET", dilations=None, group=1, kernel_shape=None, pads=None, strides=None
):
    """As Conv, channels last; the filters stay as they are."""
    plain = conv(
        channels_first(x), w, b, auto_pad=auto_pad, dilations=dilations, group=group, kernel_shape=kernel_shape, pads=pads,
        strides=strides,
    )  # fmt: skip
    return channels_last(plain)


@microsoft("NhwcMaxPool")
def nhwc_max_pool(
    x, *, auto_pad="NOTSET", ceil_mode=0, dilations=None, kernel_shape, pads=None, strides=None
):
    """As MaxPool, channels last: one comparison per window element."""
    plain = max_pool(
        channels_first(x), auto_pad=auto_pad, ceil_mode=ceil_mode, dilations=dilations, kernel_shape=kernel_shape, pads=pads,
        strides=strides, n_outputs=1,
    )  # fmt: skip
    return channels_last(plain)


@microsoft("MaxpoolWithMask")
def max_pool_with_mask(
    x, m, *, auto_pad="NOTSET", kernel_shape, pads=None, storage_order=0, strides=None
):
    """As MaxPool; one more comparison per window element, with the mask."""
    plain = max_pool(x, auto_pad=auto_pad, kernel_shape=kernel_shape, pads=pads, strides=strides, n_outputs=1)
    return replace(plain, other_flops=plain.other_flops * 2, not_learnable=(1,))


@microsoft("ConvTransposeWithDynamicPads")
def conv_transpose_with_dynamic_pads(
    x, w, pads=None, b=None, *, auto_pad="NOTSET", dilations=None, group=1, kernel_shape=None, output_padding=None,
    strides=None,
):  # fmt: skip
    """As ConvTranspose; the padding is an input."""
    stated = extents(pads)
    if stated is not None and any(pad is None for pad in stated):
        raise MalformedModel("pads depends on data; it must be a constant or follow from shapes")
    plain = conv_transpose(
        x, w, b, auto_pad=auto_pad, dilations=dilations, group=group, kernel_shape=kernel_shape,
        output_padding=output_padding, pads=stated, strides=strides,
    )  # fmt: skip
    return replace(plain, not_learnable=(2,))


@microsoft("CausalConvWithState")
def causal_conv_with_state(
    x, weight, bias=None, past_state=None, *, activation="none", channels_last=0, dilation=1, ndim=1, state_window=0
):
    """One multiply-add per tap and output element; one addition for a bias, five operations for SiLU."""
    batch, *rest = x.dims
    channels, _, *kernel = weight.dims
    *_, taps = kernel
    length = (taps - 1) * dilation
    if channels_last:
        _, *features = rest
        if len(features) == 1:
            same(features[0], channels, "channels of the weight and of the input")
        state = (batch, length, *features)
    else:
        *before, _ = rest
        same(rest[0], channels, "channels of the weight and of the input")
        state = (batch, *before, length)
    window = (state_window,) if state_window else ()
    per_element = (bias is not None) + activation_flops(activation)
    return Cost(
        (x.to(x.dims), x.to((*window, *state))),
        macs=x.size * product(kernel),
        other_flops=x.size * per_element,
        not_learnable=(3,),
    )


DYNAMIC_TAPS = 2 + 1  # per output element: two sums of a weight and its delta, a product with the mask


@microsoft("VarlenCausalConvWithState")
def packed_causal_conv_with_state(
    x, weight, cumulative_sequence_length, bias=None, initial_state=None, capture_count=None, kernel_delta=None,
    previous_mask=None, *, activation="none", delta_offset=0, dilation=1, group_size=1, state_update_capacity=0,
):  # fmt: skip
    """As CausalConvWithState, for packed sequences; three more per output element for weights that vary."""
    tokens, features = x.dims
    channels, _, taps = weight.dims
    same(features, channels, "channels of the weight and of the input")
    batch = cumulative_sequence_length.size - 1
    per_element = (bias is not None) + activation_flops(activation) + (0 if kernel_delta is None else DYNAMIC_TAPS)
    return Cost(
        (
            x.to((tokens, features)),
            x.to((batch, channels, (taps - 1) * dilation)),
            x.to((batch, state_update_capacity, channels)),
        ),
        macs=x.size * taps,
        other_flops=x.size * per_element,
        not_learnable=(2, 4, 5),
    )
