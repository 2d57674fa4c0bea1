"""An installed copy works away from the checkout: its data travel inside the wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.conftest import ROOT

ASK = """
import costmodel as cm
from costmodel.schema.data import data_folder
prediction = cm.predict(cm.zoo("resnet50"), "raspberry-pi-4b/ncnn/fp32/t4", N=1, H=224, W=224)
assert prediction.time_s.low < prediction.time_s.value < prediction.time_s.high
print(cm.__file__)
print(data_folder("zoo_specs"))
print(data_folder("calibration"))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; what the wheel depends on is taken from the environment of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, cwd=folder)
    (wheel,) = folder.glob("costmodel-*.whl")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    site = Path(subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], check=True, capture_output=True, text=True
    ).stdout.strip())
    shutil.unpack_archive(wheel, site, format="zip")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_it_predicts_from_its_own_data(installed: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COSTMODEL"))}
    environment["HOME"] = str(tmp_path)
    ran = subprocess.run([installed, "-c", ASK], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert ran.returncode == 0, ran.stderr
    for place in ran.stdout.splitlines():
        assert Path(place).is_relative_to(installed.parent.parent), place


def test_the_wheel_has_its_licence_and_command(installed: Path) -> None:
    (information,) = installed.parent.parent.glob("lib/python*/site-packages/costmodel-*.dist-info")
    assert "Apache License" in (information / "licenses" / "LICENSE").read_text()
    assert "costmodel = costmodel.cli:main" in (information / "entry_points.txt").read_text()
    assert "License-Expression: Apache-2.0" in (information / "METADATA").read_text()
