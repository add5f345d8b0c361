"""What the tests share: portraits from PyPI packages, the project's test images where they are, and loaded models."""

import hashlib
import importlib.util
import io
import json
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import effort  # noqa: F401  # profiles of property tests
import numpy as np
import PIL.Image
import pytest
from certificates import make_certificate
from command_line import Shell
from filelock import FileLock
from inference import Inference
from numpy.typing import NDArray
from store_kinds import place, postgres_server, store  # noqa: F401  # fixtures

from visavis import Recognizer
from visavis.models.catalogue import OPEN
from visavis.models.catalogue.shared import AGE_GENDER
from visavis.models.installation import FILES, PINS

ROOT = Path(__file__).parents[1]
TEST_DATA = Path(os.environ.get("TEST_DATA", ROOT.parent / "shared" / "data"))
MEMORY = Path("/dev/shm")  # noqa: S108  # a file system in memory, on Linux
INFERENCE = Inference()
MEMORY_BYTES = 2 * 1024**3  # that the tests' files may take


def pytest_configure(config: pytest.Config) -> None:
    """Keep temporary files in memory where there is room and programs may run, unless somebody says where."""
    if "TMPDIR" in os.environ or config.option.basetemp is not None or not os.access(MEMORY, os.W_OK):
        return
    if shutil.disk_usage(MEMORY).free >= MEMORY_BYTES and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)  # the first for child processes


@pytest.fixture(scope="session", autouse=True)
def _inference() -> Iterator[None]:
    """Compute once what a network makes of an input, but for tests of models."""
    with INFERENCE.installed():
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Trust a certificate of ours in place of all that the world trusts, which every HTTP client would read anew."""
    path = tmp_path_factory.mktemp("trusted") / "authority.pem"
    make_certificate(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(path))
        yield


@pytest.fixture(scope="session", autouse=True)
def nobodys_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Use no galleries, keys and models of whoever tests."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def _data_of_its_own(nobodys_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use those of no other test."""
    monkeypatch.setenv("XDG_DATA_HOME", str(nobodys_data / secrets.token_hex(8)))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let child processes be interrupted, also where SIGINT is ignored by whoever started the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    INFERENCE.remembers = ROOT / "tests" / "models" not in item.path.parents


def of_all_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all processes of this run share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


def file_of_package(package: str, *parts: str) -> Path:
    """Return a data file of an installed package, without importing the package."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None, f"{package} is not installed"
    return Path(spec.origin).parent.joinpath(*parts)


@pytest.fixture(scope="session")
def astronaut() -> Path:
    """Eileen Collins, 512 x 512, one face: the sample image of scikit-image."""
    return file_of_package("skimage", "data", "astronaut.png")


@pytest.fixture(scope="session")
def hopper() -> Path:
    """Grace Hopper, 512 x 600, one face: the sample image of Matplotlib."""
    return file_of_package("matplotlib", "mpl-data", "sample_data", "grace_hopper.jpg")


@pytest.fixture(scope="session")
def astronaut_again(astronaut: Path) -> bytes:
    """A second photo of Eileen Collins: cropped, turned, made smaller and compressed. JPEG, 220 x 220."""
    with PIL.Image.open(astronaut) as photo:
        turned = photo.convert("RGB").rotate(12, PIL.Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    turned.crop((60, 0, 380, 320)).resize((220, 220)).save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def astronaut_pixels(astronaut: Path) -> NDArray[np.uint8]:
    return read_pixels(astronaut)


@pytest.fixture(scope="session")
def blank() -> bytes:
    """An image without a face. PNG, 120 x 100."""
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (120, 100), "grey").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of test images; skips where it is absent."""
    if not TEST_DATA.is_dir():
        pytest.skip(f"no test data at {TEST_DATA} (set TEST_DATA)")
    return TEST_DATA


@pytest.fixture(scope="session")
def open_models(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with all files of the pack ``open`` but those of age and gender, as pulling would make it."""
    folder = tmp_path_factory.mktemp("models")
    (folder / FILES).mkdir()
    known = {file.name: file for file in (*OPEN.files, *OPEN.optional_files)}
    for path in sorted((test_data / "models").rglob("*")):
        file = known.get(path.name)
        if file and hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256:
            shutil.copy(path, folder / FILES / file.name)
    return folder


@pytest.fixture(scope="session")
def recognizer_open(open_models: Path, cache_dir: Path) -> Recognizer:
    """The pack ``open`` in float32."""
    return Recognizer("open", precision="f32", models_dir=open_models, cache_dir=cache_dir, threads=1)


@pytest.fixture(scope="session")
def all_models(test_data: Path, open_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of ``open`` with those of age and gender; these are of another build than the catalogue's."""
    folder = tmp_path_factory.mktemp("all") / "models"
    shutil.copytree(open_models, folder)
    pins = {}
    for file in AGE_GENDER.files:
        (path,) = (test_data / "models").rglob(file.name)
        shutil.copy(path, folder / FILES)
        pins[file.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / PINS).write_text(json.dumps(pins))
    return folder


@pytest.fixture(scope="session")
def recognizer_all(all_models: Path, cache_dir: Path) -> Recognizer:
    """The pack ``open`` in float32, with all its attributes."""
    return Recognizer("open", precision="f32", models_dir=all_models, cache_dir=cache_dir, threads=1)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of converted models for this run of the tests, so that the conversion is always this code's."""
    folder = of_all_workers(tmp_path_factory) / "cache"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            for pack in ("sface", "dlib"):
                Recognizer(pack, cache_dir=folder, threads=1)
    INFERENCE.cache_dir = folder
    return folder


@pytest.fixture(scope="session")
def recognizer(cache_dir: Path) -> Recognizer:
    """The pack dlib in float32, which gives the same numbers on every machine."""
    return Recognizer("dlib", precision="f32", cache_dir=cache_dir, threads=1)


@pytest.fixture(scope="session")
def recognizer_auto(cache_dir: Path) -> Recognizer:
    """The pack dlib as it comes."""
    return Recognizer("dlib", cache_dir=cache_dir, threads=1)


def read_pixels(path: Path, longest: int | None = None) -> NDArray[np.uint8]:
    """Return an image's pixels, made smaller to at most ``longest`` on the longer side."""
    with PIL.Image.open(path) as image:
        picture = image.convert("RGB")
    if longest is not None and max(picture.size) > longest:
        picture.thumbnail((longest, longest))
    return np.asarray(picture)


def many_faces(pixels: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    """Return the astronaut's face many times in one picture."""
    face = np.asarray(PIL.Image.fromarray(pixels[20:220, 120:320]).resize((128, 128)))
    return np.tile(face, (rows, columns, 1))


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    cache_dir: Path,
    recognizer: Recognizer,
) -> Shell:
    """A shell where the models are converted."""
    assert recognizer.pack.name == "dlib"
    return Shell(capsys, monkeypatch, tmp_path, {"VISAVIS_CACHE_DIR": str(cache_dir)})
