"""Write what follows from the code (``python docs/generate.py``): docs/cli.md from the verbs, docs/ops.md from the rules.

With ``--accuracy`` also the tables of accuracy in the README and in docs/accuracy.md, of all protocols or of those named.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

from typer.models import ArgumentInfo

from costmodel.accuracy import PROTOCOLS, Metrics, run_protocol
from costmodel.cli import VERBS, about
from costmodel.ops.registry import OWN, Rule, rules
from costmodel.report.calibrating import percent

FOLDER = Path(__file__).parent
OPENING = """# Command line

<!-- Written by docs/generate.py; do not edit. -->

{about}

Every verb prints a table; `--json` and `--csv` print the same for programs, under stable keys and in SI units. Messages,
notes and progress go to stderr.
"""
SECTION = """
## {name}

{about}

```text
{usage}
```

| | |
|---|---|
{rows}"""


def cli_page() -> str:
    """The page of the command line: one section for each verb."""
    return OPENING.format(about=_paragraphs(about)) + "".join(map(_section, VERBS))


def _section(verb: Callable[..., None]) -> str:
    parameters = list(_parameters(verb))
    needed = [word for word, _, is_usage in parameters if is_usage]
    rows = [f"| `{word.replace('|', chr(92) + '|')}` | {text} |\n" for word, text, _ in parameters]
    usage = " ".join(["costmodel", verb.__name__, *needed, "[OPTIONS]"])
    return SECTION.format(name=verb.__name__, about=_paragraphs(verb), usage=usage, rows="".join(rows))


def _parameters(verb: Callable[..., None]) -> Iterator[tuple[str, str, bool]]:
    """Each parameter as it is typed, what it does, and whether the usage line names it."""
    hints = get_type_hints(verb, include_extras=True)
    for name, parameter in inspect.signature(verb).parameters.items():
        info, default = get_args(hints[name])[-1], parameter.default  # the last part of Annotated[...]
        is_needed, is_argument = default is inspect.Parameter.empty, isinstance(info, ArgumentInfo)
        word = _argument(name, info, is_needed) if is_argument else _option(name, info, is_flag=isinstance(default, bool))
        shown = f" Default: `{default}`." if isinstance(default, (str, float)) else ""
        yield word, f"{info.help}{shown}", is_needed or is_argument


def _argument(name: str, info: Any, is_needed: bool) -> str:
    word = (info.metavar or name.upper()).strip("[]")
    return word if is_needed else f"[{word}]"


def _option(name: str, info: Any, *, is_flag: bool) -> str:
    stated = [word for word in (info.default, *(info.param_decls or ())) if isinstance(word, str)]
    flag = next((word for word in stated if word.startswith("--")), f"--{name.replace('_', '-')}")
    return flag if is_flag else f"{flag} {info.metavar or name.upper()}"


def _paragraphs(documented: Callable[..., Any]) -> str:
    text = inspect.getdoc(documented) or ""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


# -- ops --------------------------------------------------------------------------------------------------------

OPS_OPENING = """# Ops

<!-- Written by docs/generate.py; do not edit. -->

Every op that has a cost rule: {ops} ops in {domains} domains. *Since* lists the opset versions from which a rule of its own
holds, because the op's meaning changed there. What is counted is the first line of the rule's docstring; multiply-adds are
`macs`, everything else is `flops` ([conventions](conventions.md)). `costmodel ops TEXT` searches this list.

*Not counted* marks a boundary: the file does not hold what decides the cost. A network with such a layer is read, the layer
is told under `unsupported` with the reason, and totals are lower bounds.
"""


def ops_page() -> str:
    """The page of all rules, by domain: an op, its versions, what is counted."""
    domains: dict[str, dict[str, list[Rule]]] = {}
    for rule in (known for known in rules() if known.function.__module__.startswith(OWN)):
        domains.setdefault(rule.domain or "ai.onnx", {}).setdefault(rule.op, []).append(rule)
    count = sum(map(len, domains.values()))
    return OPS_OPENING.format(ops=count, domains=len(domains)) + "".join(
        f"\n## {domain}\n\n| op | since | what is counted |\n|---|---|---|\n" + "".join(map(_op_row, ops.values()))
        for domain, ops in domains.items()
    )


def _op_row(versions: Sequence[Rule]) -> str:
    since = ", ".join(str(rule.since) for rule in reversed(versions))
    return f"| {versions[0].op} | {since} | {versions[0].convention.replace('|', chr(92) + '|')} |\n"


# -- accuracy ---------------------------------------------------------------------------------------------------

ACCURACY = re.compile(r"(<!-- accuracy: ([a-z0-9 -]+) -->\n).*?(?=<!-- end -->)", re.DOTALL)
HEADER = "| | n | median error | mean error | within 10% | coverage | width |\n|---|--:|--:|--:|--:|--:|--:|\n"


def write_accuracy(path: Path, wanted: Sequence[str]) -> None:
    """Write the figures between ``<!-- accuracy: NAMES -->`` and ``<!-- end -->`` anew, of the protocols that are wanted."""

    def block(found: re.Match[str]) -> str:
        names = found[2].split()
        return found[1] + accuracy_table(names) if not wanted or set(names) & set(wanted) else found[0]

    path.write_text(ACCURACY.sub(block, path.read_text(encoding="utf-8")), encoding="utf-8")


def accuracy_table(names: Sequence[str]) -> str:
    """Each protocol's result beside its baselines, as ``costmodel accuracy`` computes them; takes minutes for each."""
    rows = []
    for name in names:
        found = _run(name)
        rows.append(f"| *{PROTOCOLS[name].what}* (`{name}`) | | | | | | |\n")
        rows += [_row(method, metrics) for method, metrics in (("**costmodel**", found.metrics), *found.baselines.items())]
        if len(found.groups) > 1:
            rows += [_row(f"of {group}", metrics) for group, metrics in found.groups.items()]
    return HEADER + "".join(rows)


_run = lru_cache(run_protocol)


def _row(method: str, found: Metrics) -> str:
    errors = " | ".join(percent(error) for error in (found.median_ape, found.mape, found.within_10, found.coverage))
    return f"| {method} | {found.n} | {errors} | {found.width:.2f} |\n"


def main(words: Sequence[str]) -> None:
    (FOLDER / "cli.md").write_text(cli_page(), encoding="utf-8")
    (FOLDER / "ops.md").write_text(ops_page(), encoding="utf-8")
    if "--accuracy" in words:
        for page in (FOLDER.parent / "README.md", FOLDER / "accuracy.md"):
            write_accuracy(page, [word for word in words if not word.startswith("-")])


if __name__ == "__main__":
    main(sys.argv[1:])
