"""Make calibration/measurements/timm.csv.gz from tables of timm's benchmark of its own models.

    python calibration/scripts/timm_tables.py timm_gpu.csv.gz graphs.csv

The first file holds a row of timm's results/benchmark-*.csv a row: device, task, precision, layout, compile, torch, model,
samples_per_sec, step_time_ms, batch_size, img_size. The second lists the graphs from which timm_features.py counts the
kernels: name, source, model, img_size. Rows of other models are left out: nothing could be said of them.
calibration/SOURCES.md tells what the measurements are worth.
"""

from __future__ import annotations

import csv
import gzip
import sys
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path

from costmodel.schema.device import Device, load_devices
from costmodel.schema.measurement import Measurement, write_measurements

CALIBRATION = Path(__file__).resolve().parent.parent
SOURCE = "timm-benchmark"
LICENCE = "Apache-2.0"

RUNTIMES = {"eager": "torch", "dynamo": "torch-compile"}
TASKS = {"infer": "inference", "train": "training"}
# batch / rate and the time of a step, both printed, differ by rounding where all is well
AGREEMENT = 0.05

# published activations of these fall to a half between the tables of torch 2.4 and 2.9, and multiply-adds with them
MERGED = ("fastvit_", "mobileone_", "repvgg_")
MERGED_SINCE = "2.9"
OTHER_NETWORKS = {"ecaresnext50t_32x4d": "the published multiply-adds and activations are those of a network of 26 layers"}

Row = Mapping[str, str]


def measurements(rows: Iterable[Row], devices: Mapping[str, Device], known: set[tuple[str, str]]) -> list[Measurement]:
    """The table's rows of known networks, which are pairs of a model and its input's size."""
    return [_measurement(row, devices[row["device"]]) for row in rows if (_model(row), row["img_size"]) in known]


def _model(row: Row) -> str:
    """The architecture; what follows the first dot names trained weights."""
    return row["model"].partition(".")[0]


def _measurement(row: Row, device: Device) -> Measurement:
    size, batch = int(row["img_size"]), int(float(row["batch_size"]))
    version = ".".join(row["torch"].split(".")[:2])
    time_s = float(Decimal(row["step_time_ms"]) / 1000) if row["step_time_ms"] else None
    return Measurement(
        device=device.id,
        runtime=RUNTIMES[row["compile"]],
        precision=row["precision"].replace("_", "-"),
        variant=f"{row['layout']}-{version}",
        network=f"timm:{_model(row)}.{size}",
        sizes={"N": batch, "H": size, "W": size},
        task=TASKS[row["task"]],
        time_s=time_s,
        source=SOURCE,
        licence=LICENCE,
        suspect=_suspect(row, version, time_s),
    )


def _suspect(row: Row, version: str, time_s: float | None) -> str:
    if time_s is None:
        return "the source gives no time"
    if abs(float(row["batch_size"]) / float(row["samples_per_sec"]) / time_s - 1) > AGREEMENT:
        return "time of a step and rate disagree"
    if version == MERGED_SINCE and row["model"].startswith(MERGED):
        return "the published activations show that parallel branches were merged before this measurement"
    return OTHER_NETWORKS.get(_model(row), "")


def titled(devices: Iterable[Device]) -> dict[str, Device]:
    """Devices by the names in the tables."""
    return {name: device for device in devices for name in device.listed_as.get(SOURCE, ())}


def read_graphs(path: Path) -> dict[tuple[str, str], str]:
    """The name of each network's graph, by its model and its input's size."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["model"], row["img_size"]): row["name"] for row in rows if row["source"] == "timm"}


def main(table: str, graphs: str) -> None:
    with gzip.open(table, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = measurements(rows, titled(load_devices().values()), set(read_graphs(Path(graphs))))
    path = CALIBRATION / "measurements" / "timm.csv.gz"
    write_measurements(path, found)
    print(f"{path}: {len(found)} rows, {len({row.profile for row in found})} profiles")


if __name__ == "__main__":
    main(*sys.argv[1:])
