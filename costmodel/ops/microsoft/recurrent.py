"""Recurrent layers with quantised weights or with attention."""

from __future__ import annotations

from costmodel.graph import Cost
from costmodel.ops.attention import SOFTMAX_FLOPS
from costmodel.ops.microsoft.domain import microsoft
from costmodel.ops.recurrent import DIRECTIONS, lstm
from costmodel.ops.shapes import same


@microsoft("DynamicQuantizeLSTM")
def dynamic_quantize_lstm(
    x, w, r, b=None, sequence_lens=None, initial_h=None, initial_c=None, p=None, w_scale=None, w_zero_point=None,
    r_scale=None, r_zero_point=None, *, activation_alpha=None, activation_beta=None, activations=None, clip=None,
    direction="forward", hidden_size=None, input_forget=0,
):  # fmt: skip
    """As LSTM; three operations per number of the input and the hidden state, to quantise it, one product per gate row.

    The weights are transposed: [directions, input_size or hidden_size, 4 * hidden_size].
    """
    directions, features, rows = w.dims
    _, hidden, _ = r.dims
    plain = lstm(
        x, w.to((directions, rows, features)), r.to((directions, rows, hidden)), b, sequence_lens, initial_h, initial_c, p,
        activations=activations, clip=clip, direction=direction, hidden_size=hidden_size,
    )  # fmt: skip
    length, batch, _ = x.dims
    steps = length * batch * directions
    extra = steps * (3 * (features + hidden) + 2 * rows)
    return Cost(
        plain.outputs,
        macs=plain.macs,
        other_flops=plain.other_flops + extra,
        not_learnable=(*plain.not_learnable, 8, 9, 10, 11),
    )


@microsoft("AttnLSTM")
def attention_lstm(
    x, w, r, b=None, sequence_lens=None, initial_h=None, initial_c=None, p=None, qw=None, mw=None, v=None, m=None,
    memory_seq_lens=None, aw=None, *, activation_alpha=None, activation_beta=None, activations=None, clip=None,
    direction="forward", hidden_size=None, input_forget=0,
):  # fmt: skip
    """As LSTM on the input and the attention state; the memory is projected once, the query in every step.

    Per step and memory position an addition, tanh, product and sum per number of the attention, a softmax (5), and one
    multiply-add per number of the memory; the attention layer, where there is one, is a product of its own.
    """
    length, batch, features = x.dims
    directions, depth, width = mw.dims
    same(directions, DIRECTIONS[direction], "the directions of the memory weights")
    _, hidden, _ = qw.dims
    _, positions, _ = m.dims
    state = depth if aw is None else aw.dims[-1]
    plain = lstm(
        x.to((length, batch, features + state)), w, r, b, sequence_lens, initial_h, initial_c, p, activations=activations,
        clip=clip, direction=direction, hidden_size=hidden_size,
    )  # fmt: skip
    steps = length * batch * directions
    layer = 0 if aw is None else (depth + hidden) * state
    return Cost(
        plain.outputs,
        macs=plain.macs
        + batch * positions * depth * width * directions
        + steps * (hidden * width + positions * depth + layer),
        other_flops=plain.other_flops + steps * positions * (4 * width + SOFTMAX_FLOPS),
        not_learnable=(*plain.not_learnable, 11, 12),
    )
