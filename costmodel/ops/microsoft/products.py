"""Matrix products with transposition, activation, packed or sparse weights."""

from __future__ import annotations

from dataclasses import replace

from costmodel.dims import Extent
from costmodel.errors import MalformedModel
from costmodel.graph import Cost, Shape, Tensor, dtype_numbered
from costmodel.ops.activations import activation_flops
from costmodel.ops.matmul import gemm, matmul, matrix_product, transposed
from costmodel.ops.microsoft.domain import microsoft
from costmodel.ops.shapes import same
from costmodel.ops.value_layout import extents


def operand(shape: Shape, *, swap: int, swap_batch: int) -> Shape:
    """A matrix as the product takes it: first the batch axes before the rows, then rows and columns swapped."""
    if len(shape) < 2:
        return shape
    first, *batch, last = shape
    return transposed((*batch, first, last) if swap_batch else shape, swap)


def _product(a: Tensor, b: Tensor, alpha: float, swaps_a: tuple[int, int], swaps_b: tuple[int, int]) -> Cost:
    left = operand(a.dims, swap=swaps_a[0], swap_batch=swaps_a[1])
    right = operand(b.dims, swap=swaps_b[0], swap_batch=swaps_b[1])
    shape, depth = matrix_product(left, right)
    y = a.to(shape)
    return Cost((y,), macs=y.size * depth, other_flops=y.size if alpha != 1 else 0)


@microsoft("TransposeMatMul")
def transpose_matmul(a, b, *, alpha=1.0, transA=0, transB=0):  # noqa: N803 - ONNX Runtime's names
    """One multiply-add per output element and element of the summed axis; one product per output element for alpha."""
    return _product(a, b, alpha, (transA, 0), (transB, 0))


@microsoft("FusedMatMul")
def fused_matmul(
    a, b, *, alpha=1.0, transA=0, transB=0, transBatchA=0, transBatchB=0  # noqa: N803 - ONNX Runtime's names
):
    """One multiply-add per output element and element of the summed axis; one product per output element for alpha."""
    return _product(a, b, alpha, (transA, transBatchA), (transB, transBatchB))


@microsoft("FusedMatMulActivation")
def fused_matmul_activation(
    a, b, *, activation, activation_alpha=0.0, activation_axis=0, activation_beta=0.0, activation_gamma=0.0, alpha=1.0,
    transA=0, transB=0, transBatchA=0, transBatchB=0,  # noqa: N803 - ONNX Runtime's names
):  # fmt: skip
    """As FusedMatMul, and the operations of the activation per output element."""
    plain = _product(a, b, alpha, (transA, transBatchA), (transB, transBatchB))
    return _activated(plain, activation)


@microsoft("FusedGemm")
def fused_gemm(
    a, b, c=None, *, activation=None, activation_alpha=0.0, activation_beta=0.0, activation_gamma=0.0, alpha=1.0, beta=1.0,
    transA=0, transB=0,  # noqa: N803 - ONNX Runtime's names
):  # fmt: skip
    """As Gemm, and the operations of the activation per output element."""
    return _activated(gemm(a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB), activation)


def _activated(plain: Cost, activation: str | None) -> Cost:
    y, = plain.outputs
    return replace(plain, other_flops=plain.other_flops + y.size * activation_flops(activation))


@microsoft("GemmFastGelu")
def gemm_fast_gelu(x, w, bias=None):
    """As MatMul; per output element 8 operations for the activation, one for a bias."""
    plain = matmul(x, w)
    y, = plain.outputs
    return replace(plain, other_flops=y.size * (activation_flops("FastGelu") + (bias is not None)))


@microsoft("GemmFloat8")
def gemm_float8(
    a, b, c=None, scale_a=None, scale_b=None, scale_y=None, *, activation="NONE", alpha=1.0, beta=0.0, dtype=1,
    transA=0, transB=0,  # noqa: N803 - ONNX Runtime's names
):  # fmt: skip
    """As Gemm; one product per output element for each scale, and the operations of the activation."""
    plain = gemm(a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB)
    y, = plain.outputs
    scales = sum(scale is not None for scale in (scale_a, scale_b, scale_y))
    flops = plain.other_flops + y.size * (scales + activation_flops(activation))
    y = y.to(y.dims, dtype=dtype_numbered(dtype))
    return Cost((y,), macs=plain.macs, other_flops=flops, not_learnable=(3, 4, 5))


@microsoft("MatMulBnb4")
def matmul_bnb4(a, b, absmax, *, K, N, block_size, quant_type, training_mode=0, transB=1):  # noqa: N803 - their names
    """One multiply-add per output element and element of the summed axis; one product per weight to scale it."""
    *rows, depth = a.dims
    wanted, columns = (K, N) if transB else (N, K)
    same(depth, wanted, "the last extent of A and the rows of the weights")
    y = a.to((*rows, columns))
    return Cost((y,), macs=y.size * depth, other_flops=K * N, not_learnable=(2,))


@microsoft("MatMulFpQ4")
def matmul_fp_q4(a, b, b_shape, *, blk_quant_type=1):
    """One multiply-add per output element and element of the summed axis; one product per weight to scale it."""
    stated = extents(b_shape)
    if stated is None or len(stated) != 2 or None in stated:
        raise MalformedModel("B_shape must be a constant of two numbers")
    rows, columns = stated
    shape, depth = matrix_product(a.dims, (_number(rows), _number(columns)))
    y = a.to(shape)
    return Cost((y,), macs=y.size * depth, other_flops=depth * _number(columns), not_learnable=(2,))


def _number(extent: Extent | None) -> Extent:
    assert extent is not None
    return extent


@microsoft("SparseToDenseMatMul")
def sparse_to_dense_matmul(a, b, *, alpha=1.0, transA=0, transB=0):  # noqa: N803 - ONNX Runtime's names
    """As FusedMatMul of a dense A: how many elements of A are stored is not in the file."""
    return _product(a, b, alpha, (transA, 0), (transB, 0))


@microsoft("QOrderedMatMul")
def quantized_ordered_matmul(
    a, scale_a, b, scale_b, scale_y, bias=None, c=None, scale_c=None, *, order_A, order_B, order_Y  # noqa: N803
):
    """As MatMul; per output element a product for the scale, an addition for a bias, a product and an addition for c."""
    plain = matmul(a, b)
    y, = plain.outputs
    per_element = 1 + (bias is not None) + (2 if c is not None else 0)
    return replace(plain, other_flops=y.size * per_element, not_learnable=(1, 3, 4, 7))


@microsoft("CDist")
def pairwise_distance(a, b, *, metric="sqeuclidean"):
    """3 per pair and number: subtract, square, add; a root per pair for the Euclidean metric."""
    rows, width = a.dims
    columns, width_b = b.dims
    same(width, width_b, "the last extents of A and B")
    y = a.to((rows, columns))
    return Cost((y,), other_flops=y.size * (3 * width + (metric == "euclidean")))
