"""Make calibration/measurements/ncnn.csv from a table of ncnn's published benchmark.

    python calibration/scripts/ncnn_tables.py ncnn_benchmark.csv.gz ncnn_networks.csv

The first file holds one line of ncnn's benchmark/README.md a row: device (the section's title), isa, threads, powersave,
gpu_device, build_note, network, precision, time_min_ms, time_max_ms, time_avg_ms, loop_count, in the order of the page.
The second holds the input of each network: network, input_w, input_h. Devices are those of calibration/devices that list
such a title. calibration/SOURCES.md tells what the measurements are worth.
"""

from __future__ import annotations

import csv
import gzip
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path

from costmodel.schema.device import Device, load_devices
from costmodel.schema.measurement import Measurement, write_measurements

CALIBRATION = Path(__file__).resolve().parent.parent
SOURCE = "ncnn-benchmark"
LICENCE = "BSD-3-Clause"

Row = Mapping[str, str]
Inputs = Mapping[str, tuple[int, int]]

# instruction sets whose cores calculate in half precision; ncnn does so by default wherever it can
HALF_PRECISION = frozenset({"armv8.2", "armv8.5", "armv8.6", "armv8.7", "armv9", "armv9.2"})
CORES = {"0": "", "1": "-little", "2": "-big"}
BUILDS = {"": "", "avx512": "", "no-avx512": "-noavx512"}
# the page prints gpu_device = 0 and no GPU for these: runs on the CPU
CPU_AFTER_ALL = frozenset({"ingenic-t40xp", "axera-ax620a"})
# ncnn has dropped this network; its last .param file states the input
DROPPED_INPUTS = {"mobilenet_yolov3": (416, 416)}
# the least is steadier than the mean where runs differ more than this
SPREAD = 2

GPU_UNNAMED = "the page prints gpu_device 0 and no GPU: taken as a run on the CPU"
INT8_ON_CPU = "ncnn's Vulkan backend runs int8 layers on the host's CPU"
GPU_STOPPED = "faster than the GPU can be: it seems to have stopped working during this run"
SUSPECT = {
    ("station-m3-rk3588s", network): GPU_STOPPED
    for network in (
        "efficientnet_b0", "efficientnetv2_b0", "regnety_400m", "blazeface", "googlenet", "resnet18", "alexnet", "vgg16",
        "resnet50", "squeezenet_ssd", "mobilenet_ssd", "mobilenet_yolo", "mobilenetv2_yolov3", "yolo-fastest-1.1",
        "yolo-fastestv2", "vision_transformer",
    )
}  # fmt: skip


def measurements(rows: Iterable[Row], devices: Mapping[str, Device], inputs: Inputs) -> list[Measurement]:
    """The table's rows as measurements; ``devices`` by the title of their section."""
    rows = list(rows)
    variants = _variants(rows, devices)
    seen: Counter[tuple[str, ...]] = Counter()
    found = []
    for row, variant in zip(rows, variants, strict=True):
        device = devices[row["device"]]
        key = (device.id, variant, row["network"], row["precision"])
        seen[key] += 1
        repeat = f"-run{seen[key]}" if seen[key] > 1 else ""
        found.append(_measurement(row, device, variant + repeat, inputs))
    return found


def on_gpu(row: Row, device: Device) -> bool:
    return int(row["gpu_device"]) >= 0 and device.id not in CPU_AFTER_ALL


def _variants(rows: list[Row], devices: Mapping[str, Device]) -> list[str]:
    """What tells apart the configurations of a device, as short as is unique."""
    powersaves: dict[tuple[str, str], set[str]] = {}
    threads: dict[tuple[str, str], set[int]] = {}
    for row in rows:
        device = devices[row["device"]]
        if on_gpu(row, device):
            threads.setdefault((device.id, row["gpu_device"]), set()).add(int(row["threads"]))
        else:
            powersaves.setdefault((device.id, row["threads"]), set()).add(row["powersave"])

    def variant(row: Row) -> str:
        device = devices[row["device"]]
        if on_gpu(row, device):
            gpu = f"-{device.gpus[int(row['gpu_device'])].id}" if len(device.gpus) > 1 and row["gpu_device"] != "0" else ""
            fewest = min(threads[device.id, row["gpu_device"]])
            return f"vulkan{gpu}" + (f"-t{row['threads']}" if int(row["threads"]) != fewest else "")
        differ = len(device.clusters) > 1 or len(powersaves[device.id, row["threads"]]) > 1
        return f"t{row['threads']}" + (CORES[row["powersave"]] if differ else "") + BUILDS[row["build_note"]]

    return [variant(row) for row in rows]


def _measurement(row: Row, device: Device, variant: str, inputs: Inputs) -> Measurement:
    network = row["network"].removesuffix("_int8")
    width, height = inputs[network]
    least, mean, greatest = (_seconds(row[f"time_{which}_ms"]) for which in ("min", "avg", "max"))
    spread = float(row["time_max_ms"]) / float(row["time_min_ms"])
    gpu, int8 = on_gpu(row, device), row["precision"] == "int8"
    notes = {
        INT8_ON_CPU: gpu and int8,
        GPU_UNNAMED: not gpu and int(row["gpu_device"]) >= 0,
        f"least time taken: greatest / least is {spread:.1f}": spread > SPREAD,
    }
    return Measurement(
        device=device.id,
        runtime="ncnn",
        precision="int8" if int8 else "fp16" if gpu or device.isa in HALF_PRECISION else "fp32",
        variant=variant,
        network=network,
        sizes={"N": 1, "H": height, "W": width},
        time_s=least if spread > SPREAD else mean,
        time_min_s=least,
        time_mean_s=mean,
        time_max_s=greatest,
        runs=int(row["loop_count"]),
        source=SOURCE,
        licence=LICENCE,
        suspect=SUSPECT.get((device.id, network), "") if gpu and not int8 else "",
        note="; ".join(note for note, applies in notes.items() if applies),
    )


def _seconds(milliseconds: str) -> float:
    return float(Decimal(milliseconds) / 1000)


def titled(devices: Iterable[Device]) -> dict[str, Device]:
    """Devices by the titles under which the page lists them."""
    return {title: device for device in devices for title in device.listed_as.get(SOURCE, ())}


def read_inputs(path: Path) -> dict[str, tuple[int, int]]:
    with path.open(encoding="utf-8", newline="") as file:
        return DROPPED_INPUTS | {row["network"]: (int(row["input_w"]), int(row["input_h"])) for row in csv.DictReader(file)}


def main(table: str, networks: str) -> None:
    with gzip.open(table, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = measurements(rows, titled(load_devices().values()), read_inputs(Path(networks)))
    path = CALIBRATION / "measurements" / "ncnn.csv"
    write_measurements(path, found)
    print(f"{path}: {len(found)} rows, {len({row.profile for row in found})} profiles")


if __name__ == "__main__":
    main(*sys.argv[1:])
