"""cluster.yaml and the README's RayJob, held to Ray's own schema and scheduler without any cloud."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def pinned(package: str = "ray") -> str:
    """The version that .ci/constraints.txt names."""
    found = re.search(rf"^{package}==(\S+)$", (ROOT / ".ci" / "constraints.txt").read_text(), re.MULTILINE)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    """cluster.yaml as Ray completes it, after Ray's own validation."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load((ROOT / "cluster.yaml").read_text()))
    validate_config(config)
    return config


def test_rays_own_validation_is_at_work(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    wrong = yaml.safe_load((ROOT / "cluster.yaml").read_text()) | {"spot": True}
    with pytest.raises(Exception, match="spot"):
        validate_config(prepare_config(wrong))


def test_images_and_constraints_and_this_python_have_one_version_of_ray(cluster: dict[str, Any]) -> None:
    import ray

    images = [cluster["docker"][which] for which in ("head_image", "worker_image")]
    assert [image.split(":")[1].split("-")[0] for image in images] == [pinned(), pinned()]
    assert all("-py311" in image for image in images)
    assert cluster["docker"]["worker_image"].endswith("-gpu")
    assert ray.__version__ == pinned()


def test_the_head_does_no_work_and_workers_start_from_none(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    head = types[cluster["head_node_type"]]
    assert head["resources"]["CPU"] == 0
    assert "GPU" not in head["resources"]
    workers = [each for name, each in types.items() if name != cluster["head_node_type"]]
    assert all(each["min_workers"] == 0 and each["resources"]["GPU"] >= 1 for each in workers)
    assert all(each["max_workers"] <= cluster["max_workers"] for each in workers)


def launched(cluster: dict[str, Any], available: dict[str, float], gpus: int = 3) -> dict[str, int]:
    """What Ray's scheduler would launch for this many actors of one GPU."""
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil

    config = AutoscalingConfig(cluster)
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=config.get_node_type_configs(),
        max_num_nodes=config.get_max_num_worker_nodes(),
        resource_requests=ResourceRequestUtil.group_by_count([ResourceRequestUtil.make({"GPU": 1})] * gpus),
        recoverable_resource_availabilities=available,
    )
    return {each.instance_type: each.count for each in ResourceDemandScheduler().schedule(request).to_launch}


def test_spot_machines_come_first_and_on_demand_ones_where_spot_has_none(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    (spot,) = (n for n, t in types.items() if "InstanceMarketOptions" in t["node_config"])
    assert types[spot]["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    (steady,) = set(types) - {spot, cluster["head_node_type"]}
    asked = launched(cluster, {})
    assert asked.get(spot) == 3
    assert steady not in asked
    refused = launched(cluster, {spot: 0.0})
    assert refused.get(steady) == 3
    assert spot not in refused


def test_every_process_asks_for_the_token_and_the_dashboard_stays_on_loopback(cluster: dict[str, Any]) -> None:
    for start in cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"]:
        assert start == "ray stop" or start.startswith("RAY_AUTH_MODE=token ray start"), start
    assert "--env RAY_AUTH_MODE=token" in cluster["docker"]["run_options"]
    assert any(target.endswith("/.ray/auth_token") for target in cluster["file_mounts"])
    text = (ROOT / "cluster.yaml").read_text()
    assert "--dashboard-host=127.0.0.1" in text
    assert "0.0.0.0" not in text
    (head,) = (command for command in cluster["head_start_ray_commands"] if "--head" in command)
    assert "--dashboard-host=127.0.0.1" in head


def test_every_machine_installs_the_project_at_the_pinned_versions(cluster: dict[str, Any]) -> None:
    (home,) = (target for target, source in cluster["file_mounts"].items() if source == ".")
    (install,) = (command for command in cluster["setup_commands"] if command.startswith("pip install"))
    assert f"{home}/.ci/constraints.txt" in install
    assert f"{home}[s3]" in install


def test_the_command_that_warms_the_cache_runs(cluster: dict[str, Any], tmp_path: Path) -> None:
    (warm,) = (command for command in cluster["setup_commands"] if command.startswith("python -c"))
    arguments = shlex.split(warm)
    done = subprocess.run(
        [sys.executable, *arguments[1:]], cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
    )
    assert "scene.backbone" in done.stdout


def test_the_readme_holds_a_ray_job_for_kubernetes() -> None:
    readme = ROOT / "README.md"
    assert readme.is_file(), "README.md is to hold a RayJob for KubeRay in a yaml block"
    blocks = re.findall(r"```yaml\n(.*?)```", readme.read_text(), re.DOTALL)
    jobs = [block for block in map(yaml.safe_load, blocks) if isinstance(block, dict) and block.get("kind") == "RayJob"]
    assert len(jobs) == 1, f"expected one RayJob in the yaml blocks of {readme}, found {len(jobs)}"
    spec = jobs[0]["spec"]
    cluster = spec["rayClusterSpec"]
    assert jobs[0]["apiVersion"] == "ray.io/v1"
    assert "jobs/eval_fusion.py" in spec["entrypoint"]
    assert "--out" in spec["entrypoint"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["backoffLimit"] >= 1
    assert cluster["rayVersion"] == pinned()
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert cluster["enableInTreeAutoscaling"] is True
    (workers,) = cluster["workerGroupSpecs"]
    assert (workers["replicas"], workers["minReplicas"]) == (0, 0)
    (container,) = workers["template"]["spec"]["containers"]
    assert int(container["resources"]["limits"]["nvidia.com/gpu"]) >= 1
