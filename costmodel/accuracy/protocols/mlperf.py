"""MLPerf Inference's single-stream runs of TFLite and ArmNN on Arm boards: time, and energy at the wall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from costmodel.accuracy.energy import ENERGY_METHODS, on_energy
from costmodel.accuracy.figures import Accuracy
from costmodel.accuracy.protocols.protocol import Protocol
from costmodel.accuracy.splits import METHODS, Method, leave_devices_out, leave_networks_out
from costmodel.calibration import Table, gather, is_fittable
from costmodel.schema.data import data_folder
from costmodel.schema.device import devices
from costmodel.schema.measurement import read_measurements

FEWEST_NETWORKS = 10
MEASURED = 5
DRAWS = 2


def family(network: str) -> str:
    """Networks of one design at several widths and resolutions.

    >>> family("tflite:mobilenet_v2_0.35_96"), family("mlperf:resnet50")
    ('mobilenet_v2', 'resnet50')
    """
    name = network.partition(":")[2]
    return "_".join(name.split("_")[:2]) if name.startswith("mobilenet") else name


def tables() -> list[Table]:
    """The configurations of boards (Jetsons among them) that ran at least ten networks."""
    kinds = devices()
    rows = read_measurements(data_folder("calibration") / "measurements" / "mlperf.csv")
    found = gather(row for row in rows if is_fittable(row) and kinds[row.device].kind == "cpu-board")
    return _large_enough(found)


def _large_enough(found: Sequence[Table]) -> list[Table]:
    return [table for table in found if len(set(table.networks)) >= FEWEST_NETWORKS]


def _family(name: str, chosen: Sequence[Table], methods: Mapping[str, Method]) -> Accuracy:
    return leave_networks_out(chosen, name, group_of=lambda table: "/".join(table.group), label=family, methods=methods)


def _board(name: str, chosen: Sequence[Table], methods: Mapping[str, Method]) -> Accuracy:
    return leave_devices_out(chosen, name, measured=MEASURED, draws=DRAWS, methods=methods)


PROTOCOLS: Mapping[str, Protocol] = {
    "mlperf-family": Protocol(
        "leave a family of networks out of all boards: TFLite and ArmNN, time",
        lambda: _family("mlperf-family", tables(), METHODS),
    ),
    "mlperf-family-energy": Protocol(
        "leave a family of networks out of all boards: TFLite and ArmNN, energy at the wall",
        lambda: _family("mlperf-family-energy", _large_enough(on_energy(tables())), ENERGY_METHODS),
    ),
    "mlperf-board": Protocol(
        "an unseen board with 5 measured networks, asked about networks unseen anywhere: TFLite and ArmNN, time",
        lambda: _board("mlperf-board", tables(), METHODS),
    ),
    "mlperf-board-energy": Protocol(
        "an unseen board with 5 metered networks, asked about networks unseen anywhere: TFLite, ArmNN, energy at the wall",
        lambda: _board("mlperf-board-energy", _large_enough(on_energy(tables())), ENERGY_METHODS),
    ),
}
