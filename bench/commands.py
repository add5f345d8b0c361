"""What a user waits for at the shell, as whole processes: imports, help, and one verification.

python bench/commands.py             medians of 5 runs each
python bench/commands.py --rounds 9  of more
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

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


def main() -> None:
    """Measure every row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each command")
    rounds = parser.parse_args().rounds
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
