"""What a protocol is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from costmodel.accuracy.figures import Accuracy


@dataclass(frozen=True, slots=True)
class Protocol:
    """One split of some measurements, in words and as a function."""

    what: str
    run: Callable[[], Accuracy]
