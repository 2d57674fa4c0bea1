"""Quantised tensors: into whole numbers and back, and products of whole numbers."""

from __future__ import annotations

from costmodel.dims import Extent
from costmodel.errors import MalformedModel
from costmodel.graph import Cost, Shape, Tensor, dtype_numbered
from costmodel.ops.conv import conv
from costmodel.ops.elementwise import count
from costmodel.ops.matmul import matrix_product
from costmodel.ops.registry import rule
from costmodel.ops.shapes import normal_axis, same

# per element
QUANTIZE = count("divide, round, add the zero point")
DEQUANTIZE = count("subtract the zero point, multiply")
REQUANTIZE = count("multiply, round, add the zero point")  # a sum of products to the scale of the result
RANGE = count("minimum, maximum")


@rule("QuantizeLinear", since=10)
def quantize_linear(
    x, y_scale, y_zero_point=None, *, axis=1, saturate=1, block_size=0, output_dtype=0, precision=0
):
    """3 per element: divide, round, add the zero point; saturation is free."""
    _check_scale(x.dims, y_scale, axis, block_size)
    dtype = dtype_numbered(output_dtype) if output_dtype else y_zero_point.dtype if y_zero_point else "uint8"
    return Cost((x.to(x.dims, dtype=dtype),), other_flops=QUANTIZE * x.size, not_learnable=(1, 2))


@rule("DequantizeLinear", since=10)
def dequantize_linear(x, x_scale, x_zero_point=None, *, axis=1, block_size=0, output_dtype=0):
    """2 per element: subtract the zero point, multiply."""
    _check_scale(x.dims, x_scale, axis, block_size)
    dtype = dtype_numbered(output_dtype) if output_dtype else x_scale.dtype
    return Cost((x.to(x.dims, dtype=dtype),), other_flops=DEQUANTIZE * x.size, not_learnable=(1, 2))


def _check_scale(shape: Shape, scale: Tensor, axis: int, block_size: int) -> None:
    """A scale is one number, one for each place along the axis, or one for each block along it."""
    if scale.size == 1 or block_size:
        return
    if scale.rank != 1:
        raise MalformedModel(f"a scale of shape {scale.dims} is neither one number, nor one per channel, nor has it blocks")
    same(scale.size, shape[normal_axis(axis, len(shape))], f"scales and places along axis {axis}")


@rule("DynamicQuantizeLinear", since=11)
def dynamic_quantize_linear(x):
    """5 per element: minimum, maximum, divide, round, add the zero point."""
    flops = (RANGE + QUANTIZE) * x.size
    return Cost((x.to(x.dims, dtype="uint8"), Tensor("float32", ()), Tensor("uint8", ())), other_flops=flops)


def shifted(x: Tensor, zero_point: Tensor | None) -> Extent:
    """One subtraction per element of an operand that has a zero point."""
    return 0 if zero_point is None else x.size


@rule("MatMulInteger", since=10)
def matmul_integer(a, b, a_zero_point=None, b_zero_point=None):
    """One multiply-add per output element and element of the summed axis; one subtraction per element of an operand with a
    zero point.
    """
    shape, depth = matrix_product(a.dims, b.dims)
    y = a.to(shape, dtype="int32")
    flops = shifted(a, a_zero_point) + shifted(b, b_zero_point)
    return Cost((y,), macs=y.size * depth, other_flops=flops, not_learnable=(2, 3))


@rule("QLinearMatMul", since=10)
def qlinear_matmul(a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point):
    """One multiply-add per output element and element of the summed axis; 3 per output element: multiply, round, add the
    zero point.
    """
    shape, depth = matrix_product(a.dims, b.dims)
    y = y_zero_point.to(shape)
    return Cost((y,), macs=y.size * depth, other_flops=REQUANTIZE * y.size, not_learnable=(1, 2, 4, 5, 6, 7))


@rule("QLinearConv", since=10)
def qlinear_conv(
    x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, b=None,
    *, strides=None, pads=None, dilations=None, group=1, auto_pad="NOTSET", kernel_shape=None,
):  # fmt: skip
    """As Conv; 3 per output element: multiply, round, add the zero point."""
    cost = conv(
        x, w, b, strides=strides, pads=pads, dilations=dilations, group=group, auto_pad=auto_pad, kernel_shape=kernel_shape
    )
    y, = cost.outputs
    return Cost(
        (y_zero_point.to(y.dims),),
        macs=cost.macs,
        other_flops=cost.other_flops + REQUANTIZE * y.size,
        not_learnable=(1, 2, 4, 5, 6, 7),
    )


@rule("ConvInteger", since=10)
def conv_integer(
    x, w, x_zero_point=None, w_zero_point=None,
    *, strides=None, pads=None, dilations=None, group=1, auto_pad="NOTSET", kernel_shape=None,
):  # fmt: skip
    """As Conv; one subtraction per element of an operand with a zero point."""
    cost = conv(
        x, w, strides=strides, pads=pads, dilations=dilations, group=group, auto_pad=auto_pad, kernel_shape=kernel_shape
    )
    y, = cost.outputs
    flops = shifted(x, x_zero_point) + shifted(w, w_zero_point)
    return Cost((y.to(y.dims, dtype="int32"),), macs=cost.macs, other_flops=flops, not_learnable=(2, 3))
