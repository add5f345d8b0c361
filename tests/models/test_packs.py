"""Packs other than the default one, from their files to embeddings and decisions."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import read_pixels
from effort import effort, scaled
from numpy.typing import NDArray
from onnx_embedders import Embedder, with_embedder

from visavis import Recognizer, VisavisError
from visavis.core.geometry import extract_chip
from visavis.errors import InvalidOption, ModelCorrupt, ModelMissing, RuntimeFailed
from visavis.models.catalogue import AURAFACE, EDGEFACE_XS, PACKS, SFACE_FLOAT
from visavis.models.heads import ChipEmbedder, takes_batches, to_input
from visavis.models.installation import FILES
from visavis.models.packs import InputContract, Pack
from visavis.models.recognizer import value_of
from visavis.models.runtime import Graph, RuntimeSpec, compile_graph
from visavis.options import Runtime

Pixels = NDArray[np.uint8]
CONTRACTS = {
    "as SFace": InputContract(colours="rgb"),
    "as ArcFace": InputContract(colours="rgb", mean=(127.5, 127.5, 127.5), scale=1 / 127.5),
    "of other means": InputContract(colours="bgr", mean=(91.4953, 103.8827, 131.0912)),
    "whitened, channels last": InputContract(colours="rgb", layout="nhwc", whiten=True),
    "bytes, channels last": InputContract(colours="bgr", layout="nhwc", dtype="uint8"),
}
RUNTIMES: tuple[Runtime, ...] = ("openvino", "onnxruntime")


def chips(count: int, side: int, seed: int = 3) -> list[Pixels]:
    """Return chips that differ much; the first is of one colour."""
    drawn = np.random.default_rng(seed).integers(0, 256, (count, side // 8, side // 8, 3), np.uint8)
    drawn[:1] = 77
    return [cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR) for small in drawn]


def compiled(pack: Pack, kind: str, runtime: Runtime) -> tuple[Embedder, ChipEmbedder, bool]:
    """Return a made-up embedder of the pack's contract, and what runs it."""
    embedder = Embedder.of(pack)
    side = pack.template.side
    shape = (None, 3, side, side) if pack.input.layout == "nchw" else (None, side, side, 3)
    infer = compile_graph(Graph(embedder.graph(pack, kind), shape=shape), RuntimeSpec(runtime, "f32", 1))
    together = takes_batches(infer, pack.input, side, pack.dimension)
    return embedder, ChipEmbedder(infer, pack, together=together), together


# --- embedders from others ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)
def test_embeddings_are_those_that_numpy_computes(contract: InputContract, runtime: Runtime) -> None:
    pack = replace(SFACE_FLOAT, input=contract)
    reference, embed, _ = compiled(pack, "one", runtime)
    for count in (0, 1, 2, 3, 17):
        given = chips(count, pack.template.side)
        found = embed(given)
        assert found.shape == (count, pack.dimension)
        assert found.dtype == np.float32
        if count:
            expected = reference.expected(np.stack(given), contract)
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("kind", "together"),
    [("free", {True}), ("one", {True}), ("stuck", {True, False}), ("mixed", {False})],  # OpenVINO frees what is stuck
)
def test_a_batch_gives_what_each_chip_gives_alone(kind: str, together: set[bool], runtime: Runtime) -> None:
    reference, embed, found_together = compiled(SFACE_FLOAT, kind, runtime)
    assert found_together in together
    given = chips(16, SFACE_FLOAT.template.side)
    alone = np.concatenate([embed([chip]) for chip in given])
    np.testing.assert_allclose(alone, reference.expected(np.stack(given), SFACE_FLOAT.input), rtol=1e-3, atol=1e-2)
    for count in (2, 3, 5, 16):
        np.testing.assert_allclose(embed(given[:count]), alone[:count], rtol=1e-4, atol=1e-4)


def test_an_embedder_of_another_dimension_is_refused() -> None:
    side = SFACE_FLOAT.template.side
    infer = compile_graph(
        Graph(Embedder.of(SFACE_FLOAT).graph(SFACE_FLOAT), shape=(None, 3, side, side)), RuntimeSpec(threads=1)
    )
    with pytest.raises(ModelCorrupt, match="128 numbers, not 512"):
        takes_batches(infer, SFACE_FLOAT.input, side, 512)


def test_what_a_network_is_fed_does_not_share_memory_with_the_chips() -> None:
    given = np.stack(chips(2, 112))
    before = given.copy()
    for contract in CONTRACTS.values():
        fed = to_input(given, contract)
        if contract.dtype != "uint8":  # which is a view, and only ever read
            fed += 1
    assert (given == before).all()


# --- the pack sface-float, with a made-up embedder -------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(open_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder of this file's own, to which other embedders come."""
    return Path(shutil.copytree(open_models, tmp_path_factory.mktemp("packs") / "models"))


