"""Damaged models: bytes of real files changed, cut, doubled and inserted at random."""

from __future__ import annotations

import random
from collections.abc import Iterator

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)


def mutate(data: bytes, seed: int) -> bytes:
    """One damaged copy; the same seed gives the same damage."""
    rng = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not damaged:
            break
        at = rng.randrange(len(damaged))
        length = rng.choice((1, 2, 8, 64, 512))
        kind = rng.randrange(6)
        if kind == 0:
            damaged[at] = rng.choice(INTERESTING)
        elif kind == 1:
            damaged[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del damaged[at : at + length]
        elif kind == 3:
            damaged[at:at] = damaged[at : at + length]
        elif kind == 4:
            damaged[at:at] = rng.randbytes(length)
        else:
            del damaged[at:]
    return bytes(damaged)


def mutations(models: list[bytes], count: int, first: int = 0) -> Iterator[tuple[int, bytes]]:
    """Damaged copies of the models in turn, with their seeds."""
    for seed in range(first, first + count):
        yield seed, mutate(models[seed % len(models)], seed)
