"""Results and reports: one of each with everything in it, and one with as little as can be."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np

from outside import as_json, record, to_json
from outside.names import fields

NOON = datetime(2025, 1, 2, 12, 0, 0, 1, tzinfo=timezone.utc)
_BOX = np.array([1.5, 2, 30, 40], np.float32)
_POINTS = np.arange(10, dtype=np.float32).reshape(5, 2)


def told() -> dict[str, str]:
    """Return each record's fields and JSON, full and minimal, by its name."""
    return {name: "\n".join(_lines(name, *pair)) for name, pair in examples().items()}


def _lines(name: str, full: Any, minimal: Any) -> Iterator[str]:  # noqa: ANN401  # any record
    yield f"{name}: {fields(type(full))}"
    for kind, one in (("full", full), ("minimal", minimal)):
        truth = f", which is {bool(one)}" if "__bool__" in dir(type(one)) else ""
        yield f"\n{kind}{truth}:\n{as_json(to_json(one))}"


def examples() -> dict[str, tuple[Any, Any]]:
    """Return every record that becomes JSON: a full one, and a minimal one."""
    quality = record("Quality", face_px=28.0, sharpness=0.25, score=0.9, yaw=-12.5, pitch=3.25)
    poor = record("Quality", face_px=28.0, sharpness=0.0, score=0.9)
    pose = record("Pose", yaw=-12.5, pitch=3.25, roll=0.5)
    gender = record("Gender", label="female", probability=0.75)
    attributes = record("Attributes", liveness=0.875, pose=pose, age=36.5, gender=gender)
    place = {"box_xyxy": _BOX, "score": 0.9, "landmarks": _POINTS}
    face = record("Face", **place, embedding=np.arange(4, dtype=np.float32), quality=quality, attributes=attributes)
    bare = record("Face", **place)
    decided = {"same": True, "distance": 0.25, "threshold": 0.5, "probability": 0.99, "decision": "same", "fmr": 0.001}
    unsure = {"same": False, "distance": 0.75, "threshold": 0.5, "probability": None, "decision": "uncertain"}
    near = {"subject": "ada", "subject_number": 7, "sample": 12, "distance": 0.25}
    candidate = record("Candidate", **near, name="Ada", probability=0.99, margin=0.125)
    lone = record("Candidate", **near, name=None, probability=None, margin=None)
    known, unknown = _subjects()
    verified = {"subject": "ada", "sample": 12}
    return {
        "Quality": (quality, poor),
        "Attributes": (attributes, record("Attributes")),
        "Face": (face, bare),
        "Comparison": (record("Comparison", **decided), record("Comparison", **unsure)),
        "Verification": (
            record("Verification", **decided, faces=(face, bare)),
            record("Verification", **unsure, faces=(bare, bare)),
        ),
        "Candidate": (candidate, lone),
        "Identification": (
            record(
                "Identification",
                match=candidate,
                unknown=None,
                candidates=(candidate, lone),
                threshold=0.5,
                face=face,
                fmr=0.001,
            ),
            record("Identification", match=None, unknown="empty_gallery", candidates=(), threshold=0.5, face=None),
        ),
        "Enrolled": (
            record("Enrolled", subject=known, sample=12, repeated=True, face=face, conflict=candidate),
            record("Enrolled", subject=unknown, sample=13, repeated=False, face=None, conflict=None),
        ),
        "SubjectVerification": (
            record("SubjectVerification", **decided, **verified, face=face),
            record("SubjectVerification", **unsure, **verified, face=None),
        ),
        "Subject": (known, unknown),
        **_of_galleries(quality),
        **_evaluations(),
    }


def _subjects() -> tuple[Any, Any]:
    times = {"created_at": NOON, "updated_at": NOON + timedelta(seconds=1)}
    about = {"name": "Ada Lovelace", "metadata": {"badge": [1, None, "é"]}, "consent": "form 7"}
    known = record(
        "Subject", id="ada", number=7, **about, **times, expires_at=NOON + timedelta(days=1), version=3, samples=2
    )
    nothing: dict[str, Any] = {"name": None, "metadata": {}, "consent": None, "expires_at": None}
    return known, record("Subject", id="bob", number=8, **nothing, **times, version=1, samples=0)


