"""kill -9 at any moment loses nothing that was acknowledged, and brings nothing back that was forgotten."""

from pathlib import Path

import pytest
from effort import effort, scaled
from kill_rounds import Kill, Rounds, killing
from postgres_server import running_server
from store_kinds import REAL_KINDS, Place

ROUNDS = effort(1, 4)
pytestmark = scaled


def check(rounds: Rounds, number: int, folder: Path, kill: Kill | None = None) -> None:
    """Run a round, and insist on a good end."""
    outcome = rounds.run(number, folder, kill)
    assert (outcome.lost, outcome.back, outcome.wrong) == ([], [], [])
    assert outcome.calls


@pytest.mark.parametrize("place", REAL_KINDS, indirect=True)
def test_a_process_is_killed(place: Place, tmp_path: Path) -> None:
    rounds = Rounds(place, seed=1)
    for number in range(1, ROUNDS + 1):
        check(rounds, number, tmp_path)


@pytest.mark.thorough
def test_a_database_server_is_killed(tmp_path: Path) -> None:
    with running_server() as server, server.database() as url:
        place = Place("postgres", url)
        rounds = Rounds(place, seed=2)
        for number in range(1, ROUNDS + 1):
            check(rounds, number, tmp_path, killing(server))
        place.close()
