"""What each tool counts of networks of torch, and what the convention of its name counts of what ``from_torch`` reads.

    python -m benchmarks.conventions [--file] [NETWORK ...]

``--file`` counts files of torch's former exporter instead, which say nothing of classes and functions; it does not trace
the network of text. Writes the tables of docs/conventions-of-tools.md. Needs the extra ``conventions``.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import costmodel as cm
from costmodel.conventions import CONVENTIONS
from tests.counting_tools import TOOLS, counted, onnx_tool_macs
from tests.torch_networks import IMAGE, NETWORKS, imported, network

if TYPE_CHECKING:
    import torch


def read(name: str, *, from_file: bool) -> cm.Network:
    module, x = network(name)
    return cm.load(former_file(module, x), name=name) if from_file else cm.from_torch(module, x, name=name)


def former_file(module: torch.nn.Module, x: torch.Tensor) -> bytes:
    """What torch's former exporter writes with batch norms kept."""
    import torch

    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        path = Path(folder) / "network.onnx"
        keep = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
        torch.onnx.export(module, (x,), str(path), dynamo=False, **keep)
        return path.read_bytes()


def exported_file(module: torch.nn.Module, x: torch.Tensor, folder: str) -> str:
    """What torch's exporter writes by default, batch norms folded."""
    import torch

    path = str(Path(folder) / "network.onnx")
    with redirect_stdout(io.StringIO()):
        torch.onnx.export(module, (x,), path, dynamo=True, external_data=False, verbose=False)
    return path


def cells(name: str, *, from_file: bool) -> list[str]:
    """The tool's figure for each convention in millions, with ours where it is another; onnx-tool counts a file."""
    module, x = network(name)
    net = read(name, from_file=from_file)
    found = [cell(int(cm.count(net, convention=tool).total.macs), counted(tool, module, x)) for tool in TOOLS]
    with tempfile.TemporaryDirectory() as folder:
        path = exported_file(module, x, folder)
        found.append(cell(int(cm.count(cm.load(path), convention="onnx-tool").total.macs), onnx_tool_macs(path)))
    return [f"{int(cm.count(net).total.macs) / 1e6:,.3f}", *found]


def cell(ours: int, theirs: int) -> str:
    return f"{theirs / 1e6:,.3f}" + ("" if ours == theirs else f" ({ours / 1e6:,.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"Some of: {', '.join(NETWORKS)}.")
    parser.add_argument("--file", action="store_true", help="Count files of torch's former exporter.")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    imported("torchvision")
    tools = [*TOOLS, "onnx-tool"]
    print("".join(f"{tool} {CONVENTIONS[tool].version}; " for tool in tools) + "\n")
    print(f"| network | costmodel | {' | '.join(tools)} |\n|---{'|---' * (len(tools) + 1)}|")
    images = [name for name, (_, shape) in NETWORKS.items() if shape == IMAGE]
    for name in arguments.networks or (images if arguments.file else NETWORKS):
        print(f"| {name} | {' | '.join(cells(name, from_file=arguments.file))} |", flush=True)


if __name__ == "__main__":
    main()
