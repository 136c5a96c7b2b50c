"""The command `emofuse` and its sub-commands, one module each: `Options`, a `DESCRIPTION`, and `main(options)`.

A sub-command's module is imported when it is called, and what that imports at its head is light: help comes at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, NoReturn, Union

from emofuse.cli import end, status_of
from emofuse.version import __version__

COMMANDS = {
    "evaluate": ("emofuse.commands.evaluate", "Predict, fuse, and measure what the face adds."),
    "prepare": ("emofuse.commands.prepare", "Turn a data set, as published, into a manifest."),
    "train": ("emofuse.commands.train", "Train a head on the images of a manifest."),
    "calibrate": ("emofuse.commands.calibrate", "Fit means, variances and fusion to predictions."),
    "stabilize": ("emofuse.commands.stabilize", "Find the filter that best smooths a run's sequences."),
    "experiments": ("emofuse.commands.experiments", "Collect every run below a folder into one table."),
    "benchmark": ("emofuse.commands.benchmark", "Measure what this machine attains of what it could."),
}
"""Module and one line of help by the name of the sub-command."""
DESCRIPTION = """Evaluate and fuse scene and face models of valence and arousal.
`emofuse COMMAND --help` lists the options of a command, `emofuse --version` tells the version."""


def main(*leading: str) -> NoReturn:
    """Run the command line, with `leading` before its arguments, and end the process with its status."""
    end(status_of(lambda: run([*leading, *sys.argv[1:]])))


def run(arguments: Sequence[str]) -> None:
    """Run a command line in this process.

    Raises:
        EmofuseError: what the user can mend.
        SystemExit: after help, or a command line that cannot be parsed.
    """
    if list(arguments) == ["--version"]:
        print(f"emofuse {__version__}")
        return
    import tyro

    if not arguments or arguments[0] not in COMMANDS:
        tyro.cli(_overview(), prog="emofuse", description=DESCRIPTION, args=arguments or ["--help"])
        return
    name, *rest = arguments
    command = import_module(COMMANDS[name][0])
    command.main(tyro.cli(command.Options, prog=f"emofuse {name}", description=command.DESCRIPTION, args=rest))


@dataclass(frozen=True)
class _Nothing:
    """Stands for a command's options where commands are only listed."""


def _overview() -> type:
    import tyro

    listed = [Annotated[_Nothing, tyro.conf.subcommand(name, description=line)] for name, (_, line) in COMMANDS.items()]
    return Union[tuple(listed)]  # type: ignore[return-value] # noqa: UP007 - the members are only known here
