"""Make calibration/measurements/phones.csv.gz from a table of a published benchmark of phones.

    python calibration/scripts/phones_tables.py mobile_e2e.csv.gz

The table holds one configuration and network a row: framework, set, model, phone, cores, precision, latency_ms, std_ms. Rows
of the set ``real_cnn`` are taken; devices are those of calibration/devices that list such a phone. calibration/SOURCES.md
tells what the measurements are worth.
"""

from __future__ import annotations

import csv
import gzip
import re
import sys
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path

from costmodel.schema.device import Device, load_devices
from costmodel.schema.measurement import Measurement, write_measurements

CALIBRATION = Path(__file__).resolve().parent.parent
SOURCE = "mobile-ml-benchmark"
LICENCE = "MIT"
RUNTIMES = {"tflite": "tflite", "torch": "torch-mobile"}
IMAGE = {"N": 1, "H": 224, "W": 224}

Row = Mapping[str, str]

SPREAD = 0.5
SLOWER = 1.5


def measurements(rows: Iterable[Row], devices: Mapping[str, Device]) -> list[Measurement]:
    """The table's rows of convolutional networks that people made, as measurements; ``devices`` by the name of the phone."""
    kept = [row for row in rows if row["set"] == "real_cnn"]
    times = {_key(row, row["cores"]): float(row["latency_ms"]) for row in kept}
    return [_measurement(row, devices[row["phone"]], times) for row in kept]


def _measurement(row: Row, device: Device, times: Mapping[tuple[str, ...], float]) -> Measurement:
    mean = _seconds(row["latency_ms"])
    return Measurement(
        device=device.id,
        runtime=RUNTIMES[row["framework"]],
        precision=_precision(row),
        variant=row["cores"],
        network=f"pytorchcv:{row['model']}",
        sizes=IMAGE,
        time_s=mean,
        time_mean_s=mean,
        time_std_s=_seconds(row["std_ms"]) if row["std_ms"] else None,
        source=SOURCE,
        licence=LICENCE,
        suspect=_suspect(row, times),
    )


def _precision(row: Row) -> str:
    """Floating point is of 16 bits on the GPUs, of 32 on the CPUs."""
    if row["precision"] == "quant":
        return "int8"
    return "fp16" if row["cores"] == "gpu" else "fp32"


def _suspect(row: Row, times: Mapping[tuple[str, ...], float]) -> str:
    """Why a row should not be fitted: its runs differ, or more cores took far longer than one of them alone."""
    mean = float(row["latency_ms"])
    if row["std_ms"] and float(row["std_ms"]) > SPREAD * mean:
        return f"the standard deviation of its runs is {float(row['std_ms']) / mean:.1f} times their mean"
    alone = [times[key] for kind in clusters(row["cores"]) if (key := _key(row, f"1{kind}")) in times]
    if alone and mean > SLOWER * max(alone):
        return f"{mean / max(alone):.1f} times slower than on one of its cores"
    return ""


def clusters(cores: str) -> list[str]:
    """The kinds of core in a set.

    >>> clusters("1large2med"), clusters("gpu")
    (['large', 'med'], [])
    """
    return re.findall(r"\d+([a-z]+)", cores)


def _key(row: Row, cores: str) -> tuple[str, ...]:
    return row["framework"], row["precision"], row["phone"], row["model"], cores


def _seconds(milliseconds: str) -> float:
    return float(Decimal(milliseconds) / 1000)


def listed(devices: Iterable[Device]) -> dict[str, Device]:
    """Devices by the names under which the table lists them."""
    return {name: device for device in devices for name in device.listed_as.get(SOURCE, ())}


def main(table: str) -> None:
    with gzip.open(table, "rt", encoding="utf-8", newline="") as file:
        found = measurements(csv.DictReader(file), listed(load_devices().values()))
    path = CALIBRATION / "measurements" / "phones.csv.gz"
    write_measurements(path, found)
    suspect = sum(1 for row in found if row.suspect)
    print(f"{path}: {len(found)} rows, {len({row.profile for row in found})} profiles, {suspect} suspect rows")


if __name__ == "__main__":
    main(*sys.argv[1:])
