"""What vendors publish of CPU cores: how many 32-bit multiply-adds they begin in a cycle, and whether they reorder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Core(NamedTuple):
    """``lanes``: 32-bit multiply-adds begun in a cycle by the vector units (from the vendors' optimisation guides)."""

    lanes: float
    is_out_of_order: bool


_IN_ORDER: Mapping[float, str] = {
    1: "cortex-a5 sifive-u74 c906 knights-corner",
    2: "cortex-a7 xburst2 gs264 la264",
    4: "cortex-a53 cortex-a55 cortex-a510 cortex-a520 kryo-280 kryo-485 ftc310 x60",
}
_OUT_OF_ORDER: Mapping[float, str] = {
    1: "yonah c910 sw-64",
    2: "cortex-a9 airmont",
    4: "cortex-a17 cortex-a57 cortex-a72 cortex-a73 kryo cyclone tremont ftc662 ftc664 taishan-v110 gs464e la364 denver2",
    8: "cortex-a76 cortex-a77 cortex-a78 cortex-a78ae cortex-a710 cortex-a715 cortex-a720 carmel zen gs464v la464",
    16: "cortex-x1 cortex-x2 cortex-x3 firestorm m3-p-core oryon zen2 zen3 kaby-lake coffee-lake tiger-lake raptor-lake "
    "la664",
    32: "raptor-cove zen5 skylake-sp cascade-lake ice-lake-sp sapphire-rapids",
}
_CORES: Mapping[str, Core] = {
    name: Core(lanes, reorders)
    for table, reorders in ((_IN_ORDER, False), (_OUT_OF_ORDER, True))
    for lanes, names in table.items()
    for name in names.split()
}
# of processors that tables name without a clock, what their vendors state for them: the highest
CLOCKS: Mapping[str, float] = {
    "airmont": 1.92e9, "cortex-a57": 1.43e9, "firestorm": 3.2e9, "kaby-lake": 4.5e9, "m3-p-core": 4.05e9,
    "raptor-lake": 5.4e9, "taishan-v110": 2.6e9, "tiger-lake": 4.6e9, "tremont": 2.9e9, "x60": 1.8e9, "zen3": 4.9e9,
}  # fmt: skip
USUAL_CLOCK = 2.5e9  # of a core of which that is not known either: clouds state none
USUAL = Core(8, True)  # of a core that is not listed


def core_facts(name: str) -> Core:
    """The facts of a core; those of a usual one where it is not listed.

    >>> core_facts("cortex-a53"), core_facts("cortex-a76").lanes
    (Core(lanes=4, is_out_of_order=False), 8)
    """
    return _CORES.get(name, USUAL)
