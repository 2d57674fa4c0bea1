"""Mixtures of experts: every token goes through the ``k`` experts that its router ranks highest."""

from __future__ import annotations

from typing import NamedTuple

from costmodel.dims import Extent, minimum, product, total
from costmodel.graph import Cost, Tensor
from costmodel.ops.activations import activation_flops
from costmodel.ops.attention import SOFTMAX_FLOPS
from costmodel.ops.matmul import matmul
from costmodel.ops.microsoft.activations import swiglu_flops
from costmodel.ops.microsoft.domain import microsoft
from costmodel.ops.shapes import same
from costmodel.ops.value_layout import size_of

SWIGLU_FLOPS = swiglu_flops(0, 0)  # a limit is left out
BYTE = 8


class Projection(NamedTuple):
    """The weights of one projection of all experts; ``bits`` of a number where bytes hold more than one."""

    weights: Tensor
    bias: Tensor | None
    bits: int = BYTE

    @property
    def numbers(self) -> Extent:
        """Weights of all experts, unpacked."""
        return self.weights.size * (BYTE // self.bits if self.weights.dtype == "uint8" else 1)


def experts_cost(
    x: Tensor, router: Tensor, projections: list[Projection], *inputs: Tensor | None, k: int, kind: str
) -> Cost:
    """What both ops share; ``inputs`` are all those behind x and the router, of which the chosen experts' part is read."""
    *rows, hidden = x.dims
    tokens, experts = router.dims
    same(product(rows), tokens, "the tokens and the rows of router_probs")
    _, back, *_ = projections
    inner = back.numbers // experts // hidden
    added = total(projection.bias.size // experts for projection in projections if projection.bias is not None)
    per_inner = SWIGLU_FLOPS if kind == "swiglu" else activation_flops(kind)
    touched = minimum(experts, tokens * k)
    return Cost(
        (x.to(x.dims),),
        macs=tokens * k * total(projection.numbers // experts for projection in projections),
        other_flops=tokens * (experts * SOFTMAX_FLOPS + k * (inner * per_inner + added + 2 * hidden)),
        reads=(x.size, router.size, *(size // experts * touched for size in size_of(*inputs))),
        not_learnable=(1,),
    )


@microsoft("MoE")
def mixture_of_experts(
    x, router_probs, fc1_experts_weights, fc1_experts_bias=None, fc2_experts_weights=None, fc2_experts_bias=None,
    fc3_experts_weights=None, fc3_experts_bias=None, *, activation_alpha=1.0, activation_beta=0.0, activation_type="relu",
    k=1, normalize_routing_weights=0, swiglu_fusion=0, swiglu_limit=None, use_sparse_mixer=0,
):  # fmt: skip
    """One multiply-add per token and weight of its k experts; a softmax (5) per expert and token.

    Per inner number the activation, per bias an addition, per output a product and an addition for each expert.
    """
    projections = [Projection(fc1_experts_weights, fc1_experts_bias), Projection(fc2_experts_weights, fc2_experts_bias)]
    if fc3_experts_weights is not None:
        projections.append(Projection(fc3_experts_weights, fc3_experts_bias))
    return experts_cost(
        x, router_probs, projections, fc1_experts_weights, fc1_experts_bias, fc2_experts_weights, fc2_experts_bias,
        fc3_experts_weights, fc3_experts_bias, k=k, kind=activation_type,
    )  # fmt: skip


@microsoft("QMoE")
def quantized_mixture_of_experts(
    x, router_probs, fc1_experts_weights, fc1_scales=None, fc1_experts_bias=None, fc2_experts_weights=None,
    fc2_scales=None, fc2_experts_bias=None, fc3_experts_weights=None, fc3_scales=None, fc3_experts_bias=None,
    fc1_zero_points=None, fc2_zero_points=None, fc3_zero_points=None, router_weights=None, fc1_global_scale=None,
    fc2_global_scale=None,
    fc1_act_scale=None, fc2_act_scale=None, fc1_act_block_scale=None, fc2_act_block_scale=None, *, accuracy_level=0,
    activation_alpha=1.0, activation_beta=0.0, activation_type="relu", block_size=0, expert_weight_bits=4,
    fc1_expert_weight_bits=None, fc2_expert_weight_bits=None, fc3_expert_weight_bits=None, k=1, normalize_routing_weights=0,
    quant_type="int", swiglu_fusion=0, swiglu_limit=None, use_sparse_mixer=0, weights_prepacked=-1,
):  # fmt: skip
    """As MoE; unpacking and scaling the weights is left out."""
    given = [
        (fc1_experts_weights, fc1_experts_bias, fc1_expert_weight_bits),
        (fc2_experts_weights, fc2_experts_bias, fc2_expert_weight_bits),
        (fc3_experts_weights, fc3_experts_bias, fc3_expert_weight_bits),
    ]
    projections = [
        Projection(weights, bias, bits or expert_weight_bits) for weights, bias, bits in given if weights is not None
    ]
    return experts_cost(
        x, router_probs, projections, fc1_experts_weights, fc1_scales, fc1_experts_bias, fc2_experts_weights, fc2_scales,
        fc2_experts_bias, fc3_experts_weights, fc3_scales, fc3_experts_bias, fc1_zero_points, fc2_zero_points,
        fc3_zero_points, router_weights, fc1_global_scale, fc2_global_scale, fc1_act_scale, fc2_act_scale,
        fc1_act_block_scale, fc2_act_block_scale, k=k, kind=activation_type,
    )  # fmt: skip


@microsoft("MoEPacked")
def packed_mixture_of_experts(
    x, router_probs, gate_experts_weights, up_experts_weights=None, down_experts_weights=None, router_weights=None, *,
    activation_type="swiglu", down_type, gate_type, k=1, normalize_routing_weights=1, routed_scaling_factor=1.0,
    routing_epsilon=0.0, up_type=-1,
):  # fmt: skip
    """As MoE; unpacking the weights is left out, and so is the softmax where the router's weights are given."""
    *rows, hidden = x.dims
    tokens, experts = router_probs.dims
    same(product(rows), tokens, "the tokens and the rows of router_probs")
    _, inner, _ = gate_experts_weights.dims
    is_gated = up_experts_weights is not None
    touched = minimum(experts, tokens * k)
    blobs = size_of(gate_experts_weights, up_experts_weights, down_experts_weights)
    routed = experts * SOFTMAX_FLOPS if router_weights is None else 2 * k
    per_inner = SWIGLU_FLOPS if is_gated else 2  # without a gate: compare, square
    return Cost(
        (x.to(x.dims),),
        macs=tokens * k * inner * hidden * (3 if is_gated else 2),
        other_flops=tokens * (routed + k * (inner * per_inner + 2 * hidden)),
        reads=(x.size, router_probs.size, *(size // experts * touched for size in blobs), *size_of(router_weights)),
        not_learnable=(1, 5),
    )


@microsoft("MoEGroupRouter")
def group_router(
    logits, expert_bias, projection_weight=None, *, group_topk=2, n_group=1, router_sentinel=-10000.0, top_k, topk_group=1
):
    """One multiply-add per weight of the projection and token, where there is one; 8 per expert and token.

    A sigmoid (4), the bias, a comparison each to rank groups and experts, a logarithm.
    """
    *rows, width = logits.dims
    tokens = product(rows)
    experts = expert_bias.size
    projected = 0 if projection_weight is None else tokens * experts * width
    dense = logits.to((tokens, experts))
    full = logits.to((tokens, experts), dtype="float32")
    return Cost((dense, full, full), macs=projected, other_flops=tokens * experts * 8)


@microsoft("RouterGateUpProj")
def router_gate_up_projection(
    x, w, *, activation="swiglu", activation_alpha=1.0, activation_beta=0.0, limit=0.0, router_size
):
    """As MatMul, for the router and the shared expert at once; as SwiGLU per number of the expert."""
    plain = matmul(x, w)
    y, = plain.outputs
    *rows, columns = y.dims
    activated = x.to((*rows, (columns - router_size) // 2))
    flops = activated.size * swiglu_flops(limit, activation_beta)
    return Cost((x.to((*rows, router_size)), activated), macs=plain.macs, other_flops=flops)
