"""Fixtures that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

os.environ["COSTMODEL_HOME"] = str(ROOT / "tests" / "nobody's home")  # the zoo of the tests is the one that is shipped


def shared_folder() -> Path | None:
    """The folder of reference graphs and tables beside the checkout, where there is one."""
    folder = Path(os.environ.get("COSTMODEL_SHARED", ROOT.parent / "shared"))
    return folder if (folder / "models" / "manifest.json").exists() else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The reference folder; tests that need it are skipped where it is not (a user's copy has none)."""
    folder = shared_folder()
    if folder is None:
        pytest.skip("the reference graphs and tables are not beside this checkout (set COSTMODEL_SHARED)")
    return folder
