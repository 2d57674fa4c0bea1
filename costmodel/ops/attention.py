"""Attention of the standard domain, and the arithmetic that every attention op shares.

The two products, queries with keys and weights with values, are counted for every pair of positions, also where a mask
or a window hides some: dense kernels compute those too.
"""

from __future__ import annotations

from dataclasses import dataclass

from costmodel.dims import Extent, total
from costmodel.errors import MalformedModel
from costmodel.graph import Cost, Tensor, dtype_numbered
from costmodel.ops.activations import activation_flops
from costmodel.ops.registry import rule
from costmodel.ops.shapes import same

SOFTMAX_FLOPS = 5  # per score: maximum, subtraction, exponential, sum, division
SOFTCAP_FLOPS = 3  # per score: division, tanh, product
ROTARY_FLOPS = 3  # per rotated element: two products and a sum


@dataclass(frozen=True, slots=True)
class Heads:
    """Scaled dot-product attention of some heads: its two products and what is done to the scores between them."""

    batch: Extent
    heads: Extent
    queries: Extent
    keys: Extent
    depth: Extent
    value_depth: Extent

    @property
    def scores(self) -> Extent:
        return self.batch * self.heads * self.queries * self.keys

    @property
    def macs(self) -> Extent:
        return self.scores * (self.depth + self.value_depth)

    def flops_between(self, *, masks: int = 0, softcap: bool = False) -> Extent:
        """One product per score for the scale, a softmax, one addition per mask or bias, and the soft cap."""
        return self.scores * (1 + SOFTMAX_FLOPS + masks + (SOFTCAP_FLOPS if softcap else 0))

    def score_bytes(self, like: Tensor) -> Extent:
        """Memory for all scores, which kernels hold that do not work by tiles."""
        return like.to((self.scores,)).nbytes


def split_heads(tensor: Tensor, heads: int | None, what: str) -> tuple[Extent, Extent, Extent, Extent]:
    """Batch, heads, positions and depth of a 4-D tensor, or of a 3-D one whose last axis holds all heads."""
    if tensor.rank == 4:
        batch, found, positions, depth = tensor.dims
        return batch, found, positions, depth
    if not heads:
        raise MalformedModel(f"a {what} of rank {tensor.rank} needs its number of heads as an attribute")
    batch, positions, hidden = tensor.dims
    if isinstance(hidden, int) and hidden % heads:
        raise MalformedModel(f"{what}: {hidden} features do not split into {heads} heads")
    return batch, heads, positions, hidden // heads


@rule("Attention", since=23)
def attention(
    q, k, v, attn_mask=None, past_key=None, past_value=None, nonpad_kv_seqlen=None, *, is_causal=0, kv_num_heads=None,
    left_window_size=-1, q_num_heads=None, qk_matmul_output_mode=0, right_window_size=-1, scale=None, softcap=0.0,
    softmax_precision=None,
):  # fmt: skip
    """One multiply-add per query, key and number of every head, for scores and for values; per score 6 operations.

    A product for the scale and five for the softmax; one more per mask, three for a soft cap.
    """
    batch, heads, queries, depth = split_heads(q, q_num_heads, "query")
    _, kv_heads, keys, _ = split_heads(k, kv_num_heads, "key")
    _, _, _, value_depth = split_heads(v, kv_num_heads, "value")
    if (past_key is None) != (past_value is None):
        raise MalformedModel("past_key and past_value are given together or not at all")
    if isinstance(heads, int) and isinstance(kv_heads, int) and heads % kv_heads:
        raise MalformedModel(f"{heads} query heads cannot share {kv_heads} key heads evenly")
    total = keys if past_key is None else past_key.dims[2] + keys
    core = Heads(batch, heads, queries, total, depth, value_depth)
    masks = (attn_mask is not None) + bool(is_causal)
    y = (batch, heads, queries, value_depth) if q.rank == 4 else (batch, queries, heads * value_depth)
    return Cost(
        (
            q.to(y),
            k.to((batch, kv_heads, total, depth)),
            v.to((batch, kv_heads, total, value_depth)),
            q.to((batch, heads, queries, total)),
        ),
        macs=core.macs,
        other_flops=core.flops_between(masks=masks, softcap=softcap != 0.0),
        not_learnable=(3, 4, 5, 6),
        scratch_bytes=core.score_bytes(q) + (q.to((queries, total)).nbytes if masks else 0),
    )


