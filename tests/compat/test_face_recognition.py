"""``visavis.compat.face_recognition``: by itself, and beside face_recognition on dlib."""

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import skimage.data
from clients import client_command, client_python, run_client

from visavis.compat import face_recognition
from visavis.compat.face_recognition import api
from visavis.compat.face_recognition.commands import detection, recognition
from visavis.errors import InvalidOption, LicenceNotAccepted

PATIENCE_S = 120
# Prints what face_recognition makes of images, with the places that are given, or else its own.
REFERENCE = """
import json, sys
import face_recognition as f
answers = []
for file in sys.argv[1:]:
    image = f.load_image_file(file)
    places = f.face_locations(image)
    answers.append({
        "sum": int(image.sum()),
        "places": places,
        "cnn": f.face_locations(image, 0, "cnn"),
        "encodings": [each.tolist() for each in f.face_encodings(image, places)],
        "jittered": [each.tolist() for each in f.face_encodings(image, places, 20)],
        "own": [each.tolist() for each in f.face_encodings(image)],
        "small": f.face_landmarks(image, places, "small"),
        "large": f.face_landmarks(image, places),
    })
known = f.face_encodings(f.load_image_file(sys.argv[1]))
print(json.dumps({"answers": answers, "distances": f.face_distance(known * 2, known[0]).tolist(),
                  "same": [bool(each) for each in f.compare_faces(known, known[0], 0.0)]}))
"""


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("known") / "eileen.png"
    PIL.Image.fromarray(skimage.data.astronaut()[:256, 96:352]).save(path)
    return path


def test_names_defaults_and_types_are_those_of_face_recognition(portrait: Path) -> None:
    def defaults(function: Callable[..., object]) -> list[tuple[str, object]]:
        return [(name, each.default) for name, each in inspect.signature(function).parameters.items()][1:]

    assert defaults(face_recognition.load_image_file) == [("mode", "RGB")]
    assert defaults(face_recognition.face_locations) == [("number_of_times_to_upsample", 1), ("model", "hog")]
    assert defaults(face_recognition.face_landmarks) == [("face_locations", None), ("model", "large")]
    image = face_recognition.load_image_file(portrait)
    assert image.shape == (256, 256, 3)
    assert face_recognition.load_image_file(str(portrait), mode="L").shape == (256, 256)
    (place,) = face_recognition.face_locations(image, 0)
    top, right, bottom, left = place
    assert all(type(edge) is int for edge in place)
    assert 0 <= left < 160 < right <= 256, "left and right are the fourth and the second"
    assert 0 <= top < 110 < bottom <= 256
    assert face_recognition.batch_face_locations([image, image], 0) == [[place], [place]]
    (encoding,) = face_recognition.face_encodings(image, [place])
    assert encoding.shape == (128,)
    assert encoding.dtype == np.float64
    (jittered,) = face_recognition.face_encodings(image, [place], num_jitters=17)
    assert face_recognition.compare_faces([encoding], jittered) == [True]
    assert face_recognition.face_distance([], encoding).shape == (0,)
    (points,) = face_recognition.face_landmarks(image, [place], "small")
    assert {name: len(each) for name, each in points.items()} == {"nose_tip": 1, "left_eye": 2, "right_eye": 2}
    assert all(type(number) is int for each in points.values() for point in each for number in point)


def test_68_points_need_their_licence_to_be_named(portrait: Path) -> None:
    image = face_recognition.load_image_file(portrait)
    for ask in (face_recognition.face_landmarks, lambda image: face_recognition.face_encodings(image, model="large")):
        with pytest.raises(LicenceNotAccepted, match="iBUG-300W"):
            ask(image)
    with pytest.raises(InvalidOption, match="iBUG-300W"):
        face_recognition.accept_licence("yes")
    with pytest.raises(ValueError, match="Supported models are"):
        face_recognition.face_landmarks(image, model="huge")


@pytest.mark.parametrize(
    ("pixels", "count"),
    [
        (np.zeros((0, 0, 3), np.uint8), 0),
        (np.zeros((1, 1, 3), np.uint8), 0),
        (np.zeros((64, 3), np.uint8), 0),
        (np.full((90, 120), 255, np.uint8), 0),
    ],
)
def test_data_without_faces_are_no_error(pixels: Any, count: int) -> None:  # noqa: ANN401  # arrays
    assert len(face_recognition.face_locations(pixels, 0)) == count
    assert len(face_recognition.face_encodings(pixels)) == count
    assert face_recognition.face_encodings(pixels, []) == []


@pytest.mark.parametrize("image", [np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3)), np.uint8(3), "a.jpg", None])
def test_what_is_no_image_is_refused_as_dlib_does(image: Any) -> None:  # noqa: ANN401  # anything
    with pytest.raises(RuntimeError, match="Unsupported image type, must be 8bit gray or RGB image"):
        face_recognition.face_locations(image)


@pytest.mark.parametrize(
    "place", [(0, 0, 0, 0), (50, 10, 10, 50), (-500, -400, -420, -480), (0, 10**9, 10**9, -(10**9)), (3, 4, 4, 3)]
)
def test_places_where_no_face_is_give_an_encoding_that_means_nothing(place: api.Place) -> None:
    (encoding,) = face_recognition.face_encodings(skimage.data.astronaut()[:100, :100], [place])
    assert np.isfinite(encoding).all()


