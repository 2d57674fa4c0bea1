"""Quantised ops of ONNX Runtime: elementwise, pools, convolutions and products.

An elementwise op counts what its definition does to one element: dequantise the inputs, compute, quantise the result.
Runtimes look most of them up in a table of 256 entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from costmodel.dims import product
from costmodel.errors import MalformedModel, UnsupportedOp
from costmodel.graph import Cost, Shape, Tensor, dtype_numbered
from costmodel.ops.elementwise import UNARY, count
from costmodel.ops.layout import concatenated
from costmodel.ops.matmul import gemm, matrix_product
from costmodel.ops.microsoft.convolution import channels_first
from costmodel.ops.microsoft.convolution import channels_last as with_channels_last
from costmodel.ops.microsoft.domain import microsoft
from costmodel.ops.pooling import average_pool, global_average_pool
from costmodel.ops.quantized import (
    DEQUANTIZE,
    QUANTIZE,
    REQUANTIZE,
    dequantize_linear,
    qlinear_conv,
    quantize_linear,
    shifted,
)
from costmodel.ops.reduction import reduced_shape
from costmodel.ops.shapes import broadcast, normal_axes, normal_axis, with_value
from costmodel.ops.value_layout import Unknowns, extents

# -- to whole numbers and back ------------------------------------------------------------------------------------


@microsoft("QuantizeLinear")
def quantize(x, y_scale, y_zero_point=None, *, axis=1):
    """3 per element: divide, round, add the zero point; saturation is free."""
    return quantize_linear(x, y_scale, y_zero_point, axis=axis)


@microsoft("DequantizeLinear")
def dequantize(x, x_scale, x_zero_point=None, *, axis=1):
    """2 per element: subtract the zero point, multiply."""
    return dequantize_linear(x, x_scale, x_zero_point, axis=axis)


@microsoft("QuantizeBFP")
def quantize_block_floats(x, *, bfp_type, block_dim=-1, name):
    """3 per element: compare for the exponent of its block, shift, round. How many bytes come out is a size of its own.

    The file names the format by a number alone.
    """
    unknown = Unknowns(name)
    data = x.to((unknown.extent("bytes"),), dtype="uint8")
    shape = with_value(x.to((x.rank,), dtype="int64"), x.dims)
    strides = with_value(x.to((x.rank,), dtype="int64"), [product(x.dims[axis + 1 :]) for axis in range(x.rank)])
    return Cost((data, shape, strides), other_flops=3 * x.size, bounds=unknown.bounds)


@microsoft("DequantizeBFP")
def dequantize_block_floats(x, shape, strides, *, bfp_type, block_dim=-1, dtype=1, name):
    """1 per element: shift by the exponent of its block."""
    unknown = Unknowns(name)
    rank = shape.dims[0]
    if not isinstance(rank, int):
        raise UnsupportedOp("shape has an open length, so the rank of the result is unknown")
    y = x.to(unknown.filled(extents(shape) or (None,) * rank), dtype=dtype_numbered(dtype))
    return Cost((y,), other_flops=y.size, not_learnable=(1, 2), bounds=unknown.bounds)


# -- elementwise --------------------------------------------------------------------------------------------------


def _per_element(shape: Shape, like: Tensor, operations: int, settings: Sequence[int]) -> Cost:
    y = like.to(shape)
    return Cost((y,), other_flops=y.size * operations, not_learnable=tuple(settings))


@microsoft("QLinearAdd")
def qlinear_add(a, a_scale, a_zero_point=None, b=None, b_scale=None, b_zero_point=None, c_scale=None, c_zero_point=None):
    """8 per element of the result: dequantise two inputs, add, quantise."""
    return _per_element(broadcast(a.dims, b.dims), a, 2 * DEQUANTIZE + 1 + QUANTIZE, (1, 2, 4, 5, 6, 7))


@microsoft("QLinearMul")
def qlinear_mul(a, a_scale, a_zero_point=None, b=None, b_scale=None, b_zero_point=None, c_scale=None, c_zero_point=None):
    """6 per element of the result: subtract two zero points, multiply, and bring to the result's scale."""
    return _per_element(broadcast(a.dims, b.dims), a, 3 + REQUANTIZE, (1, 2, 4, 5, 6, 7))


