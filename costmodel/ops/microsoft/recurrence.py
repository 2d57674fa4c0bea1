"""Linear recurrences with an explicit state, on packed sequences: delta networks and state-space models."""

from __future__ import annotations

from costmodel.dims import Extent, product
from costmodel.errors import MalformedModel
from costmodel.graph import Cost, Tensor
from costmodel.ops.activations import activation_flops
from costmodel.ops.attention import UPDATE_RULES
from costmodel.ops.microsoft.domain import microsoft
from costmodel.ops.microsoft.normalization import RMS
from costmodel.ops.shapes import same
from costmodel.ops.value_layout import Unknowns, extents

SOFTPLUS = 3  # exp, add, log
# per number of the decay, beyond the exponential that applies it
GATES = {
    "none": 0,
    **dict.fromkeys(("softplus", "qwen"), 2 + SOFTPLUS),  # add the bias, softplus, multiply by -exp(a_log)
    **dict.fromkeys(("sigmoid", "kda"), 3 + activation_flops("Sigmoid")),  # add, multiply, sigmoid, multiply by the bound
}


def _chosen(table: dict[str, int], kind: str, what: str) -> int:
    if kind not in table:
        raise MalformedModel(f"{what} {kind!r} is none of {', '.join(table)}")
    return table[kind]


@microsoft("GatedDeltaNet")
def gated_delta_net(
    query, key=None, value=None, cu_seqlens=None, decay=None, beta=None, initial_state=None, a_log=None, dt_bias=None,
    capture_count=None, state_update_active=None, *, beta_activation="none", chunk_size=64, gate_activation="none",
    gate_lower_bound=-5.0, qk_l2_norm=0, scale=0.0, state_update_capacity=0, update_rule="gated_delta",
):  # fmt: skip
    """As LinearAttention, for tokens that are packed: multiply-adds to update the state, to read it, and to correct it.

    A decay costs an exponential and what its activation does (5 or 7), a sigmoid of beta 4, a normalisation 3 per number
    of queries and keys.
    """
    if update_rule not in UPDATE_RULES:
        raise MalformedModel(f"update_rule {update_rule!r} is none of {', '.join(UPDATE_RULES)}")
    if key is None:
        *rows, width = query.dims
        batch, heads, value_depth, depth = initial_state.dims
        shared = (width - heads * value_depth) // (2 * depth)
    else:
        *rows, shared, depth = query.dims
        *_, heads, value_depth = value.dims
        batch = _sequences(rows, cu_seqlens, initial_state)
    tokens = product(rows)
    state = heads * value_depth * depth
    gated, delta = "gated" in update_rule, "delta" in update_rule
    gates = 0 if decay is None else decay.size * (1 + _chosen(GATES, gate_activation, "gate_activation"))
    rates = 0 if beta is None or beta_activation == "none" else beta.size * activation_flops(beta_activation)
    normed = 3 * tokens * 2 * shared * depth if qk_l2_norm else 0
    decays = heads * depth if decay is not None and decay.rank == len(rows) + 2 else heads
    captured = state_update_capacity * (decays + shared * depth + heads * value_depth)
    return Cost(
        (
            query.to((*rows, heads, value_depth)),
            query.to((batch, heads, value_depth, depth), dtype="float32"),
            query.to((batch, captured), dtype="float32"),
        ),
        macs=tokens * state * (3 if delta else 2),
        other_flops=tokens * heads * value_depth * (3 if delta else 1)
        + (gates + tokens * state if gated else 0) + rates + normed,
        not_learnable=(3, 6, 9, 10),
    )  # fmt: skip


def _sequences(rows: list[Extent], offsets: Tensor | None, state: Tensor | None) -> Extent:
    if offsets is not None:
        return offsets.size - 1
    if state is not None:
        return state.dims[0]
    if len(rows) == 2:
        return rows[0]
    raise MalformedModel("neither cu_seqlens nor initial_state says how many sequences are packed")


@microsoft("GatedDeltaNetStateReplay")
def replay_delta_net(source_backing, capsule_backing, destination_backing, metadata, *, name):
    """One multiply-add and one product per number of the state and transition that is replayed."""
    stated = extents(metadata)
    unknown = Unknowns(name)
    if stated is None or None in stated:
        numbers: Extent = unknown.extent("numbers", at_most=destination_backing.size)
        steps = numbers * unknown.extent("kept", at_most=capsule_backing.size)
    else:
        _, _, _, _, _, heads, value_depth, depth, _, _, kept = stated
        numbers = product((heads, value_depth, depth))  # type: ignore[arg-type]
        steps = product((numbers, kept))  # type: ignore[arg-type]
    y = destination_backing.to(destination_backing.dims)
    return Cost(
        (y,), macs=steps, other_flops=steps, reads=(numbers, capsule_backing.size, 0, metadata.size), in_place=(2,),
        not_learnable=(0, 1, 2, 3), bounds=unknown.bounds,
    )  # fmt: skip


@microsoft("ConvStateReplay")
def replay_convolution(source_backing, capture_backing, destination_backing, metadata, *, name):
    """No arithmetic; a copy of the inputs that a convolution has to remember."""
    stated = extents(metadata)
    unknown = Unknowns(name)
    if stated is None or None in stated:
        kept = unknown.extent("numbers", at_most=destination_backing.size)
    else:
        _, _, _, batch, channels, history, _, _ = stated
        kept = product((batch, channels, history))  # type: ignore[arg-type]
    y = destination_backing.to(destination_backing.dims)
    return Cost(
        (y,), reads=(kept, 0, 0, metadata.size), in_place=(2,), not_learnable=(0, 1, 2, 3), bounds=unknown.bounds
    )


@microsoft("Mamba2Verify")
def mamba2_verify(
    projection, conv_state, ssm_state, conv_weight, conv_bias, dt_bias, A_negative, D, norm_weight, state_row,  # noqa: N803
    *, d_state=128, epsilon=1e-5, head_dim=64, heads, n_groups, time_step_min=0.001,
):  # fmt: skip
    """One multiply-add per tap of the convolution, and two per number of the state: to update it, and to read it.

    Per number of the state a product for its decay; per convolved number a bias and a SiLU (5); per result a product and an
    addition for the skip, a product for the step, a gate by SiLU, and a normalisation (4); 7 per head for the time step.
    """
    tokens, width = projection.dims
    inner = heads * head_dim
    channels, *_, taps = conv_weight.dims
    same(channels, inner + 2 * n_groups * d_state, "the filters and what the projection holds for them")
    same(width, inner + channels + heads, "the projection, and its gate, channels and time steps")
    results = tokens * inner
    silu = activation_flops("Silu")
    per_head = 2 + SOFTPLUS + 2  # bias, softplus, limit, product with A, exp
    return Cost(
        (
            projection.to((tokens, inner)),
            conv_state.to(conv_state.dims),
            ssm_state.to(ssm_state.dims),
            projection.to((tokens, channels)),
            ssm_state.to((tokens, inner)),
        ),
        macs=tokens * channels * taps + 2 * results * d_state,
        other_flops=results * d_state
        + tokens * channels * (1 + silu)
        + results * (3 + silu + 1 + RMS + 1)
        + tokens * heads * per_head,
        not_learnable=(1, 2, 9),
    )
