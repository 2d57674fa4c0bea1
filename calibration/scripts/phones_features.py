"""Make calibration/features/pytorchcv.RUNTIME.csv.gz: the kernels of the networks that the benchmark of phones ran.

    python calibration/scripts/phones_features.py GRAPHS

GRAPHS is a folder of ONNX graphs phone__NAME__224.onnx.gz, exported from the models of pytorchcv without their weights.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from pathlib import Path

from costmodel.features import works
from costmodel.graph import Network
from costmodel.read.onnx import load
from costmodel.stored import of_one_image, write_works

FEATURES = Path(__file__).resolve().parent.parent / "features"
RUNTIMES = ("tflite", "torch-mobile")


def networks(folder: Path) -> Iterator[tuple[str, Network]]:
    """The graphs of a folder, by the name of the network."""
    for path in sorted(folder.glob("phone__*.onnx.gz")):
        _, name, _ = path.name.split("__")
        yield name, load(gzip.decompress(path.read_bytes()))


def main(folder: str) -> None:
    found = dict(networks(Path(folder)))
    for runtime in RUNTIMES:
        path = FEATURES / f"pytorchcv.{runtime}.csv.gz"
        write_works(path, {name: of_one_image(works(net, runtime), net.bind({"N": 1})) for name, net in found.items()})
        print(f"{path}: {len(found)} networks")


if __name__ == "__main__":
    main(*sys.argv[1:])
