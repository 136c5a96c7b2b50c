"""The examples in docstrings give what they show."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def with_examples() -> list[str]:
    """The modules of the package whose text holds an example."""
    files = sorted((ROOT / "emofuse").rglob("*.py"))
    names = [path.relative_to(ROOT).with_suffix("") for path in files if ">>>" in path.read_text(encoding="utf-8")]
    return [".".join(name.parts).removesuffix(".__init__") for name in names]


@pytest.mark.parametrize("name", with_examples())
def test_examples(name: str) -> None:
    found = doctest.testmod(import_module(name))
    assert found.attempted > 0
    assert found.failed == 0
