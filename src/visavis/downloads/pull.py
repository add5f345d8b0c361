"""Download of packs into the folder of models: licences, files and members of zip archives."""

import errno
import json
import logging
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeAlias

import httpx

import visavis
from visavis.downloads.folder import LARGEST, ModelsFolder, disguise_of, fault_of, fingerprint, is_published
from visavis.downloads.installed import chosen_parts, pulled_files
from visavis.downloads.transfer import Report, Source, Wanted, download, file_of_archive, open_client, shown
from visavis.errors import LicenceNotAccepted, ModelCorrupt, PullFailed
from visavis.models.installation import source_path
from visavis.models.packs import Archive, ModelFile, Pack, Part, Role

_CHUNK = 1 << 20
# Others ask for memory as the archive says.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
# Weights hardly shrink; what shrinks so much is there to fill a disk.
_MOST_SHRUNK = 100
_SMALL = 1_000_000
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OverflowError,
    struct.error,
    # What the standard library raises for methods that it does not know, and for offsets and names that make no sense.
    NotImplementedError,
    RuntimeError,
    ValueError,
)


def extract(archive: Path, file: ModelFile, target: Path) -> None:
    """Write the member of an archive that is a file of the catalogue; it is not checked against any hash.

    Args:
        archive: a zip.
        file: what to take out of it.
        target: where to write it.

    Raises:
        ModelCorrupt: the archive is damaged, encrypted or hostile, or has no such member.
        OSError: it cannot be read, or the file not be written.
    """
    with _errors_translated(archive), zipfile.ZipFile(archive) as opened:
        member = _find(opened, file.member)
        _check(member, file)
        with opened.open(member) as source, target.open("wb") as sink:
            _copy(source, sink, member.file_size)


@contextmanager
def _errors_translated(archive: Path) -> Iterator[None]:
    try:
        yield
    except ModelCorrupt as error:
        raise ModelCorrupt(f"{archive.name.removesuffix('.part')}: {error}") from None
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which is what a senseless offset gives
            raise
        name = archive.name.removesuffix(".part")
        raise ModelCorrupt(f"{name} is not a zip archive that can be read, or is damaged: {error}") from error


def _find(archive: zipfile.ZipFile, wanted: str) -> zipfile.ZipInfo:
    """Return the member of that name; or else the one whose last part is the same."""
    members = [member for member in archive.infolist() if not member.is_dir()]
    exact = [member for member in members if member.filename == wanted]
    last = PurePosixPath(wanted).name
    found = exact or [member for member in members if PurePosixPath(member.filename).name == last]
    if len(found) != 1:
        raise ModelCorrupt(f"it holds {'no' if not found else 'more than one'} {wanted}")
    return found[0]


def _check(member: zipfile.ZipInfo, file: ModelFile) -> None:
    if member.flag_bits & _ENCRYPTED:
        raise ModelCorrupt(f"{file.member} is encrypted")
    if member.compress_type not in _METHODS:
        raise ModelCorrupt(f"{file.member} is compressed by another method than archives of models are")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ModelCorrupt(f"{file.member} is a link, not a file")
    if file.size not in (None, member.file_size):
        raise ModelCorrupt(f"{file.member} is another file: {member.file_size:,} bytes instead of {file.size:,}")
    if member.file_size > LARGEST or member.file_size > _MOST_SHRUNK * member.compress_size + _SMALL:
        raise ModelCorrupt(f"{file.member} would grow from {member.compress_size:,} to {member.file_size:,} bytes")


def _copy(source: IO[bytes], sink: IO[bytes], size: int) -> None:
    left = size
    while chunk := source.read(_CHUNK):
        left -= len(chunk)
        if left < 0:
            raise ModelCorrupt(f"a member is larger than the {size:,} bytes that it says")
        sink.write(chunk)
    if left:
        raise ModelCorrupt(f"a member is smaller than the {size:,} bytes that it says")


LICENCES = "licences.json"
"""The file, among the models, that holds what was accepted, by pack."""


@dataclass(frozen=True, slots=True)
class Restriction:
    """What the licences of a pack's parts forbid: commercial use.

    Attributes:
        pack: its name.
        licences: of the parts that may not be used commercially.
        origins: where they can be read.
    """

    pack: str
    licences: tuple[str, ...]
    origins: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"the pack {self.pack!r} is not for commercial use; its licence is {', '.join(self.licences)}: see "
            f"{', '.join(self.origins)}"
        )


Accept: TypeAlias = Callable[[Restriction], bool]
"""Asked once for each pack: whether its licence is accepted."""


