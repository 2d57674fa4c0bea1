"""Make calibration/kernels/gpu_kernels.csv.gz and gpu_networks.csv from tables of NeuSight's published measurements.

    python calibration/scripts/gpu_tables.py gpu_kernels.csv.gz gpu_networks.csv

Of 330,000 kernels some thousand are kept: of each device, op and kind of sizes at most so many as LIMITS says, taken evenly
over the order of a hash of their sizes, so that which ones are kept depends on nothing else. Of the networks, those that ran
on one GPU without a compiler. calibration/SOURCES.md tells what the measurements are worth.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from costmodel.schema.device import load_devices

CALIBRATION = Path(__file__).resolve().parent.parent
SOURCE = "neusight"
SIZES = ("batch", "m", "n", "k", "rows", "cols", "c_in", "c_out", "h")
COLUMNS = ("device", "op", "sizes", *SIZES, "time_s")
ELEMENTWISE = ("add", "addu", "mul", "mulu", "div", "divu", "pow", "powu", "subu", "gelu", "relu", "tanh")
LIMITS = {"linear": 300, "bmm": 300, "conv": 300, "softmax": 150, "layernorm": 150, **dict.fromkeys(ELEMENTWISE, 40)}
NETWORK_COLUMNS = ("device", "network", "task", "batch", "seq_len", "layers", "hidden", "heads", "time_s")

Row = Mapping[str, str]


def kernels(rows: Iterable[Row], devices: Mapping[str, str]) -> list[list[str]]:
    """The kernels that are kept, without what is the same everywhere."""
    groups: dict[tuple[str, str, str], list[list[str]]] = defaultdict(list)
    for row in rows:
        if row["op"] in LIMITS and row["device"] in devices:
            sizes = "random" if row["source_file_kind"] == "train" else "real"
            key = (devices[row["device"]], row["op"], sizes)
            time_s = f"{float(row['time_ms']) / 1000:.6g}"
            groups[key].append([*key, *(_whole(row[name]) for name in SIZES), time_s])
    return [row for key in sorted(groups) for row in sorted(_some(groups[key], LIMITS[key[1]]))]


def _some(rows: list[list[str]], limit: int) -> list[list[str]]:
    return sorted(rows, key=lambda row: hashlib.sha256(",".join(row[1:]).encode()).digest())[:limit]


def _whole(text: str) -> str:
    return str(int(float(text))) if text else ""


def networks(rows: Iterable[Row], devices: Mapping[str, str]) -> list[list[str]]:
    """The networks on one GPU as eager PyTorch runs them."""
    kept = [row for row in rows if row["n_gpus"] == "1" and row["fused"] == "0" and row["device"] in devices]
    names = NETWORK_COLUMNS[3:-1]
    return sorted(
        [devices[row["device"]], row["network"], row["task"], *(_whole(row[name]) for name in names), f"{_seconds(row):.6g}"]
        for row in kept
    )


def _seconds(row: Row) -> float:
    return float(row["time_ms"]) / 1000


def _text(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def main(kernel_table: Path, network_table: Path, folder: Path = CALIBRATION / "kernels") -> None:
    devices = {name: device.id for device in load_devices().values() for name in device.listed_as.get(SOURCE, ())}
    with gzip.open(kernel_table, "rt", encoding="utf-8", newline="") as file:
        kept = kernels(csv.DictReader(file), devices)
    (folder / "gpu_kernels.csv.gz").write_bytes(gzip.compress(_text(COLUMNS, kept), mtime=0))
    with network_table.open(encoding="utf-8", newline="") as file:
        (folder / "gpu_networks.csv").write_bytes(_text(NETWORK_COLUMNS, networks(csv.DictReader(file), devices)))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
