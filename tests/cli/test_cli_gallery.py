"""``visavis gallery``: what becomes of galleries besides enrolment and identification. No model is loaded here."""

import gzip
import io
import json
import os
import pickle
import pty
import shlex
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import OnlyPack, Shell

import visavis
from visavis import Recognizer
from visavis.galleries.records import Details
from visavis.galleries.store import open_store
from visavis.models.catalogue import DLIB
from visavis.models.recognizer import Observed
from visavis.options import Policy
from visavis.service.enroller import Enrolment
from visavis.service.galleries import Galleries
from visavis.service.gallery import OpenGallery
from visavis.service.results import Enrolled
from visavis.types import Face, FloatArray, Quality

LIMIT_S = 60
KEY = "00112233445566778899aabbccddeeff" * 2
GOOD = Quality(face_px=120.0, sharpness=0.3, score=1.0)


def at(*places: float) -> FloatArray:
    """A vector whose distances from others are those of the places."""
    vector = np.zeros(128, np.float32)
    vector[: len(places)] = places
    return vector


def open_galleries(store: str = "sqlite:///visavis.db", key: str | None = None) -> Galleries:
    opened = open_store(store, key=bytes.fromhex(key) if key else None)
    return Galleries(opened, OnlyPack(), actor="user test")


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """A shell in an empty folder, where no model can be loaded."""

    def fail(*_arguments: object, **_options: object) -> None:
        raise AssertionError("no model is needed")

    monkeypatch.setattr(Recognizer, "__init__", fail)
    return Shell(capsys, monkeypatch, tmp_path, {})


@pytest.fixture
def cli(shell: Shell) -> Shell:
    """A shell with a store: a gallery of three people, and one of nobody."""
    galleries = open_galleries()
    galleries.create("empty")
    galleries.create("staff", policy=Policy(keep="images", threshold=0.6))
    staff = galleries.open("staff")
    ada = Details(name="Ada Lovelace", consent="form 7", metadata={"room": 3})
    enrolments = [
        Enrolment(subject="ada", embedding=at(1), details=ada, quality=GOOD, source="ada/1.jpg", picture=b"a picture"),
        Enrolment(subject="ada", embedding=at(1, 0.1), quality=GOOD, source="ada/2.jpg"),
        Enrolment(subject="Grace Hopper", embedding=at(-1), quality=GOOD),
        Enrolment(subject="人", embedding=at(0, 0, 1)),
    ]
    assert all(isinstance(outcome, Enrolled) for outcome in staff.enrol_many(enrolments))
    galleries.store.close()
    return shell


@pytest.fixture
def staff(cli: Shell) -> Iterator[OpenGallery]:
    galleries = open_galleries()
    assert cli.folder.is_dir()
    yield galleries.open("staff")
    galleries.store.close()


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# --- list and show --------------------------------------------------------------------------------------------------


def test_list(cli: Shell) -> None:
    outcome = cli("gallery", "list")
    empty, staff = outcome.out.splitlines()
    assert empty.split()[:5] == ["empty", "0", "subjects", "0", "samples"]
    assert staff.split()[:5] == ["staff", "3", "subjects", "4", "samples"]
    assert staff.split()[6:] == ["plain", "pack", "dlib", "keeps", "images"]
    assert (outcome.code, outcome.err) == (0, "")
    listed = json.loads(cli("gallery", "list", "--json").out)
    told = [(gallery["name"], gallery["subjects"], gallery["pack"]) for gallery in listed]
    assert told == [("empty", 0, "dlib"), ("staff", 3, "dlib")]


def test_a_store_that_is_not_there_holds_nothing(shell: Shell) -> None:
    outcome = shell("gallery", "list")
    assert outcome.err == "visavis: there are no galleries in sqlite:///visavis.db; visavis enrol makes one\n"
    assert (outcome.code, outcome.out) == (0, "")
    assert shell("gallery", "list", "--json").out == "[]\n"
    assert shell("gallery", "log").out == ""
    assert list(shell.folder.iterdir()) == []


