"""For mkdocs: examples in docstrings (``>>> ...``) are shown as Python code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor

BEFORE_FENCES = 100  # fenced code is read at priority 25


class FencedExamples(Extension):
    """Puts fences around examples that stand in running text."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802  (the name that Markdown calls)
        md.preprocessors.register(_Fencer(md), "fenced-examples", BEFORE_FENCES)


class _Fencer(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        return list(_fenced(lines))


def _fenced(lines: list[str]) -> Iterator[str]:
    is_fenced = is_example = False
    for line in lines:
        if line.startswith("```"):
            is_fenced = not is_fenced
        if is_example and not line.strip():
            is_example = False
            yield "```"
        elif line.startswith(">>>") and not (is_fenced or is_example):
            is_example = True
            yield "```pycon"
        yield line
    if is_example:
        yield "```"


def on_config(config: Any) -> Any:
    config.markdown_extensions.append(FencedExamples())
    return config
