"""Command lines run in this process: a second of imports is paid once, not by every test."""

from __future__ import annotations

import io
import os
import subprocess
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

from emofuse.cli import status_of
from emofuse.commands import run


def run_command(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`emofuse ARGUMENTS` with the status and the output that the process would have."""
    line, out, err = [str(each) for each in arguments], io.StringIO(), io.StringIO()
    with chdir(cwd or os.getcwd()), redirect_stdout(out), redirect_stderr(err):
        try:
            status = status_of(lambda: run(line))
        except SystemExit as end:
            status = int(end.code or 0)
    return subprocess.CompletedProcess(line, status, out.getvalue(), err.getvalue())
