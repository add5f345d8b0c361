"""kill -9 at random moments during enrolment and forgetting: what is lost, and what comes back.

A process enrols and forgets at random, and says what was acknowledged; it, or the database server, is killed; the store
is opened again and compared with what was said. Each round goes on with what the last one left.

    python bench/kill.py               50 rounds each: SQLite, plain and encrypted, and PostgreSQL, client and server
    python bench/kill.py --rounds 10
"""

import argparse
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from kill_rounds import Kill, Outcome, Rounds, killing  # from the folder named above
from postgres_server import running_server  # likewise
from store_kinds import Place  # likewise


def report(name: str, rounds: Rounds, count: int, folder: Path, kill: Kill | None = None) -> bool:
    """Run rounds and print what they found; return whether all is well."""
    outcomes: list[Outcome] = []
    for number in range(1, count + 1):
        outcomes.append(rounds.run(number, folder, kill))
        print(f"\r{name}: round {number} of {count}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    lost, back = (sum(len(getattr(outcome, what)) for outcome in outcomes) for what in ("lost", "back"))
    wrong = [fault for outcome in outcomes for fault in outcome.wrong]
    pending = Counter(outcome.pending for outcome in outcomes)
    print(
        f"{name}: {count} rounds, {sum(outcome.calls for outcome in outcomes)} acknowledged calls: "
        f"{lost} acknowledged samples lost, {back} forgotten samples back, {len(wrong)} other faults; "
        f"calls under way: {pending['made']} made, {pending['not made']} not made, {pending['in part']} in part",
        flush=True,
    )
    for fault in wrong:
        print(f"  {fault}")
    return not (lost or back or wrong)


def main() -> None:
    """Run all rounds; the exit status tells whether anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    count = parser.parse_args().rounds
    well = True
    with ExitStack() as resources:
        folder = Path(resources.enter_context(tempfile.TemporaryDirectory()))
        for kind in ("sqlite", "sqlite-encrypted"):
            place = resources.enter_context(closing(Place(kind, f"sqlite:///{folder}/{kind}.db")))
            well &= report(kind, Rounds(place, seed=1), count, folder)
        server = resources.enter_context(running_server())
        for name, kill in (("postgres, client killed", None), ("postgres, server killed", killing(server))):
            url = resources.enter_context(server.database())
            place = resources.enter_context(closing(Place("postgres", url)))
            well &= report(name, Rounds(place, seed=2), count, folder, kill)
    sys.exit(not well)


if __name__ == "__main__":
    main()
