"""Recurrent layers: RNN, GRU, LSTM.

Each step multiplies the input by ``w`` and the hidden state by ``r``, for every gate at once; the rest of the step is
arithmetic per hidden unit, counted from the equations of the ONNX page. Sequences shorter than the padded length
count as full.
"""

from __future__ import annotations

from costmodel.errors import MalformedModel
from costmodel.graph import Cost
from costmodel.ops.registry import rule
from costmodel.ops.shapes import same

DIRECTIONS = {"forward": 1, "foward": 1, "reverse": 1, "bidirectional": 2}  # "foward" is the default of GRU-1


def recurrent(x, w, r, *, gates, unit_flops, clips, states, direction, hidden_size, layout, biased, clip):
    """What the three layers share: a sequence of all hidden states and the last value of each state."""
    length, batch, features = x.dims if not layout else (x.dims[1], x.dims[0], x.dims[2])
    directions, rows, hidden = r.dims
    if direction not in DIRECTIONS:
        raise MalformedModel(f"direction {direction!r} is none of forward, reverse, bidirectional")
    same(directions, DIRECTIONS[direction], "the first extent of r and the number of directions")
    same(hidden if hidden_size is None else hidden_size, hidden, "hidden_size and the last extent of r")
    same(rows, gates * hidden, "the rows of r and gates * hidden_size")
    weights_directions, weights_rows, weights_features = w.dims
    same(weights_directions, directions, "the directions of w and r")
    same(weights_rows, rows, "the rows of w and r")
    same(weights_features, features, "the last extents of w and x")
    steps = length * batch * directions
    per_unit = unit_flops + (2 * gates if biased else 0) + (clips if clip is not None else 0)
    last = (batch, directions, hidden) if layout else (directions, batch, hidden)
    every = (batch, length, directions, hidden) if layout else (length, directions, batch, hidden)
    return Cost(
        (x.to(every), *(x.to(last) for _ in range(states))),
        macs=steps * rows * (features + hidden),
        other_flops=steps * hidden * per_unit,
        not_learnable=(4, 5, 6)[: 1 + states],
    )


@rule("RNN")
def rnn(
    x, w, r, b=None, sequence_lens=None, initial_h=None, *, activation_alpha=None, activation_beta=None, activations=None,
    clip=None, direction="forward", hidden_size=None, layout=0, output_sequence=0,
):  # fmt: skip
    """One multiply-add per weight, direction, batch element and step; per hidden unit two additions for biases and one activation."""
    return recurrent(
        x, w, r, gates=1, unit_flops=1, clips=1, states=1, direction=direction, hidden_size=hidden_size, layout=layout,
        biased=b is not None, clip=clip,
    )  # fmt: skip


@rule("GRU")
def gru(
    x, w, r, b=None, sequence_lens=None, initial_h=None, *, activation_alpha=None, activation_beta=None, activations=None,
    clip=None, direction="forward", hidden_size=None, layout=0, linear_before_reset=0, output_sequence=0,
):  # fmt: skip
    """One multiply-add per weight, direction, batch element and step; per hidden unit 8 operations, 6 more with biases.

    Three activations; ``rt (.) Ht-1`` (or its product with Rh); ``(1 - zt) (.) ht + zt (.) Ht-1`` has four.
    """
    return recurrent(
        x, w, r, gates=3, unit_flops=8, clips=3, states=1, direction=direction, hidden_size=hidden_size, layout=layout,
        biased=b is not None, clip=clip,
    )  # fmt: skip


@rule("LSTM")
def lstm(
    x, w, r, b=None, sequence_lens=None, initial_h=None, initial_c=None, p=None, *, activation_alpha=None,
    activation_beta=None, activations=None, clip=None, direction="forward", hidden_size=None, input_forget=0, layout=0,
    output_sequence=0,
):  # fmt: skip
    """One multiply-add per weight, direction, batch element and step; per hidden unit 9 operations, 8 more with biases.

    Five activations, ``ft (.) Ct-1 + it (.) ct`` has three, ``ot (.) h(Ct)`` one; peepholes add six.
    """
    return recurrent(
        x, w, r, gates=4, unit_flops=9 + (6 if p is not None else 0), clips=5, states=2, direction=direction,
        hidden_size=hidden_size, layout=layout, biased=b is not None, clip=clip,
    )  # fmt: skip
