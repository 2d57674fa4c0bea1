"""ResNet-50 on a Raspberry Pi 4 and on a graphics card (``make demo``): predicted, next to what was measured there."""

from __future__ import annotations

import costmodel as cm
from costmodel.finding import find_profile
from costmodel.report.calibrating import percent
from costmodel.report.output import Grid, Report, show
from costmodel.report.predicting import interval
from costmodel.schema.measurement import load_measurements
from costmodel.specs import benchmark_network
from costmodel.units import show as quantity

NETWORK = "resnet50"
PROFILES = ("raspberry-pi-4b/ncnn/fp32/t4", "rtx-3090/ncnn/fp16/vulkan-t10")


def main() -> None:
    network = benchmark_network("ncnn", NETWORK)  # the form of ResNet-50 that the measurements ran
    counted = cm.count(network).at()
    measured = {row.profile: row.time_s for row in load_measurements() if row.network == NETWORK and row.time_s}
    rows, caveats = [], []
    for profile_id in PROFILES:
        time_s = cm.predict(network, profile_id).time_s
        error = time_s.value / measured[profile_id] - 1
        rows.append((profile_id, *_cells(time_s), quantity(measured[profile_id], "s"), f"{error:+.0%}"))
        unseen = find_profile(profile_id).held_out.median_ape
        caveats.append((profile_id, percent(unseen)))
    table = Grid(("<profile", ">predicted", ">90% interval", ">measured", ">error"), rows)
    title = f"ResNet-50, one image: {quantity(int(counted.macs), 'MAC')}, {quantity(int(counted.params))} parameters"
    told = "Both profiles were fitted on measurements that include this network. Where they did not see a network:"
    show(Report({}, [], lambda: [title, table, told, Grid(("<profile", ">median error"), caveats)]))


def _cells(estimate: cm.Estimate) -> tuple[str, str]:
    return quantity(estimate.value, "s"), interval(estimate, "s")


if __name__ == "__main__":
    main()
