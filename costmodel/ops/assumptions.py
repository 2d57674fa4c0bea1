"""Which way to go where sizes decide between branches that cannot be followed both."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Assumption:
    """A condition that was taken to hold, or not to; ``decisive`` says what really decides."""

    decisive: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Assumptions:
    """The ways that were taken, by layer, in one derivation of a network; ``others`` are the layers that go the unusual way.

    An If whose branches give results of different rank cannot be followed both ways. It goes the way that large sizes go,
    or the dearer one; where the network then contradicts itself, :meth:`following` is the next combination to try.

    >>> first = Assumptions()
    >>> first.take("if_1", "the data decide", usual=False), first.take("if_2", "the data decide", usual=False)
    (False, False)
    >>> first.following().others, first.following().following() is None
    (('if_2',), True)
    """

    others: tuple[str, ...] = ()
    taken: dict[str, Assumption] = field(default_factory=dict)

    def take(self, layer: str, decisive: str, *, usual: bool) -> bool:
        """Whether the condition is taken to hold; noted for the network's warnings."""
        holds = usual if layer not in self.others else not usual
        self.taken[layer] = Assumption(decisive, holds)
        return holds

    def following(self) -> Assumptions | None:
        """The next combination, depth first: the last layer that went the usual way goes the other; None after the last."""
        names = list(self.taken)
        for i in reversed(range(len(names))):
            if names[i] not in self.others:
                return Assumptions((*(name for name in names[:i] if name in self.others), names[i]))
        return None
