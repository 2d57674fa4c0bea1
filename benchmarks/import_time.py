"""How long ``import costmodel`` and whole commands take, next to an interpreter that does nothing."""

from __future__ import annotations

import argparse
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import costmodel as cm


def seconds(words: list[str], runs: int) -> list[float]:
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - start)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet50.onnx"
        cm.save_onnx(cm.zoo("resnet50"), path, weights="zeros")
        cases = {
            "bare interpreter": "-c pass",
            "import costmodel": "-c 'import costmodel'",
            "costmodel --version": "-m costmodel.cli --version",
            "costmodel count resnet50.onnx": f"-m costmodel.cli count {path} --at N=1,H=224,W=224 --json",
            "costmodel predict resnet50": "-m costmodel.cli predict resnet50 --on raspberry-pi-4b --json",
        }
        for name, words in cases.items():
            found = seconds(shlex.split(words), arguments.runs)
            print(f"{name:32} median {statistics.median(found) * 1e3:6.0f} ms, least {min(found) * 1e3:6.0f} ms")


if __name__ == "__main__":
    main()
