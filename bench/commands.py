"""What a user waits for at the shell, as whole processes: imports, help, and one verification; and the room it takes.

The size is that of visavis and of all packages that it requires, without extras, as their files lie on this disk: with
what Python compiled of them, and without. pip is not counted.

python bench/commands.py             medians of 5 runs each
python bench/commands.py --rounds 9  of more
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from portraits import astronaut_path, hopper_path

BARE = [sys.executable, "-c", "pass"]


def measure(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Return the seconds and the peak megabytes of one run."""
    start = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603  # our own command line
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise SystemExit(f"{command} failed: {process.returncode}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def installed_files() -> set[Path]:
    """Return the files of visavis, wherever it is imported from, and those of what it requires."""
    package = Path(importlib.util.find_spec("visavis").origin or "").parent  # type: ignore[union-attr]  # it is there
    names, files = ["visavis"], set(package.rglob("*"))
    for name in names:  # which grows
        found = distribution(name)
        files |= {Path(str(found.locate_file(file))).resolve() for file in found.files or ()}
        for requirement in map(Requirement, found.requires or ()):
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if wanted and requirement.name not in names:
                names.append(requirement.name)
    return {file for file in files if file.is_file()}


def main() -> None:
    """Measure every row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each command")
    rounds = parser.parse_args().rounds
    sizes = {file: file.stat().st_blocks * 512 / 1e6 for file in installed_files()}
    compiled = sum(size for file, size in sizes.items() if file.suffix == ".pyc")
    print(f"installed: {sum(sizes.values()):.0f} MB, {compiled:.0f} of them compiled by Python\n")
    visavis = [sys.executable, "-m", "visavis"]
    verify = [*visavis, "verify", str(astronaut_path()), str(hopper_path())]
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "VISAVIS_CACHE_DIR": cache}
        seconds, megabytes = measure(verify, environment)
        print(f"{'':44} {'seconds':>8} {'peak MB':>8}")
        print(f"{'visavis verify, the first time ever':44} {seconds:8.2f} {megabytes:8.0f}")
        for name, command in (
            ("visavis verify, from then on", verify),
            ("visavis --help", [*visavis, "--help"]),
            ("python -c 'import visavis'", [sys.executable, "-c", "import visavis"]),
            ("python -c 'from visavis import Recognizer'", [sys.executable, "-c", "from visavis import Recognizer"]),
            ("python -c pass", BARE),
        ):
            runs = [measure(command, environment) for _ in range(rounds)]
            print(
                f"{name:44} {statistics.median(run[0] for run in runs):8.2f} {max(run[1] for run in runs):8.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