def test_the_store_of_those_who_name_none(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISAVIS_STORE")
    users, here = Path(os.environ["XDG_DATA_HOME"], "visavis", "visavis.db"), shell.folder / "visavis.db"
    assert shell("gallery", "create", "staff").err == f"made the gallery staff in sqlite:///{users}\n"
    assert (users.is_file(), users.parent.stat().st_mode & 0o777, here.exists()) == (True, 0o700, False)
    users.replace(here)
    found = f"visavis: the galleries are those of {here}\n"
    for command in (("list",), ("show", "staff")):
        outcome = shell("gallery", *command)
        assert ("staff" in outcome.out, outcome.err) == (True, found)
    assert shell("gallery", "list", "-q").err == ""
    assert f"in sqlite:///{users}; visavis enrol" in shell("gallery", "list", "--store", f"sqlite:///{users}").err


def test_show_a_gallery(cli: Shell) -> None:
    text = cli("gallery", "show", "staff").out
    assert text.startswith("gallery staff\n")
    for line in (
        "  subjects         3",
        "  encrypted        no",
        "  threshold            0.6",
        "  margin               the pack's own: 0.05",
        "  keep                 images",
        "  identify                 nearer than 0.6",
        "  verify                   nearer than 0.6",
        "  its false matches (FMR)  0.0057",
        "  forget after days    never",
        "  ada            2 samples  Ada Lovelace",
        "  Grace Hopper    1 sample",
    ):
        assert f"\n{line}\n" in text
    shown = json.loads(cli("gallery", "show", "staff", "--json").out)
    assert [subject["id"] for subject in shown["subject_list"]] == ["ada", "Grace Hopper", "人"]
    assert shown["policy"]["threshold"] == 0.6
    assert (shown["rules"]["threshold"], shown["rules"]["fpir"]) == (0.6, None)
    by_rate = cli("gallery", "policy", "staff", "--threshold", "default").out
    assert "\n  identify                 nearer than 0.57" in by_rate
    assert "\n  false positives (FPIR)   0.01, of 3 subjects\n" in by_rate


def test_only_the_first_subjects_are_shown(cli: Shell, staff: OpenGallery) -> None:
    for number in range(30):
        staff.enrol_embedding(at(0, 0, 0, 9, number), f"s{number}")
    text = cli("gallery", "show", "staff").out
    assert [line.split() for line in text.splitlines()[-2:]] == [
        ["s16", "1", "sample"],
        ["...", "and", "13", "more:", "--all"],
    ]
    assert cli("gallery", "show", "staff", "--all").out.splitlines()[-1].split() == ["s29", "1", "sample"]


def test_show_a_subject(cli: Shell) -> None:
    text = cli("gallery", "show", "staff", "ada").out
    assert text.startswith("subject ada\n  number           1\n  name             Ada Lovelace\n")
    assert '  metadata         {"room": 3}\n  consent          form 7\n' in text
    assert text.splitlines()[-2].endswith("120 px, sharpness 0.30, score 1.00  kept: images  ada/1.jpg")
    assert text.splitlines()[-1].endswith("kept: nothing  ada/2.jpg")
    shown = json.loads(cli("gallery", "show", "staff", "ada", "--json").out)
    assert [sample["source"] for sample in shown["sample_list"]] == ["ada/1.jpg", "ada/2.jpg"]
    assert "embedding" not in json.dumps(shown)


def test_the_log(cli: Shell) -> None:
    cli("gallery", "policy", "empty", "--margin", "0.2")
    entries = lines_of(cli("gallery", "log", "--json").out)
    assert [(entry["action"], entry["gallery"], entry["subjects"]) for entry in entries] == [
        ("policy", "empty", []),
        ("enrol", "staff", [1, 2, 3]),
        ("create", "staff", []),
        ("create", "empty", []),
    ]
    assert entries[3]["actor"] == "user test"
    assert entries[0]["actor"].startswith("user ")
    lines = cli("gallery", "log", "staff").out.splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("  user test  enrol  staff  4  subjects 1-3")


def test_the_log_begins_with_its_end(cli: Shell, staff: OpenGallery) -> None:
    for number in range(25):
        staff.set_policy(Policy(margin=number / 100))
    numbers = [int(line.split()[0]) for line in cli("gallery", "log").out.splitlines()]
    assert numbers == list(range(28, 8, -1))
    assert len(cli("gallery", "log", "--all").out.splitlines()) == 28


# --- create and policy ----------------------------------------------------------------------------------------------


def test_create_and_policy(shell: Shell) -> None:
    outcome = shell(
        *("gallery", "create", "staff", "--threshold", "0.5", "--conflict-threshold", "0", "--keep", "chips"),
        *("--retention-days", "30", "--consent-required", "--no-log-searches", "--min-face-px", "60", "--json"),
    )
    made = json.loads(outcome.out)
    expected = Policy(
        threshold=0.5,
        conflict_threshold=0.0,
        keep="chips",
        retention_days=30.0,
        consent_required=True,
        log_searches=False,
        min_face_px=60.0,
    )
    assert made["policy"] == expected.to_dict()
    assert outcome.err == "made the gallery staff in sqlite:///visavis.db\n"
    text = shell("gallery", "policy", "staff", "--threshold", "default", "--retention-days", "never").out
    assert "  threshold            by fpir: 0.6\n" in text  # of an empty gallery
    assert "  forget after days    never\n" in text
    assert "  min face px          60\n" in text
    changed = json.loads(shell("gallery", "policy", "staff", "--json").out)["policy"]
    assert (changed["threshold"], changed["retention_days"], changed["keep"]) == (None, None, "chips")
    assert [entry["action"] for entry in lines_of(shell("gallery", "log", "--json").out)] == ["policy", "create"]


def test_limits_are_given_and_left_to_the_pack(shell: Shell) -> None:
    made = shell("gallery", "create", "staff", "--max-yaw", "30", "--min-score", "default", "--probe-min-score", "0.5")
    assert "  min score            the pack's own: 0.9\n" in made.out
    assert "  max yaw              30\n" in made.out
    assert f"  max pitch            the pack's own: {DLIB.quality.max_pitch:g}\n" in made.out
    assert "  require live         no\n" in made.out
    text = shell("gallery", "policy", "staff", "--max-yaw", "default", "--min-sharpness", "0.1").out
    assert f"  max yaw              the pack's own: {DLIB.quality.max_yaw:g}\n" in text
    policy = json.loads(shell("gallery", "policy", "staff", "--json").out)["policy"]
    assert policy == Policy(min_sharpness=0.1, probe_min_score=0.5).to_dict()
    for words in (("create", "live"), ("policy", "staff")):
        refused = shell("gallery", *words, "--require-live")
        assert (refused.code, refused.out) == (2, "")
        assert "require_live: the pack 'dlib' has no part that tells" in refused.err
    assert "live" not in shell("gallery", "list").out


def test_encryption(shell: Shell) -> None:
    Path("key").write_text(KEY)
    outcome = shell("gallery", "create", "secret", "--encrypt")
    assert "VISAVIS_GALLERY_KEY" in outcome.err
    assert outcome.code == 2
    assert json.loads(shell("gallery", "create", "secret", "--key-file", "key", "--json").out)["encrypted"] is True
    made = json.loads(shell("gallery", "create", "plain", "--key-file", "key", "--no-encrypt", "--json").out)
    assert made["encrypted"] is False
    secret = open_galleries(key=KEY).open("secret")
    secret.enrol_embedding(at(1), "ada")
    assert "this gallery is encrypted" in shell("gallery", "show", "secret").err
    assert "  ada    1 sample\n" in shell("gallery", "show", "secret", "--key-file", "key").out
    Path("other").write_text("ff" * 32)
    outcome = shell("gallery", "show", "secret", "--key-file", "other")
    assert "another key" in outcome.err
    assert "ffff" not in outcome.err


def test_check_and_forget_what_is_damaged(shell: Shell) -> None:
    shell("gallery", "create", "staff")
    staff = open_galleries().open("staff")
    for who in range(4):
        staff.enrol_embedding(at(1.0, 3.0 * who), f"s{who}")
    outcome = shell("gallery", "check", "staff")
    assert (outcome.code, outcome.out) == (0, "gallery staff: 4 samples of 4 subjects, nothing is damaged\n")
    with sqlite3.connect("visavis.db") as connection:
        connection.execute("UPDATE samples SET embedding = x'00' WHERE id = 2")
        connection.execute("UPDATE details SET content = x'00' WHERE number = 3")
    outcome = shell("gallery", "check", "staff")
    assert outcome.code == 1
    assert outcome.out.splitlines() == [
        "gallery staff: 4 samples of 4 subjects, 2 faults",
        "  subject number 3: details",
        "  subject number 2, sample 2: embedding",
    ]
    assert json.loads(shell("gallery", "check", "staff", "--json").out)["damaged"][1] == {
        "subject": 2,
        "sample": 2,
        "what": "embedding",
    }
    assert "--yes" in shell("gallery", "check", "staff", "--forget").err
    assert "damaged samples are left out: 1" in shell("gallery", "audit", "staff").err
    outcome = shell("gallery", "forget", "staff", "s2", "--yes")
    assert outcome.code == 0
    outcome = shell("gallery", "check", "staff", "--forget", "--yes")
    assert outcome.code == 0
    assert [line.split() for line in outcome.out.splitlines() if "samples" in line][-1] == ["samples", "1"]
    assert shell("gallery", "check", "staff").code == 0
    assert [subject.id for subject in open_galleries().open("staff").subjects()] == ["s0", "s1", "s3"]


def test_a_gallery_whose_row_was_changed_is_refused_and_forgotten(shell: Shell) -> None:
    shell("gallery", "create", "staff")
    with sqlite3.connect("visavis.db") as connection:
        connection.execute("UPDATE galleries SET policy = '{}'")
    outcome = shell("gallery", "show", "staff")
    assert (outcome.code, "restore a backup" in outcome.err) == (2, True)
    assert "staff" in shell("gallery", "list").out
    assert shell("gallery", "forget", "staff", "--yes").code == 0
    assert shell("gallery", "list").out == ""


def test_keys_are_changed(shell: Shell) -> None:
    new = "ab" * 32
    for name, text in {"old.key": KEY, "new.key": new, "both.key": f"{new}\n{KEY}\n"}.items():
        Path(name).write_text(text)
    shell("gallery", "create", "secret", "--key-file", "old.key")
    shell("gallery", "create", "open", "--no-encrypt", "--key-file", "old.key")
    open_galleries(key=KEY).open("secret").enrol_embedding(at(1), "ada")
    outcome = shell("gallery", "rekey", "secret", "--key-file", "old.key")
    assert (outcome.code, outcome.err) == (0, "the gallery secret has a new key\n")
    outcome = shell("gallery", "rekey", "open", "--key-file", "old.key")
    assert (outcome.code, "not encrypted" in outcome.err) == (2, True)
    assert "another key" in shell("gallery", "show", "secret", "--key-file", "new.key").err
    outcome = shell("gallery", "rekey", "--key-file", "new.key")
    assert (outcome.code, "none of the keys opens the gallery secret" in outcome.err) == (1, True)
    outcome = shell("gallery", "rekey", "--key-file", "both.key")
    assert (outcome.code, outcome.err) == (0, "the first key protects all encrypted galleries\n")
    assert "  ada    1 sample\n" in shell("gallery", "show", "secret", "--key-file", "new.key").out
    assert "another key" in shell("gallery", "show", "secret", "--key-file", "old.key").err
    assert "VISAVIS_GALLERY_KEY" in shell("gallery", "rekey").err


# --- audit and merge ------------------------------------------------------------------------------------------------


def test_nothing_to_mend(cli: Shell) -> None:
    outcome = cli("gallery", "audit", "staff")
    assert outcome.out == "gallery staff: 4 samples of 3 subjects, nothing to mend\n"
    assert outcome.code == 0


@pytest.fixture
def untidy(cli: Shell, staff: OpenGallery) -> Shell:
    """A gallery with something of each kind."""
    poor = Quality(face_px=10.0, sharpness=0.3, score=1.0)
    staff.set_policy(Policy(min_face_px=0.0))
    enrolments = [
        Enrolment(subject="ada l.", embedding=at(1, 0, 0, 0.3), source="ada/3.jpg"),
        Enrolment(subject="ada's", embedding=at(1, 0, 0, 0.35)),
        Enrolment(subject="alan", embedding=at(0, 0, 1.5)),
        Enrolment(subject="alan", embedding=at(0, 0, 0, 0, 0, 5), quality=poor),
    ]
    assert all(isinstance(outcome, Enrolled) for outcome in staff.enrol_many(enrolments, allow_conflict=True))
    staff.set_policy(Policy(threshold=0.6))
    return cli


def test_an_audit_names_what_mends_each_finding(untidy: Shell) -> None:
    outcome = untidy("gallery", "audit", "staff")
    assert outcome.code == 1
    assert outcome.out.splitlines() == [
        "gallery staff: 8 samples of 6 subjects",
        "",
        "duplicates: 2, likely one person: look at the photos",
        "  ada l. (sample 5, ada/3.jpg) and ada's (sample 6): distance 0.0500",
        "    -> visavis gallery merge staff 'ada'\"'\"'s' 'ada l.'",
        "  ada (sample 1, ada/1.jpg) and ada l. (sample 5, ada/3.jpg): distance 0.3000",
        "    -> visavis gallery merge staff 'ada l.' ada",
        "",
        "confusable: 1, nearer than the threshold",
        "  人 (sample 4) and alan (sample 7): distance 0.5000",
        "",
        "outliers: 2, unlike their subject's other samples",
        "  alan (sample 7): distance 5.2202, near 人",
        "    -> no sample of this subject is like another: forget those alone that show somebody else",
        "  alan (sample 8): distance 5.2202",
        "    -> no sample of this subject is like another: forget those alone that show somebody else",
        "",
        "low quality: 1, refused by today's policy",
        "  alan (sample 8): too_small",
        "    -> visavis gallery forget staff alan 8",
    ]


def test_the_commands_that_an_audit_names_mend(untidy: Shell) -> None:
    report = json.loads(untidy("gallery", "audit", "staff", "--json").out)
    assert {name: len(report[name]) for name in ("duplicates", "confusable", "outliers", "low_quality")} == {
        "duplicates": 2,
        "confusable": 1,
        "outliers": 2,
        "low_quality": 1,
    }
    for _ in range(2):
        text = untidy("gallery", "audit", "staff").out
        command = next(line for line in text.splitlines() if "-> visavis gallery merge" in line)
        assert untidy(*shlex.split(command)[2:], "--yes").code == 0
    assert "duplicates" not in untidy("gallery", "audit", "staff").out
    assert untidy("gallery", "forget", "staff", "alan", 8, "-y").code == 0
    assert untidy("gallery", "audit", "staff").out.splitlines()[2:] == [
        "confusable: 1, nearer than the threshold",
        "  人 (sample 4) and alan (sample 7): distance 0.5000",
    ]


def test_a_long_audit_is_cut(cli: Shell, staff: OpenGallery) -> None:
    for number in range(30):
        staff.enrol_embedding(at(0, 9, 0, 2 * number), f"a{number}", allow_conflict=True)
        staff.enrol_embedding(at(0, 9, 0, 2 * number + 0.1), f"b{number}", allow_conflict=True)
    text = cli("gallery", "audit", "staff").out
    assert (text.count("merge"), text.splitlines()[-1]) == (20, "  ... and 10 more: --all")
    assert cli("gallery", "audit", "staff", "--all").out.count("merge") == 30


def test_merge(cli: Shell, staff: OpenGallery) -> None:
    outcome = cli("gallery", "merge", "staff", "ada", "Grace Hopper", "--yes")
    assert outcome.out == "Grace Hopper has 3 samples now, and ada is forgotten\n"
    samples = staff.samples("Grace Hopper")
    assert [sample.source for sample in samples] == [None, "ada/1.jpg", "ada/2.jpg"]
    np.testing.assert_array_equal(samples[1].embedding, at(1))
    assert samples[1].quality == GOOD
    assert staff.picture("Grace Hopper", samples[1].id) == b"a picture"
    assert [subject.id for subject in staff.subjects()] == ["Grace Hopper", "人"]


def test_who_has_given_no_consent_gets_no_samples(cli: Shell, staff: OpenGallery) -> None:
    staff.set_policy(Policy(consent_required=True))
    outcome = cli("gallery", "merge", "staff", "ada", "人", "--yes")
    assert "this gallery wants a note of consent, and has none of '人'" in outcome.err
    assert (outcome.code, outcome.out) == (2, "")
    assert len(staff.samples("ada")) == 2


def test_move(cli: Shell, staff: OpenGallery) -> None:
    outcome = cli("gallery", "move", "staff", "ada", "人", 1)
    assert (outcome.code, outcome.out) == (0, "人 has 2 samples now\n")
    assert [sample.source for sample in staff.samples("人")] == [None, "ada/1.jpg"]
    outcome = cli("gallery", "move", "staff", "人", "ada", staff.samples("人")[1].id, "--json")
    assert (json.loads(outcome.out)["id"], json.loads(outcome.out)["samples"]) == ("ada", 2)
    log = cli("gallery", "log", "staff").out.splitlines()
    assert [line.split("  ", 3)[3] for line in log[:2]] == ["move  staff  1  subjects 1, 3"] * 2


def test_review(cli: Shell, staff: OpenGallery) -> None:
    assert cli("gallery", "review", "staff").out == "no face waits for review\n"
    cli("gallery", "policy", "staff", "--review-days", 2)
    face = Face(np.zeros(4, np.float32), 1.0, np.zeros((5, 2), np.float32), at(9), quality=GOOD)
    for x in (9, 9.4, -9, 50):
        seen = replace(face, embedding=at(x))
        staff.review.keep([Observed(seen, np.zeros((9, 9, 3), np.uint8))], staff.identify_embeddings(at(x)[None]))
    outcome = cli("gallery", "review", "staff", "--save", "waiting", "--tolerance", 1)
    assert [line.split("  ")[-1] for line in outcome.out.splitlines()] == ["4-5", "6", "7"]
    assert sorted(path.name for path in Path("waiting").iterdir()) == [f"face-{n}.png" for n in range(4, 8)]
    assert cli("gallery", "review", "staff", 4, 5, "--name", "bob").out == "bob has 2 samples now\n"
    outcome = cli("gallery", "review", "staff", 4, 6, "--ignore")
    assert (outcome.code, outcome.err) == (1, "visavis: face 4: no face 4 waits for review\n")
    assert outcome.out.endswith(" has 1 sample now\n")
    outcome = cli("gallery", "review", "staff", 7, "--discard", "--yes")
    assert "subject          -\n  subject numbers  7\n" in outcome.out
    assert json.loads(cli("gallery", "review", "staff", "--json").out) == []
    for wrong in ((), ("--name", "x"), (4, "--ignore", "--discard"), (4,)):
        if wrong:
            assert cli("gallery", "review", "staff", *wrong).code == 2
    assert cli("gallery", "review", "staff", 7, "--ignore").code == 2


def test_rename(cli: Shell, staff: OpenGallery) -> None:
    outcome = cli("gallery", "rename", "staff", "ada", "Jose\u0301")
    assert (outcome.code, outcome.out) == (0, "ada is Jos\xe9 now\n")
    assert staff.subject("Jos\xe9").samples == 2
    assert json.loads(cli("gallery", "rename", "staff", "Jos\xe9", "ada", "--json").out)["number"] == 1


def test_ids_that_look_alike_are_told(cli: Shell, staff: OpenGallery) -> None:
    staff.rename("人", "ADA")
    outcome = cli("gallery", "audit", "staff")
    assert outcome.out.splitlines()[2:] == [
        "look alike: 1, merge those that are one person, rename the others",
        "  'ADA' and 'ada'",
    ]
    assert outcome.code == 1


# --- export, import and backup --------------------------------------------------------------------------------------


def arrays(**given: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **given)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize("piped", [False, True])
def test_encodings_with_names_are_imported_into_a_gallery_of_their_space(shell: Shell, *, piped: bool) -> None:
    content = arrays(encodings=np.stack([at(1), at(1, 0.1), at(0, 1)]).astype(float), names=["ada", "ada", "Jö Ann"])
    (shell.folder / "known.npz").write_bytes(content)
    file = "-" if piped else "known.npz"
    refused = shell("gallery", "import", "mine", file, "--pack", "sface", stdin=content)
    assert refused.code == 2
    assert "--pack dlib" in refused.err, "these are not embeddings of the default pack, though as long"
    for outcome in ({"enrolled": 3, "already_there": 0}, {"enrolled": 0, "already_there": 3}):
        imported = shell("gallery", "import", "mine", file, "--pack", "dlib", "--json", stdin=content)
        assert imported.code == 0
        assert json.loads(imported.out).items() >= outcome.items()
    assert "Jö Ann" in shell("gallery", "show", "mine").out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (arrays(encodings=np.ones((1, 128)), names=np.array(["ada"], object)), "never unpickled"),
        (arrays(encodings=np.ones((1, 128))), "the array names is missing"),
        (arrays(encodings=np.ones((2, 128)), names=["ada"]), "not (2, 128) float64 and (1,)"),
        (arrays(encodings=np.ones(128), names=["ada"]), "not (128,) float64"),
        (arrays(encodings=np.ones((1, 128)), names=[1]), "names N texts"),
        (arrays(encodings=np.ones((1, 128)), names=["ada"], space="0123456789abcdef"), "0123456789abcdef"),
        (arrays(encodings=np.ones((1, 128)), names=["ada"])[:300], "cannot be read"),
        (arrays(encodings=np.ones((0, 128)), names=np.array([], str))[:4], "cannot be read"),
        (pickle.dumps({"ada": [1.0]}), "this is a pickle"),
        (b"\x93NUMPY", "one array names nobody"),
    ],
)
def test_arrays_and_pickles_that_cannot_be_imported_make_no_gallery(shell: Shell, content: bytes, message: str) -> None:
    (shell.folder / "known.npz").write_bytes(content)
    outcome = shell("gallery", "import", "new", "known.npz", "--pack", "dlib")
    assert outcome.code == 2
    assert message in outcome.err
    assert shell("gallery", "show", "new").code == 2


