"""All proofs, one after another: the figures of the README from the development data, however long it takes.

    python tests/proof/run.py --data DIR [--out DIR] [--only NAME …]

Each script prints what it found; a failing one is named at the end, and the status is then 1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS: dict[str, list[str]] = {
    "pipeline": ["pipeline.py", "--data", "{data}", "--out", "{out}/pipeline"],
    "scene": ["scene.py", "--data", "{data}", "--out", "{out}/scene"],
    "face": ["face.py", "--data", "{data}"],
    "calibration": ["calibration.py", "--data", "{data}", "--out", "{out}/calibration"],
    "fusion_on_oasis": ["fusion_on_oasis.py", "--data", "{data}", "--out", "{out}/fusion_on_oasis"],
    "calibrated_fusion": ["calibrated_fusion.py", "--data", "{data}", "--out", "{out}/calibrated_fusion"],
    "declared_comparisons": ["declared_comparisons.py", "--out", "{out}/declared_comparisons"],
    "stabilizer": ["stabilizer.py", "--out", "{out}/stabilizer"],
    "video": ["video.py", "--out", "{out}/video"],
    "clips": ["clips.py", "--data", "{data}", "--out", "{out}/clips"],
    "kills": ["kills.py"],
    "hostile": ["hostile.py"],
}


def main() -> None:
    """Run the scripts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=str(HERE.parents[2] / "shared" / "data"), help="the development data")
    parser.add_argument("--out", default="runs/proof", help="where tables go")
    parser.add_argument("--only", nargs="*", default=list(SCRIPTS), choices=list(SCRIPTS), help="some of them")
    options = parser.parse_args()
    failed = []
    for name in options.only:
        script, *arguments = [part.format(data=options.data, out=options.out) for part in SCRIPTS[name]]
        print(f"\n===== {name} =====", flush=True)
        began = time.monotonic()
        Path(options.out).mkdir(parents=True, exist_ok=True)
        if subprocess.run([sys.executable, str(HERE / script), *arguments], check=False).returncode:
            failed.append(name)
        print(f"===== {name}: {time.monotonic() - began:.0f} s =====", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
