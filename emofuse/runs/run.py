"""The run directory: its paths, its record with fingerprints and provenance, and its commit.

    RUN/  run.json  predictions/  fused/  metrics.parquet  comparisons.parquet  report.html  _SUCCESS

Two fingerprints stand in run.json. Predict's covers all that can change a prediction,
evaluate's adds all that can change the evaluation. `_SUCCESS` is written last.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa

from emofuse.config import EvaluationConfig, InferenceConfig
from emofuse.errors import ConfigError, DataError
from emofuse.io import storage
from emofuse.io.addresses import display_uri, is_remote, names_secret, redact_address
from emofuse.version import __version__

LIBRARIES = ("ray", "torch", "torchvision", "timm", "open_clip_torch", "opencv-python", "numpy", "pyarrow", "pillow")


@dataclass(frozen=True)
class Run:
    """A run directory; every path in it is derived here.

    Attributes:
        address: a local path or any fsspec address.
    """

    address: str

    @property
    def predictions(self) -> str:
        """Folder of the predictions table."""
        return storage.join(self.address, "predictions")

    @property
    def fused(self) -> str:
        """Folder of the fused table."""
        return storage.join(self.address, "fused")

    @property
    def metrics(self) -> str:
        """The metrics table."""
        return storage.join(self.address, "metrics.parquet")

    @property
    def comparisons(self) -> str:
        """The comparisons table."""
        return storage.join(self.address, "comparisons.parquet")

    def read_predictions(self) -> pa.Table:
        """One row for each image: each expert's mean and variance."""
        return storage.read_table(self.predictions)

    def read_fused(self) -> pa.Table:
        """One row for each image: the experts as they were fused, the fusion, the gates."""
        return storage.read_table(self.fused)

    def read_metrics(self) -> pa.Table:
        """One row for each system, axis, metric and subset, with its interval."""
        return storage.read_table(self.metrics)

    def read_comparisons(self) -> pa.Table:
        """One row for each difference between two systems, with its interval and p-value."""
        return storage.read_table(self.comparisons)

    @property
    def subgroups(self) -> str:
        """The table by subgroup, where one was asked for."""
        return storage.join(self.address, "subgroups.parquet")

    @property
    def report(self) -> str:
        """The report page."""
        return storage.join(self.address, "report.html")

    def load(self) -> dict[str, Any]:
        """run.json, or an empty dict where there is none yet.

        Raises:
            ConfigError: if it is there and was not written by emofuse.
        """
        address = storage.join(self.address, "run.json")
        if not storage.exists(address):
            return {}
        try:
            record = json.loads(storage.read_bytes(address))
        except (ValueError, RecursionError):
            raise ConfigError(
                f"{display_uri(address)} is not JSON; is {display_uri(self.address)} a run directory?"
            ) from None
        if not isinstance(record, dict) or "emofuse" not in record:
            raise ConfigError(f"{display_uri(address)} was not written by emofuse")
        return record

    def save(self, record: dict[str, Any]) -> None:
        """Write run.json in one step, secrets in addresses removed."""
        text = json.dumps(redact(record), indent=2, sort_keys=True, default=str)
        storage.write_bytes(storage.join(self.address, "run.json"), text.encode())

    @property
    def finished(self) -> bool:
        """Whether `_SUCCESS` is there."""
        return storage.exists(storage.join(self.address, "_SUCCESS"))

    def commit(self) -> None:
        """Write `_SUCCESS`, the last file of a run."""
        storage.write_bytes(storage.join(self.address, "_SUCCESS"), b"")

    def open(self, marks: dict[str, str]) -> dict[str, Any]:
        """Claim the directory for a run with these fingerprints, new or resumed.

        Args:
            marks: fingerprint by stage, "predict" before "evaluate".

        Returns:
            The run's record so far, with the fingerprints in it.

        Raises:
            ConfigError: if the directory holds another run, or something that is not a run.
        """
        record = self.load()
        if not record and storage.names(self.address):
            raise ConfigError(
                f"{display_uri(self.address)} is not empty and holds no run; name a new directory with --out"
            )
        for stage, mark in marks.items():
            found = record.get("fingerprints", {}).get(stage)
            # What evaluates is written last: before that, an evaluation with corrected options may take its place.
            if found not in (None, mark) and (stage != "evaluate" or self.finished):
                marks_differ = f"another {stage} fingerprint ({found[:12]}, now {mark[:12]})"
                raise ConfigError(
                    f"{display_uri(self.address)} holds a run with {marks_differ}: "
                    f"{_DIFFERS.get(stage, _DIFFERS['predict'])}"
                )
        return {"emofuse": __version__, **record, "fingerprints": marks}


