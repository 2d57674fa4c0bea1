"""Searching over networks: the spaces of the literature by name, and what whole populations cost.

>>> nas = space("nasbench201", classes=100)
>>> nas.size
15625
>>> nas.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|").ops[2]
'skip_connect'
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from costmodel.counts import count
from costmodel.errors import InvalidChoice, nearest
from costmodel.features import feature_extents
from costmodel.graph import Network
from costmodel.planning import memory
from costmodel.search.blocks import COLUMNS, Blocks
from costmodel.search.leaves import Amounts, Indivisible
from costmodel.spaces import SPACES
from costmodel.spaces.axes import Axis as Axis
from costmodel.spaces.axes import Choice as Choice
from costmodel.spaces.axes import Row as Row
from costmodel.spaces.axes import Several as Several
from costmodel.spaces.axes import Then as Then
from costmodel.spaces.space import Space as Space
from costmodel.spaces.space import Text as Text

Candidate = TypeVar("Candidate", bound=tuple[Any, ...])


def space(name: str, **options: Any) -> Space[Any]:
    """A search space by name; its options (``classes``, ``width`` ...) are those of docs/search-spaces.

    Raises InvalidChoice for a name or an option that there is not, with the nearest.
    """
    if name not in SPACES:
        raise InvalidChoice(f"there is no search space {name!r}; {nearest(name, SPACES)}")
    known = inspect.signature(SPACES[name]).parameters
    for option in options:
        if option not in known:
            raise InvalidChoice(f"search space {name!r} has no option {option!r}; {nearest(option, known)}")
    return SPACES[name](**options)


def spaces() -> list[str]:
    """The names of all search spaces.

    >>> spaces()[0]
    'fbnet'
    """
    return sorted(SPACES)


def table(
    space: Space[Candidate], candidates: Iterable[Candidate], *, runtime: str = "", **sizes: int
) -> dict[str, NDArray[np.int64]]:
    """What the networks of many candidates cost: a column for each count, the peak memory, and the features of a runtime.

    ``sizes`` gives numbers for the sizes that networks leave open, by default the space's. Each distinct block (see
    ``costmodel.block``) is worked out once; the numbers are those of ``count``, ``memory`` and the features of
    ``space.network(candidate)`` with all of its sizes given.

    >>> nas = space("nasbench201")
    >>> columns = table(nas, [nas.record(("none",) * 6), nas.record(("nor_conv_3x3",) * 6)])
    >>> columns["macs"].tolist()
    [7783040, 220119680]
    >>> (columns["peak_bytes"] / (16 * 32 * 32 * 4)).tolist()  # in feature maps of the first stage
    [5.0, 5.0]

    Raises InvalidChoice for what is no candidate and UnknownSize for a size that is not there or stays open.
    """
    blocks = Blocks(runtime)
    rows: list[Amounts] = []
    for candidate in candidates:
        space.check(candidate)
        if not rows:
            sizes = _settled(space, candidate, sizes)
        try:
            rows.append(blocks.row(space.define, candidate, sizes))
        except Indivisible:
            rows.append(whole_row(space.network(candidate, **sizes), runtime))
    columns = np.array(rows, dtype=np.int64).reshape(len(rows), len(COLUMNS))
    return dict(zip(COLUMNS, columns.T, strict=True))


def _settled(space: Space[Candidate], candidate: Candidate, sizes: dict[str, int]) -> dict[str, int]:
    """A number for every size of the space's networks. Raises UnknownSize for one that they do not have or that has none."""
    network = space.network(candidate, **sizes)
    return {**network.bind({}), **sizes}


def whole_row(network: Network, runtime: str) -> Amounts:
    """The columns of one network of which no size is open, without any sharing."""
    quantities = count(network).at().as_dict().values()
    features = [feature.at() for feature in feature_extents(network, runtime).values()]
    return (*map(int, quantities), memory(network).peak_at({}), *features)