def _of_galleries(quality: Any) -> dict[str, tuple[Any, Any]]:  # noqa: ANN401  # a record
    numbers = {"threshold": 0.5, "margin": 0.125, "conflict_threshold": 0.0}
    limits = {"min_face_px": 40.0, "min_sharpness": 0.0625, "min_score": 0.75, "max_yaw": 45.0, "max_pitch": 30.0}
    probes = {"probe_min_face_px": 20.0, "probe_min_sharpness": 0.03125, "probe_min_score": 0.5}
    flags = {"require_live": True, "consent_required": True, "log_searches": False}
    policy = record("Policy", **numbers, **limits, **probes, **flags, keep="images", retention_days=30.0)
    space = record("EmbeddingSpace", id="a1b2", dimension=4, metric="cosine")
    gallery = {"name": "people", "number": 1, "space": space, "created_at": NOON}
    receipt = {"gallery": "people", "gallery_number": 1, "forgotten_at": NOON, "actor": "key 1"}
    sample = {"id": 12, "subject": "ada", "embedding": np.arange(4, dtype=np.float32), "created_at": NOON}
    entry = {"number": 4, "at": NOON, "actor": "key 1", "gallery": "people"}
    rules = {"pack": "dlib", "subjects": 2, "threshold": 0.5, "verify_threshold": 0.5, "margin": 0.125}
    rules |= {"conflict_threshold": 0.25, "candidate_threshold": 0.5, "limits": {"min_face_px": 40.0}}
    pair = {"a": "ada", "b": "bob", "samples": (1, 2), "distance": 0.125}
    return {
        "Policy": (policy, record("Policy")),
        "Gallery": (
            record("Gallery", **gallery, policy=policy, encrypted=True, subjects=2, samples=3),
            record("Gallery", **gallery, policy=record("Policy"), encrypted=False, subjects=0, samples=0),
        ),
        "Sample": (
            record("Sample", **sample, quality=quality, source="door/1.jpg", picture="chips"),
            record("Sample", **sample, quality=None, source=None, picture="nothing"),
        ),
        "Receipt": (
            record("Receipt", **receipt, subject="ada", subjects=(7, 8), samples=2, overwritten=True),
            record("Receipt", **receipt, subject=None, subjects=(), samples=0, overwritten=False),
        ),
        "LogEntry": (
            record("LogEntry", **entry, action="enrol", subjects=(7, 8), count=2),
            record("LogEntry", **entry, action="create", subjects=(), count=0),
        ),
        "GalleryRules": (
            record("GalleryRules", **rules, interval=(0.25, 0.75), fpir=0.01, fmr=0.001, verify_fmr=0.001),
            record("GalleryRules", **rules, interval=None, fpir=None, fmr=None, verify_fmr=None),
        ),
        "AuditReport": (
            record(
                "AuditReport",
                subjects=2,
                samples=3,
                duplicates=(record("SubjectPair", **pair, probability=0.99),),
                confusable=(record("SubjectPair", **pair, probability=None),),
                outliers=tuple(
                    record("Outlier", subject="ada", sample=1, distance=0.9, nearest=one) for one in ("bob", None)
                ),
                low_quality=(record("LowQuality", subject="bob", sample=2, reasons=("too_small", "blurred")),),
            ),
            record("AuditReport", subjects=0, samples=0, duplicates=(), confusable=(), outliers=(), low_quality=()),
        ),
    }


def _evaluations() -> dict[str, tuple[Any, Any]]:
    words = ("protocol", "pack", "space", "runtime", "precision", "faces", "visavis", "python", "numpy")
    counts = {"images": 4, "people": 2, "min_face": 0.08, "seed": 0, "replicates": 1000, "from_cache": 1}
    about = record("Circumstances", **{word: f"the {word}" for word in words}, **counts)
    rate = record("Estimate", value=0.5, low=0.25, high=0.75)
    unknown = record("Estimate", value=float("nan"), low=0.0, high=float("inf"))
    asked = record("AskedFmr", fmr=0.001, found="agrees")
    failure = record("Failure", file="a.jpg", person="ada", code="no_face", message="no face found")
    shown = [
        record("ShownFace", file=f"{one}.jpg", person=one, path=f"/p/{one}.jpg", box_xyxy=_BOX)
        for one in ("ada", "bob")
    ]
    match = record("ShownPair", first=shown[0], second=shown[1], distance=0.25)
    group = {"name": "old", "images": 3, "failures": 1, "strangers": 2, "own": 1}
    groups = tuple(record("GroupRates", **group, false_positives=one, false_negatives=one) for one in (rate, None))
    curve = record("Curve", thresholds=np.array([0.5, np.inf]), fmr=np.array([0.0, 1.0]), fnmr=np.array([1.0, 0.0]))
    histogram = record(
        "Histogram", edges=np.array([0.0, 0.5, 1.0]), genuine=np.array([2, 0]), impostor=np.array([0, 1])
    )
    shared = {"about": about, "without_face": (1, 0), "histogram": histogram}
    more = {"asked": asked, "groups": groups, "failures": (failure,), "left_out": ("a",), "notes": ("b",)}
    none = {"asked": None, "groups": (), "failures": (), "left_out": (), "notes": ()}
    pair_rates = record("PairRates", threshold=0.5, fmr=rate, fnmr=rate, accuracy=unknown)
    search_rates = [
        record("SearchRates", threshold=0.5, margin=0.05, fnir=rate, misidentified=rate, fpir=one)
        for one in (rate, None)
    ]
    points = {"fmr": 0.001, "pairs_of_people": 3, "bound": 0.75}
    pairs = {
        "genuine": 2,
        "impostor": 1,
        "compared": pair_rates,
        "counted": pair_rates,
        "eer": rate,
        "curve": curve,
        "eer_threshold": 0.5,
        "best_accuracy": 1.0,
        "best_threshold": 0.5,
    }
    search = {"enrolled": 2, "not_enrolled": 1, "mated": 2, "strangers": 1, "rank1": rate}
    return {
        "PairEvaluation": (
            record(
                "PairEvaluation",
                **{**shared, **more, **pairs},
                folds=record("Folds", accuracies=np.array([0.5, 1.0]), mean=0.75, standard_error=0.25),
                at_fmr=tuple(record("AtFmr", **points, threshold=one, fnmr=one) for one in (rate, None)),
                nearest_strangers=(match,),
                farthest_same=(match,),
            ),
            record(
                "PairEvaluation",
                **{**shared, **none, **pairs},
                folds=None,
                at_fmr=(),
                nearest_strangers=(),
                farthest_same=(),
            ),
        ),
        "SearchEvaluation": (
            record(
                "SearchEvaluation",
                **{**shared, **more, **search, "curve": curve, "compared": search_rates[0], "counted": search_rates[1]},
                at_fpir=tuple(
                    record("AtFpir", fpir=0.01, strangers=1, bound=0.75, rates=one) for one in (search_rates[0], None)
                ),
                nearest_strangers=(match,),
                taken_for_others=(match,),
            ),
            record(
                "SearchEvaluation",
                **{**shared, **none, **search, "curve": None, "compared": search_rates[1], "counted": search_rates[1]},
                at_fpir=(),
                nearest_strangers=(),
                taken_for_others=(),
            ),
        ),
    }
