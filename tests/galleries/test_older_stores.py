"""Stores of the version before policies could leave limits to the pack, and before yaw and pitch were told."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from service_kinds import NOON as NOW
from service_kinds import PACK, Clock, FakeEyes, at
from store_kinds import GALLERY, REAL_KINDS, Place, enrol, make, new_samples, origin, place_of, vectors

from visavis.errors import ExtremePose, LowScore
from visavis.galleries.records import NewSample
from visavis.galleries.sqlite.schema import SCHEMA
from visavis.options import Policy
from visavis.service.decisions import limits_of
from visavis.service.gallery import Galleries
from visavis.types import EmbeddingSpace, Quality

# As it was stored.
OLD_POLICY = {
    "threshold": None,
    "margin": 0.02,
    "conflict_threshold": None,
    "min_face_px": 40.0,
    "min_sharpness": 0.06,
    "min_score": 0.75,
    "probe_min_face_px": 0.0,
    "probe_min_sharpness": 0.03,
    "probe_min_score": 0.0,
    "keep": "images",
    "retention_days": None,
    "consent_required": False,
    "log_searches": True,
}
OLD_QUALITY = Quality(120.0, 0.25, 1.0)


@pytest.fixture(params=REAL_KINDS)
def old_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A store with a gallery of one sample, as the older version has left it."""
    with place_of(request.param, tmp_path, request) as place:
        store = place.open()
        store.create(GALLERY, EmbeddingSpace(PACK.space.id, 3, "euclidean"), Policy(keep="images"), origin())
        enrol(store, [NewSample(subject="ada", embedding=at(0), quality=OLD_QUALITY)])
        place.close()
        make_old(place)
        yield place


def make_old(place: Place) -> None:
    """Take from a store what the older version had not."""
    policy = json.dumps(OLD_POLICY)
    if place.kind == "postgres":
        import psycopg  # noqa: PLC0415  # only where there is a server

        with closing(psycopg.connect(place.url, autocommit=True)) as connection:
            connection.execute("UPDATE visavis.galleries SET policy = %s", (policy,))
            connection.execute("ALTER TABLE visavis.samples DROP COLUMN yaw, DROP COLUMN pitch")
            connection.execute("UPDATE visavis.meta SET version = 1")
        return
    with closing(sqlite3.connect(place.path)) as connection:
        connection.execute("UPDATE galleries SET policy = ?", (policy,))
        if place.kind == "sqlite":  # else it is encrypted, and may stay as it is
            ((about,),) = connection.execute("SELECT about FROM samples").fetchall()
            assert json.loads(about)["quality"] == [120.0, 0.25, 1.0, None, None]
            about = json.dumps({**json.loads(about), "quality": [120.0, 0.25, 1.0]})
            connection.execute("UPDATE samples SET about = ?", (about,))
        connection.execute("PRAGMA user_version = 1")
        connection.commit()


def test_policies_mean_what_they_meant(old_place: Place) -> None:
    policy = old_place.open().gallery(GALLERY).policy
    assert policy == Policy(**OLD_POLICY)  # type: ignore[arg-type]  # its fields
    assert (policy.max_yaw, policy.max_pitch, policy.require_live) == (None, None, False)
    limits = limits_of(policy, PACK)
    assert (limits.min_face_px, limits.min_score, limits.probe_min_sharpness) == (40.0, 0.75, 0.03)
    assert (limits.max_yaw, limits.max_pitch) == (PACK.quality.max_yaw, PACK.quality.max_pitch)


def test_samples_are_read_and_new_ones_know_their_angles(old_place: Place) -> None:
    turned = Quality(120.0, 0.25, 1.0, yaw=-12.5, pitch=3.25)
    for store in (old_place.open(), old_place.reopen()):
        assert store.samples(GALLERY)[0].quality == OLD_QUALITY
        enrol(store, [NewSample(subject="ben", embedding=at(5), quality=turned)])
        enrol(store, [NewSample(subject="cyd", embedding=at(9), quality=Quality(120.0, 0.25, 1.0, yaw=7.0))])
        enrol(store, [NewSample(subject="dee", embedding=at(9))])
        found = [sample.quality for sample in store.samples(GALLERY)[-3:]]
        assert found == [turned, Quality(120.0, 0.25, 1.0, yaw=7.0), None]


def test_the_gallery_goes_on_working(old_place: Place) -> None:
    galleries = Galleries(old_place.open(), FakeEyes(), clock=Clock(NOW))
    gallery = galleries.open(GALLERY)
    (found,) = gallery.identify_embeddings(at(0.1)[None])
    assert found.match is not None
    gallery.enrol_embedding(at(5), "ben", quality=Quality(41.0, 0.07, 0.8))
    with pytest.raises(LowScore):
        gallery.enrol_embedding(at(9), "cyd", quality=Quality(41.0, 0.07, 0.7))
    with pytest.raises(ExtremePose):
        gallery.enrol_embedding(at(9), "cyd", quality=Quality(41.0, 0.07, 0.8, yaw=89.0))
    assert gallery.audit().low_quality == ()  # what is not known of a sample is not held against it
    assert gallery.set_policy(Policy()).policy == Policy()
    assert old_place.reopen().gallery(GALLERY).policy == Policy()


def test_an_older_file_is_brought_up_to_date_once(tmp_path: Path) -> None:
    with closing(Place("sqlite", f"sqlite:///{tmp_path}/galleries.db")) as place:
        make(place.open())
        enrol(place.open(), new_samples(["anna"], vectors(1)))
        place.close()
        with closing(sqlite3.connect(place.path)) as connection:
            connection.execute("PRAGMA user_version = 1")
        assert place.open().gallery(GALLERY).samples == 1
        place.close()
        with closing(sqlite3.connect(place.path)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA.version,) == (2,)