def restriction_of(pack: Pack, parts: Iterable[Part]) -> Restriction | None:
    """Return what forbids commercial use of these parts; None where nothing does."""
    files = [file for part in parts if not part.commercial_use for file in part.files]
    if not files:
        return None
    licences, origins = (
        tuple(dict.fromkeys(texts)) for texts in ([f.licence for f in files], [f.origin for f in files])
    )
    return Restriction(pack.name, licences, origins)


def is_accepted(restriction: Restriction, folder: ModelsFolder) -> bool:
    """Tell whether somebody accepted just these licences here.

    Raises:
        ModelCorrupt: the record is damaged.
    """
    licences = _read(folder).get(restriction.pack, {}).get("licences", [])
    return set(restriction.licences) <= set(licences)


def require(restrictions: Iterable[Restriction], folder: ModelsFolder, accept: Accept) -> None:
    """Go on where each licence is accepted, now or before; what is accepted now is recorded.

    Raises:
        LicenceNotAccepted: one is not.
        ModelCorrupt: the record is damaged.
        PullFailed: the record cannot be written.
    """
    open_ones = [restriction for restriction in restrictions if not is_accepted(restriction, folder)]
    for restriction in open_ones:
        if not accept(restriction):
            raise LicenceNotAccepted(f"{restriction}. Whoever has read it and keeps to it says --accept-licence")
    if open_ones:
        with folder.locked():
            records = _read(folder)
            for restriction in open_ones:
                before = records.get(restriction.pack, {}).get("licences", [])
                records[restriction.pack] = {
                    "licences": list(dict.fromkeys((*before, *restriction.licences))),
                    "accepted_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                    "visavis": visavis.__version__,
                }
            folder.write_json(LICENCES, records)


