"""What every job's command line shares: options from dataclasses, one-line errors, exit status."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, TypeVar

from emofuse.errors import EmofuseError
from emofuse.io.addresses import printable

Options = TypeVar("Options")


def run_job(main: Callable[[Options], object], options: type[Options], description: str) -> NoReturn:
    """Parse the command line into `options`, run `main` with it, and end the process with a status.

    Exit status: 0 done; 1 a user error, told in one line on standard error; 2 a wrong
    command line; 130 interrupted. Anything else keeps its traceback, as a defect of ours.

    Args:
        main: the job, given the parsed options.
        options: a (nested) dataclass; its fields become options and their docstrings the help.
        description: the first paragraph of `--help`.
    """
    import tyro

    # Options check their ranges as they are made, so parsing can end in a user error too.
    _end(status_of(lambda parse: main(parse()), lambda: tyro.cli(options, description=description)))


def status_of(main: Callable[[Options], object], parsed: Options) -> int:
    """Run `main`, tell what went wrong in one line, and give the exit status; see `run_job`."""
    try:
        main(parsed)
    except EmofuseError as error:
        print(f"error: {printable(' '.join(str(error).split()))}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where this one stopped", file=sys.stderr, flush=True)
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`| head`); Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _end(status: int) -> NoReturn:
    """End the process with this status, once what was registered for its end has run.

    Threads of pyarrow and torch may outlive the interpreter, and then abort the process with another status.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