def test_an_array_of_another_length_is_refused_line_by_line(shell: Shell) -> None:
    (shell.folder / "known.npz").write_bytes(arrays(encodings=np.ones((2, 64)), names=["ada", "bob"]))
    outcome = shell("gallery", "import", "new", "known.npz", "--pack", "dlib")
    assert outcome.code == 1
    assert "128" in outcome.err


@pytest.mark.parametrize("file", ["staff.jsonl", "staff.jsonl.gz"])
def test_an_export_can_be_imported_elsewhere_and_again(cli: Shell, staff: OpenGallery, file: str) -> None:
    outcome = cli("gallery", "export", "staff", "-o", file, "--pictures")
    assert outcome.err == f"exported 4 samples of the gallery staff to {file}\n"
    assert (outcome.code, outcome.out) == (0, "")
    if os.name == "posix":
        assert stat.S_IMODE(Path(file).stat().st_mode) == 0o600
    data = gzip.decompress(Path(file).read_bytes()) if file.endswith(".gz") else Path(file).read_bytes()
    header, *lines = lines_of(data.decode())
    assert (header["gallery"], len(lines)) == ("staff", 4)
    for enrolled, there in ((4, 0), (0, 4)):
        outcome = cli("gallery", "import", "copy", file, "--store", "sqlite:///other.db")
        assert f"  enrolled       {enrolled} samples" in outcome.out
        assert f"  already there  {there}\n" in outcome.out
        assert outcome.code == 0
    copy = open_galleries("sqlite:///other.db").open("copy")
    assert copy.record.policy == staff.record.policy
    assert [subject.id for subject in copy.subjects()] == ["ada", "Grace Hopper", "人"]
    (first, second), (here, _) = copy.samples("ada"), staff.samples("ada")
    np.testing.assert_array_equal(first.embedding, here.embedding)
    assert (first.source, first.quality, copy.picture("ada", first.id)) == ("ada/1.jpg", GOOD, b"a picture")
    assert second.picture == "nothing"
    assert copy.subject("ada").metadata == {"room": 3}


