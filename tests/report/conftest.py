"""Made runs, shared by the tests of the report."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest


def _fake_run() -> Callable[..., Path]:
    spec = importlib.util.spec_from_file_location("fake_run", Path(__file__).with_name("fake_run.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_run


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    """`fake_run.make_run`."""
    return _fake_run()


@pytest.fixture(scope="session")
def run_dir(make_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 90 images and one clip of 60 frames."""
    return make_run(tmp_path_factory.mktemp("run"), rows=90, frames=60, demonstration=True)
