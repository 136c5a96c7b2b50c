"""The table by subgroup: its numbers, its mean over subgroups, its gap, and columns that cannot be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from emofuse.config import EvaluationConfig
from emofuse.errors import DataError
from emofuse.evaluation.evaluate_table import evaluate_table
from emofuse.metrics.significance.contrasts import largest_gap
from emofuse.tables.columns import both
from emofuse.tables.schema import PREDICTIONS, SUBGROUPS, conform

N = 60
CATEGORY = np.array(["cat", "dog", None], dtype=object)[np.arange(N) // 4 % 3]


def table(**columns: object) -> pa.Table:
    rng = np.random.default_rng(0)
    truth = rng.uniform(-0.8, 0.8, (N, 2))
    scene = truth + rng.normal(0, 0.1, (N, 2)) * np.where(CATEGORY == "dog", 3, 1)[:, None]
    made: dict[str, object] = {
        "sample_id": [f"{i:02}" for i in range(N)],
        "group": [f"g{i // 2}" for i in range(N)],
        "in_sample": [False] * (N - 12) + [True] * 12,
        "status": ["ok"] * N,
        "category": CATEGORY,
        **columns,
    }
    for k, axis in enumerate(("valence", "arousal")):
        made |= {axis: truth[:, k], f"scene_{axis}": scene[:, k], f"scene_{axis}_variance": np.full(N, 0.02)}
    return conform(pa.table({name: pa.array(each) for name, each in made.items()}), PREDICTIONS, "predictions")


def evaluated(*by: str, **columns: object) -> list[dict[str, object]]:
    found = evaluate_table(table(**columns), replace(EvaluationConfig(), by=by)).subgroups
    assert found.schema.equals(SUBGROUPS)
    return found.to_pylist()


def pick(rows: list[dict[str, object]], **wanted: object) -> list[dict[str, object]]:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def test_each_value_is_evaluated_by_itself_on_rows_out_of_sample() -> None:
    rows, made = evaluated("category"), table()
    error = np.abs(both(made) - np.clip(both(made, "scene"), -1, 1))[: N - 12]
    means = []
    for value in ("cat", "dog"):
        (row,) = pick(rows, kind="subgroup", value=value, system="scene", axis="arousal", metric="mae")
        mine = CATEGORY[: N - 12] == value
        assert row["estimate"] == pytest.approx(error[mine, 1].mean(), abs=1e-6)
        assert (row["n"], row["n_groups"]) == (16, 8)
        assert row["ci_low"] < row["estimate"] < row["ci_high"]
        means.append(row["estimate"])
    (macro,) = pick(rows, kind="macro", system="scene", axis="arousal", metric="mae")
    assert (macro["estimate"], macro["n"]) == (pytest.approx(np.mean(means)), 32)
    assert {row["value"] for row in pick(rows, kind="subgroup")} == {"cat", "dog"}


def test_the_gap_is_that_of_the_fusion_over_pairs_and_both_axes() -> None:
    rows, made = evaluated("category"), table()
    (gap,) = pick(rows, kind="gap", axis="valence")
    error = np.abs(both(made) - np.clip(both(made, "scene"), -1, 1))[: N - 12, 0]
    number = np.select([CATEGORY == "cat", CATEGORY == "dog"], [0, 1], -1)[: N - 12]
    expected = largest_gap(error, number, 2, np.arange(N - 12) // 2, families=2)
    assert expected is not None
    assert (gap["value"], gap["against"], gap["system"], gap["metric"], gap["pairs"]) == (
        "dog",
        "cat",
        "fused",
        "mae",
        2,
    )
    assert (gap["estimate"], gap["ci_low"]) == pytest.approx(
        (expected.difference.estimate, expected.difference.low), abs=1e-6
    )


def test_numbers_and_booleans_make_subgroups_and_several_columns_stand_one_after_another() -> None:
    rows = evaluated("year", "old", year=np.arange(N) // 4 % 2 + 2000, old=np.arange(N) // 4 % 2 == 0)
    assert list(dict.fromkeys((row["by"], row["value"]) for row in pick(rows, kind="subgroup"))) == [
        ("year", "2000"), ("year", "2001"), ("old", "False"), ("old", "True"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ("gender", "--by gender: no such column of text, numbers or booleans; those of your own are: category"),
        ("person_box", "--by person_box: no such column"),
        ("sample_id", "--by sample_id: it has 48 values, more than 40; cut it into ranges first"),
    ],
)
def test_a_column_that_cannot_be_is_named(by: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        evaluated(by)
