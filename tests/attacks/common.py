"""What an attack is, how it is tried, and what counts as a refusal."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from emofuse.errors import EmofuseError

ATTACKS: list[Attack] = []


@dataclass(frozen=True)
class Attack:
    """One attempt.

    Attributes:
        name: what is tried.
        run: tries it in an empty folder, and says what happened.
    """

    name: str
    run: Callable[[Path], str]


def attack(name: str) -> Callable[[Callable[[Path], str]], Callable[[Path], str]]:
    """Enter a function into the list."""

    def enter(run: Callable[[Path], str]) -> Callable[[Path], str]:
        ATTACKS.append(Attack(name, run))
        return run

    return enter


class Owner:
    """Unpickled, it leaves a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, (str(self._folder / "owned"),)


def refused(action: Callable[[], object], *, kind: str | None = None, kinds: type[Exception] = EmofuseError) -> str:
    """The one line that an action is refused with."""
    try:
        action()
    except kinds as error:
        line = str(error)
        found = getattr(error, "kind", None)
    else:
        raise AssertionError("it was let through")
    assert line.isprintable(), ascii(line)
    assert len(line) < 2000, len(line)
    assert kind in (None, found), line
    return f"refused: {line[:110]}"


def memory() -> float:
    """Most memory this process has held, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def attempt(each: Attack, folder: Path) -> str:
    """Run one, and see that no pickle was run.

    Raises:
        AssertionError: if it succeeded, or ended in something else than a refusal.
    """
    folder.mkdir(parents=True, exist_ok=True)
    happened = each.run(folder)
    assert not (folder / "owned").exists(), "its code was run"
    return happened
