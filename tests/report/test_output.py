"""How reports are written: nothing cut off, nothing that JSON cannot hold, one line per message."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from costmodel.report.output import Grid, Report, complain, note, show, working

DEVICES = [("raspberry-pi-4b", "412 ms", "a board of four cores"), ("rtx-3090", "2 ms", "a card")]
NAMES = Grid(("<device", ">time", "what"), DEVICES)


def shown(capsys: pytest.CaptureFixture[str], report: Report, **options: bool) -> str:
    show(report, **options)
    return capsys.readouterr().out


def lines(capsys: pytest.CaptureFixture[str], *parts: str | Grid) -> list[str]:
    return shown(capsys, Report({}, [], lambda: parts)).splitlines()


def test_a_table_with_room(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    header, rule, *rows = lines(capsys, "Title", NAMES, "End")[2:-2]
    assert header.split() == ["device", "time", "what"]
    assert set(rule) == {" ", "─"}
    assert rows == [" raspberry-pi-4b  412 ms  a board of four cores", " rtx-3090           2 ms  a card"]


def test_text_wraps_before_names_and_numbers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "36")
    rows = lines(capsys, NAMES)[2:]
    assert rows == [
        " raspberry-pi-4b  412 ms  a board", f"{'':26}of four", f"{'':26}cores", " rtx-3090           2 ms  a card",
    ]  # fmt: skip


def test_one_blank_line_stands_between_parts(capsys: pytest.CaptureFixture[str]) -> None:
    printed = lines(capsys, NAMES, NAMES, "End")
    assert [i for i, line in enumerate(printed) if not line] == [4, 9]
    assert len(printed) == 11


@pytest.mark.parametrize("width", [12, 20, 25])
def test_without_room_names_wrap_too_and_every_letter_stays(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    rows = lines(capsys, NAMES)
    assert max(map(len, rows)) <= width
    cells = ["device", "time", "what", *(cell for row in DEVICES for cell in row)]
    assert sorted("".join(rows).replace(" ", "").replace("─", "")) == sorted("".join(cells).replace(" ", ""))


def test_markup_of_a_model_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    printed = lines(capsys, "[bold]conv[/bold] :smile:", Grid(("layer",), [("[red]x[/red]",)]))
    assert printed[0] == "[bold]conv[/bold] :smile:"
    assert printed[-1] == " [red]x[/red]"


def test_json_holds_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    data: Any = {"spearman": float("nan"), "high": float("inf"), "rows": [{"value": 1.5}, (2, None)]}
    printed = shown(capsys, Report(data, [], tuple), as_json=True)
    assert json.loads(printed) == {"spearman": None, "high": None, "rows": [{"value": 1.5}, [2, None]]}


def test_csv_gives_every_row_every_column(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = [{"name": 'a "quoted", name', "macs": 1}, {"name": "b", "flops": None}]
    printed = shown(capsys, Report({}, rows, tuple), as_csv=True)
    expected = [{"name": 'a "quoted", name', "macs": "1", "flops": ""}, {"name": "b", "macs": "", "flops": ""}]
    assert list(csv.DictReader(io.StringIO(printed))) == expected


def test_text_is_made_only_when_it_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    def text() -> list[str]:
        raise AssertionError("made for nothing")

    assert shown(capsys, Report({}, [{"a": 1}], text), as_csv=True) == "a\n1\n"
    with pytest.raises(AssertionError):
        show(Report({}, [], text))


@pytest.mark.parametrize(("say", "kind"), [(complain, "error"), (note, "note")])
def test_messages_stay_on_one_line_of_stderr(say: Any, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    say("runs.csv: 2 problems:\n  row 2: no time\n  row 3: no network\n")
    captured = capsys.readouterr()
    assert captured.err == f"costmodel: {kind}: runs.csv: 2 problems: row 2: no time; row 3: no network\n"
    assert captured.out == ""


def test_progress_is_silent_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with working("calibrating") as progress:
        progress("raspberry-pi-4b")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_progress_shows_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with working("calibrating") as progress:
        progress("raspberry-pi-4b")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "calibrating" in captured.err
