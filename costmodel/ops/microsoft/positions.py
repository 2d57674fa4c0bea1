"""Positions in a sequence: rotary embeddings and relative biases, as ONNX Runtime fuses them."""

from __future__ import annotations

from costmodel.graph import Cost, Tensor
from costmodel.ops.activations import activation_flops
from costmodel.ops.attention import ROTARY_FLOPS, rotated_size, split_heads
from costmodel.ops.microsoft.domain import microsoft
from costmodel.ops.microsoft.normalization import RMS
from costmodel.ops.shapes import broadcast
from costmodel.ops.value_layout import Unknowns, extent_of, size_of


@microsoft("RotaryEmbedding")
def rotary_embedding(
    x, position_ids, cos_cache, sin_cache, *, interleaved=0, is_packed_batching=0, num_heads=0, rotary_embedding_dim=0,
    scale=1.0,
):  # fmt: skip
    """Two products and a sum per rotated element."""
    return _rotated(x, position_ids, cos_cache, sin_cache, num_heads, rotary_embedding_dim)


@microsoft("MRotaryEmbedding")
def multimodal_rotary_embedding(
    x, position_ids, cos_cache, sin_cache, *, interleaved=0, is_packed_batching=0, mrope_layout=0, mrope_section,
    num_heads=0, rotary_embedding_dim=0, scale=1.0,
):  # fmt: skip
    """Two products and a sum per rotated element."""
    return _rotated(x, position_ids, cos_cache, sin_cache, num_heads, rotary_embedding_dim)


def _rotated(x: Tensor, position_ids: Tensor, cos: Tensor, sin: Tensor, heads: int, width: int) -> Cost:
    """Without a number of heads, a 3-D input's depth is what the tables were made for."""
    *_, features = x.dims
    if x.rank == 4:
        _, heads_found, _, depth = x.dims
    elif heads:
        _, heads_found, _, depth = split_heads(x, heads, "input")
    else:
        depth = 2 * cos.dims[-1]
        heads_found = features // depth
    rotated = rotated_size(x, depth=depth, width=width, tables=(cos, sin))
    rows = rotated // heads_found // 2
    return Cost(
        (x.to(x.dims),),
        other_flops=rotated * ROTARY_FLOPS,
        reads=(x.size, position_ids.size, rows, rows),
        not_learnable=(1, 2, 3),
    )


@microsoft("RMSNormRotary")
def normalized_rotary_embedding(
    x, scale, position_ids, cosine, sine, prefill_numerics=None, *, epsilon=1e-6, flatten_batch=0, input_start=0,
    input_width=0, output_fp16=0, rotary_embedding_dim, use_fp32_arithmetic=1,
):  # fmt: skip
    """4 per element: square, add, divide by the root of the mean, scale; two products and a sum per rotated element."""
    batch, length, heads, stride = x.dims
    width = input_width or stride
    rows = (1, batch * length) if flatten_batch else (batch, length)
    y = x.to((*rows, heads * width), dtype="float16" if output_fp16 else "bfloat16")
    tables = batch * length * (rotary_embedding_dim // 2)
    return Cost(
        (y, x.to((batch, length, heads, width), dtype="float32")),
        other_flops=y.size * (RMS + 1) + batch * length * heads * rotary_embedding_dim * ROTARY_FLOPS,
        reads=(y.size, scale.size, position_ids.size, tables, tables, *size_of(prefill_numerics)),
        not_learnable=(2, 3, 4, 5),
    )


@microsoft("GemmaRotaryEmbedding")
def gemma_rotary_embedding(emb, q, q_rot, k, k_rot):
    """Two products and a sum per element of q and k; a sine and a cosine per element of emb."""
    return Cost(
        (q.to(broadcast(q.dims, q_rot.dims)), k.to(broadcast(k.dims, k_rot.dims))),
        other_flops=(q.size + k.size) * ROTARY_FLOPS + 2 * emb.size,
    )


@microsoft("RelativePositionBias")
def relative_position_bias(bias_table, query_length, key_length, *, is_bidirectional=0, max_distance, name):
    """No arithmetic on data: each element is looked up, in a bucket that follows from its position."""
    unknown = Unknowns(name)
    _, heads = bias_table.dims
    lengths = unknown.filled((extent_of(query_length), extent_of(key_length)))
    y = bias_table.to((1, heads, *lengths))
    return Cost((y,), reads=(y.size, 1, 1), not_learnable=(1, 2), bounds=unknown.bounds)


@microsoft("GatedRelativePositionBias")
def gated_relative_position_bias(
    query_layer, query_bias, rel_pos, weight, bias, eco_a, token_offset=None, *, num_heads
):
    """One multiply-add per weight, head and query; per query and head a sum of the gates, two sigmoids, four operations.

    One product per output element, one addition per query number and gate number for the biases.
    """
    _, _, queries, keys = rel_pos.dims
    batch = (query_layer if token_offset is None else token_offset).dims[0]
    depth, gates = weight.dims
    rows = batch * num_heads * queries
    y = query_layer.to((batch, num_heads, queries, keys))
    per_row = depth + 2 * gates + 2 * activation_flops("Sigmoid") + 4
    return Cost((y,), macs=rows * depth * gates, other_flops=rows * per_row + y.size, not_learnable=(6,))
