"""Products with weights of a few bits each, packed into bytes with a scale for every block."""

from __future__ import annotations

from costmodel.dims import Extent
from costmodel.graph import Cost, Tensor, dtype_numbered
from costmodel.ops.activations import activation_flops
from costmodel.ops.microsoft.domain import microsoft
from costmodel.ops.microsoft.normalization import simplified_layer_normalization, skip_simplified_layer_normalization
from costmodel.ops.quantized import DEQUANTIZE, QUANTIZE
from costmodel.ops.shapes import same

SQUARED_RELU = 2  # compare, multiply
SCALE = 1  # symmetric weights have no zero point to subtract


def _product(a: Tensor, depth: Extent, columns: Extent, bias: Tensor | None, *, per_weight: int = DEQUANTIZE) -> Cost:
    """A matrix product with weights that are dequantised once."""
    *rows, width = a.dims
    same(width, depth, "the last extent of A and the rows of the weights")
    y = a.to((*rows, columns))
    return Cost((y,), macs=y.size * depth, other_flops=depth * columns * per_weight + (0 if bias is None else y.size))


@microsoft("MatMulNBits")
def matmul_n_bits(
    a, b, scales, zero_points=None, g_idx=None, bias=None,
    *, K, N, block_size, bits=4, accuracy_level=0, weight_prepacked=0,  # noqa: N803 - ONNX Runtime's names
):  # fmt: skip
    """One multiply-add per output element and element of the summed axis; 2 per weight to dequantise it; one addition per
    output element for a bias.
    """
    plain = _product(a, K, N, bias)
    return Cost(plain.outputs, macs=plain.macs, other_flops=plain.other_flops, not_learnable=(2, 3, 4))


@microsoft("MatMulBlockQuantizedFp8Weight")
def matmul_fp8(a, b, b_scale, a_scale=None, bias=None, *, block_size=128):
    """As MatMulNBits with one product per weight to scale it; 3 per element of A where it is quantised too."""
    columns, depth = b.dims
    plain = _product(a, depth, columns, bias, per_weight=SCALE)
    flops = plain.other_flops + (0 if a_scale is None else QUANTIZE * a.size)
    return Cost(plain.outputs, macs=plain.macs, other_flops=flops, not_learnable=(2, 3))


@microsoft("MatMulBlockQuantizedFp4Weight")
def matmul_fp4(a, b, weight_scale, weight_scale_2, input_scale=None, bias=None, *, block_size=16):
    """As MatMulNBits: 2 per weight, its block's scale and the scale of all. Two weights share a byte."""
    columns, pairs = b.dims
    plain = _product(a, 2 * pairs, columns, bias)
    return Cost(plain.outputs, macs=plain.macs, other_flops=plain.other_flops, not_learnable=(2, 3, 4))


@microsoft("MatMulNBitsQLoRA")
def matmul_n_bits_adapted(
    x, w, scales, lora_a, lora_a_scales, lora_b, lora_b_scales,
    *, K, N, accuracy_level=0, bits=4, block_size=32, lora_bits=8, lora_block_size=32,  # noqa: N803 - their names
):  # fmt: skip
    """As MatMulNBits, with two narrow products beside it and an addition per output element; none where the adapter is
    empty.
    """
    plain = _product(x, K, N, None)
    y, = plain.outputs
    rank = 0 if lora_b.size == 0 else lora_a_scales.dims[0]
    rows = y.size // N
    return Cost(
        (y,),
        macs=plain.macs + rows * rank * (K + N),
        other_flops=plain.other_flops + DEQUANTIZE * rank * (K + N) + (0 if rank == 0 else y.size),
        not_learnable=(2, 4, 6),
    )


@microsoft("MatMulPacked")
def matmul_packed(
    a, b, global_scale=None, *, K, N, activation_type="none", packed_type  # noqa: N803 - ONNX Runtime's names
):
    """As MatMulNBits; per output element one product for a scale of all, and the operations of the activation."""
    plain = _product(a, K, N, None)
    y, = plain.outputs
    activated = SQUARED_RELU if activation_type in ("relu2", "relu_squared") else activation_flops(activation_type)
    per_output = activated + (global_scale is not None)
    return Cost((y,), macs=plain.macs, other_flops=plain.other_flops + y.size * per_output, not_learnable=(2,))


@microsoft("GatherPacked")
def gather_packed(data, indices, *, K, output_dtype=16, packed_type):  # noqa: N803 - ONNX Runtime's name
    """2 per element that is picked: subtract the zero point, multiply by the scale. Rows are looked up."""
    _, row_bytes = data.dims
    y = data.to((*indices.dims, K), dtype=dtype_numbered(output_dtype))
    reads = (indices.size * row_bytes, indices.size)
    return Cost((y,), other_flops=DEQUANTIZE * y.size, reads=reads, not_learnable=(1,))


def _normalized(a: Tensor, skip: Tensor | None, scale: Tensor | None) -> tuple[Tensor, Extent]:
    """What is added to the input before the projections, and the operations of the normalisation."""
    if scale is None:
        return a.to(a.dims), 0
    if skip is None:
        return a.to(a.dims), simplified_layer_normalization(a, scale).other_flops
    cost = skip_simplified_layer_normalization(a, skip, scale)
    return cost.outputs[3], cost.other_flops


@microsoft("MatMulNBitsMlp")
def matmul_n_bits_mlp(
    a, skip=None, norm_scale=None, gate_b=None, gate_scales=None, gate_bias=None, up_b=None, up_scales=None, up_bias=None,
    *, K, N, activation, block_size, bits=4, accuracy_level=0, epsilon=1e-5,  # noqa: N803 - ONNX Runtime's names
):  # fmt: skip
    """Two products as MatMulNBits behind one normalisation; the activation and one product per output element."""
    summed, flops = _normalized(a, skip, norm_scale)
    gate, up = (_product(a, K, N, bias) for bias in (gate_bias, up_bias))
    y, = up.outputs
    flops += gate.other_flops + up.other_flops + y.size * (activation_flops(activation) + 1)
    return Cost((y, summed), macs=gate.macs + up.macs, other_flops=flops, not_learnable=(4, 7))


@microsoft("MatMulNBitsQkv")
def matmul_n_bits_qkv(
    a, skip=None, norm_scale=None, q_b=None, q_scales=None, q_bias=None, k_b=None, k_scales=None, k_bias=None, v_b=None,
    v_scales=None, v_bias=None,
    *, K, Nq, Nkv, block_size, bits=4, accuracy_level=0, epsilon=1e-6,  # noqa: N803 - ONNX Runtime's names
):  # fmt: skip
    """Three products as MatMulNBits behind one normalisation."""
    summed, flops = _normalized(a, skip, norm_scale)
    parts = [_product(a, K, columns, bias) for columns, bias in ((Nq, q_bias), (Nkv, k_bias), (Nkv, v_bias))]
    return Cost(
        (*(y for part in parts for y in part.outputs), summed),
        macs=sum((part.macs for part in parts), 0),
        other_flops=sum((part.other_flops for part in parts), flops),
        not_learnable=(4, 7, 10),
    )
