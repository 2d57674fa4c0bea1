"""Make calibration/measurements/mlperf.csv from a table of MLPerf Inference's results.

    python calibration/scripts/mlperf_tables.py mlperf_inference.csv.gz

The file holds one performance run a row: round, submitter, system, host_processor_model_name, framework, benchmark,
scenario, weight_data_types, latency_ms (LoadGen's mean), min_latency_ms, power_w, energy_mj_per_sample. Taken are the
single-stream runs of TFLite and ArmNN. Devices are those of calibration/devices that list such a system and processor.
calibration/SOURCES.md tells what the measurements are worth.
"""

from __future__ import annotations

import csv
import gzip
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path

from costmodel.schema.device import Device, load_devices
from costmodel.schema.measurement import Measurement, write_measurements

CALIBRATION = Path(__file__).resolve().parent.parent
SOURCE = "mlperf-inference"
LICENCE = "Apache-2.0"

Row = Mapping[str, str]

PRECISIONS = {"fp32": "fp32", "int8": "int8", "uint8": "int8"}
# power mode and fan of a system where they are not the usual ones; the usual mode of Xavier is 0, without a limit
_SYSTEM = re.compile(r"(?P<host>.+?)(-power\.(?P<power>\d))?(-fan\.(?P<fan>\w+))?-(tflite|armnn).*")
_FRAMEWORK = re.compile(
    r"(?P<runtime>TFLite|ArmNN)( TFLite)? v(?P<version>\S+)( \((?P<backend>\w+)\)| using (?P<using>\w+))?"
)
_MOBILENET = re.compile(r"mobilenet-(v[12])-(?:precision_\w+?-)?([\d.]+)-(\d+)(?:-quantized|-non-quantized)?")
_MOBILENET_V3 = re.compile(r"mobilenet-v3-(?:precision_\w+?-)?(large|small)(-minimalistic)?[-_]224(?:_([\d.]+)_\w+)?")
_OTHERS = {
    "mobilenet": "tflite:mobilenet_v1_1.0_224",
    "mobilenet-quantized": "tflite:mobilenet_v1_1.0_224",
    "resnet": "mlperf:resnet50",
    "resnet50": "mlperf:resnet50",
    "ssd-mobilenet-non-quantized": "mlperf:ssd-mobilenet",
}


def is_taken(row: Row) -> bool:
    """Whether a row is a single-stream run on a CPU or its GPU; an accelerator on USB is neither."""
    on_usb = row["framework"].endswith("(EdgeTPU)")
    return row["scenario"] == "SingleStream" and bool(_FRAMEWORK.match(row["framework"])) and not on_usb


def measurements(rows: Iterable[Row], devices: Mapping[str, Device]) -> list[Measurement]:
    """The table's rows as measurements; ``devices`` by system and processor."""
    seen: Counter[tuple[str, ...]] = Counter()
    found = []
    for row in filter(is_taken, rows):
        device, runtime, network = devices[listed(row)].id, _framework(row)["runtime"].lower(), network_of(row["benchmark"])
        precision, variant = PRECISIONS[row["weight_data_types"]], _variant(row)
        seen[device, runtime, precision, variant, network] += 1
        repeat = seen[device, runtime, precision, variant, network]
        found.append(
            Measurement(
                device=device,
                runtime=runtime,
                precision=precision,
                variant=variant + (f"-run{repeat}" if repeat > 1 else ""),
                network=network,
                sizes={"N": 1},
                time_s=_thousandth(row["latency_ms"]),
                time_min_s=_thousandth(row["min_latency_ms"]),
                energy_j=_thousandth(row["energy_mj_per_sample"]),
                power_w=float(row["power_w"]) if row["power_w"] else None,
                energy_scope="wall" if row["power_w"] else None,
                source=SOURCE,
                licence=LICENCE,
                note=f"{row['round']}, {row['submitter']}",
            )
        )
    return found


def network_of(benchmark: str) -> str:
    """The zoo's name of a benchmark's network, whatever its precision.

    >>> network_of("mobilenet-v3-precision_uint8-large-224"), network_of("mobilenet-v2-0.35-96-non-quantized")
    ('tflite:mobilenet_v3_large_1.0_224', 'tflite:mobilenet_v2_0.35_96')
    """
    if match := _MOBILENET.fullmatch(benchmark):
        version, width, resolution = match.groups()
        return f"tflite:mobilenet_{version}_{width}_{resolution}"
    if match := _MOBILENET_V3.fullmatch(benchmark):
        size, plain, width = match.groups()
        return f"tflite:mobilenet_v3_{size}{'_minimalistic' if plain else ''}_{width or '1.0'}_224"
    return _OTHERS[benchmark]


def listed(row: Row) -> str:
    """How devices list a row's system: by the name of the host and its processor."""
    return f"{_system(row)['host']}, {row['host_processor_model_name']}".strip(", ")


def _variant(row: Row) -> str:
    """Backend and version; further what tells apart two configurations of a system."""
    framework, system = _framework(row), _system(row)
    backend = framework["backend"] or framework["using"] or ""
    parts = [backend.lower(), framework["version"]]
    if "armnn_tflite" in row["system"]:
        parts.append("delegate")
    if system["power"] not in (None, "0"):
        parts.append(f"power{system['power']}")
    if system["fan"] == "off":
        parts.append("nofan")
    return "-".join(filter(None, parts))


def _framework(row: Row) -> re.Match[str]:
    match = _FRAMEWORK.match(row["framework"])
    assert match is not None  # is_taken
    return match


def _system(row: Row) -> re.Match[str]:
    match = _SYSTEM.fullmatch(row["system"])
    if match is None:
        raise ValueError(f"system {row['system']!r} does not name its framework; extend the pattern")
    return match


def _thousandth(text: str) -> float | None:
    return float(Decimal(text) / 1000) if text else None


def titled(devices: Iterable[Device]) -> dict[str, Device]:
    """Devices by the systems and processors under which the results list them."""
    return {title: device for device in devices for title in device.listed_as.get(SOURCE, ())}


def main(table: str) -> None:
    with gzip.open(table, "rt", encoding="utf-8", newline="") as file:
        found = measurements(csv.DictReader(file), titled(load_devices().values()))
    path = CALIBRATION / "measurements" / "mlperf.csv"
    write_measurements(path, found)
    print(f"{path}: {len(found)} rows, {len({row.profile for row in found})} profiles")


if __name__ == "__main__":
    main(*sys.argv[1:])
