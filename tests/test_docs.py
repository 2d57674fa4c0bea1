"""The pages: their code runs, the generated one is current, all that the site lists is there."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from costmodel.cli import VERBS
from tests.conftest import ROOT
from tests.markdown import blocks, python_failures

DOCS = ROOT / "docs"
RUN = ("index", "conventions", "conventions-of-tools", "add-an-op", "how-it-predicts", "search-spaces", "training-memory")


@pytest.fixture(autouse=True)
def no_profiles_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COSTMODEL_HOME", str(tmp_path))


@pytest.mark.parametrize("page", RUN)
def test_examples_run(page: str) -> None:
    path = DOCS / f"{page}.md"
    assert list(blocks(path, "python"))
    assert python_failures(path) == []


def test_the_generated_pages_are_current() -> None:
    pages = runpy.run_path(str(DOCS / "generate.py"))
    for name in ("cli", "ops"):
        page = pages[f"{name}_page"]()
        assert (DOCS / f"{name}.md").read_text(encoding="utf-8") == page, "run python docs/generate.py"


def test_the_page_of_the_command_line_has_every_verb_and_option() -> None:
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    for verb in VERBS:
        told = subprocess.run(
            [sys.executable, "-m", "costmodel.cli", verb.__name__, "--help"], capture_output=True, text=True, check=True
        ).stdout
        section = page.partition(f"## {verb.__name__}\n")[2].partition("\n## ")[0]
        options = set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", told, re.MULTILINE)) - {"--help"}
        assert options == set(re.findall(r"^\| `(--[a-z-]+)", section, re.MULTILINE)), verb.__name__


def test_the_site_lists_pages_that_are_there() -> None:
    listed = re.findall(r"^  - [^:]+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in DOCS.glob("*.md"))


def test_links_between_pages_lead_somewhere() -> None:
    for page in (*DOCS.glob("*.md"), ROOT / "README.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_public_page_names_what_is_public() -> None:
    import costmodel

    named = re.findall(r"^::: costmodel\.(\w+)$", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name in named if name != "errors" and name not in costmodel.__all__] == []


def test_the_demo_shows_predictions_next_to_measurements(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(DOCS / "demo.py"), run_name="__main__")
    printed = capsys.readouterr().out
    for expected in ("raspberry-pi-4b/ncnn/fp32/t4", "263 ms", "rtx-3090/ncnn/fp16/vulkan", "1.64 ms"):  # measured
        assert expected in printed
