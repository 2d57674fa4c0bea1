"""A mixture of experts, of which each token takes few (Switch: Fedus et al., arXiv 2101.03961)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from costmodel.dims import Extent

if TYPE_CHECKING:
    from costmodel.build import Builder


@dataclass(frozen=True, slots=True)
class Experts:
    """One kind of mixture; ``Builder.experts`` tells what the fields mean."""

    number: int
    hidden: Extent
    top: int
    gated: bool
    by_token: bool
    activate: Callable[[str], str]

    def over(self, b: Builder, x: str) -> str:
        """The layers, from tokens (N, S, C) to tokens, in the builder's scope: what the chosen experts make of each token,
        times how much the router trusts them.
        """
        width = b.shape(x)[-1]
        tokens = b.reshape(x, (-1, width), name="tokens")
        router = b.weight(f"{b.prefix}router.weight", (width, self.number))
        chances = b.softmax(b.op("MatMul", tokens, router, name="router"))
        trust, chosen = b.op_with_outputs("TopK", chances, b.constant([self.top]), outputs=2, name="chosen")
        slots = b.reshape(chosen, (-1,), name="slots")
        y = self._fetched(b, tokens, slots) if self.by_token else self._sorted(b, tokens, slots)
        mixed = b.mul(b.reshape(y, (-1, self.top, width)), b.op("Unsqueeze", trust, b.constant([2])))
        return b.op("Reshape", b.op("ReduceSum", mixed, b.constant([1]), keepdims=0), b.op("Shape", x), name="output")

    def _fetched(self, b: Builder, tokens: str, slots: str) -> str:
        """Each token beside the weights of its experts, which are fetched for it."""
        rows = tokens if self.top == 1 else b.op("Gather", tokens, self._token_of(b, _count_up(b, slots)), name="repeated")
        return self._through(b, b.op("Unsqueeze", rows, b.constant([1])), slots)

    def _sorted(self, b: Builder, tokens: str, slots: str) -> str:
        """Tokens sorted by expert, equal shares of them through the experts, and back in order."""
        count = b.op("Shape", slots)
        _, order = b.op_with_outputs("TopK", slots, count, outputs=2, largest=0, name="order")
        rows = b.op("Gather", tokens, self._token_of(b, order), name="sorted")
        y = self._through(b, _in_shares(b, rows, count, self.number), None)
        return b.op("Gather", b.reshape(y, (-1, b.shape(tokens)[-1])), _inverse(b, order, slots), name="back")

    def _token_of(self, b: Builder, slots: str) -> str:
        """Which token each slot is of; a token has as many slots as experts."""
        return slots if self.top == 1 else b.op("Div", slots, b.constant([self.top]))

    def _through(self, b: Builder, x: str, slots: str | None) -> str:
        """The perceptrons, of all experts or of the one in each slot."""
        width = b.shape(x)[-1]

        def product(y: str, name: str, *shape: Extent) -> str:
            weight = b.weight(f"{b.prefix}{name}.weight", (self.number, *shape))
            used = weight if slots is None else b.op("Gather", weight, slots, name=f"{name}.fetched")
            return b.op("MatMul", y, used, name=name)

        if not self.gated:
            return product(self.activate(product(x, "up", width, self.hidden)), "down", self.hidden, width)
        gate = self.activate(product(x, "gate", width, self.hidden))
        return product(b.mul(gate, product(x, "up", width, self.hidden)), "down", self.hidden, width)


def _in_shares(b: Builder, rows: str, slots: str, number: int) -> str:
    """Rows (M, C) as (experts, share, C), with rows of zeros at the end where M is no multiple."""
    each = b.op("Div", b.op("Add", slots, b.constant([number - 1])), b.constant([number]))
    missing = b.op("Sub", b.op("Mul", each, b.constant([number])), slots)
    pads = b.op("Concat", b.constant([0, 0]), missing, b.constant([0]), axis=0)
    target = b.op("Concat", b.constant([number]), each, b.constant([int(b.shape(rows)[-1])]), axis=0)
    return b.op("Reshape", b.op("Pad", rows, pads), target, name="by_expert")


def _inverse(b: Builder, order: str, slots: str) -> str:
    """At which place of the order each slot stands."""
    return b.op("ScatterElements", order, order, _count_up(b, slots), axis=0, name="places")


def _count_up(b: Builder, slots: str) -> str:
    length = b.op("Squeeze", b.op("Shape", slots), b.constant([0]))
    return b.op("Range", b.constant([0], shape=()), length, b.constant([1], shape=()))
