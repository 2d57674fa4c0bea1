"""What each tool counts of networks of torch, and what the convention of its name counts of the same network.

    python -m benchmarks.conventions [--write] [--file] [NETWORK ...]

``--write`` puts the table into docs/conventions-of-tools.md. ``--file`` counts files of torch's former exporter, which say
nothing of classes and functions, instead of what ``from_torch`` reads, and leaves out the networks of text, which it does
not trace; onnx-tool, which reads files, counts what the exporter writes by default either way. Needs the extra
``conventions``.
"""

from __future__ import annotations

import argparse
import io
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import costmodel as cm
from tests.counting_tools import TOOLS, counted, onnx_tool_macs, published_macs
from tests.torch_networks import IMAGE, NETWORKS, TORCHVISION, imported, network

if TYPE_CHECKING:
    import torch

PAGE = Path(__file__).parents[1] / "docs" / "conventions-of-tools.md"
TABLE = re.compile(r"(?<=<!-- tools -->\n).*?(?=<!-- end -->)", re.DOTALL)
COLUMNS = ("torchvision", *TOOLS, "onnx-tool")
MILLION = 1e6
THOUSANDTHS = -6  # digits of torchvision's figures: thousandths of a billion


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


def cells(name: str, *, from_file: bool) -> Iterator[str]:
    """One for each column."""
    module, x = network(name)
    net = read(name, from_file=from_file)
    published = published_macs(name) if name in TORCHVISION else None
    yield "" if published is None else cell(round(_counted(net, "torchvision"), THOUSANDTHS), published)
    for tool in TOOLS:
        yield cell(_counted(net, tool), counted(tool, module, x))
    with tempfile.TemporaryDirectory() as folder:
        path = exported_file(module, x, folder)
        yield cell(_counted(cm.load(path), "onnx-tool"), onnx_tool_macs(path))


def _counted(net: cm.Network, convention: str) -> int:
    return int(cm.count(net, convention=convention).total.macs)


def cell(ours: int, theirs: int) -> str:
    """The tool's figure in millions, and where ours is another how much more or less it is.

    >>> cell(1_500_000, 1_500_000), cell(1_515_000, 1_500_000)
    ('1.500', '1.500, ours 1.515 (+1%)')
    """
    shown = f"{theirs / MILLION:,.3f}"
    return shown if ours == theirs else f"{shown}, ours {ours / MILLION:,.3f} ({100 * (ours - theirs) / theirs:+.2g}%)"


def table(names: list[str], *, from_file: bool) -> Iterator[str]:
    """The lines of the table, one by one: some networks take a minute."""
    yield f"| network | costmodel | {' | '.join(COLUMNS)} |"
    yield f"|---|{'--:|' * (len(COLUMNS) + 1)}"
    for name in names:
        own = _counted(read(name, from_file=from_file), "costmodel")
        yield f"| {name} | {own / MILLION:,.3f} | {' | '.join(cells(name, from_file=from_file))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"Some of: {', '.join(NETWORKS)}.")
    parser.add_argument("--file", action="store_true", help="Count files of torch's former exporter.")
    parser.add_argument("--write", action="store_true", help=f"Put the table into {PAGE.name}.")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    imported("torchvision")
    images = [name for name, (_, shape) in NETWORKS.items() if shape == IMAGE]
    names = arguments.networks or (images if arguments.file else list(NETWORKS))
    lines = []
    for line in table(names, from_file=arguments.file):
        print(line, flush=True)
        lines.append(line + "\n")
    if arguments.write:
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(TABLE.sub(lambda _: "".join(lines), text), encoding="utf-8")


if __name__ == "__main__":
    main()
