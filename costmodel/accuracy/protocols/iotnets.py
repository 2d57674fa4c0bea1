"""Random networks for CIFAR-10 of four designs on a Raspberry Pi 3B+, in eager PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

from costmodel.accuracy.figures import Accuracy
from costmodel.accuracy.protocols.protocol import Protocol
from costmodel.accuracy.splits import leave_networks_out
from costmodel.calibration import Table, gather, is_fittable
from costmodel.schema.data import data_folder
from costmodel.schema.measurement import read_measurements

BOARD = "raspberry-pi-3b-plus"


def family(network: str) -> str:
    """The design that a network was drawn from.

    >>> family("iotnets:densenet_s1_0")
    'densenet'
    """
    return network.partition(":")[2].partition("_")[0]


def tables() -> list[Table]:
    """The board's only configuration; runs that differ by more than a tenth are marked suspect and left out."""
    rows = read_measurements(data_folder("calibration") / "measurements" / "iotnets.csv")
    return gather(row for row in rows if is_fittable(row) and row.device == BOARD)


def _families() -> Accuracy:
    return leave_networks_out(tables(), "iotnets-family", group_of=lambda table: table.rows[0].device, label=family)


PROTOCOLS: Mapping[str, Protocol] = {
    "iotnets-family": Protocol("leave one family of networks out: eager PyTorch, Cortex-A53", _families),
}