def test_an_export_through_pipes(cli: Shell) -> None:
    exported = cli("gallery", "export", "staff")
    assert exported.err == ""
    assert all(line["picture"] is None for line in lines_of(exported.out)[1:])
    outcome = cli("gallery", "import", "copy", "-", stdin=exported.out.encode())
    assert "enrolled       4 samples of 3 subjects" in outcome.out
    outcome = cli("gallery", "import", "copy", "-", "--json", stdin=gzip.compress(exported.out.encode()))
    assert json.loads(outcome.out) == {"enrolled": 0, "subjects": 0, "already_there": 4, "refused": {}}


def test_all_that_is_known_of_one_person(cli: Shell) -> None:
    assert cli("gallery", "export", "staff", "--subject", "ada", "-o", "ada.json").code == 0
    known = json.loads(Path("ada.json").read_text())
    assert (known["id"], known["name"], known["consent"]) == ("ada", "Ada Lovelace", "form 7")
    assert "YSBwaWN0dXJl" in Path("ada.json").read_text()
    assert [entry["action"] for entry in known["log"]] == ["enrol", "export"]


def test_lines_of_ones_own(shell: Shell) -> None:
    good = {"subject": "ada", "embedding": at(1).tolist()}
    lines = [
        json.dumps(good),
        "",
        "no json",
        json.dumps({"subject": "ada"}),
        json.dumps({**good, "embeding": []}),
        json.dumps({"subject": "grace", "embedding": [1, 2]}),
        json.dumps({"subject": "nobody", "embedding": None}),
        "[1]",
        json.dumps({**good, "subject": "grace", "embedding": at(-1).tolist()}),
    ]
    Path("mine.jsonl").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    outcome = shell("gallery", "import", "mine", "mine.jsonl")
    assert "  enrolled             2 samples of 2 subjects\n" in outcome.out
    assert [line.split(": ")[1] for line in outcome.err.splitlines()[1:]] == [
        f"mine.jsonl:{number}" for number in (3, 4, 5, 6, 8)
    ]
    assert "a line is a JSON object" in outcome.err
    assert "embeding: there is no such field" in outcome.err
    assert outcome.code == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "visavis: x.jsonl: holds no lines"),
        (b"\n\n", "visavis: x.jsonl: holds no lines"),
        (b'{"visavis_export": 1, "space": {"id": "other"}}\n', "visavis: the file holds embeddings of the space other"),
        (b'{"visavis_export": 9}\n', "visavis: visavis_export: this version reads 1, not 9"),
        (b'{"visavis_export": 1, "space": {"id": "SPACE"}, "policy": {"moon": 1}}\n', "visavis: the header's policy"),
        (b'{"visavis_export": 1, "space": {"id": "SPACE"}, "policy": {"margin": -1}}\n', "visavis: margin must be"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "visavis: x.jsonl: the compressed file is damaged or cut off"),
    ],
)
def test_a_file_that_cannot_be_imported_makes_no_gallery(shell: Shell, content: bytes, message: str) -> None:
    space = DLIB.space.id
    Path("x.jsonl").write_bytes(content.replace(b"SPACE", space.encode()))
    outcome = shell("gallery", "import", "new", "x.jsonl")
    assert message in outcome.err
    assert (outcome.code, outcome.out) == (2, "")
    assert not Path("visavis.db").exists()


