"""A network as one runtime launches it, as functions of arrays: worked out once, evaluated at one point or at a million."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from costmodel.compiled import Compiled
from costmodel.dims import Extent, total
from costmodel.features import FEATURES, Work, works
from costmodel.graph import Network
from costmodel.planning import memory, undominated

Array = NDArray[np.float64]
MACS = "macs"
_FEATURES_OF = {kind: [(i, f) for i, f in enumerate(FEATURES) if kind in f.kinds] for f in FEATURES for kind in f.kinds}


@dataclass(frozen=True, eq=False)
class Program:
    """The kernels of a network under a runtime, their amounts of work, and the memory that is alive at each layer.

    Equal amounts are evaluated once: ``place[kernel, feature]`` tells which of the ``amounts`` a kernel has.
    """

    kernels: tuple[Work, ...]
    amounts: Compiled
    place: NDArray[np.intp]
    totals: Compiled
    live_bytes: Compiled

    def work(self, point: Mapping[str, int]) -> tuple[Array, Array]:
        """At one point: the features of every kernel, of shape (kernels, features), and its multiply-adds."""
        found = self.amounts.matrix(point)[0][self.place]
        return found[:, :-1], found[:, -1]

    def whole(self, sizes: Mapping[str, ArrayLike]) -> tuple[Array, Array]:
        """For columns of sizes: the features of the whole network, of shape (points, features), and its multiply-adds."""
        found = self.totals.matrix(sizes)
        return found[:, :-1], found[:, -1]

    def peak_bytes(self, sizes: Mapping[str, ArrayLike]) -> Array:
        """For columns of sizes: the most memory of activations that is alive at one moment."""
        return self.live_bytes.greatest(sizes)


@lru_cache(maxsize=128)
def program(network: Network, runtime: str) -> Program:
    """The program of a network, worked out when it is first asked for.

    >>> import costmodel as cm
    >>> found = program(cm.zoo("resnet18"), "ncnn")
    >>> features, macs = found.whole({"N": [1, 2], "H": 224, "W": 224})
    >>> macs.tolist(), bool(np.allclose(found.work({"N": 1, "H": 224, "W": 224})[0].sum(axis=0), features[0]))
    ([1814073344.0, 3628146688.0], True)
    """
    kernels = works(network, runtime)
    numbers: dict[Extent, int] = {0: 0}
    place = np.zeros((len(kernels), len(FEATURES) + 1), dtype=np.intp)
    parts: list[list[Extent]] = [[] for _ in range(len(FEATURES) + 1)]
    for row, work in zip(place, kernels, strict=True):
        amounts = [(i, feature.of(work)) for i, feature in _FEATURES_OF.get(work.kind, ())]
        for column, amount in [*amounts, (-1, work.macs * work.times)]:
            row[column] = numbers.setdefault(amount, len(numbers))
            parts[column].append(amount)
    names = [*(feature.name for feature in FEATURES), MACS]
    alive = undominated(memory(network).live_bytes)
    return Program(
        kernels=kernels,
        amounts=Compiled({str(number): amount for amount, number in numbers.items()}),
        place=place,
        totals=Compiled({name: total(found) for name, found in zip(names, parts, strict=True)}),
        live_bytes=Compiled({str(number): amount for number, amount in enumerate(alive)}),
    )
