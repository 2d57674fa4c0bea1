"""Without the extra, a module cannot be read, and the message says how that changes."""

from __future__ import annotations

import sys

import pytest

from costmodel.errors import MissingExtra
from costmodel.read.torch import from_torch


@pytest.mark.parametrize("missing", ["torch", "onnxscript"])
def test_the_cure_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None if name == missing else type(sys)(name))
    with pytest.raises(MissingExtra) as caught:
        from_torch(None, None)  # type: ignore[arg-type]
    assert str(caught.value) == f'from_torch needs {missing}: pip install "costmodel[torch]"'