def test_embeddings_of_another_pack_are_refused(cli: Shell) -> None:
    Path("x.jsonl").write_text('{"visavis_export": 1, "space": {"id": "other"}}\n')
    outcome = cli("gallery", "import", "staff", "x.jsonl")
    assert "space" in outcome.err
    assert (outcome.code, outcome.out) == (2, "")


def test_a_file_that_is_cut_off_leaves_what_came_before(cli: Shell) -> None:
    exported = cli("gallery", "export", "staff").out.encode()
    whole = gzip.compress(exported + exported[:200] * 50)
    Path("cut.gz").write_bytes(whole[:-20])
    outcome = cli("gallery", "import", "copy", "cut.gz")
    assert "cut off" in outcome.err
    assert outcome.code == 2


def test_a_backup_is_a_store(cli: Shell) -> None:
    outcome = cli("gallery", "backup", "copy of it.db")
    assert outcome.err == "copied sqlite:///visavis.db to copy of it.db\n"
    assert (outcome.code, outcome.out) == (0, "")
    listed = json.loads(cli("gallery", "list", "--json", "--store", "sqlite:///copy of it.db").out)
    assert [(gallery["name"], gallery["samples"]) for gallery in listed] == [("empty", 0), ("staff", 4)]
    outcome = cli("gallery", "backup", "copy of it.db")
    assert "exists already" in outcome.err
    assert outcome.code == 2


