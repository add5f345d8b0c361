"""Enrols and forgets at random until it is killed, and tells of every call before and after: the child of kill_rounds.

A line of JSON each: what is tried, as ``{"enrol": [[number, subject], ...]}``, ``{"forget_samples": [id, ...]}`` or
``{"forget_subjects": [subject, ...]}``, and when the call has returned, ``{"done": [id, ...]}`` with the new samples.
"""

import json
import random
import sys
from collections.abc import Mapping

from store_kinds import GALLERY, enrol, open_kind, origin, vectors

from visavis.errors import StoreUnavailable
from visavis.galleries.records import Details, NewSample
from visavis.galleries.store import Store

DIMENSION = 32
SUBJECTS = 40
WANTED = 600  # samples, around which their number swings
BATCHES = (*[1] * 8, 2, 3, 5, 8, 300)
NUMBERS_OF_A_RUN = 1_000_000


def sample_of(number: int, subject: str) -> NewSample:
    """Return the sample of a number: always the same, and like no other's."""
    generator = random.Random(number)  # noqa: S311  # no secret
    return NewSample(
        subject=subject,
        embedding=vectors(1, DIMENSION, seed=number)[0],
        details=Details(name=f"name {number}") if number % 3 == 0 else Details(),
        source=str(number),
        picture=generator.randbytes(generator.choice((100, 100, 3000, 9000))) if number % 4 == 0 else None,
        key=f"key {number}",
    )


def say(line: Mapping[str, object]) -> None:
    """Print a line that outlives this process."""
    print(json.dumps(line), flush=True)  # noqa: T201  # to the parent


def work(store: Store, run: int) -> None:
    """Change the gallery for ever."""
    generator = random.Random(run)  # noqa: S311  # no secret
    alive = {sample.id: sample.subject for sample in store.samples(GALLERY, limit=100_000)}
    number = run * NUMBERS_OF_A_RUN
    while True:
        count = generator.choice(BATCHES)
        if generator.random() * 2 * WANTED > len(alive):
            batch = [(number + at, f"s{generator.randrange(SUBJECTS)}") for at in range(count)]
            number += count
            say({"enrol": batch})
            told = enrol(store, [sample_of(*one) for one in batch])
            alive.update({one.sample: one.subject.id for one in told})
            say({"done": [one.sample for one in told]})
        elif generator.random() < 0.8:
            chosen = generator.sample(sorted(alive), min(count, len(alive)))
            say({"forget_samples": chosen})
            store.forget_samples(GALLERY, chosen, origin())
            alive = {sample: subject for sample, subject in alive.items() if sample not in set(chosen)}
            say({"done": []})
        else:
            people = [f"s{generator.randrange(SUBJECTS)}" for _ in range(1 + count // 200)]
            say({"forget_subjects": people})
            store.forget_subjects(GALLERY, people, origin())
            alive = {sample: subject for sample, subject in alive.items() if subject not in people}
            say({"done": []})


if __name__ == "__main__":
    _, kind, url, run = sys.argv
    try:
        work(open_kind(kind, url), int(run))
    except StoreUnavailable as error:  # the server was killed
        sys.exit(error.code)
