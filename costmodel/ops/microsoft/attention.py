"""Attention as ONNX Runtime fuses it: with input projections, caches of keys and values, packed or paged sequences.

Scores count for every pair of positions, also where a mask, a window or a block pattern hides some. Scratch memory is that
of the kernels for CPUs, measured: the projections, all scores unless the kernel works by tiles, the values before the
heads are joined, and a mask spread out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from costmodel.dims import Extent, maximum
from costmodel.errors import MalformedModel, UnsupportedOp
from costmodel.graph import Cost, Shape, Tensor
from costmodel.ops.attention import ROTARY_FLOPS, Heads, linear_attention, split_heads
from costmodel.ops.microsoft.domain import microsoft
from costmodel.ops.normalization import MOMENTS
from costmodel.ops.shapes import same
from costmodel.ops.value_layout import Unknowns, extent_of


def hidden_sizes(weights: Tensor, sizes: tuple[int, ...] | None) -> tuple[Extent, Extent]:
    """Features of the queries (and keys), and of the values, from the columns of the merged projection."""
    columns = weights.dims[-1]
    if not sizes:
        return columns // 3, columns // 3
    if len(sizes) != 3:
        raise MalformedModel(f"qkv_hidden_sizes {tuple(sizes)} must be three numbers")
    same(sum(sizes), columns, "the sum of qkv_hidden_sizes and the columns of the weights")
    return sizes[0], sizes[2]


def keys_in_all(unknown: Unknowns, new: Extent, past: Extent | None, *, shared: bool, length: Tensor | None) -> Extent:
    """Past and new keys together; in a shared buffer, which is longer, the past length is an input."""
    if past is None:
        return new
    if not shared:
        return past + new
    known = extent_of(length)
    return new + (unknown.extent("past_length", at_most=past) if known is None else known)


def untiled_bytes(core: Heads, like: Tensor, *, masks: int) -> Extent:
    """Scores, values before the heads are joined, and the mask."""
    joined = like.to((core.batch, core.heads, core.queries, core.value_depth)).nbytes
    return core.score_bytes(like) + joined + (like.to((core.batch, core.queries, core.keys)).nbytes if masks else 0)


def self_attention(
    x: Tensor, tokens: Extent, *, sizes: tuple[Extent, Extent], heads: int, batch: Extent, queries: Extent, keys: Extent,
    masks: int, weights: Tensor, rotated: bool = False,
) -> Cost:  # fmt: skip
    """A merged projection with bias and the attention behind it, without the outputs."""
    hidden, value_hidden = sizes
    core = Heads(batch, heads, queries, keys, hidden // heads, value_hidden // heads)
    turned = tokens * hidden * 2 * ROTARY_FLOPS if rotated else 0
    return Cost(
        (),
        macs=tokens * weights.size + core.macs,
        other_flops=tokens * weights.dims[-1] + core.flops_between(masks=masks) + turned,
        not_learnable=(3, 4, 5, 6),
        scratch_bytes=x.to((tokens, weights.dims[-1])).nbytes + untiled_bytes(core, x, masks=masks),
    )


@microsoft("Attention")
def attention(
    x, weights, bias=None, mask_index=None, past=None, attention_bias=None, past_sequence_length=None, *, do_rotary=0,
    mask_filter_value=-10000.0, num_heads, past_present_share_buffer=0, qkv_hidden_sizes=None, rotary_embedding_dim=0,
    scale=None, unidirectional=0, name,
):  # fmt: skip
    """One multiply-add per projection weight and token, and per query, key and number of every head, for scores and values.

    One addition per projected number for the bias; per score a product, five for the softmax, one per mask.
    """
    batch, length, width = x.dims
    same(weights.dims[0], width, "the rows of the weights and the features of the input")
    hidden, value_hidden = hidden_sizes(weights, qkv_hidden_sizes)
    past_length = None if past is None else past.dims[3]
    shared = bool(past_present_share_buffer)
    unknown = Unknowns(name)
    total = keys_in_all(unknown, length, past_length, shared=shared, length=past_sequence_length)
    plain = self_attention(
        x,
        batch * length,
        sizes=(hidden, value_hidden),
        heads=num_heads,
        batch=batch,
        queries=length,
        keys=total,
        masks=(mask_index is not None) + (attention_bias is not None) + bool(unidirectional),
        weights=weights,
        rotated=bool(do_rotary),
    )
    kept = past_length if shared and past_length is not None else total
    present = (2, batch, num_heads, kept, hidden // num_heads)
    return replace(plain, outputs=(x.to((batch, length, value_hidden)), x.to(present)), bounds=unknown.bounds)


@microsoft("DecoderMaskedSelfAttention")
def decoder_masked_self_attention(
    x, weights, bias, mask_index=None, past=None, attention_bias=None, past_sequence_length=None, beam_width=None,
    cache_indirection=None, *, do_rotary=0, mask_filter_value=-10000.0, num_heads, past_present_share_buffer=0, scale=None,
    name,
):  # fmt: skip
    """As Attention, with one query per sequence."""
    return attention(
        x, weights, bias, mask_index, past, attention_bias, past_sequence_length, do_rotary=do_rotary, num_heads=num_heads,
        past_present_share_buffer=past_present_share_buffer, name=name,
    )  # fmt: skip


@microsoft("QAttention")
def quantized_attention(
    x, weight, bias, input_scale, weight_scale, mask_index=None, input_zero_point=None, weight_zero_point=None, past=None,
    *, do_rotary=0, mask_filter_value=-10000.0, num_heads, past_present_share_buffer=0, scale=None, unidirectional=0, name,
):  # fmt: skip
    """As Attention; one product more per projected number, to scale it back."""
    real = bias.to(x.dims)
    plain = attention(
        real, weight, bias, mask_index, past, do_rotary=do_rotary, num_heads=num_heads,
        past_present_share_buffer=past_present_share_buffer, unidirectional=unidirectional, name=name,
    )  # fmt: skip
    batch, length, _ = x.dims
    scaled = batch * length * weight.dims[-1]
    return replace(plain, other_flops=plain.other_flops + scaled, not_learnable=(3, 4, 5, 6, 7, 8))


@microsoft("QOrderedAttention")
def quantized_ordered_attention(
    x, scale_input, scale_q_gemm, scale_k_gemm, scale_v_gemm, q_weight, k_weight, v_weight, scale_q_weight, scale_k_weight,
    scale_v_weight, q_bias, k_bias, v_bias, scale_qkt_gemm=None, scale_qkt_softmax=None, scale_values_gemm=None,
    mask_index=None, past=None, attention_bias=None, *, num_heads, order_input, order_output, order_weight,
    qkv_hidden_sizes=None, unidirectional=0,
):  # fmt: skip
    """As Attention; one product more per projected number, score and output, to scale it."""
    batch, length, _ = x.dims
    hidden, value_hidden = q_weight.dims[-1], v_weight.dims[-1]
    core = Heads(batch, num_heads, length, length, hidden // num_heads, value_hidden // num_heads)
    projected = batch * length * (hidden + k_weight.dims[-1] + value_hidden)
    masks = (mask_index is not None) + bool(unidirectional)
    return Cost(
        (x.to((batch, length, value_hidden)),),
        macs=batch * length * (q_weight.size + k_weight.size + v_weight.size) + core.macs,
        other_flops=2 * projected + core.flops_between(masks=masks + 1) + batch * length * value_hidden,
        not_learnable=(1, 2, 3, 4, 8, 9, 10, 14, 15, 16, 17),
    )


@microsoft("PackedAttention")
def packed_attention(
    x, weights, bias, token_offset, cumulative_sequence_length, attention_bias=None, *, num_heads, qkv_hidden_sizes=None,
    scale=None,
):  # fmt: skip
    """As Attention for the tokens that are there; scores as if every sequence were as long as the longest."""
    tokens, width = x.dims
    batch, length = token_offset.dims
    same(weights.dims[0], width, "the rows of the weights and the features of the input")
    sizes = hidden_sizes(weights, qkv_hidden_sizes)
    plain = self_attention(
        x, tokens, sizes=sizes, heads=num_heads, batch=batch, queries=length, keys=length,
        masks=int(attention_bias is not None), weights=weights,
    )  # fmt: skip
    return replace(plain, outputs=(x.to((tokens, sizes[1])),), not_learnable=(3, 4, 5))


@microsoft("PackedMultiHeadAttention")
def packed_multi_head_attention(
    query, key=None, value=None, bias=None, token_offset=None, cumulative_sequence_length=None, attention_bias=None, *,
    mask_filter_value=-10000.0, num_heads, scale=None,
):  # fmt: skip
    """Attention without projections; scores as if every sequence were as long as the longest. One addition per bias."""
    batch, length = token_offset.dims
    tokens, *rest = query.dims
    width = rest[-1] if key is None else rest[0] // num_heads
    value_width = width if value is None else value.dims[-1] // num_heads
    core = Heads(batch, num_heads, length, length, width, value_width)
    biased = 0 if bias is None else tokens * bias.size
    return Cost(
        (query.to((tokens, num_heads * value_width)),),
        macs=core.macs,
        other_flops=core.flops_between(masks=int(attention_bias is not None)) + biased,
        not_learnable=(4, 5, 6),
    )


@dataclass(frozen=True, slots=True)
class Operands:
    """What queries, keys and values say together, whichever of their layouts is used."""

    batch: Extent
    queries: Extent
    keys: Extent
    depth: Extent
    value_depth: Extent


def operands(query: Tensor, key: Tensor | None, value: Tensor | None, heads: int) -> Operands:
    """Read (batch, positions, features), or all three, or keys and values, packed into one, or 4-D keys and values."""
    batch, length, *rest = query.dims
    depth = rest[-1] if query.rank == 5 else rest[0] // heads
    if key is None:
        return Operands(batch, length, length, depth, depth)
    if value is None:
        _, keys, *_ = key.dims
        return Operands(batch, length, keys, depth, depth)
    _, _, keys, _ = split_heads(key, heads, "key")
    _, _, _, value_depth = split_heads(value, heads, "value")
    return Operands(batch, length, keys, depth, value_depth)


def attended(
    name: str, query: Tensor, found: Operands, heads: int, *, past_key: Tensor | None, past_length: Tensor | None,
    shared: bool, masks: int, bias: Tensor | None, not_learnable: tuple[int, ...],
) -> Cost:  # fmt: skip
    """The outputs of the ops without projections: values, present keys and values, scores."""
    batch, length = found.batch, found.queries
    past = None if past_key is None else past_key.dims[2]
    unknown = Unknowns(name)
    keys = keys_in_all(unknown, found.keys, past, shared=shared, length=past_length)
    kept = past if shared and past is not None else keys
    core = Heads(batch, heads, length, keys, found.depth, found.value_depth)
    numbers = batch * heads * (length * found.depth + found.keys * (found.depth + found.value_depth))
    biased = 0 if bias is None else numbers
    split = query.to((numbers,)).nbytes
    tiled = not masks and past_key is None
    return Cost(
        (
            query.to((batch, length, heads * found.value_depth)),
            query.to((batch, heads, kept, found.depth)),
            query.to((batch, heads, kept, found.value_depth)),
            query.to((batch, heads, length, keys)),
        ),
        macs=core.macs,
        other_flops=core.flops_between(masks=masks) + biased,
        not_learnable=not_learnable,
        scratch_bytes=split * (2 if bias is not None else 1) + (0 if tiled else untiled_bytes(core, query, masks=masks)),
        bounds=unknown.bounds,
    )


@microsoft("MultiHeadAttention")
def multi_head_attention(
    query, key=None, value=None, bias=None, key_padding_mask=None, attention_bias=None, past_key=None, past_value=None,
    past_sequence_length=None, cache_indirection=None, *, mask_filter_value=-10000.0, num_heads, scale=None,
    unidirectional=0, name,
):  # fmt: skip
    """One multiply-add per query, key and number of every head, for scores and for values; per score 6 operations.

    One more per mask; one addition per number that takes a bias.
    """
    return attended(
        name, query, operands(query, key, value, num_heads), num_heads, past_key=past_key, past_length=past_sequence_length,
        shared=past_sequence_length is not None,
        masks=(key_padding_mask is not None) + (attention_bias is not None) + bool(unidirectional),
        bias=bias, not_learnable=(4, 5, 6, 7, 8, 9),
    )  # fmt: skip


@microsoft("DecoderMaskedMultiHeadAttention")
def decoder_masked_multi_head_attention(
    query, key=None, value=None, mask_index=None, attention_bias=None, past_key=None, past_value=None,
    past_sequence_length=None, beam_width=None, cache_indirection=None, bias=None, *, mask_filter_value=-10000.0, num_heads,
    output_qk=0, past_present_share_buffer=0, scale=None, name,
):  # fmt: skip
    """As MultiHeadAttention, with one query per sequence."""
    return attended(
        name, query, operands(query, key, value, num_heads), num_heads, past_key=past_key, past_length=past_sequence_length,
        shared=bool(past_present_share_buffer), masks=(mask_index is not None) + (attention_bias is not None),
        bias=bias, not_learnable=(3, 4, 5, 6, 7, 8, 9),
    )  # fmt: skip


@microsoft("DecoderAttention")
def decoder_attention(
    query, key, q_weight, kv_weight, bias, key_padding_mask=None, key_cache=None, value_cache=None, static_kv=None,
    use_past=None, has_layer_state=None, has_key_padding_mask=None, *, mask_filter_value=-10000.0, num_heads,
):  # fmt: skip
    """One multiply-add per projection weight and token, and per query, key and number of every head, twice.

    A cached key of cross attention is not projected again.
    """
    static, past = extent_of(static_kv), extent_of(use_past)
    if static is None or past is None:
        raise UnsupportedOp("static_kv and use_past must be constants; they decide what is computed")
    length, batch, hidden = query.dims
    new, _, _ = key.dims if static else query.dims
    cached = 0 if key_cache is None or not past else key_cache.dims[2]
    projected = 0 if static and past else new * batch
    keys = cached if static and past else cached + new
    core = Heads(batch, num_heads, length, keys, hidden // num_heads, hidden // num_heads)
    cache = (batch, num_heads, keys, hidden // num_heads)
    return Cost(
        (query.to(query.dims), query.to(cache), query.to(cache)),
        macs=length * batch * q_weight.size + projected * kv_weight.size + core.macs,
        other_flops=hidden * (length * batch + 2 * projected) + core.flops_between(masks=int(key_padding_mask is not None)),
        not_learnable=(5, 6, 7, 8, 9, 10, 11),
    )


# -- grouped queries ----------------------------------------------------------------------------------------------


def grouped_widths(query: Tensor, packed: bool, heads: int, kv_heads: int) -> tuple[Extent, Extent]:
    """Depth of a head and positions; packed queries hold keys and values too."""
    *_, length, width = query.dims
    columns = heads + 2 * kv_heads if packed else heads
    if isinstance(width, int) and width % columns:
        raise MalformedModel(f"{width} features do not split into {columns} heads")
    return width // columns, length


@microsoft("GroupQueryAttention")
def group_query_attention(
    query, key=None, value=None, past_key=None, past_value=None, seqlens_k=None, total_sequence_length=None, cos_cache=None,
    sin_cache=None, position_ids=None, attention_bias=None, head_sink=None, k_scale=None, v_scale=None, q_norm_weight=None,
    k_norm_weight=None, *, causal=1, do_rotary=0, k_quant_type="NONE", kv_cache_bit_width=0, kv_num_heads,
    local_window_size=-1, num_heads, qk_norm_epsilon=1e-6, qk_output=0, rotary_interleaved=0, scale=None,
    sliding_window_cache=0, smooth_softmax=-1, softcap=0.0, v_quant_type="NONE",
):  # fmt: skip
    """One multiply-add per query, key and number of every query head, for scores and for values; per score 6 operations.

    One more for the causal mask and for a bias, three for a soft cap; three per number that is rotated, five where
    queries and keys are normalised. Keys count up to the total sequence length, where that is known.
    """
    depth, length = grouped_widths(query, key is None, num_heads, kv_num_heads)
    batch = query.dims[0]
    past = 0 if past_key is None else past_key.dims[2]
    stated = extent_of(total_sequence_length)
    total = past + length if stated is None else stated
    kept = past if sliding_window_cache else maximum(total, past)
    core = Heads(batch, num_heads, length, total, depth, depth)
    masks = bool(causal) + (attention_bias is not None)
    turned = batch * length * depth * (num_heads + kv_num_heads)
    per_turned = (ROTARY_FLOPS if do_rotary else 0) + (0 if q_norm_weight is None else MOMENTS)
    cache = query if past_key is None else past_key
    cache_shape = (batch, kv_num_heads, kept, depth if past_key is None else past_key.dims[3])
    return Cost(
        (
            query.to((batch, length, num_heads * depth)),
            cache.to(cache_shape),
            cache.to(cache_shape),
            query.to((batch, num_heads, length, total)),
        ),
        macs=core.macs,
        other_flops=core.flops_between(masks=masks, softcap=bool(softcap)) + turned * per_turned,
        not_learnable=(*range(3, 11), 12, 13),
        scratch_bytes=query.to((batch, length, num_heads + 2 * kv_num_heads, depth)).nbytes,
    )


@microsoft("SparseAttention")
def sparse_attention(
    query, key=None, value=None, past_key=None, past_value=None, block_row_indices=None, block_col_indices=None,
    total_sequence_length=None, key_total_sequence_lengths=None, cos_cache=None, sin_cache=None, *, do_rotary=0,
    kv_num_heads, num_heads, rotary_interleaved=0, scale=None, sparse_block_size, name,
):  # fmt: skip
    """As GroupQueryAttention; blocks that the pattern leaves out count too."""
    depth, length = grouped_widths(query, key is None, num_heads, kv_num_heads)
    batch = query.dims[0]
    unknown = Unknowns(name)
    stated = extent_of(total_sequence_length)
    total = unknown.extent("keys", at_most=past_key.dims[2]) if stated is None else stated
    core = Heads(batch, num_heads, length, total, depth, depth)
    turned = batch * length * depth * (num_heads + kv_num_heads) if do_rotary else 0
    return Cost(
        (query.to((batch, length, num_heads * depth)), past_key.to(past_key.dims), past_value.to(past_value.dims)),
        macs=core.macs,
        other_flops=core.flops_between(masks=1) + turned * ROTARY_FLOPS,
        not_learnable=tuple(range(3, 11)),
        bounds=unknown.bounds,
    )


@microsoft("PagedAttention")
def paged_attention(
    query, key=None, value=None, key_cache=None, value_cache=None, cumulative_sequence_length=None, past_seqlens=None,
    block_table=None, cos_cache=None, sin_cache=None, slot_mapping=None, head_sink=None, q_norm_weight=None,
    k_norm_weight=None, k_scale=None, v_scale=None, attention_metadata=None, *, do_rotary=0, is_causal=1, k_cache_dtype="",
    k_quant_type="NONE", kv_cache_layout="SEPARATE", kv_num_heads, local_window_size=-1, num_heads, qk_norm_epsilon=1e-6,
    rotary_interleaved=0, rotary_offset=0, scale=None, softcap=0.0, v_cache_dtype="", v_head_size=0, v_quant_type="NONE",
    name,
):  # fmt: skip
    """As GroupQueryAttention, token by token; how many keys a token sees on average is a size of its own."""
    depth, tokens = grouped_widths(query, key is None, num_heads, kv_num_heads)
    value_depth = v_head_size or depth
    _, blocks = block_table.dims
    _, block_size, *_ = key_cache.dims
    unknown = Unknowns(name)
    core = Heads(1, num_heads, tokens, unknown.extent("keys", at_most=blocks * block_size), depth, value_depth)
    turned = tokens * depth * (num_heads + kv_num_heads)
    per_turned = (ROTARY_FLOPS if do_rotary else 0) + (0 if q_norm_weight is None else MOMENTS)
    caches = [cache.to(cache.dims) for cache in (key_cache, value_cache) if cache is not None]
    return Cost(
        (query.to((tokens, num_heads * value_depth)), *caches),
        macs=core.macs,
        other_flops=core.flops_between(masks=int(bool(is_causal)), softcap=bool(softcap)) + turned * per_turned,
        not_learnable=(*range(3, 11), 14, 15, 16),
        bounds=unknown.bounds,
    )


@microsoft("LongformerAttention")
def longformer_attention(x, weight, bias, mask, global_weight, global_bias, global_, *, num_heads, window, name):
    """One multiply-add per projection weight and token, local and global; scores of a band, and of the global tokens.

    A token sees ``2 * window + 1`` neighbours and the global tokens, which see all; how many are global is a new size.
    """
    batch, length, hidden = x.dims
    depth = hidden // num_heads
    unknown = Unknowns(name)
    chosen = unknown.extent("global_tokens", at_most=length)
    band = Heads(batch, num_heads, length, 2 * window + 1 + chosen, depth, depth)
    overall = Heads(batch, num_heads, chosen, length, depth, depth)
    tokens = batch * length
    return Cost(
        (x.to(x.dims),),
        macs=tokens * (weight.size + global_weight.size) + band.macs + overall.macs,
        other_flops=tokens * (bias.size + global_bias.size) + band.flops_between(masks=1) + overall.flops_between(masks=1),
        not_learnable=(3, 6),
        bounds=unknown.bounds,
    )


@microsoft("QOrderedLongformerAttention")
def quantized_ordered_longformer_attention(
    x, scale_input, weight, scale_weight, bias, scale_bias, scale_qkv_gemm, mask, global_weight, scale_global_weight,
    global_bias, scale_global_gemm, global_, scale_output, *, num_heads, order_global_weight, order_input, order_output,
    order_weight, window, name,
):  # fmt: skip
    """As LongformerAttention; one product more per projected number and output, to scale it."""
    plain = longformer_attention(
        x, weight, bias, mask, global_weight, global_bias, global_, num_heads=num_heads, window=window, name=name
    )
    batch, length, _ = x.dims
    scaled = batch * length * (bias.size + global_bias.size) + x.size
    return replace(plain, other_flops=plain.other_flops + scaled, not_learnable=(1, 3, 5, 6, 7, 9, 11, 12, 13))


@microsoft("LinearAttention")
def windowed_linear_attention(
    query, key, value, past_state=None, decay=None, beta=None, *, chunk_size=64, kv_num_heads, q_num_heads, scale=0.0,
    state_window=0, update_rule="gated_delta",
):  # fmt: skip
    """As the standard LinearAttention; a window of states is kept for going back."""
    state = past_state if past_state is None or not state_window else past_state.to(past_state.dims[1:])
    plain = linear_attention(
        query, key, value, state, decay, beta, kv_num_heads=kv_num_heads, q_num_heads=q_num_heads, update_rule=update_rule
    )
    y, last = plain.outputs
    window: Shape = (state_window,) if state_window else ()
    return Cost((y, last.to((*window, *last.dims))), macs=plain.macs, other_flops=plain.other_flops, not_learnable=(3,))
