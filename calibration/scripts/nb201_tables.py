"""Make calibration/measurements/nasbench201.npz from the latency tables of HELP.

    python calibration/scripts/nb201_tables.py nb201_latency.npz nb201_archs.txt

The first file holds ``latency_ms`` (architectures by devices) and ``devices``, the second the architecture strings, one a
line and in the order of the rows. calibration/SOURCES.md tells what the measurements are worth.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from costmodel.spaces.nasbench201 import nasbench201

TARGET = Path(__file__).resolve().parent.parent / "measurements" / "nasbench201.npz"
SOURCES = (
    "1080ti_1", "1080ti_32", "1080ti_256", "silver_4114", "silver_4210r",
    "samsung_a50", "pixel3", "essential_ph_1", "samsung_s7",
)  # fmt: skip
UNSEEN = ("titan_rtx_256", "gold_6226", "fpga", "pixel2", "raspi4", "eyeriss")


def main(latencies: Path, architectures: Path, target: Path) -> None:
    space = nasbench201()
    texts = architectures.read_text(encoding="utf-8").split()
    cells = np.array([space.encode(space.parse(text)) for text in texts], dtype=np.int8)
    with np.load(latencies) as table:
        columns = [list(table["devices"]).index(name) for name in SOURCES + UNSEEN]
        times_s = (table["latency_ms"][:, columns].astype(np.float64) / 1000).astype(np.float32)
    np.savez_compressed(target, cells=cells, times_s=times_s, sources=np.array(SOURCES), unseen=np.array(UNSEEN))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), TARGET)
