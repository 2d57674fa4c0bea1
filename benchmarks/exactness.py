"""The zoo against the same networks as other libraries define them: parameters, multiply-adds, and layer by layer.

    python -m benchmarks.exactness [--write] [NETWORK ...]

benchmarks/exactness.toml says which definitions are the same network. Each is built on torch's meta device, counted by torch's
own counter, and exported to ONNX with its batch norms in place; the layers of the exported graph that multiply are then
compared with the zoo's: weights, strides, groups, outputs. ``--write`` writes the table of docs/exactness.md. Exits with 1
where a difference has no reason in the file, or a reason no difference. Needs torch, onnxscript, torchvision, timm, pytorchcv
and transformers.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import costmodel as cm
from benchmarks.peers import BUILDERS, Peer, Row, rows
from benchmarks.products import Product, joined, products_of_export, products_of_network
from costmodel.dims import value_at
from costmodel.errors import MalformedModel
from tests.counting_tools import separate_operations

if TYPE_CHECKING:
    import torch

PAGE = Path(__file__).parent.parent / "docs" / "exactness.md"
TABLE = re.compile(r"(?<=<!-- exactness -->\n).*?(?=<!-- end -->)", re.DOTALL)
SHOWN = 3  # layers of a difference


@dataclass(frozen=True)
class Definition:
    """What one definition of a network comes to, at batch 1."""

    label: str
    params: int
    macs: int
    products: Sequence[Product]

    def __post_init__(self) -> None:
        listed = sum(one.macs for one in self.products)
        if listed != self.macs:
            raise MalformedModel(f"{self.label}: the layers listed make {listed:,} of {self.macs:,} MACs; list the others")

    def layers(self, *, join: bool = False) -> list[Product]:
        return [one._replace(source="") for one in (joined(self.products) if join else self.products)]


def of_zoo(network: cm.Network) -> Definition:
    sizes = {"N": 1, **network.bind({}, complete=False)}
    total = cm.count(network).total
    params, macs = value_at(total.params, sizes), value_at(total.macs, sizes)
    return Definition(network.name, params, macs, products_of_network(network, sizes))


def of_peer(peer: Peer, network: cm.Network) -> Definition:
    """Of another library's definition, on inputs of the zoo network's shapes."""
    import torch

    module = peer.module()
    inputs = example_inputs(network)
    by_name = dict(zip(peer.inputs, inputs, strict=True)) if peer.inputs else {}
    args = () if by_name else tuple(inputs)
    params = sum(parameter.numel() for parameter in module.parameters())
    macs = torch_macs(module, args, by_name)
    with redirect_stdout(io.StringIO()):
        exported: Any = torch.onnx.export(module, args, kwargs=by_name, dynamo=True, optimize=False, verbose=False)
    return Definition(peer.label, params, macs, products_of_export(exported.model))


def example_inputs(network: cm.Network) -> list[torch.Tensor]:
    import torch

    sizes = {"N": 1, **network.bind({}, complete=False)}
    return [
        torch.empty([value_at(extent, sizes) for extent in x.dims], dtype=getattr(torch, x.dtype), device="meta")
        for x in network.inputs.values()
    ]


def torch_macs(module: torch.nn.Module, args: Sequence[Any], by_name: dict[str, Any]) -> int:
    """Half of the FLOPs that torch's own counter counts."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), separate_operations(module), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as seen:
        module(*args, **by_name)
    return int(seen.get_total_flops()) // 2


@dataclass(frozen=True)
class Comparison:
    """A network of the zoo beside another library's definition."""

    row: Row
    peer: Peer
    ours: Definition
    theirs: Definition

    @property
    def agreement(self) -> str:
        """How the layers agree; empty where they do not."""
        mine, others = self.ours.layers(), self.theirs.layers()
        if mine == others:
            return "in order"
        if Counter(mine) == Counter(others):
            return "in another order"
        return "some joined" if not any(self.differences()) else ""

    @property
    def is_exact(self) -> bool:
        return self.ours.params == self.theirs.params and self.ours.macs == self.theirs.macs and bool(self.agreement)

    @property
    def is_explained(self) -> bool:
        return self.is_exact != bool(self.peer.differs)

    def differences(self) -> tuple[list[Product], list[Product]]:
        """The layers that only the other library's definition has, and those that only the zoo's has."""
        mine, others = Counter(self.ours.layers(join=True)), Counter(self.theirs.layers(join=True))
        return list((others - mine).elements()), list((mine - others).elements())

    def cells(self) -> tuple[str, ...]:
        layers = f"{len(self.theirs.products)}, {self.agreement or 'others'}"
        params, macs = cell(self.theirs.params, self.ours.params), cell(self.theirs.macs, self.ours.macs)
        return self.row.label, self.peer.label, params, macs, layers

    def reason(self) -> str:
        """The difference as a list item."""
        sides = zip((self.peer.library, "here"), self.differences(), strict=True)
        told = [f"{side} {shown(products)}" for side, products in sides if products]
        reason = self.peer.differs or "**no reason is known**"
        return f"- {self.row.label}, {self.peer.label}: {reason}" + (f" ({'; '.join(told)})" if told else "")


def cell(others: int, mine: int) -> str:
    return f"{others:,}" if others == mine else f"{others:,} (here {mine:,})"


def shown(products: Sequence[Product]) -> str:
    counted = [f"{times} of {one}" if times > 1 else str(one) for one, times in Counter(products).items()]
    return ", ".join(counted[:SHOWN]) + (f" and {len(counted) - SHOWN} more" if len(counted) > SHOWN else "")


def compared(names: Sequence[str]) -> Iterator[Comparison]:
    for row in rows():
        if not names or row.network in names:
            network = row.zoo_network()
            mine = of_zoo(network)
            for peer in row.peers:
                yield Comparison(row, peer, mine, of_peer(peer, network))


def line(comparison: Comparison) -> str:
    return f"| {' | '.join(comparison.cells())} |\n"


def page(found: Sequence[Comparison]) -> str:
    """What stands between the marks of docs/exactness.md."""
    exact = {comparison.row.network for comparison in found if comparison.is_exact}
    missing = [f"`{name}`" for name in cm.zoo_names() if name not in exact]
    reasons = [f"{comparison.reason()}\n" for comparison in found if not comparison.is_exact]
    versions = ", ".join(f"{library} {version(library)}" for library in ("torch", *BUILDERS))
    return (
        f"Of the {len(cm.zoo_names())} networks of the zoo, {len(exact)} have the parameters, the multiply-adds and every layer "
        f"of another library's definition ({versions}; {len(found)} comparisons).\n\n"
        "| network | definition | params | MACs | layers |\n|---|---|--:|--:|---|\n"
        f"{''.join(map(line, found))}\n"
        f"Differences:\n\n{''.join(reasons)}\n"
        f"Without a definition that is the same in these libraries: {', '.join(missing)}.\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="Networks of the zoo; all where none is named.")
    parser.add_argument("--write", action="store_true", help="Write docs/exactness.md.")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    found = []
    for comparison in compared(arguments.networks):
        found.append(comparison)
        print(line(comparison) + ("" if comparison.is_exact else f"{comparison.reason()}\n"), end="", flush=True)
    if arguments.write:
        table = page(found)
        PAGE.write_text(TABLE.sub(lambda _: table, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    unexplained = [comparison for comparison in found if not comparison.is_explained]
    print(f"{len(found)} comparisons, {len(unexplained)} not as benchmarks/exactness.toml says")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
