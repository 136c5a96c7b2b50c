"""The documents name what is there: files, names, line counts, columns; and their examples run."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from test_layers import LAYERS

from emofuse.config import EvaluationConfig, InferenceConfig
from emofuse.tables import schema

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))
TOLERANCE = 0.15
"""By how much a line count may be off."""
CODE = re.compile(r"```.*?```", re.S)
QUOTED = re.compile(r"`([^`\n]+)`")
FOLDERS = ("emofuse", "jobs", "tests", "notebooks", "docs", ".github", ".ci")
TABLES = {
    "Manifest": schema.MANIFEST,
    "Predictions": pa.schema([field for field in schema.PREDICTIONS if field.name not in schema.MANIFEST.names]),
    "Fused": pa.schema([field for field in schema.FUSED if field.name not in schema.PREDICTIONS.names]),
    "Metrics": schema.METRICS,
    "Comparisons": schema.COMPARISONS,
}


def quoted(path: Path) -> list[str]:
    """What stands in backquotes outside of code blocks."""
    return QUOTED.findall(CODE.sub("", path.read_text(encoding="utf-8")))


def examples() -> list[tuple[str, str]]:
    """Heading and source of every example of docs/extending.md."""
    parts = re.split(r"^## ", (ROOT / "docs/extending.md").read_text(encoding="utf-8"), flags=re.M)[1:]
    return [(part.split("\n")[0], code) for part in parts for code in re.findall(r"```python\n(.*?)```", part, re.S)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_the_documents_name_are_there(document: Path) -> None:
    named = [
        each for each in quoted(document) if re.fullmatch(rf"(?:{'|'.join(map(re.escape, FOLDERS))})[\w/.-]*", each)
    ]
    paths = [each for each in named if "/" in each and "NAME" not in each]
    assert [each for each in paths if not (ROOT / each).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_names_that_the_documents_give_can_be_imported(document: Path) -> None:
    for name in [each for each in quoted(document) if re.fullmatch(r"emofuse(\.\w+)+", each)]:
        module, _, attribute = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), attribute), name


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "SECURITY.md"], ids=lambda path: path.name)
def test_options_that_the_documents_name_are_there(document: Path) -> None:
    for part, option in re.findall(r"`--(\w+)\.([a-z-]+)", document.read_text(encoding="utf-8")):
        config = next(each for each in (InferenceConfig(), EvaluationConfig()) if hasattr(each, part))
        assert hasattr(getattr(config, part), option.replace("-", "_")), f"--{part}.{option}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", document.read_text(encoding="utf-8"))):
        file, _, anchor = target.partition("#")
        if "://" in file:
            continue
        other = document.parent / file if file else document
        assert other.exists(), target
        headings = re.findall(r"^#+ (.+)$", other.read_text(encoding="utf-8"), flags=re.M)
        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, target


def test_line_counts_are_about_right() -> None:
    rows = re.findall(r"^\| `([\w/.]+)` \| (\d+) \|", (ROOT / "docs/architecture.md").read_text(encoding="utf-8"), re.M)
    assert rows[0][0] == "emofuse/pipeline.py"
    for file, said in rows:
        lines = len((ROOT / file).read_text(encoding="utf-8").splitlines())
        assert abs(int(said) - lines) <= TOLERANCE * lines, f"{file} has {lines} lines, not {said}"


def test_layers_are_those_that_imports_keep_to() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    said = [set(QUOTED.findall(names)) for names in re.findall(r"^\| \d \| (.+) \|$", text, re.M)]
    assert said == [set(each) - {""} for each in LAYERS]


@pytest.mark.parametrize("name", TABLES)
def test_columns_are_those_of_the_schema(name: str) -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    section = re.search(rf"^### {name}\n(.*?)(?=^##)", text, re.M | re.S)
    assert section
    said = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section[1], re.M))
    assert said == {field.name: _kind(field) + "?" * field.nullable for field in TABLES[name]}


def _kind(field: pa.Field) -> str:
    return f"list<{field.type.value_type}>" if pa.types.is_list(field.type) else str(field.type)


@pytest.mark.slow
@pytest.mark.parametrize(("heading", "source"), examples(), ids=[heading for heading, _ in examples()])
def test_examples_run(heading: str, source: str, tmp_path: Path) -> None:
    there = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", source], cwd=tmp_path, capture_output=True, text=True, env=there)
    assert done.returncode == 0, done.stderr
