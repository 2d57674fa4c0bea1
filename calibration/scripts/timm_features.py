"""Make calibration/features/timm.RUNTIME.csv.gz: the kernels of timm's networks, from graphs that its models export.

    python calibration/scripts/timm_features.py graphs.csv

Beside the table of timm_tables.py lie the graphs that it lists, NAME.onnx.gz each.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterable
from pathlib import Path

from timm_tables import CALIBRATION, RUNTIMES, read_graphs

from costmodel.features import Work, works
from costmodel.read.onnx import load
from costmodel.stored import of_one_image, write_works


def kernels(graph: Path, runtimes: Iterable[str]) -> dict[str, list[Work]]:
    """The kernels of one graph for one image, by runtime."""
    network = load(gzip.decompress(graph.read_bytes()))
    point = network.bind({"N": 1})
    return {runtime: of_one_image(works(network, runtime), point) for runtime in runtimes}


def main(graphs: str) -> None:
    folder = Path(graphs).parent
    found = {
        f"{model}.{size}": kernels(folder / f"{name}.onnx.gz", RUNTIMES.values())
        for (model, size), name in read_graphs(Path(graphs)).items()
    }
    for runtime in RUNTIMES.values():
        path = CALIBRATION / "features" / f"timm.{runtime}.csv.gz"
        write_works(path, {network: by_runtime[runtime] for network, by_runtime in found.items()})
        print(f"{path}: {len(found)} networks")


if __name__ == "__main__":
    main(*sys.argv[1:])
