"""Residual streams in several branches (hyper-connections), and the gates of n-gram memories (Engram)."""

from __future__ import annotations

from costmodel.dims import Extent, product
from costmodel.graph import Cost, Shape, Tensor
from costmodel.ops.activations import activation_flops
from costmodel.ops.microsoft.domain import microsoft
from costmodel.ops.microsoft.normalization import RMS
from costmodel.ops.shapes import same


def branches(streams: Tensor, count: int) -> tuple[Shape, Extent, Extent]:
    """Rows, branches and features of grouped (..., C, H) or flattened (..., C * H) streams."""
    if not count:
        *rows, found, width = streams.dims
        return tuple(rows), found, width
    *rows, both = streams.dims
    return tuple(rows), count, both // count


@microsoft("HyperConnectionPreMix")
def hyper_connection_pre_mix(streams, pre_mix, *, num_branches=0, reduction_scale=1.0):
    """One multiply-add per element of the streams; one product per result for a scale other than 1."""
    rows, _, width = branches(streams, num_branches)
    y = streams.to((*rows, width))
    return Cost((y,), macs=streams.size, other_flops=y.size if reduction_scale != 1 else 0)


@microsoft("HyperConnectionPostMix")
def hyper_connection_post_mix(streams, block_output, post_mix, stream_mix=None, *, num_branches=0):
    """One multiply-add per element and branch to mix, where they are mixed; a product and an addition per element."""
    _, count, _ = branches(streams, num_branches)
    mixed = 0 if stream_mix is None else streams.size * count
    return Cost((streams.to(streams.dims),), macs=mixed, other_flops=2 * streams.size)


@microsoft("EngramGate")
def engram_gate(key, query, value, key_norm_scale, query_norm_scale, conv_norm_scale=None, *, epsilon=1e-5):
    """One multiply-add per element for the gate; two normalisations (3) with scales, and a product with the gate.

    One normalisation more for the second output. A row takes a scale, a magnitude, a limit, a root, a sign, a sigmoid (4).
    """
    *_, width = key.dims
    same(value.dims[-1], width, "the widths of value and key")
    y = value.to(key.dims)
    normed = 0 if conv_norm_scale is None else y.size * (RMS + 1)
    gates = key.size // width * (5 + activation_flops("Sigmoid"))
    return Cost((y, y), macs=key.size, other_flops=key.size * (2 * (RMS + 1) + 1) + gates + normed)


@microsoft("HyperConnectionLowRankMix")
def hyper_connection_low_rank_mix(
    streams, norm_scale, down_weight, up_weight, inject_weight, prev_block_output=None, prev_post_gate=None, *,
    epsilon=1e-5, gate_div=1.0, gate_mul=1.0, num_branches, reduction_scale=1.0, silu_alpha=1.0,
):  # fmt: skip
    """One multiply-add per token and weight of the three projections, and per element to mix the branches.

    Per element a normalisation (3) with a scale and a sigmoid (4), 2 more to mix in the last block; 6 per number between
    down and up, 6 per gate, one product per result.
    """
    *rows, features = streams.dims
    same(norm_scale.size, features, "the scales and the features of a row")
    count, width, tokens = num_branches, norm_scale.size // num_branches, product(rows)
    _, rank = down_weight.dims
    per_element = RMS + 1 + activation_flops("Sigmoid") + (0 if prev_block_output is None else 2)
    weights = down_weight.size + up_weight.size + inject_weight.size
    return Cost(
        (streams.to((*rows, width)), streams.to((*rows, count)), streams.to(streams.dims)),
        macs=tokens * weights + streams.size,
        other_flops=streams.size * per_element
        + tokens * (rank * activation_flops("QuickGelu") + count * (2 + activation_flops("Sigmoid")) + width),
    )
