"""Search spaces of the literature: what can be chosen, and the network of each choice (docs/search-spaces)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from costmodel.spaces.fbnet import fbnet
from costmodel.spaces.iotnets import (
    iotnets_densenet,
    iotnets_googlenet,
    iotnets_mobilenet_v2,
    iotnets_pnasnet,
    iotnets_resnext,
)
from costmodel.spaces.jetson_nano import jetson_nano_dws, jetson_nano_mixed, jetson_nano_plain
from costmodel.spaces.nasbench201 import nasbench201
from costmodel.spaces.ofa import ofa_mobilenet_v3
from costmodel.spaces.space import Space

SPACES: Mapping[str, Callable[..., Space[Any]]] = {
    make.__name__: make
    for make in (
        nasbench201,
        fbnet,
        ofa_mobilenet_v3,
        jetson_nano_plain,
        jetson_nano_mixed,
        jetson_nano_dws,
        iotnets_densenet,
        iotnets_googlenet,
        iotnets_mobilenet_v2,
        iotnets_pnasnet,
        iotnets_resnext,
    )
}