@microsoft("QLinearSigmoid")
def qlinear_sigmoid(x, x_scale, x_zero_point=None, y_scale=None, y_zero_point=None):
    """9 per element: dequantise, negate, exp, add, divide, quantise."""
    return _per_element(x.dims, x, DEQUANTIZE + count(UNARY["Sigmoid"].steps) + QUANTIZE, (1, 2, 3, 4))


@microsoft("QLinearLeakyRelu")
def qlinear_leaky_relu(x, x_scale, x_zero_point=None, y_scale=None, y_zero_point=None, *, alpha=0.01):
    """7 per element: dequantise, compare, multiply, quantise."""
    return _per_element(x.dims, x, DEQUANTIZE + count(UNARY["LeakyRelu"].steps) + QUANTIZE, (1, 2, 3, 4))


@microsoft("QLinearSoftmax")
def qlinear_softmax(x, x_scale, x_zero_point=None, y_scale=None, y_zero_point=None, *, axis=-1, opset):
    """10 per element: dequantise, maximum, subtract, exp, add, divide, quantise."""
    normal_axis(axis, x.rank)
    return _per_element(x.dims, x, DEQUANTIZE + count("maximum, subtract, exp, add, divide") + QUANTIZE, (1, 2, 3, 4))


@microsoft("QLinearWhere")
def qlinear_where(condition, x, x_scale, x_zero_point, y, y_scale, y_zero_point, z_scale, z_zero_point):
    """5 per element of the result: dequantise the chosen input, quantise."""
    shape = broadcast(condition.dims, x.dims, y.dims)
    return _per_element(shape, x, DEQUANTIZE + QUANTIZE, (2, 3, 5, 6, 7, 8))


@microsoft("QLinearConcat")
def qlinear_concat(y_scale, y_zero_point, *inputs, axis):
    """5 per element: dequantise, quantise. The inputs come as tensor, scale, zero point."""
    if not inputs or len(inputs) % 3:
        raise MalformedModel(f"{len(inputs)} inputs are not triples of tensor, scale and zero point")
    shape = concatenated([tensor.dims for tensor in inputs[::3]], axis)
    settings = [position for position in range(len(inputs) + 2) if position < 2 or (position - 2) % 3]
    return _per_element(shape, y_zero_point, DEQUANTIZE + QUANTIZE, settings)


# -- pools and reductions -----------------------------------------------------------------------------------------


def _requantized(cost: Cost, x: Tensor) -> Cost:
    """A computation on dequantised numbers, quantised again."""
    y, = cost.outputs
    flops = DEQUANTIZE * x.size + cost.other_flops + QUANTIZE * y.size
    return replace(cost, other_flops=flops, not_learnable=(1, 2, 3, 4))


@microsoft("QLinearAveragePool")
def qlinear_average_pool(
    x, x_scale, x_zero_point=None, y_scale=None, y_zero_point=None,
    *, kernel_shape, auto_pad="NOTSET", ceil_mode=0, channels_last=0, count_include_pad=0, pads=None, strides=None,
):  # fmt: skip
    """As AveragePool; 2 per element to dequantise it, 3 per result to quantise it."""
    plain = average_pool(
        channels_first(x) if channels_last else x, kernel_shape=kernel_shape, auto_pad=auto_pad, ceil_mode=ceil_mode,
        count_include_pad=count_include_pad, pads=pads, strides=strides,
    )  # fmt: skip
    return _requantized(with_channels_last(plain) if channels_last else plain, x)


@microsoft("QLinearGlobalAveragePool")
def qlinear_global_average_pool(x, x_scale, x_zero_point, y_scale, y_zero_point, *, channels_last=0):
    """As GlobalAveragePool; 2 per element to dequantise it, 3 per result to quantise it."""
    plain = global_average_pool(channels_first(x) if channels_last else x)
    return _requantized(with_channels_last(plain) if channels_last else plain, x)


