"""Attention to a selection of positions, and the indexers that make the selection.

Scores count for as many positions as a selection can hold, whichever the data select.
"""

from __future__ import annotations

from typing import NamedTuple

from costmodel.dims import Extent, maximum, minimum
from costmodel.errors import MalformedModel
from costmodel.graph import Cost, Tensor
from costmodel.ops.attention import ROTARY_FLOPS, SOFTMAX_FLOPS, Heads
from costmodel.ops.microsoft.attention import grouped_widths
from costmodel.ops.microsoft.domain import microsoft
from costmodel.ops.microsoft.normalization import RMS
from costmodel.ops.normalization import MOMENTS
from costmodel.ops.value_layout import Unknowns, extent_of

SCORE_FLOPS = 4  # compare with 0, scale, add over the heads; compare to rank
SLOT_FLOPS = 1 + SOFTMAX_FLOPS + 2  # of a compressed window, per number: bias, softmax, weigh, add


# -- attention ----------------------------------------------------------------------------------------------------


def _seen(selected: Tensor, mode: str, window: Extent) -> Extent:
    """Positions that one query attends to, at most."""
    *_, most = selected.dims
    if mode not in ("selected_only", "local_plus_selected"):
        raise MalformedModel(f"attention_mode {mode!r} is neither selected_only nor local_plus_selected")
    return most if mode == "selected_only" else most + window


def _turned(numbers: Extent, *, rotated: int, normed: bool) -> Extent:
    return numbers * ((ROTARY_FLOPS if rotated else 0) + (MOMENTS if normed else 0))


@microsoft("DynamicSparseAttention")
def dynamic_sparse_attention(
    query, key=None, value=None, past_key=None, past_value=None, auxiliary_key=None, auxiliary_value=None,
    selected_indices=None, selected_counts=None, seqlens_k=None, total_sequence_length=None, cos_cache=None, sin_cache=None,
    position_ids=None, q_norm_weight=None, k_norm_weight=None, head_sink=None, committed_length=None, key_scale=None,
    value_scale=None, *, attention_mode="selected_only", auxiliary_kv_shared=0, do_rotary=0, is_causal=1, kv_num_heads,
    local_window_size=-1, num_heads, output_bf16=0, qk_norm_epsilon=1e-6, rotary_interleaved=0, rotary_offset=0, scale=None,
    selected_kv_source="main", smooth_softmax=0, name,
):  # fmt: skip
    """As GroupQueryAttention, for the positions that are selected and those of a local window."""
    depth, length = grouped_widths(query, key is None, num_heads, kv_num_heads)
    batch, *_ = query.dims
    unknown = Unknowns(name)
    past = 0 if past_key is None else past_key.dims[2]
    stated = extent_of(total_sequence_length)
    kept = maximum(past, unknown.extent("keys", at_most=past + length) if stated is None else stated)
    core = Heads(batch, num_heads, length, _seen(selected_indices, attention_mode, local_window_size), depth, depth)
    turned = batch * length * depth * (num_heads + kv_num_heads)
    cache = (query if past_key is None else past_key).to((batch, kv_num_heads, kept, depth))
    return Cost(
        (
            query.to((batch, length, num_heads * depth), dtype="bfloat16" if output_bf16 else None),
            cache,
            cache,
            query.to((1,), dtype="int32"),
        ),
        macs=core.macs,
        other_flops=core.flops_between() + _turned(turned, rotated=do_rotary, normed=q_norm_weight is not None),
        not_learnable=(*range(3, 14), 17, 18, 19),
        bounds=unknown.bounds,
    )


