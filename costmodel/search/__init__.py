"""Searching over networks: the spaces of the literature by name.

>>> nas = space("nasbench201", classes=100)
>>> nas.size
15625
>>> nas.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|").ops[2]
'skip_connect'
"""

from __future__ import annotations

import inspect
from typing import Any

from costmodel.errors import InvalidChoice, nearest
from costmodel.spaces import SPACES
from costmodel.spaces.axes import Axis as Axis
from costmodel.spaces.axes import Choice as Choice
from costmodel.spaces.axes import Row as Row
from costmodel.spaces.axes import Several as Several
from costmodel.spaces.axes import Then as Then
from costmodel.spaces.space import Space as Space
from costmodel.spaces.space import Text as Text


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
