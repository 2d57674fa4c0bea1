"""Where the data that travels with the library lies: network specs and calibration."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def data_folder(name: str) -> Path:
    """The folder of the installed package's data, or the checkout's folder of the same name.

    >>> sorted(path.name for path in data_folder("calibration").iterdir() if path.name in ("devices", "measurements"))
    ['devices', 'measurements']
    """
    installed = PACKAGE / "_data" / name
    return installed if installed.is_dir() else PACKAGE.parent / name
