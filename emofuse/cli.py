"""What every command shares: one-line errors, exit status, and no option that is passed over in silence."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, is_dataclass
from typing import NoReturn

from emofuse.errors import ConfigError, EmofuseError
from emofuse.io.addresses import printable


def status_of(job: Callable[[], object]) -> int:
    """Run `job`, tell what went wrong in one line on standard error, and give the exit status.

    0 done; 1 a user error; 130 interrupted. A wrong command line exits with 2 by itself. Anything else keeps its
    traceback, as a defect of ours.
    """
    try:
        job()
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


def end(status: int) -> NoReturn:
    """End the process with this status, once what was registered for its end has run.

    Threads of pyarrow and torch may outlive the interpreter, and then abort the process with another status.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def refuse(options: object, *names: str, why: str) -> None:
    """Refuse options that would have no effect, instead of passing over them.

    Args:
        options: a dataclass whose fields have defaults; a field may be such a dataclass itself.
        names: of fields, `part` or `part.name`; one that differs from its default was given.
        why: what is to be done, for the message.

    Raises:
        ConfigError: naming those that were given.
    """
    given = [name for name in changed(options) for left in names if name == left or name.startswith(f"{left}.")]
    if given:
        shown = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ConfigError(f"{shown} would have no effect: {why}")


def changed(options: object, prefix: str = "") -> list[str]:
    """Fields that differ from their defaults, as `name` or `part.name`; those without a default are passed over."""
    found = []
    for f in fields(options):  # type: ignore[arg-type]
        value = getattr(options, f.name)
        if is_dataclass(value):
            found += changed(value, f"{prefix}{f.name}.")
        elif value != f.default:
            found.append(prefix + f.name)
    return found