_DIFFERS = {
    "predict": "data, weights or options differ; name a new directory with --out",
    "evaluate": "options of the evaluation differ; re-evaluate its predictions with --predictions and a new --out",
}


def predictions_of(address: str) -> tuple[str, dict[str, Any]]:
    """Where predictions lie, and the record of the run they belong to; empty where they belong to none.

    Args:
        address: a predictions table, the predictions folder of a run, or the run's directory.

    Raises:
        DataError: if nothing is there.
    """
    if not storage.exists(address):
        raise DataError(f"there are no predictions at {display_uri(address)}")
    run = Run(address)
    if storage.exists(run.predictions):
        return run.predictions, run.load()
    return address, Run(storage.parent(address)).load()


def folder() -> str:
    """Where runs go that name no directory: $EMOFUSE_RUNS, else ~/emofuse/runs in a Ray job and runs/ elsewhere."""
    named = os.environ.get("EMOFUSE_RUNS")
    return storage.absolute(named or ("~/emofuse/runs" if in_ray_job() else "runs"))


def in_ray_job() -> bool:
    """Whether this process was submitted with `ray job submit`, and so runs in a temporary copy of its folder."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def check_output(address: str) -> str:
    """An output's absolute address.

    Raises:
        ConfigError: for a relative path in a Ray job, which would land in a folder that is thrown away.
    """
    if in_ray_job() and not is_remote(address) and not address.startswith(("/", "~", "file://")):
        raise ConfigError(
            f"--out {address} is relative, and a submitted job runs in a temporary copy of its folder: "
            "name an absolute path or an address, or leave it out for $EMOFUSE_RUNS or ~/emofuse/runs"
        )
    return storage.absolute(address)


def content_sha256(address: str) -> str:
    """SHA-256 of a file's bytes."""
    return hashlib.sha256(storage.read_bytes(storage.absolute(address))).hexdigest()


def fingerprint(*parts: object) -> str:
    """SHA-256 over the canonical JSON of `parts` (dataclasses allowed)."""
    text = json.dumps([_plain(part) for part in parts], sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def inference_fingerprint(manifest: str, config: InferenceConfig, weights: dict[str, str]) -> str:
    """Fingerprint of all that can change a prediction.

    Args:
        manifest: the manifest's content fingerprint.
        config: the options; how wide a run is (actors, blocks) does not count.
        weights: file name or part → sha256 of every weight file that takes part.
    """
    compute = dataclasses.asdict(config.compute)
    for width in ("actors", "gpu_fraction", "rows_per_block", "decode"):
        compute.pop(width)
    media = {k: v for k, v in dataclasses.asdict(config.media).items() if k != "retries"}
    names = {k: v for k, v in dataclasses.asdict(config).items() if k not in ("compute", "media")}
    return fingerprint(__version__, manifest, names, compute, media, weights)


def evaluation_fingerprint(
    predict: str, config: EvaluationConfig, calibration: str | None, stabilizer: str | None = None
) -> str:
    """Fingerprint of all that can change an evaluation: predict's fingerprint, the options, sha256 of the files they name."""
    return fingerprint(__version__, predict, config, calibration, stabilizer)


def provenance() -> dict[str, Any]:
    """Code version, library versions, machine and time, for run.json."""
    return {
        "emofuse": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "machine": {"system": platform.platform(), "processor": platform.machine()},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def redact(value: Any) -> Any:
    """`value` without what may be a secret: passwords in addresses, and entries and query parts named like one."""
    if isinstance(value, dict):
        return {k: "…" if names_secret(str(k)) and isinstance(v, str) else redact(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact(item) for item in value]
    if isinstance(value, str) and "://" in value:
        return redact_address(value)
    if isinstance(value, (pa.Scalar, Path)):
        return str(value)
    return value


def _plain(part: object) -> object:
    return dataclasses.asdict(part) if dataclasses.is_dataclass(part) and not isinstance(part, type) else part


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The checkout's commit, with `+` where files differ from it; None outside a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=10)
        dirty = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=root, capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return head.stdout.strip() + ("+" if dirty.returncode else "") if head.returncode == 0 else None
