"""Write the pages that follow from the code (``python docs/generate.py``): docs/cli.md, from the verbs' signatures."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

from typer.models import ArgumentInfo

from costmodel.cli import VERBS, about

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


if __name__ == "__main__":
    (FOLDER / "cli.md").write_text(cli_page(), encoding="utf-8")