@pytest.fixture
def opencv(
    models: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Embedder, Recognizer]]:
    def make(runtime: Runtime = "openvino", kind: str = "one") -> tuple[Embedder, Recognizer]:
        embedder = Embedder.of(SFACE_FLOAT)
        monkeypatch.setitem(PACKS, "sface-float", with_embedder(SFACE_FLOAT, embedder.graph(SFACE_FLOAT, kind), models))
        return embedder, Recognizer(
            "sface-float", runtime=runtime, precision="f32", models_dir=models, cache_dir=cache_dir, threads=1
        )

    return make


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_pack_from_image_to_decision(
    opencv: Callable[..., tuple[Embedder, Recognizer]], runtime: Runtime, astronaut: Path, astronaut_again: bytes
) -> None:
    reference, recognizer = opencv(runtime)
    (face,) = recognizer.embed(astronaut, quality=True)
    chip = extract_chip(read_pixels(astronaut), face.landmarks, SFACE_FLOAT.template)
    expected = reference.expected(chip[None], SFACE_FLOAT.input)[0]
    assert face.embedding is not None
    np.testing.assert_allclose(face.embedding, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    verification = recognizer.verify(astronaut, astronaut_again)
    assert (verification.threshold, verification.probability) == (0.637, None)
    assert verification.decision == ("same" if verification.same else "different")
    with pytest.raises(InvalidOption, match="visavis calibrate --pack sface-float"):
        recognizer.verify(astronaut, astronaut_again, fmr=1e-3)


def test_chips_and_embeddings_are_opencvs_own(
    opencv: Callable[..., tuple[Embedder, Recognizer]], models: Path, astronaut: Path
) -> None:
    """OpenCV's ``FaceRecognizerSF`` aligns and feeds the same network the same way."""
    _, recognizer = opencv()
    pixels = read_pixels(astronaut)
    (face,) = recognizer.embed(pixels)
    left, top, right, bottom = face.box_xyxy
    row = np.array([[left, top, right - left, bottom - top, *face.landmarks.ravel(), face.score]], np.float32)
    theirs = cv2.FaceRecognizerSF.create(str(models / FILES / SFACE_FLOAT.part("embedder").files[0].name), "")
    aligned = theirs.alignCrop(pixels[..., ::-1].copy(), row)
    chip = extract_chip(pixels, face.landmarks, SFACE_FLOAT.template)
    difference = np.abs(aligned[..., ::-1].astype(int) - chip)
    assert difference.mean() < 3
    feature = theirs.feature(aligned)[0]
    ours = recognizer.embed_chips([np.ascontiguousarray(aligned[..., ::-1])])[0]
    np.testing.assert_allclose(ours, feature, rtol=1e-3, atol=1e-3 * np.abs(feature).max())


def test_many_threads_may_share_a_pack_that_embeds_one_by_one(
    opencv: Callable[..., tuple[Embedder, Recognizer]],
) -> None:
    _, recognizer = opencv(kind="stuck")
    given = chips(6, 112)
    expected = recognizer.embed_chips(given)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: recognizer.embed_chips(given), range(12)):
            assert (found == expected).all()


