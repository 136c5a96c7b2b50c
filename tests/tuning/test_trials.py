"""Tasks on Ray Tune: all of them, in order, or no result."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
from ray import tune

from emofuse.errors import EmofuseError
from emofuse.tuning.trials import fit, run_tasks


def divided(number, by):
    return number / by


def test_results_come_in_the_order_of_the_tasks_and_a_failure_is_told(tmp_path, ray_cluster):
    results, took = run_tasks([partial(divided, by=by) for by in (1, 2, 4)], 12, str(tmp_path))
    assert results == [12, 6, 3]
    assert took["peak_memory_mb"] > 0
    assert not (tmp_path / "tune").exists()
    with pytest.raises(EmofuseError, match=r"(?s)1 of 2 trials failed.*ZeroDivisionError"):
        run_tasks([partial(divided, by=by) for by in (1, 0)], 12, str(tmp_path))


@pytest.mark.parametrize(
    "pending",
    [
        [],
        [SimpleNamespace(error=None, metrics=None)],
        [SimpleNamespace(error=None, metrics={"valid_loss": 0.1, "done": False})],
    ],
    ids=["never made", "not begun", "under way"],
)
def test_an_interrupted_search_is_no_result(monkeypatch, pending):
    """What Tune gives back after an interrupt: fewer trials, or some that are not done."""
    ended = [SimpleNamespace(error=None, metrics={"done": True}), SimpleNamespace(error=ValueError(), metrics=None)]

    class Interrupted:
        def __init__(self, *_, **__):
            pass

        def fit(self):
            return ended + pending

    monkeypatch.setattr(tune, "Tuner", Interrupted)
    arguments = (divided, {"cpu": 1}, {}, tune.TuneConfig(), "nowhere")
    with pytest.raises(KeyboardInterrupt, match="2 of 3"):
        fit(*arguments, 3)
    assert fit(*arguments, 2) == ended + pending
