"""Kernels as the law of utilisation sees them: columns of shapes."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

FAMILIES = ("linear", "bmm", "conv", "softmax", "layernorm", "elementwise")
PRODUCTS = frozenset({"linear", "bmm", "conv"})


@dataclass(frozen=True, eq=False)
class Launches:
    """Kernels of one family, a number for each in every column.

    A product is ``batch`` times [m, k] x [k, n]; of a convolution m is positions, n filters of a group, k elements of a
    filter, batch groups, and ``winograd`` is 1 where its windows are 3x3 in steps of one. A reduction has ``cols`` elements
    in each row. What is read and written at least is ``read_bytes`` (``weight_bytes`` not among them) and ``write_bytes``.
    """

    family: str
    read_bytes: Array
    write_bytes: Array
    weight_bytes: Array
    batch: Array
    m: Array
    n: Array
    k: Array
    cols: Array
    winograd: Array

    @property
    def flops(self) -> Array:
        """Two for each multiply-add of a product; 0 in other families."""
        found: Array = 2.0 * self.batch * self.m * self.n * self.k
        return found

    def __len__(self) -> int:
        return len(self.read_bytes)

    def __getitem__(self, kept: NDArray[np.intp]) -> Launches:
        return Launches(self.family, *(getattr(self, name)[kept] for name in COLUMNS))


COLUMNS = tuple(field.name for field in fields(Launches) if field.name != "family")


def launches(family: str, **columns: ArrayLike) -> Launches:
    """Columns of kernels of a family; those that are left out do not apply to it.

    >>> launches("bmm", batch=[1.0], m=[1.0], n=[2.0], k=[2.0]).flops
    array([8.])
    """
    given = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    blank = dict.fromkeys(COLUMNS, np.zeros(len(next(iter(given.values())))))
    return Launches(family, **{**blank, **given})