# --- forget ---------------------------------------------------------------------------------------------------------


def test_forget_a_sample_a_subject_and_a_gallery(cli: Shell, staff: OpenGallery) -> None:
    outcome = cli("gallery", "forget", "staff", "ada", 2, "--yes", "--json")
    receipt = json.loads(outcome.out)
    assert (receipt["subject"], receipt["samples"], receipt["overwritten"]) == ("ada", 1, True)
    assert [sample.id for sample in staff.samples("ada")] == [1]
    text = cli("gallery", "forget", "staff", "ada", "--yes").out
    assert text.startswith("forgotten\n  gallery          staff (number 2)\n  subject          ada\n")
    assert "  samples          1\n" in text
    text = cli("gallery", "forget", "staff", "--yes").out
    assert "  subject          all of them\n  subject numbers  2-3\n  samples          2\n" in text
    assert [line.split()[0] for line in cli("gallery", "list").out.splitlines()] == ["empty"]
    assert lines_of(cli("gallery", "log", "staff", "--json").out)[0]["action"] == "forget"


@pytest.mark.skipif(os.name != "posix", reason="needs a terminal of its own")
@pytest.mark.parametrize(("answer", "code", "left"), [(b"n\n", 1, 2), (b"y\n", 0, 1)])
def test_on_a_terminal_it_asks_first(cli: Shell, answer: bytes, code: int, left: int) -> None:
    outer, inner = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(Path(visavis.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-m", "visavis", "gallery", "forget", "staff"],
        env=environment,
        cwd=cli.folder,
        stdin=inner,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.write(outer, answer)
        out, err = process.communicate(timeout=LIMIT_S)
    os.close(outer)
    os.close(inner)
    assert "Forget the gallery staff with 3 subjects and 4 samples? [y/N]" in err
    assert process.returncode == code
    assert out.startswith("forgotten\n") == (code == 0)
    assert len(open_galleries().all()) == left


# --- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "nope"], "there is no gallery 'nope' in sqlite:///visavis.db; those there are: empty, staff\n"),
        (["show", "staff", "nope"], "no subject 'nope'"),
        (["show"], "Missing argument 'NAME'"),
        (["create", "staff"], "there is a gallery 'staff' already"),
        (["create", "Staff!"], "visavis: a gallery's name is"),
        (["create", "x", "--keep", "everything"], "'everything' is not one of 'nothing', 'chips', 'images'"),
        (["create", "x", "--pack", "nope"], "there is no pack 'nope'"),
        (["policy", "staff", "--threshold", "x"], "visavis: --threshold must be a number or default, not 'x'"),
        (["policy", "staff", "--threshold", "0"], "visavis: --threshold must be a finite number above 0"),
        (["policy", "staff", "--min-score", "nan"], "visavis: --min-score must be a finite number"),
        (["policy", "staff", "--min-face-px", ""], "visavis: --min-face-px must be a number or default, not ''"),
        (["policy", "staff", "--max-yaw", "never"], "visavis: --max-yaw must be a number or default, not 'never'"),
        (["policy", "staff", "--max-pitch", "-1"], "visavis: --max-pitch must be a finite number of 0 or more"),
        (["policy", "staff", "--retention-days", "default"], "visavis: --retention-days must be a number or never"),
        (
            ["policy", "staff", "--retention-days", "1e9"],
            "visavis: --retention-days must be a finite number above 0 and at most",
        ),
        (["merge", "staff", "ada", "ada", "--yes"], "cannot be merged into itself"),
        (["merge", "staff", "ada", "nope", "--yes"], "no subject 'nope'"),
        (["merge", "staff", "ada", "人"], "add --yes where nobody can be asked"),
        (["rename", "staff", "ada", "人"], "has a subject '人' already"),
        (["rename", "staff", "ada", "a/b"], "a subject's ID is 1 to 200 printable characters"),
        (["move", "staff", "ada", "人"], "Missing argument 'SAMPLE'"),
        (["move", "staff", "ada", "人", "4"], "has not all of these samples"),
        (["forget", "staff"], "add --yes where nobody can be asked"),
        (["forget", "staff", "nope", "--yes"], "no subject 'nope'"),
        (["forget", "staff", "ada", "99", "--yes"], "sample"),
        (["forget", "nope", "--yes"], "there is no gallery 'nope'"),
        (["export", "nope"], "there is no gallery 'nope'"),
        (["export", "staff", "-o", "no/where.jsonl"], "visavis: no/where.jsonl: No such file or directory"),
        (["export", "staff", "--subject", "nope"], "no subject 'nope'"),
        (["import", "staff", "nowhere.jsonl"], "visavis: nowhere.jsonl: No such file or directory"),
        (["import", "staff", "."], "no image found in ."),
        (["backup", "no/where.db"], "no/where.db"),
        (["audit", "nope"], "there is no gallery 'nope'"),
        (["list", "--store", "sqlite:///damaged.db"], "visavis: damaged.db is damaged; restore a backup"),
        (["list", "--store", "sqlite:///foreign.db"], "visavis: foreign.db is a SQLite file of something else"),
        (["list", "--store", "sqlite:///newer.db"], "visavis: newer.db was written by a newer version of visavis"),
        (["list", "--store", "redis://x"], "visavis: the URL of a store is one such as"),
    ],
)
def test_what_cannot_be_done_says_why(cli: Shell, arguments: list[str], message: str) -> None:
    data = Path("visavis.db").read_bytes()
    Path("damaged.db").write_bytes(data[:4096] + b"\x5a" * (len(data) - 4096))
    for name, statement in (("foreign", "CREATE TABLE t (x)"), ("newer", "PRAGMA user_version = 99")):
        if name == "newer":
            Path("newer.db").write_bytes(data)
        connection = sqlite3.connect(f"{name}.db")
        connection.execute(statement)
        connection.close()
    outcome = cli("gallery", *arguments)
    assert message in outcome.err
    assert (outcome.code, outcome.out) == (2, "")
    assert [gallery.samples for gallery in open_galleries().all()] == [0, 4]


# --- the whole ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "list",
        "show",
        "create",
        "policy",
        "audit",
        "merge",
        "move",
        "review",
        "rename",
        "export",
        "import",
        "backup",
        "log",
        "forget",
    ],
)
def test_every_command_explains_itself(shell: Shell, command: str) -> None:
    outcome = shell("gallery", command, "-h")
    assert outcome.out.startswith(f"Usage: visavis gallery {command} ")
    assert (outcome.code, outcome.err) == (0, "")


def test_gallery_commands_load_no_runtime(cli: Shell) -> None:
    code = """
import sys
from visavis.cli.main import main
for arguments in (["show", "staff"], ["export", "staff"], ["audit", "staff"], ["log"], ["backup", "b.db"]):
    try:
        main(["gallery", *arguments])
    except SystemExit as exit_:
        assert not exit_.code
print(sorted({"openvino", "onnxruntime", "onnx"} & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=LIMIT_S, cwd=cli.folder
    )
    assert done.stdout.splitlines()[-1] == "[]"