@microsoft("SparsePagedAttention")
def sparse_paged_attention(
    query, key=None, value=None, key_cache=None, value_cache=None, cumulative_sequence_length=None, past_seqlens=None,
    block_table=None, slot_mapping=None, selected_indices=None, selected_counts=None, auxiliary_key=None,
    auxiliary_value=None, auxiliary_lengths=None, cos_cache=None, sin_cache=None, head_sink=None, q_norm_weight=None,
    k_norm_weight=None, k_scale=None, v_scale=None, attention_metadata=None, *, attention_mode="selected_only",
    auxiliary_cache_layout="contiguous", auxiliary_kv_shared=0, do_rotary=0, is_causal=1, k_quant_type="NONE", kv_num_heads,
    local_window_size=-1, num_heads, qk_norm_epsilon=1e-6, rotary_interleaved=0, rotary_offset=0, scale=None,
    selected_kv_source="main", softcap=None, v_quant_type="NONE", name,
):  # fmt: skip
    """As PagedAttention, for the positions that are selected and those of a local window."""
    depth, tokens = grouped_widths(query, key is None, num_heads, kv_num_heads)
    _, blocks = block_table.dims
    _, block_size, *_ = key_cache.dims
    unknown = Unknowns(name)
    is_local = attention_mode == "local_plus_selected"
    whole = unknown.extent("keys", at_most=blocks * block_size) if is_local and local_window_size < 0 else 0
    seen = _seen(selected_indices, attention_mode, whole if local_window_size < 0 else local_window_size)
    core = Heads(1, num_heads, tokens, seen, depth, depth)
    turned = tokens * depth * (num_heads + kv_num_heads)
    return Cost(
        (query.to((tokens, num_heads * depth)), key_cache.to(key_cache.dims), value_cache.to(value_cache.dims)),
        macs=core.macs,
        other_flops=core.flops_between(softcap=bool(softcap))
        + _turned(turned, rotated=do_rotary, normed=q_norm_weight is not None),
        not_learnable=(*range(3, 16), 19, 20, 21),
        bounds=unknown.bounds,
    )


# -- selection ----------------------------------------------------------------------------------------------------


class Policy(NamedTuple):
    """How an indexer makes entries of keys: by the mean of a block (qsa), or by learned gates over two windows (csa)."""

    is_gated: bool
    ratio: int
    budget: int

    @staticmethod
    def of(mode: str, ratio: int, token_budget: int | None, index_topk: int | None) -> Policy:
        budget = {"qsa": token_budget, "csa": index_topk}.get(mode)
        if budget is None:
            raise MalformedModel(f"policy_mode {mode!r} is neither qsa with a token_budget nor csa with an index_topk")
        return Policy(mode == "csa", ratio, budget)

    @property
    def capacity(self) -> int:
        """Entries that a query is given."""
        return self.budget if self.is_gated else self.budget + self.ratio - 1

    def entry_flops(self, depth: Extent) -> Extent:
        """Operations that make one entry; its normalisation and rotation included."""
        pooled = 2 * self.ratio * SLOT_FLOPS if self.is_gated else self.ratio
        return depth * (pooled + RMS + 1 + ROTARY_FLOPS)

    def per_query(self, heads: Extent, depth: Extent, entries: Extent) -> tuple[Extent, Extent]:
        """Multiply-adds for the scores, and the other operations."""
        weighted = heads * entries if self.is_gated else 0
        return heads * entries * depth, heads * depth * (RMS + 1 + ROTARY_FLOPS) + heads * entries * SCORE_FLOPS + weighted


