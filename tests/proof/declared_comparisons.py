"""How often the verdict on the fusion is wrong, and what it sees: size, power and coverage of the evaluation.

    python tests/proof/declared_comparisons.py [--out DIR] [--repeats 1000] [--seed 0]

Made-up rows in groups of geometric size (3.4 on average), errors alike within a group (.4) and between the systems
(.925). Both axes are one family under Holm's correction. Shares of single comparisons are over both axes; their
standard error is below sqrt(share (1 - share) / repeats). Writes a table and a figure to --out.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evaluation.simulation import Scenario, simulate

GROUPS = (12, 25, 70, 300)
LESS_ERROR = (0.0, 0.05, 0.10)
COVERAGES = {"mae_coverage": "MAE, difference", "ccc_coverage": "CCC", "ccc_difference_coverage": "CCC, difference"}


def table_of(repeats: int, seed: int) -> pd.DataFrame:
    """A row for each number of groups and effect."""
    scenarios = [Scenario(groups, less) for groups in GROUPS for less in LESS_ERROR]
    return pd.DataFrame([asdict(s) | asdict(simulate(s, repeats, seed=seed)) for s in scenarios])


def show(table: pd.DataFrame) -> None:
    """The table on the terminal."""
    shown = Table(title="Declared comparison of two systems")
    titles = ("groups", "effective", "df", "less error", "better", "worse", "any of two", "p < .05")
    for title in (*titles, *COVERAGES.values(), "detectable"):
        shown.add_column(title, justify="right")
    for row in table.itertuples():
        sizes = (f"{row.groups}", f"{row.n_effective_groups:.0f}", f"{row.df:.0f}", f"{row.less_error:.0%}")
        shares = (row.better, row.worse, row.any, row.rejected, *(getattr(row, name) for name in COVERAGES))
        shown.add_row(*sizes, *(f"{share:.3f}" for share in shares), f"{row.minimum_detectable:.3f}")
    Console(width=160).print(shown)


def draw(table: pd.DataFrame, path: Path) -> None:
    """Size and power, and coverage, against the number of groups."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    power, coverage = figure.subplots(1, 2)
    for less, rows in table.groupby("less_error"):
        if less:
            power.plot(rows.groups, rows.better, marker="o", label=f"{less:.0%} less error: better")
        else:
            power.plot(rows.groups, rows["any"], marker="o", label="equal: an axis called better or worse")
    power.axhline(0.05, color="0.6", linestyle=":")
    power.set(xscale="log", xlabel="groups", ylabel="share called so", ylim=(0, 1), title="Size and power")
    for name, title in COVERAGES.items():
        rows = table[table.less_error == 0]
        coverage.plot(rows.groups, rows[name], marker="o", label=title)
    coverage.axhline(0.95, color="0.6", linestyle=":")
    coverage.set(xscale="log", xlabel="groups", ylim=(0.9, 1), title="Coverage of 95 % intervals")
    for axis in (power, coverage):
        axis.set_xticks(GROUPS, [str(groups) for groups in GROUPS])
        axis.minorticks_off()
        axis.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Simulates, prints, and writes the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/proof/declared_comparisons"))
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    table = table_of(options.repeats, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out / "declared_comparisons.csv", index=False)
    draw(table, options.out / "declared_comparisons.png")
    show(table)


if __name__ == "__main__":
    main()
