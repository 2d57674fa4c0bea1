"""Running the command line inside the test process."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

from costmodel.cli import main


@dataclass(frozen=True)
class Ran:
    """What a command left: its exit code and its two streams."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


def run(*words: object) -> Ran:
    """Run ``costmodel WORDS`` as a process would."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main([str(word) for word in words])
        except SystemExit as leaving:
            code = leaving.code or 0
    assert isinstance(code, int)
    return Ran(code, out.getvalue(), err.getvalue())


def done(*words: object) -> Ran:
    """Run a command that must succeed."""
    ran = run(*words)
    assert ran.code == 0, ran.err
    return ran