@microsoft("SparseAttentionIndexer")
def sparse_attention_indexer(
    query, key=None, query_norm_weight=None, key_norm_weight=None, cos_cache=None, sin_cache=None, mask=None, past_key=None,
    gate=None, position_bias=None, head_weights=None, position_ids=None, past_sequence_length=None, past_proj_buffer=None, *,
    compress_ratio, epsilon=1e-6, head_weight_scale=None, index_topk=None, policy_mode, scale=None, token_budget=None, name,
):  # fmt: skip
    """One multiply-add per query, entry and number of every head; 4 per score.

    Queries and entries are normalised (4) and rotated (3); an entry is the mean of its keys, or 8 operations per number of
    the two windows that it is made of.
    """
    policy = Policy.of(policy_mode, compress_ratio, token_budget, index_topk)
    batch, length, width = query.dims
    depth = key_norm_weight.size
    heads = width // depth - (key is None)
    unknown = Unknowns(name)
    _, stored, _ = past_key.dims
    known = extent_of(past_sequence_length)
    past = stored if past_sequence_length is None else unknown.extent("past", at_most=stored) if known is None else known
    held = 0 if past_proj_buffer is None else past_proj_buffer.dims[2]
    closed = held // compress_ratio  # 1 where the buffer begins with a complete window
    made = (held - closed * compress_ratio + length) // compress_ratio if policy.is_gated else length
    entries = past + made if policy.is_gated else (past + length) // compress_ratio
    left = held - closed * compress_ratio + length - made * compress_ratio + minimum(1, closed + made) * compress_ratio
    macs, flops = policy.per_query(heads, depth, entries)
    return Cost(
        (
            query.to((batch, length, policy.capacity), dtype="int32"),
            past_key.to((batch, past + made if past_sequence_length is None else stored, depth)),
            query.to((2, batch, left if policy.is_gated else 0, 2 * depth)),
        ),
        macs=batch * length * macs,
        other_flops=batch * (length * flops + (made if policy.is_gated else entries) * policy.entry_flops(depth)),
        not_learnable=(4, 5, 6, 7, 11, 12, 13),
        bounds=unknown.bounds,
    )


@microsoft("PackedSparseAttentionIndexer")
def packed_sparse_attention_indexer(
    query, key=None, query_norm_weight=None, key_norm_weight=None, cos_cache=None, sin_cache=None,
    cumulative_sequence_lengths=None, past_sequence_lengths=None, gate=None, position_bias=None, head_weights=None,
    position_ids=None, past_key_state=None, past_kv_buffer=None, past_gate_buffer=None, past_state_lengths=None,
    state_update_capture_count=None, state_update_active=None, indexshare_mode=None, merged_indices=None, merged_counts=None,
    merged_status=None, *, compress_ratio, epsilon=1e-6, head_weight_scale=None, index_topk=None,
    indexshare_state_policy="default", max_output_entries=0, policy_mode, scale=None, state_capacity,
    state_update_capacity=0, token_budget=None, name,
):  # fmt: skip
    """As SparseAttentionIndexer, token by token; how many entries a token sees on average is a size of its own."""
    policy = Policy.of(policy_mode, compress_ratio, token_budget, index_topk)
    tokens, width = query.dims
    depth = key_norm_weight.size
    heads = width // depth - (key is None)
    batch = past_key_state.dims[0]
    unknown = Unknowns(name)
    macs, flops = policy.per_query(heads, depth, unknown.extent("entries", at_most=state_capacity))
    per_token = query.to((tokens,), dtype="int32")
    buffer = past_kv_buffer.to(past_kv_buffer.dims)
    return Cost(
        (
            query.to((tokens, max_output_entries or policy.capacity), dtype="int32"),
            per_token,
            past_key_state.to(past_key_state.dims),
            buffer,
            buffer,
            past_state_lengths.to(past_state_lengths.dims),
            query.to((batch, state_update_capacity, depth)),
            per_token,
            query.to((batch,), dtype="int32"),
        ),
        macs=tokens * macs,
        other_flops=tokens * flops + tokens // compress_ratio * policy.entry_flops(depth),
        not_learnable=(4, 5, 6, 7, *range(11, 22)),
        bounds=unknown.bounds,
    )


@microsoft("PackedSparseAttentionIndexerMerge")
def merge_selections(
    base_indices, base_counts, base_row_indices, range_starts=None, range_ends=None, additional_indices=None,
    additional_counts=None, *, max_output_entries, policy_mode,
):  # fmt: skip
    """1 per entry of both selections: compare. A range counts as long as the result can be."""
    rows = base_row_indices.size
    added = max_output_entries if additional_indices is None else additional_indices.dims[1]
    per_row = base_counts.to((rows,))
    return Cost(
        (base_indices.to((rows, max_output_entries)), per_row, per_row),
        other_flops=rows * (base_indices.dims[1] + added),
        not_learnable=tuple(range(7)),
    )