# --- what is missing, or not what it should be -----------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n, pack in PACKS.items() if not all(file.package for file in pack.files)])
def test_a_pack_that_is_not_installed_says_how_to_get_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=f"visavis models pull.*{name}"):
        Recognizer(name, models_dir=tmp_path / "nowhere", cache_dir=tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x08", b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_file_that_is_another_is_refused(content: bytes, open_models: Path, tmp_path: Path) -> None:
    pack = with_embedder(SFACE_FLOAT, content, tmp_path)
    detector = pack.part("detector").files[0].name
    (tmp_path / FILES / detector).write_bytes((open_models / FILES / detector).read_bytes())
    with pytest.raises(ModelCorrupt, match="face_recognition_sface_2021dec"):
        Recognizer("sface-float", models_dir=tmp_path, threads=1)


def test_a_network_that_no_runtime_understands_is_an_error_of_ours(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for runtime in RUNTIMES:
        monkeypatch.setitem(PACKS, "sface-float", with_embedder(SFACE_FLOAT, b"\x08\x08no network", models))
        with pytest.raises(RuntimeFailed, match="cannot load the network"):
            Recognizer("sface-float", runtime=runtime, models_dir=models, threads=1)


def test_onnx_runtime_says_what_it_lacks_for_the_pack_open(open_models: Path) -> None:
    with pytest.raises(RuntimeFailed, match=r"intermediate representation.*runtime=.openvino., or a pack"):
        Recognizer("open", runtime="onnxruntime", models_dir=open_models, threads=1)


# --- the pack open ---------------------------------------------------------------------------------------------------


def test_the_pack_open_embeds_batches_as_it_embeds_each_face(recognizer_open: Recognizer) -> None:
    side = recognizer_open.pack.template.side
    given = chips(16, side)
    alone = np.concatenate([recognizer_open.embed_chips([chip]) for chip in given])
    for count in (2, 3, 5, 16):
        np.testing.assert_allclose(recognizer_open.embed_chips(given[:count]), alone[:count], rtol=0, atol=1e-4)


def test_the_pack_open_knows_who_is_who(recognizer_open: Recognizer, test_data: Path) -> None:
    portraits = test_data / "images" / "portraits"
    obama, again, biden = (portraits / name for name in ("obama.jpg", "obama2.jpg", "biden.jpg"))
    assert recognizer_open.verify(obama, again).same
    assert not recognizer_open.verify(obama, biden).same


@scaled
def test_the_pack_open_on_a_part_of_lfw(recognizer_open: Recognizer, test_data: Path) -> None:
    """All 600 pairs are measured by bench/lfw.py; here are 24, or 120."""
    folder = test_data / "lfw-fold1"
    rows = [line.split("\t") for line in (folder / "pairs.txt").read_text().splitlines()[1:]][:: effort(25, 5)]

    def image(name: str, number: str) -> Path:
        return folder / "images" / name / f"{name}_{int(number):04d}.jpg"

    pairs = [(image(row[0], row[1]), image(row[-2] if len(row) == 4 else row[0], row[-1])) for row in rows]
    results = recognizer_open.verify_many(pairs)
    right = [
        not isinstance(result, VisavisError) and result.same == (len(row) == 3)
        for result, row in zip(results, rows, strict=True)
    ]
    assert len(right) == effort(24, 120)
    assert np.mean(right) >= 0.99


def test_auraface_takes_its_one_file_from_where_the_others_are_not_free() -> None:
    (file,) = AURAFACE.part("embedder").files
    assert file.url == "https://huggingface.co/fal/AuraFace-v1/resolve/main/glintr100.onnx"
    assert [part.files[0].licence for part in AURAFACE.parts] == ["MIT", "Apache-2.0"]


# --- the mirrored chip ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["free", "stuck"])
@pytest.mark.parametrize("count", [0, 1, 3, 17])
def test_a_mirrored_embedding_is_the_sum_of_two_of_length_1(kind: str, count: int) -> None:
    pack = replace(SFACE_FLOAT, mirror=True)
    reference, embed, _ = compiled(pack, kind, "openvino")
    given = chips(count, pack.template.side)
    found = embed(given)
    assert found.shape == (count, pack.dimension)
    if count:
        sides = [reference.expected(np.stack(each), pack.input) for each in (given, [chip[:, ::-1] for chip in given])]
        expected = sum(side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides)
        np.testing.assert_allclose(found, expected, atol=1e-3)
        np.testing.assert_allclose(embed([chip[:, ::-1] for chip in given]), found, atol=1e-3)


def test_dlib_cosine_is_made_of_what_dlib_makes(recognizer: Recognizer, cache_dir: Path, hopper: Path) -> None:
    cosine = Recognizer("dlib-cosine", precision="f32", cache_dir=cache_dir)
    (seen,) = value_of(next(recognizer.observe_many([hopper])))
    (face,) = cosine.embed(hopper)
    assert face.box_xyxy.tolist() == seen.face.box_xyxy.tolist()
    both = recognizer.embed_chips([seen.chip, np.ascontiguousarray(seen.chip[:, ::-1])])
    expected = (both / np.linalg.norm(both, axis=1, keepdims=True)).sum(axis=0)
    assert face.embedding == pytest.approx(expected, abs=1e-3)
    assert cosine.pack.space != recognizer.pack.space
    assert cosine.verify(hopper, hopper)


# --- EdgeFace -------------------------------------------------------------------------------------------------------


def test_edgeface_by_a_network_of_its_contract() -> None:
    contract = EDGEFACE_XS.input
    assert (EDGEFACE_XS.template.side, EDGEFACE_XS.dimension, EDGEFACE_XS.metric) == (112, 512, "cosine")
    white, black = (to_input(np.full((1, 112, 112, 3), value, np.uint8), contract) for value in (255, 0))
    assert white.shape == (1, 3, 112, 112)
    assert (white.max(), black.min()) == (pytest.approx(1), pytest.approx(-1))  # (x / 255 - 0.5) / 0.5
    assert contract.colours == "rgb"
    assert not EDGEFACE_XS.commercial_use
    reference, embed, together = compiled(EDGEFACE_XS, "one", "openvino")
    given = chips(3, 112)
    assert together
    expected = reference.expected(np.stack(given), contract)
    np.testing.assert_allclose(embed(given), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
