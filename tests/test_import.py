"""Importing stays light, and counting and predicting load nothing that only calibration or sympy users need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import costmodel

HEAVY = ("sklearn", "scipy", "pandas", "sympy", "networkx", "joblib", "onnxruntime", "torch")
REPORT = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"


def loaded_by(code: str) -> set[str]:
    """The packages that a fresh interpreter has loaded after some code; what the code itself prints is left out."""
    ran = subprocess.run([sys.executable, "-c", f"{code}\n{REPORT}"], capture_output=True, text=True, check=True)
    return set(json.loads(ran.stdout.splitlines()[-1]))


def test_the_package_alone_loads_nothing_heavy() -> None:
    loaded = loaded_by("import costmodel")
    assert "costmodel" in loaded
    assert loaded.isdisjoint((*HEAVY, "onnx", "numpy", "pydantic", "typer", "rich"))


def test_every_public_name_is_there() -> None:
    code = "import costmodel\nfor name in costmodel.__all__: assert name in dir(costmodel); getattr(costmodel, name)"
    assert "costmodel" in loaded_by(code)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'cuont'"):
        _ = costmodel.cuont


@pytest.mark.parametrize(
    "words",
    [
        ("--version",),
        ("count", "MODEL", "--json"),
        ("count", "resnet18", "--by", "op"),
        ("memory", "MODEL", "--at", "N=1,H=32,W=32"),
        ("predict", "MODEL", "--on", "raspberry-pi-4b/ncnn/fp32/t4", "--at", "N=1,H=32,W=32"),
    ],
    ids=lambda words: words[0],
)
def test_the_quick_verbs_load_nothing_heavy(words: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    b = costmodel.Builder("tiny")
    costmodel.save_onnx(b.finish(b.relu(b.conv(b.input("x", ("N", 3, "H", "W")), 8))), path)
    arguments = [word.replace("MODEL", str(path)) for word in words]
    code = f"from costmodel.cli import main\ntry: main({arguments!r})\nexcept SystemExit as leaving: assert not leaving.code"
    assert loaded_by(code).isdisjoint(HEAVY)
