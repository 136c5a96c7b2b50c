from __future__ import annotations

from pathlib import Path

import pytest
from attacks import ATTACKS, Attack, attempt

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("each", ATTACKS, ids=lambda each: each.run.__name__)
def test_a_hostile_input_is_refused_or_harmless(each: Attack, tmp_path: Path) -> None:
    assert attempt(each, tmp_path / "files")


def test_there_are_at_least_thirty() -> None:
    assert len(ATTACKS) >= 30
