"""The packs of Keras' networks, whole: with random weights, for the real ones cannot be had here."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from effort import effort
from keras_nets import NETWORKS, keras_file, random_file

from visavis import ModelCorrupt, ModelMissing, Recognizer
from visavis.models import heads
from visavis.models.catalogue import FACENET, FACENET512, OPEN, VGGFACE2
from visavis.models.heads import to_input
from visavis.models.installation import PINS, as_installed, is_cached
from visavis.models.onnx_graphs import Network
from visavis.models.packs import Pack
from visavis.options import Runtime

KERAS_PACKS = (FACENET, FACENET512, VGGFACE2)
RUNTIMES: tuple[Runtime, ...] = ("openvino", "onnxruntime")
YUNET = "face_detection_yunet_2023mar.onnx"


def pin(models_dir: Path, files: Mapping[str, bytes]) -> None:
    """Place files as a pull does."""
    for name, data in files.items():
        (models_dir / "files" / name).write_bytes(data)
    pins = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    (models_dir / PINS).write_text(json.dumps(pins))


def file_of(pack: Pack) -> str:
    (file,) = pack.part("embedder").files
    return file.name


@pytest.fixture(scope="module")
def models_dir(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with the three packs' embedders, and the detector."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "files").mkdir()
    (folder / "files" / YUNET).write_bytes((test_data / "models" / "yunet" / YUNET).read_bytes())
    pin(
        folder,
        {file_of(pack): random_file(NETWORKS[pack.name]) for pack in KERAS_PACKS},
    )
    return folder


@pytest.mark.thorough
@pytest.mark.parametrize("pack", effort((VGGFACE2,), KERAS_PACKS), ids=lambda pack: pack.name)
def test_a_face_is_embedded(
    pack: Pack, models_dir: Path, tmp_path: Path, hopper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_network: Network, _data: bytes) -> bytes:
        raise AssertionError("converted again")

    embeddings = []
    for runtime in RUNTIMES:
        recognizer = Recognizer(
            pack.name, runtime=runtime, precision="f32", threads=1, models_dir=models_dir, cache_dir=tmp_path
        )
        (face,), (again,) = recognizer.embed(hopper), recognizer.embed(hopper)
        assert face.embedding is not None
        assert again.embedding is not None
        assert face.embedding.shape == (pack.dimension,)
        assert np.array_equal(face.embedding, again.embedding)
        embeddings.append(face.embedding)
        monkeypatch.setattr(heads, "keras_graph", fail)
    ours, theirs = embeddings
    assert np.abs(ours - theirs).max() < 1e-3 * np.abs(ours).max()
    assert is_cached(recognizer.pack.part("embedder"), tmp_path)
    verified = recognizer.verify(hopper, hopper)
    assert verified.same
    assert verified.probability is None
    assert recognizer.pack.space.dimension == pack.dimension


@pytest.fixture
def own_models_dir(models_dir: Path, tmp_path: Path) -> Path:
    """A folder of models with the detector alone."""
    folder = tmp_path / "models"
    (folder / "files").mkdir(parents=True)
    (folder / "files" / YUNET).write_bytes((models_dir / "files" / YUNET).read_bytes())
    return folder


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "HDF5", id="empty", marks=pytest.mark.thorough),
        pytest.param(b"<!DOCTYPE html>" * 100, "HDF5", id="a page", marks=pytest.mark.thorough),
        pytest.param(keras_file({}), "0 layers", id="no weights"),
    ],
)
def test_another_file_than_the_weights(data: bytes, message: str, own_models_dir: Path, tmp_path: Path) -> None:
    pin(own_models_dir, {file_of(FACENET): data})
    with pytest.raises(ModelCorrupt, match=rf"{file_of(FACENET)}: .*{message}") as raised:
        Recognizer("facenet", models_dir=own_models_dir, cache_dir=tmp_path / "cache")
    # It is pinned: without a way out of that, the right one could not be had any more.
    assert "visavis models remove facenet --unpin forgets it; then pull or import the right one" in str(raised.value)
    assert not list((tmp_path / "cache").glob("embedder*"))


@pytest.mark.thorough
def test_the_weights_of_the_larger_network(models_dir: Path, own_models_dir: Path, tmp_path: Path) -> None:
    larger = (models_dir / "files" / file_of(FACENET512)).read_bytes()
    pin(own_models_dir, {file_of(FACENET): larger})
    with pytest.raises(ModelCorrupt, match=r"'Bottleneck'.* \(1792, 512\) instead of \(1792, 128\)"):
        Recognizer("facenet", models_dir=own_models_dir, cache_dir=tmp_path / "cache")


def test_weights_that_changed_since_they_were_pulled(models_dir: Path, own_models_dir: Path, tmp_path: Path) -> None:
    data = (models_dir / "files" / file_of(FACENET)).read_bytes()
    pin(own_models_dir, {file_of(FACENET): data})
    (own_models_dir / "files" / file_of(FACENET)).write_bytes(data[:-1] + b"\0")
    with pytest.raises(ModelCorrupt, match="SHA-256 differs"):
        Recognizer("facenet", models_dir=own_models_dir, cache_dir=tmp_path / "cache")


def test_weights_that_were_not_pulled(own_models_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="visavis models pull vggface2"):
        Recognizer("vggface2", models_dir=own_models_dir, cache_dir=tmp_path)
    with pytest.raises(ModelMissing, match="not installed"):
        _ = FACENET.space


def test_the_space_is_that_of_the_pinned_file(models_dir: Path) -> None:
    spaces = {as_installed(pack, models_dir).space.id for pack in KERAS_PACKS}
    assert len(spaces) == len(KERAS_PACKS)
    pinned = FACENET.with_hashes({file_of(FACENET): "0" * 64})
    assert pinned.space.id not in spaces
    assert pinned.space.metric == "cosine"


@pytest.mark.parametrize("pack", KERAS_PACKS, ids=lambda pack: pack.name)
def test_the_template_is_a_face_in_the_middle(pack: Pack) -> None:
    """Observer level, features symmetric, and as far from one another as in the template of the pack ``open``."""
    left, right, nose, mouth_left, mouth_right = points = pack.template.points
    assert left[1] == right[1]
    assert np.allclose(points[[0, 2, 3], 0] + points[[1, 2, 4], 0], pack.template.side, atol=1e-4)
    assert left[1] < nose[1] < mouth_left[1] == mouth_right[1]
    theirs = OPEN.template.points
    height = (mouth_left[1] - left[1]) / (right[0] - left[0])
    assert height == pytest.approx((theirs[3, 1] - theirs[0, 1]) / (theirs[1, 0] - theirs[0, 0]), abs=0.05)


def test_what_the_networks_are_fed() -> None:
    chips = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    white = to_input(chips, FACENET.input)
    assert np.allclose(white.mean((1, 2, 3)), 0, atol=1e-5)
    assert np.allclose(white.std((1, 2, 3)), 1, atol=1e-5)
    assert np.isfinite(to_input(np.full((1, 8, 8, 3), 7, np.uint8), FACENET.input)).all()
    shifted = to_input(chips, FACENET512.input)
    assert np.allclose(shifted, (chips.transpose(0, 3, 1, 2) - 127.5) / 128, atol=1e-6)
    centred = to_input(chips, VGGFACE2.input)
    assert np.allclose(centred[:, 0], chips[..., 2] - 91.4953, atol=1e-4)
    assert np.allclose(centred[:, 2], chips[..., 0] - 131.0912, atol=1e-4)


def test_what_may_be_done_with_them() -> None:
    assert [pack.commercial_use for pack in KERAS_PACKS] == [True, True, False]
    assert all("released for research" in pack.part("embedder").training_data for pack in KERAS_PACKS)
    assert all(file.sha256 is None for pack in KERAS_PACKS for file in pack.part("embedder").files)
    assert all(pack.calibration is None and pack.rates is None for pack in KERAS_PACKS)
