"""The command `emofuse` itself: what it lists, how it is called, and what it costs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from emofuse.commands import COMMANDS
from emofuse.version import __version__
from tests.commandline import run_command

ROOT = Path(__file__).resolve().parents[2]
SHOWN = {
    "evaluate": ("--manifest", "--scene.head", "--face.checkpoint", "--fusion.method", "--calibration", "--local"),
    "prepare": ("--out", "oasis", "findingemo"),
    "train": ("--manifest", "--backbone", "--expert", "--split", "--tune"),
    "calibrate": ("--predictions", "--calibrator.mean", "--sweep.means", "--fusion.method"),
    "stabilize": ("--fused", "--sweep.filters", "--stabilizer.max-gap"),
    "experiments": ("--out",),
    "benchmark": ("--workers", "--simulate"),
}
JOBS = {
    "eval_fusion": "evaluate",
    "prepare_dataset": "prepare",
    "train_scene": "train",
    "fit_calibration": "calibrate",
    "tune_stabilizer": "stabilize",
    "experiments": "experiments",
    "benchmark": "benchmark",
}


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_lists_every_command_in_one_line(arguments: tuple[str, ...]) -> None:
    done = run_command(*arguments)
    assert done.returncode == 0
    lines = [line.strip("│ ") for line in done.stdout.splitlines()]
    listed = {line.split()[1]: line.split(maxsplit=2)[2] for line in lines if line.startswith("•")}
    assert listed == {name: line for name, (_, line) in COMMANDS.items()}
    assert set(listed) == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_a_commands_help_shows_its_options(name: str) -> None:
    done = run_command(name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: emofuse {name} ")
    for option in SHOWN[name]:
        assert option in done.stdout


def test_help_loads_neither_torch_nor_ray() -> None:
    code = f"""
import contextlib, io, sys
from emofuse.commands import run
for name in {list(SHOWN)}:
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        run([name, "--help"])
print(*{{"torch", "ray", "timm", "open_clip"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert not done.stdout.strip()


def test_the_version_is_told_and_said_once() -> None:
    done = run_command("--version")
    assert (done.returncode, done.stdout) == (0, f"emofuse {__version__}\n")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "emofuse.version.__version__"
    assert project["project"]["scripts"] == {"emofuse": "emofuse.commands:main"}


@pytest.mark.parametrize("arguments", [("evalute",), ("--manifest", "m.parquet"), ("evaluate", "--face.viws", "3")])
def test_a_wrong_command_line_ends_with_status_2(arguments: tuple[str, ...]) -> None:
    assert run_command(*arguments).returncode == 2


def test_a_mistyped_option_is_told_its_likeliest_name() -> None:
    assert "--face.views" in run_command("evaluate", "--face.viws", "3").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("calibrate", "--predictions", "p", "--out", "o", "--calibrator.mean", "linear"),
            "--calibrator.mean would have",
        ),
        (
            ("calibrate", "--predictions", "p", "--out", "o", "--fusion.min-luma", "none"),
            "--fusion.min-luma would have",
        ),
        (("calibrate", "--predictions", "p", "--out", "o", "--no-tune", "--sweep.l2", "1"), "--sweep.l2 would have"),
        (("calibrate", "--predictions", "p", "--out", "o", "--no-tune", "--address", "a"), "--address would have"),
        (("calibrate", "--predictions", "p", "--out", "o", "--sweep.folds", "1"), "sweep.folds must be at least 2"),
        (("stabilize", "--fused", "f", "--out", "o", "--stabilizer.alpha", ".5"), "--stabilizer.alpha would have"),
        (("stabilize", "--fused", "f", "--out", "o", "--sweep.alpha", ".5", "2"), "sweep.alpha must be above 0"),
        (("stabilize", "--fused", "f", "--out", "o", "--local", "--address", "a"), "--address would have"),
        (("benchmark", "--milliseconds", "3"), "--milliseconds would have"),
        (("benchmark", "--simulate", "--scene.passes", "3"), "--scene.passes would have"),
        (("experiments", "."), "no run.json below"),
    ],
)
def test_a_user_error_is_one_line_and_status_1(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = run_command(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("job", "command"), JOBS.items())
def test_every_job_is_an_executable_file_that_calls_its_command(job: str, command: str) -> None:
    file = ROOT / "jobs" / f"{job}.py"
    assert file.read_text().startswith("#!/usr/bin/env python\n")
    assert file.stat().st_mode & 0o111
    assert f'main("{command}")' in file.read_text()


def test_a_job_and_the_module_are_the_command(tmp_path: Path) -> None:
    for start in ((str(ROOT / "jobs" / "experiments.py"),), ("-m", "emofuse", "experiments")):
        done = subprocess.run(
            [sys.executable, *start, "."], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False
        )
        assert (done.returncode, done.stderr) == (1, "error: no run.json below .\n")
