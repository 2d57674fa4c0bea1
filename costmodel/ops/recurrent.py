"""Recurrent layers: RNN, GRU, LSTM.

Each step multiplies the input by ``w`` and the hidden state by ``r``, for every gate at once; the rest of the step is
arithmetic per hidden unit, counted from the equations of the ONNX page. Sequences shorter than the padded length
count as full.

Scratch memory is that of ONNX Runtime's kernels for CPUs, measured: the gates of all steps, the states and biases of one,
and, where GRU and LSTM run backwards, the input and the hidden states in reverse order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from costmodel.errors import MalformedModel
from costmodel.graph import Cost
from costmodel.ops.activations import activation_flops
from costmodel.ops.registry import rule
from costmodel.ops.shapes import same

DIRECTIONS = {"forward": 1, "foward": 1, "reverse": 1, "bidirectional": 2}  # "foward" is the default of GRU-1
BACKWARDS = ("reverse", "bidirectional")
CURRENT_STATES = 5  # hidden and cell states of a step, before and after, clipped or not


@dataclass(frozen=True, slots=True)
class Cell:
    """One step of a layer, per hidden unit.

    ``gates`` rows of the weights; ``uses`` of each activation, in the order of the attribute; ``products`` the other
    arithmetic; ``peepholes`` what those add.
    """

    gates: int
    activations: tuple[str, ...]
    uses: tuple[int, ...]
    products: int
    states: int
    peepholes: int = 0


RNN = Cell(gates=1, activations=("Tanh",), uses=(1,), products=0, states=1)
# rt (.) Ht-1, or its product with Rh: 1; (1 - zt) (.) ht + zt (.) Ht-1: 4
GRU = Cell(gates=3, activations=("Sigmoid", "Tanh"), uses=(2, 1), products=5, states=1)
# ft (.) Ct-1 + it (.) ct: 3; ot (.) h(Ct): 1; three gates take P (.) C
LSTM = Cell(gates=4, activations=("Sigmoid", "Tanh", "Tanh"), uses=(3, 1, 1), products=4, states=2, peepholes=6)


def unit_flops(cell: Cell, activations: Sequence[str] | None, directions: int, *, biased: bool, clipped: bool) -> int:
    """Arithmetic per hidden unit and step, of all directions together."""
    named = tuple(activations or cell.activations * directions)
    if len(named) < len(cell.uses) * directions:
        raise MalformedModel(f"{len(named)} activations are named; {len(cell.uses) * directions} are needed")
    applied = sum(use * activation_flops(name) for use, name in zip(cell.uses * directions, named, strict=False))
    clips = sum(cell.uses) if clipped else 0
    return applied + directions * (cell.products + clips + (2 * cell.gates if biased else 0))


def recurrent(
    cell, x, w, r, b, *, direction, hidden_size, layout=0, activations=None, clip=None, peepholes=False
):  # fmt: skip
    """What the layers share: a sequence of all hidden states and the last value of each state."""
    first, second, features = x.dims
    batch, length = (first, second) if layout else (second, first)
    directions, rows, hidden = r.dims
    if direction not in DIRECTIONS:
        raise MalformedModel(f"direction {direction!r} is none of forward, reverse, bidirectional")
    same(directions, DIRECTIONS[direction], "the first extent of r and the number of directions")
    same(hidden if hidden_size is None else hidden_size, hidden, "hidden_size and the last extent of r")
    same(rows, cell.gates * hidden, "the rows of r and the hidden units of all gates")
    for found, wanted, what in zip(w.dims, (directions, rows, features), ("directions", "rows", "columns"), strict=True):
        same(found, wanted, f"the {what} of w and those of r or x")
    flops = unit_flops(cell, activations, DIRECTIONS[direction], biased=b is not None, clipped=clip is not None)
    flops += cell.peepholes * DIRECTIONS[direction] if peepholes else 0
    kept = directions * (length * batch * rows + (CURRENT_STATES * batch + cell.gates) * hidden)
    turned = length * batch * (features + hidden) if direction in BACKWARDS and cell.gates > 1 else 0
    last = (batch, directions, hidden) if layout else (directions, batch, hidden)
    every = (batch, length, directions, hidden) if layout else (length, directions, batch, hidden)
    return Cost(
        (x.to(every), *(x.to(last) for _ in range(cell.states))),
        macs=length * batch * directions * rows * (features + hidden),
        other_flops=length * batch * hidden * flops,
        not_learnable=(4, 5, 6)[: 1 + cell.states],
        scratch_bytes=x.to((kept + turned,)).nbytes,
    )


@rule("RNN")
def rnn(
    x, w, r, b=None, sequence_lens=None, initial_h=None, *, activation_alpha=None, activation_beta=None, activations=None,
    clip=None, direction="forward", hidden_size=None, layout=0, output_sequence=0,
):  # fmt: skip
    """One multiply-add per weight, batch element and step; per hidden unit an activation, two additions with biases."""
    return recurrent(
        RNN, x, w, r, b, direction=direction, hidden_size=hidden_size, layout=layout, activations=activations, clip=clip
    )


@rule("GRU")
def gru(
    x, w, r, b=None, sequence_lens=None, initial_h=None, *, activation_alpha=None, activation_beta=None, activations=None,
    clip=None, direction="forward", hidden_size=None, layout=0, linear_before_reset=0, output_sequence=0,
):  # fmt: skip
    """One multiply-add per weight, batch element and step; per hidden unit three activations and five operations.

    Biases take six additions more.
    """
    return recurrent(
        GRU, x, w, r, b, direction=direction, hidden_size=hidden_size, layout=layout, activations=activations, clip=clip
    )


@rule("LSTM")
def lstm(
    x, w, r, b=None, sequence_lens=None, initial_h=None, initial_c=None, p=None, *, activation_alpha=None,
    activation_beta=None, activations=None, clip=None, direction="forward", hidden_size=None, input_forget=0, layout=0,
    output_sequence=0,
):  # fmt: skip
    """One multiply-add per weight, batch element and step; per hidden unit five activations and four operations.

    Biases take eight additions more, peepholes three products and three additions.
    """
    return recurrent(
        LSTM, x, w, r, b, direction=direction, hidden_size=hidden_size, layout=layout, activations=activations, clip=clip,
        peepholes=p is not None,
    )  # fmt: skip