@rule("RotaryEmbedding", since=23)
def rotary_embedding(
    x, cos_cache, sin_cache, position_ids=None, *, interleaved=0, num_heads=None, rotary_embedding_dim=0
):  # fmt: skip
    """Two products and a sum per rotated element."""
    _, heads, _, depth = split_heads(x, num_heads, "input")
    rotated = rotated_size(x, depth=depth, width=rotary_embedding_dim, tables=(cos_cache, sin_cache))
    rows = rotated // heads // 2
    return Cost(
        (x.to(x.shape),),
        other_flops=rotated * ROTARY_FLOPS,
        reads=(x.size, rows, rows, 0 if position_ids is None else position_ids.size),
        not_learnable=(1, 2, 3),
    )


def rotated_size(x: Tensor, *, depth: Extent, width: int, tables: tuple[Tensor, Tensor]) -> Extent:
    """How many elements turn: the first ``width`` numbers of every head, all of them for 0."""
    turned = width or depth
    for columns in (table.dims[-1] for table in tables):
        if isinstance(columns, int) and isinstance(turned, int) and columns != turned // 2:
            raise MalformedModel(f"the cosine and sine tables have {columns} columns; half of {turned} numbers turn")
    return x.size // depth * turned


@rule("FlexAttention", domain="ai.onnx.preview")
def flex_attention(q, k, v, *, prob_mod=None, scale=None, score_mod=None, softmax_precision=None, run_body):
    """One multiply-add per query, key and number of every head, for scores and for values; per score 6 operations.

    A product for the scale and five for the softmax; and what the subgraphs count that change scores and probabilities.
    """
    batch, heads, queries, depth = q.dims
    _, _, keys, _ = k.dims
    *_, value_depth = v.dims
    core = Heads(batch, heads, queries, keys, depth, value_depth)
    precision = "float64" if q.dtype == "float64" else "float32"
    scores = q.to(
        (batch, heads, queries, keys), dtype=precision if softmax_precision is None else dtype_numbered(softmax_precision)
    )
    changes = {"score_mod": score_mod, "prob_mod": prob_mod}
    bodies = tuple(run_body(graph, (scores,), called=name) for name, graph in changes.items() if graph is not None)
    return Cost(
        (q.to((batch, heads, queries, value_depth)),),
        macs=core.macs + total(body.macs for body in bodies),
        other_flops=core.flops_between() + total(body.other_flops for body in bodies),
        scratch_bytes=core.score_bytes(scores),
        bodies=bodies,
    )


UPDATE_RULES = ("linear", "gated", "delta", "gated_delta")


@rule("LinearAttention", since=27)
def linear_attention(
    query, key, value, past_state=None, decay=None, beta=None, *, chunk_size=64, kv_num_heads, q_num_heads, scale=0.0,
    update_rule="gated_delta",
):  # fmt: skip
    """One multiply-add per number of the state and token to update it, to read it, and (delta rules) to correct it.

    Token by token, as the recurrence states it: gates cost an exponential and a product per number of the state, delta
    rules a difference and a product per value, the scale one product per output.
    """
    batch, _, tokens, depth = split_heads(query, q_num_heads, "query")
    _, _, _, value_depth = split_heads(value, kv_num_heads, "value")
    heads = max(q_num_heads, kv_num_heads)
    if update_rule not in UPDATE_RULES:
        raise MalformedModel(f"update_rule {update_rule!r} is none of {', '.join(UPDATE_RULES)}")
    gated, delta = "gated" in update_rule, "delta" in update_rule
    if gated and decay is None:
        raise MalformedModel(f"update_rule {update_rule!r} needs the input decay")
    if delta and beta is None:
        raise MalformedModel(f"update_rule {update_rule!r} needs the input beta")
    state = depth * value_depth
    steps = batch * tokens
    gate_flops = decay.size + steps * kv_num_heads * state if gated else 0
    delta_flops = 2 * steps * kv_num_heads * value_depth if delta else 0
    return Cost(
        (
            query.to((batch, tokens, heads * value_depth)),
            (value if past_state is None else past_state).to((batch, kv_num_heads, depth, value_depth)),
        ),
        macs=steps * state * (heads + kv_num_heads * (2 if delta else 1)),
        other_flops=steps * heads * value_depth + gate_flops + delta_flops,
        not_learnable=(3,),
    )


@rule("CausalConvWithState", since=27)
def causal_conv_with_state(x, weight, bias=None, past_state=None, *, activation="none"):
    """One multiply-add per tap and output element; one addition for a bias, five operations for SiLU."""
    batch, channels, _ = x.dims
    filters, _, taps = weight.dims
    same(filters, channels, "channels of the weight and of the input")
    if activation not in ("none", "silu", "swish"):
        raise MalformedModel(f"activation {activation!r} is none of none, silu, swish")
    per_element = (bias is not None) + activation_flops(activation)
    return Cost(
        (x.to(x.shape), x.to((batch, channels, taps - 1))),
        macs=x.size * taps,
        other_flops=x.size * per_element,
        not_learnable=(3,),
    )