def test_places_that_are_none_are_refused() -> None:
    for wrong in ((1, 2), ("a", 1, 2, 3), (0.5, 1, 2, 3)):
        with pytest.raises((TypeError, IndexError)):
            face_recognition.face_encodings(np.zeros((9, 9, 3), np.uint8), [wrong])  # type: ignore[list-item]


def test_the_commands_print_what_the_original_ones_do(
    portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def output(command: Callable[[list[str]], None], *arguments: object) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            command([str(each) for each in arguments])
        return ended.value.code, *capsys.readouterr()

    known = portrait.parent
    assert output(recognition, known, portrait) == (0, f"{portrait},eileen\n", "")
    assert output(recognition, known, known, "--show-distance", "yes") == (0, f"{portrait},eileen,0.0\n", "")
    empty = tmp_path / "empty.png"
    PIL.Image.new("L", (40, 40)).save(empty)
    assert output(recognition, tmp_path, portrait) == (
        0,
        f"WARNING: No faces found in {empty}. Ignoring file.\n{portrait},unknown_person\n",
        "",
    )
    assert output(recognition, known, empty, "--show-distance", "1")[1] == f"{empty},no_persons_found,None\n"
    places = face_recognition.face_locations(face_recognition.load_image_file(portrait), 0)
    expected = "".join(f"{portrait},{top},{right},{bottom},{left}\n" for top, right, bottom, left in places)
    assert output(detection, known, "--cpus", "-1", "--model", "cnn") == (0, expected, "")
    (known / "broken.jpg").write_bytes(b"GIF89a")
    code, out, err = output(detection, known)
    assert (code, out) == (1, expected)
    assert "broken.jpg" in err
    (known / "broken.jpg").unlink()
    assert output(recognition, tmp_path / "nowhere", portrait)[0] == 1
    assert output(detection, known, "--cpus", "0")[0] == 2


def apart(these: list[Any], those: list[Any]) -> float:
    return max(float(np.linalg.norm(np.subtract(a, b))) for a, b in zip(these, those, strict=True))


@pytest.mark.thorough
def test_beside_face_recognition_itself(test_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = client_python()
    files = [str(each) for each in sorted((test_data / "images" / "portraits").rglob("*.jpg"))[:6]]
    reference = json.loads(run_client(python, "-W", "ignore", "-c", REFERENCE, *files))
    monkeypatch.setattr(api, "_accepted", {api.LICENCE})
    for file, answer in zip(files, reference["answers"], strict=True):
        image = face_recognition.load_image_file(file)
        assert int(image.sum()) == answer["sum"]
        places = [tuple(place) for place in answer["places"]]
        ours = face_recognition.face_locations(image, 0, "cnn")
        assert len(ours) == len(answer["cnn"])
        for place in answer["cnn"]:
            size = place[2] - place[0]
            assert min(np.abs(np.subtract(place, each)).max() for each in ours) <= max(2, 0.15 * size)
        if not places:
            continue
        assert apart(face_recognition.face_encodings(image, places), answer["encodings"]) <= 0.05
        assert apart(face_recognition.face_encodings(image, places, 20), answer["jittered"]) <= 0.1
        for model in ("small", "large"):
            found = face_recognition.face_landmarks(image, places, model)
            for (top, _, bottom, _), mine, theirs in zip(places, found, answer[model], strict=True):
                assert mine.keys() == theirs.keys()
                most = max(np.abs(np.subtract(mine[name], theirs[name])).max() for name in mine)
                assert most <= (0 if model == "small" else max(1, 0.02 * (bottom - top))), model
    known = face_recognition.face_encodings(face_recognition.load_image_file(files[0]))
    assert np.allclose(face_recognition.face_distance(known * 2, known[0]), reference["distances"], atol=0.1)
    assert [bool(each) for each in face_recognition.compare_faces(known, known[0], 0.0)] == reference["same"]


@pytest.mark.thorough
def test_the_commands_beside_those_of_face_recognition(portrait: Path) -> None:
    known = str(portrait.parent)
    for name, module, options in (
        ("face_recognition", "face_recognition", [known, known]),
        ("face_recognition", "face_recognition", [known, known, "--show-distance", "true"]),
        ("face_recognition", "face_recognition", [known, known, "--tolerance", "-1", "--cpus", "2"]),
    ):
        theirs = run_client(client_command(name), *options)
        command = [sys.executable, "-m", f"visavis.compat.{module}", *options]
        ours = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S).stdout
        assert ours == theirs
    theirs = run_client(client_command("face_detection"), known, "--model", "cnn")
    command = [sys.executable, "-m", "visavis.compat.face_recognition.detection", known]
    ours = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S).stdout
    assert [line.count(",") for line in ours.splitlines()] == [line.count(",") for line in theirs.splitlines()]
    for mine, other in zip(ours.splitlines(), theirs.splitlines(), strict=True):
        edges = [np.array(line.split(",")[-4:], int) for line in (mine, other)]
        assert np.abs(edges[0] - edges[1]).max() <= 20
