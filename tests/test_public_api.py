"""What `import emofuse` offers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import emofuse
import emofuse.metrics

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "python_api.py"


def test_every_name_that_is_offered_is_there() -> None:
    assert all(getattr(emofuse, name) is not None for name in emofuse.__all__)
    assert dir(emofuse) == sorted(emofuse.__all__)
    assert all(callable(getattr(emofuse.metrics, name)) or name.isupper() for name in emofuse.metrics.__all__)
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        emofuse.evalute  # noqa: B018


def test_evaluate_is_the_function_whatever_was_imported_before() -> None:
    import emofuse.pipeline

    assert emofuse.evaluate is emofuse.pipeline.evaluate


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(EXAMPLE)], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"demo", "demo.parquet", "equal"}
    first, second = (line.split() for line in done.stdout.splitlines() if line.startswith(str(tmp_path)))
    assert first[1:] != second[1:]
    assert done.stdout.splitlines()[-1].startswith("DataError no manifest at")