def _read(folder: ModelsFolder) -> dict[str, dict[str, Any]]:
    path = folder.path / LICENCES
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        return {str(pack): {**record, "licences": list(record["licences"])} for pack, record in records.items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
        raise ModelCorrupt(f"{path} cannot be read ({error}): remove it and accept the licences again") from error


_log = logging.getLogger("visavis.pulling.pull")
_OFFICIAL = Source()


@dataclass(frozen=True, slots=True)
class Pulled:
    """A file that is here now.

    Attributes:
        name: in the catalogue.
        path: where it is.
        size: in bytes.
        sha256: its own, in hexadecimal.
        pinned: whether that was pinned here, for its publisher states none.
        is_new: whether it was fetched just now.
    """

    name: str
    path: Path
    size: int
    sha256: str
    pinned: bool
    is_new: bool


@dataclass(frozen=True, slots=True)
class Lacking:
    """An optional part that could not be had; the pack works without it.

    Attributes:
        pack: its name.
        role: what the part does.
        names: of its files that are not here.
        error: why.
    """

    pack: str
    role: Role
    names: tuple[str, ...]
    error: PullFailed | ModelCorrupt


OnLacking: TypeAlias = Callable[[Lacking], None]
"""Called for each optional part that could not be had."""


def refuse(_restriction: object) -> bool:
    """Accept no licence."""
    return False


def quiet(_name: str, _there: int, _total: int | None) -> None:
    """Report no progress."""


def fail(lacking: Lacking) -> None:
    """Raise why an optional part could not be had."""
    raise lacking.error


def pull(  # noqa: PLR0913  # independent settings, each with a sensible default
    packs: Iterable[Pack],
    folder: ModelsFolder,
    source: Source = _OFFICIAL,
    *,
    optional: Iterable[Role] | None = None,
    accept: Accept = refuse,
    report: Report = quiet,
    on_lacking: OnLacking = fail,
) -> tuple[Pulled, ...]:
    """Fetch what is not here yet of some packs; another process that does the same is waited for.

    What packs need comes first, then one optional part after another; one that cannot be had stops no other.

    Args:
        packs: of the catalogue.
        folder: where models are kept.
        source: where they are fetched from.
        optional: which optional parts to fetch too; None for all whose licences are no stricter than the pack's.
        accept: asked once for each pack that is not for commercial use and was not accepted here before.
        report: called as bytes come.
        on_lacking: called at the end for each optional part that could not be had; by default that is an error.

    Returns:
        Every file of the packs that is here now, but for those that come with a PyPI package.

    Raises:
        InvalidOption: a pack has no such optional part, or the source makes no sense.
        LicenceNotAccepted: a licence was not.
        PullFailed: a file cannot be had, or not be kept.
        ModelCorrupt: a file is another one than the catalogue's, or than the pinned one.
        ModelMissing: a PyPI package is not installed.
    """
    chosen = [(pack, chosen_parts(pack, optional)) for pack in packs]
    for file in (file for _, parts in chosen for part in parts for file in part.files if file.package):
        source_path(file)
    require((r for pack, parts in chosen if (r := restriction_of(pack, parts))), folder, accept)
    files = pulled_files(part for _, parts in chosen for part in parts)
    missing = _missing(files, folder)
    lacking: list[Lacking] = []
    if missing:
        needed = pulled_files(part for pack, _ in chosen for part in pack.parts)
        offered = [(pack, part) for pack, parts in chosen for part in parts if part not in pack.parts]
        with folder.locked(), open_client(source) as client:
            missing = _missing(missing, folder)  # another process may have fetched them while this one waited
            puller = _Puller(folder, source, client, report)
            puller.fetch(file for file in missing if file in needed)
            lacking = [each for pack, part in offered if (each := _try_part(puller, pack, part, folder))]
    for each in lacking:
        on_lacking(each)
    absent = {name for each in lacking for name in each.names}
    return tuple(_pulled(file, folder, is_new=file in missing) for file in files if file.name not in absent)


def _try_part(puller: "_Puller", pack: Pack, part: Part, folder: ModelsFolder) -> Lacking | None:
    """Fetch what is missing of an optional part; return why where that fails."""
    files = pulled_files([part])
    try:
        puller.fetch(_missing(files, folder))
    except (PullFailed, ModelCorrupt) as error:
        return Lacking(pack.name, part.role, tuple(file.name for file in _missing(files, folder)), error)
    return None


def _missing(files: Iterable[ModelFile], folder: ModelsFolder) -> list[ModelFile]:
    return [file for file in files if folder.look_at(file) is None]


def _pulled(file: ModelFile, folder: ModelsFolder, *, is_new: bool) -> Pulled:
    sha256 = file.sha256 or folder.pins()[file.name]
    path = folder.place_of(file)
    return Pulled(file.name, path, path.stat().st_size, sha256, pinned=file.sha256 is None, is_new=is_new)


class _Puller:
    """Fetches files into a folder whose lock is held."""

    def __init__(self, folder: ModelsFolder, source: Source, client: httpx.Client, report: Report) -> None:
        self._folder = folder
        self._source = source
        self._client = client
        self._report = report

    def fetch(self, files: Iterable[ModelFile]) -> None:
        """Fetch files, those of one archive together."""
        ordered = sorted(files, key=lambda file: file.archive.url if file.archive else "")
        for archive, members in groupby(ordered, key=lambda file: file.archive):
            if archive is None:
                for file in members:
                    self._folder.settle(file, self._download(file), self._from(file))
            else:
                self._fetch_members(archive, list(members))

    def _fetch_members(self, archive: Archive, members: list[ModelFile]) -> None:
        file = file_of_archive(archive)
        path = self._download(file)
        try:
            take_members(path, members, self._folder)
        finally:
            path.unlink(missing_ok=True)

    def _download(self, file: ModelFile) -> Path:
        """Return the path of a downloaded file, which may be the wrong one only where its publisher states no hash."""
        _log.info("%s: from %s%s", file.name, self._from(file), "" if file.size is None else f", {file.size:,} bytes")
        address = self._source.address_of(file)
        pin = self._folder.pins().get(file.name)
        wanted = Wanted(
            name=file.name,
            url=address,
            size=file.size,
            hash_known=is_published(file) or pin is not None,
            way_out=self._source.way_out,
        )
        path, in_pieces = self._fetch(wanted)
        fault = fault_of(file, fingerprint(path), pin)
        if fault and in_pieces:
            _log.info("%s: its pieces do not fit together; starting anew", file.name)
            path.unlink()
            path, _ = self._fetch(wanted)
            fault = fault_of(file, fingerprint(path), pin)
        if fault:
            disguise = disguise_of(path)
            path.unlink()
            raise ModelCorrupt(
                f"what came from {self._from(file)} is not the {file.name} that visavis knows: {fault}{disguise}"
            )
        return path

    def _fetch(self, wanted: Wanted) -> tuple[Path, bool]:
        return download(self._client, wanted, self._folder, self._report, self._source.patience)

    def _from(self, file: ModelFile) -> str:
        return shown(self._source.address_of(file))


def take_members(archive: Path, members: Iterable[ModelFile], folder: ModelsFolder) -> None:
    """Put members of an archive in their places; holds the folder's lock.

    Raises:
        ModelCorrupt: the archive is damaged, or a member is another file than the catalogue's.
        PullFailed: the folder cannot be written.
    """
    for file in members:
        part = folder.part_of(file.name)
        with folder.writing(part):
            part.parent.mkdir(exist_ok=True)
            folder.check_room(file.size or 0)
            try:
                extract(archive, file, part)
            except ModelCorrupt:
                part.unlink(missing_ok=True)
                raise
        folder.settle(file, part, f"{file.member} in {archive.name.removesuffix('.part')}")