@microsoft("QLinearReduceMean")
def qlinear_reduce_mean(
    data, data_scale, data_zero_point=None, reduced_scale=None, reduced_zero_point=None, *, axes, keepdims
):
    """3 per element: dequantise, add; 4 per result: divide, quantise."""
    y = data.to(reduced_shape(data.dims, normal_axes(axes, data.rank), keepdims=keepdims))
    return _requantized(Cost((y,), other_flops=data.size + y.size), data)


@microsoft("ReduceSumInteger")
def reduce_sum_integer(data, *, axes, keepdims):
    """1 per element: add."""
    dtype = "uint32" if data.dtype == "uint8" else "int32"
    y = data.to(reduced_shape(data.dims, normal_axes(axes, data.rank), keepdims=keepdims), dtype=dtype)
    return Cost((y,), other_flops=data.size)


# -- convolutions and products ------------------------------------------------------------------------------------


@microsoft("QLinearConv")
def qlinear_conv_last(
    x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, b=None,
    *, strides=None, pads=None, dilations=None, group=1, auto_pad="NOTSET", kernel_shape=None, channels_last=0,
):  # fmt: skip
    """As QLinearConv of ONNX, also with channels last; the filters stay as they are."""
    plain = qlinear_conv(
        channels_first(x) if channels_last else x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, b,
        strides=strides, pads=pads, dilations=dilations, group=group, auto_pad=auto_pad, kernel_shape=kernel_shape,
    )  # fmt: skip
    return with_channels_last(plain) if channels_last else plain


@microsoft("MatMulInteger16")
def matmul_integer16(a, b):
    """One multiply-add per output element and element of the summed axis."""
    shape, depth = matrix_product(a.dims, b.dims)
    y = a.to(shape, dtype="uint32" if a.dtype == b.dtype == "uint16" else "int32")
    return Cost((y,), macs=y.size * depth)


@microsoft("MatMulIntegerToFloat")
def matmul_integer_to_float(a, b, a_scale, b_scale, a_zero_point=None, b_zero_point=None, bias=None):
    """As MatMulInteger; per output element one product for the scale and one addition for a bias."""
    shape, depth = matrix_product(a.dims, b.dims)
    y = a_scale.to(shape)
    flops = shifted(a, a_zero_point) + shifted(b, b_zero_point) + y.size * (1 + (bias is not None))
    return Cost((y,), macs=y.size * depth, other_flops=flops, not_learnable=(2, 3, 4, 5))


@microsoft("DynamicQuantizeMatMul")
def dynamic_quantize_matmul(a, b, b_scale, b_zero_point=None, bias=None):
    """As MatMulInteger; 5 per element of A to quantise it, per output element one product for the scale and one addition
    for a bias.
    """
    shape, depth = matrix_product(a.dims, b.dims)
    y = a.to(shape)
    flops = 5 * a.size + shifted(b, b_zero_point) + y.size * (1 + (bias is not None))
    return Cost((y,), macs=y.size * depth, other_flops=flops, not_learnable=(2, 3))


@microsoft("QGemm")
def qgemm(
    a, a_scale, a_zero_point, b, b_scale, b_zero_point, c=None, y_scale=None, y_zero_point=None,
    *, alpha=1.0, transA=0, transB=0,  # noqa: N803 - ONNX Runtime's names
):  # fmt: skip
    """As Gemm; per output element 3 to quantise it, or one product for the scale where the result is not quantised."""
    plain = gemm(a, b, c, alpha=alpha, transA=transA, transB=transB)
    y, = plain.outputs
    finish = 1 if y_zero_point is None else REQUANTIZE
    return Cost(
        ((a_scale if y_zero_point is None else y_zero_point).to(y.dims),),
        macs=plain.macs,
        other_flops=plain.other_flops + y.size * finish,
        not_learnable=(1, 2, 4, 5, 7, 8),
    )
