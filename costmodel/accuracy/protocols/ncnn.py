"""ncnn's own benchmark: some thirty networks on ninety devices, by many people."""

from __future__ import annotations

from collections.abc import Mapping

from costmodel.accuracy.figures import Accuracy
from costmodel.accuracy.known import devices_with_few
from costmodel.accuracy.protocols.protocol import Protocol
from costmodel.accuracy.splits import leave_devices_out, leave_networks_out
from costmodel.calibration import Table, gather, is_fittable
from costmodel.schema.data import data_folder
from costmodel.schema.device import devices
from costmodel.schema.measurement import read_measurements

FEWEST_NETWORKS = 10


def tables(processor: str) -> list[Table]:
    """The floating-point configurations on a kind of processor that ran at least ten networks."""
    rows = read_measurements(data_folder("calibration") / "measurements" / "ncnn.csv")
    found = gather(row for row in rows if is_fittable(row) and not row.precision.startswith("int"))
    return [table for table in found if table.group[1] == processor and len(table.networks) >= FEWEST_NETWORKS]


def _networks(name: str, processor: str) -> Accuracy:
    kinds = devices()
    return leave_networks_out(tables(processor), name, group_of=lambda table: kinds[table.rows[0].device].kind)


PROTOCOLS: Mapping[str, Protocol] = {
    "ncnn-cpu-network": Protocol(
        "leave one network out of all devices: ncnn, CPU, floating point", lambda: _networks("ncnn-cpu-network", "cpu")
    ),
    "ncnn-gpu-network": Protocol(
        "leave one network out of all devices: ncnn, Vulkan, floating point", lambda: _networks("ncnn-gpu-network", "gpu")
    ),
    "ncnn-device-network": Protocol(
        "an unseen device with 5 measured networks, asked about networks unseen anywhere: ncnn, CPU, floating point",
        lambda: leave_devices_out(tables("cpu"), "ncnn-device-network", measured=5, draws=1),
    ),
    "ncnn-device-5": Protocol(
        "an unseen device with 5 measured networks, asked about networks that other devices ran: ncnn, CPU, floating point",
        lambda: devices_with_few(tables("cpu"), "ncnn-device-5", measured=5),
    ),
    "ncnn-device-10": Protocol(
        "an unseen device with 10 measured networks, asked about networks that other devices ran: ncnn, CPU, floating point",
        lambda: devices_with_few(tables("cpu"), "ncnn-device-10", measured=10),
    ),
}
