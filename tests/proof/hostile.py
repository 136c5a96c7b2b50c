"""Hostile inputs, one line each: what was tried, what happened.

python tests/proof/hostile.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from attacks import ATTACKS, attempt


def main() -> int:
    """Try them all, in a folder that is thrown away; how many succeeded."""
    through = 0
    with tempfile.TemporaryDirectory(prefix="emofuse-hostile-") as folder:
        for number, each in enumerate(ATTACKS, 1):
            try:
                happened = attempt(each, Path(folder) / str(number))
            except AssertionError as error:
                through += 1
                happened = f"IT SUCCEEDED: {error}"
            print(f"{number:2d}. {each.name}: {happened.replace(folder, '…')}")
    print(f"{len(ATTACKS)} hostile inputs tried, {through} succeeded")
    return through


if __name__ == "__main__":
    sys.exit(bool(main()))
