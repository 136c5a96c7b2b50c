from __future__ import annotations

import pytest

from emofuse.config import ComputeConfig
from emofuse.errors import ConfigError
from emofuse.pipeline.resources import READER_CPUS, block_rows, plan

CPU = ComputeConfig(device="cpu")


@pytest.mark.parametrize("cpus", [2, 3, 4, 8, 16, 96])
def test_on_cpus_every_core_gets_an_actor_and_the_reader_always_fits(cpus: int) -> None:
    made = plan(CPU, {"CPU": cpus}, 10_000)
    assert made.actors == (cpus, cpus)
    assert made.actor_gpus == 0
    assert made.actors[1] * made.actor_cpus + READER_CPUS <= cpus + 1e-9
    assert made.actors[1] * made.actor_cpus + made.task_cpus <= cpus


@pytest.mark.parametrize(("gpus", "fraction", "actors"), [(1, 1.0, 1), (4, 1.0, 4), (2, 0.5, 4), (3, 0.25, 12)])
def test_gpus_are_found_and_shared_by_fraction(gpus: int, fraction: float, actors: int) -> None:
    made = plan(ComputeConfig(gpu_fraction=fraction), {"CPU": 8, "GPU": gpus}, 10_000)
    assert made.actors == (actors, actors)
    assert made.actor_gpus == fraction
    assert made.actor_cpus == 0, "a GPU actor must leave the CPUs to decoding"


def test_a_cpu_run_leaves_gpus_alone() -> None:
    assert plan(CPU, {"CPU": 4, "GPU": 8}, 100).actor_gpus == 0


def test_several_threads_make_fewer_actors() -> None:
    made = plan(ComputeConfig(device="cpu", threads=4), {"CPU": 16}, 1_000)
    assert made.actors == (4, 4)


@pytest.mark.parametrize(
    ("compute", "cluster", "message"),
    [
        (ComputeConfig(actors=3), {"CPU": 8, "GPU": 2}, "3 actor.* need 3 GPU"),
        (ComputeConfig(device="cuda"), {"CPU": 8}, "cluster has 0"),
        (ComputeConfig(device="cpu"), {"CPU": 1}, "manifest's reader"),
        (ComputeConfig(device="cpu", actors=100), {"CPU": 4}, "do not fit"),
        (ComputeConfig(), {"CPU": 0, "GPU": 1}, "at least 1 CPU"),
    ],
)
def test_what_can_never_run_is_refused_at_once(compute: ComputeConfig, cluster: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(compute, cluster, 100)


def test_blocks_are_whole_batches_enough_for_every_actor_and_never_huge() -> None:
    assert block_rows(551, 2, 32) == 32
    assert block_rows(10, 8, 32) == 32
    assert block_rows(1_000_000, 8, 32) == 256
    for rows in (1, 100, 5_000, 10**6):
        for batch in (1, 8, 32, 64):
            assert block_rows(rows, 4, batch) % batch == 0


def test_no_actor_is_started_that_would_get_no_batch() -> None:
    assert plan(CPU, {"CPU": 16}, 14).actors == (1, 1)
    assert plan(CPU, {"CPU": 16}, 70).actors == (3, 3)
    assert plan(ComputeConfig(), {"CPU": 16, "GPU": 8}, 14).actors == (1, 1)


def test_a_detector_that_is_a_network_gets_actors_and_its_part_of_the_gpu() -> None:
    on_gpu = plan(ComputeConfig(), {"CPU": 8, "GPU": 2}, 10_000, torch_detector=True)
    assert on_gpu.detectors == 2
    assert on_gpu.actors[1] * on_gpu.actor_gpus + on_gpu.detectors * on_gpu.detector_gpus <= 2
    apart = ComputeConfig(device="cpu", decode="tasks")
    on_cpu = plan(apart, {"CPU": 4}, 10_000, torch_detector=True)
    used = on_cpu.actors[1] * on_cpu.actor_cpus + on_cpu.detectors * on_cpu.task_cpus
    assert on_cpu.detectors > 0
    assert used + READER_CPUS <= 4


def test_decoding_is_a_stage_apart_only_where_it_feeds_gpus_or_is_asked_for() -> None:
    assert plan(ComputeConfig(), {"CPU": 8, "GPU": 1}, 100).apart
    assert not plan(CPU, {"CPU": 8}, 100).apart
    assert plan(ComputeConfig(device="cpu", decode="tasks"), {"CPU": 8}, 100).apart
    assert not plan(ComputeConfig(decode="actors"), {"CPU": 8, "GPU": 1}, 100).apart
