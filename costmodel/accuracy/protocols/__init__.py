"""The protocols by name. A file for each source of measurements holds its own."""

from __future__ import annotations

from collections.abc import Mapping

from costmodel.accuracy.figures import Accuracy
from costmodel.accuracy.protocols import datasheet, gpu, iotnets, mlperf, nb201, ncnn, phones, pi5, timm
from costmodel.accuracy.protocols.protocol import Protocol as Protocol
from costmodel.errors import InvalidChoice, nearest

PROTOCOLS: Mapping[str, Protocol] = {
    **ncnn.PROTOCOLS,
    **datasheet.PROTOCOLS,
    **phones.PROTOCOLS,
    **timm.PROTOCOLS,
    **mlperf.PROTOCOLS,
    **iotnets.PROTOCOLS,
    **nb201.PROTOCOLS,
    **pi5.PROTOCOLS,
    **gpu.PROTOCOLS,
}


def run_protocol(name: str) -> Accuracy:
    """Run a protocol by name. Raises InvalidChoice with the nearest names."""
    if name not in PROTOCOLS:
        raise InvalidChoice(f"there is no protocol {name!r}; {nearest(name, PROTOCOLS)}")
    return PROTOCOLS[name].run()
