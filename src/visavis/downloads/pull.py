"""Download of packs into the folder of models: files, and members of zip archives."""

import errno
import logging
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import httpx

from visavis.downloads.folder import (
    LARGEST,
    ModelsFolder,
    check,
    fault_of,
    file_of_archive,
    fingerprint,
    is_published,
    pulled_files,
)
from visavis.downloads.licences import Accept, refuse, require, restriction_of
from visavis.downloads.transfer import Download, Report, Source, shown
from visavis.errors import InvalidOption, ModelCorrupt, PullFailed
from visavis.models.installation import is_packaged, source_path
from visavis.models.packs import ModelFile, Pack, Part, Role

# Others ask for memory as the archive says.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Weights hardly shrink; what shrinks so much is there to fill a disk.
_MOST_SHRUNK = 100
_SMALL = 1_000_000
# What the standard library raises for methods that it does not know, passwords, and offsets and names without sense.
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OverflowError, struct.error),
    *(NotImplementedError, RuntimeError, ValueError),
)
_OFFICIAL = Source()

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pulled:
    """A file that is here now."""

    name: str  # in the catalogue
    path: Path
    size: int  # in bytes
    sha256: str  # its own, in hexadecimal
    pinned: bool  # whether that was pinned here, for its publisher states none
    is_new: bool  # whether it was fetched just now


@dataclass(frozen=True, slots=True)
class Lacking:
    """An optional part that could not be had; the pack works without it."""

    pack: str
    role: Role
    names: tuple[str, ...]  # of its files that are not here
    error: PullFailed | ModelCorrupt


OnLacking: TypeAlias = Callable[[Lacking], None]
"""Called for each optional part that could not be had."""


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
    report: Report = lambda _name, _there, _total: None,
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
    chosen = [(pack, part) for pack in packs for part in (*pack.parts, *_optional_parts(pack, optional))]
    for file in (file for _, part in chosen for file in part.files if is_packaged(file)):
        source_path(file)
    by_pack = {pack.name: (pack, [part for other, part in chosen if other is pack]) for pack, _ in chosen}
    require((r for pack, parts in by_pack.values() if (r := restriction_of(pack, parts))), folder, accept)
    files = pulled_files(part for _, part in chosen)
    missing = _missing(files, folder)
    lacking: list[Lacking] = []
    if missing:
        with folder.locked(), source.open_client() as client:
            missing = _missing(missing, folder)  # another process may have fetched them while this one waited
            puller = _Puller(folder, source, client, report)
            needed = pulled_files(part for pack, part in chosen if part in pack.parts)
            puller.fetch(file for file in missing if file in needed)
            for pack, part in ((pack, part) for pack, part in chosen if part in pack.optional):
                own = pulled_files([part])
                try:
                    puller.fetch(_missing(own, folder))
                except (PullFailed, ModelCorrupt) as error:
                    names = tuple(file.name for file in _missing(own, folder))
                    lacking.append(Lacking(pack.name, part.role, names, error))
    for each in lacking:
        on_lacking(each)
    absent = {name for each in lacking for name in each.names}

    def pulled(file: ModelFile) -> Pulled:
        sha256, path = file.sha256 or folder.pins()[file.name], folder.place_of(file)
        return Pulled(file.name, path, path.stat().st_size, sha256, file.sha256 is None, file in missing)

    return tuple(pulled(file) for file in files if file.name not in absent)


def _optional_parts(pack: Pack, optional: Iterable[Role] | None) -> tuple[Part, ...]:
    if optional is None:
        return tuple(part for part in pack.optional if part.commercial_use or not pack.commercial_use)
    wanted, offered = tuple(optional), [part.role for part in pack.optional]
    for role in wanted:
        if role not in offered:
            raise InvalidOption(
                f"the pack {pack.name!r} has no optional part {role!r}; it has: {', '.join(offered) or 'none'}"
            )
    return tuple(part for part in pack.optional if part.role in wanted)


def _missing(files: Iterable[ModelFile], folder: ModelsFolder) -> list[ModelFile]:
    return [file for file in files if folder.look_at(file) is None]


@dataclass(frozen=True, slots=True)
class _Puller:
    """Fetches files into a folder whose lock is held."""

    folder: ModelsFolder
    source: Source
    client: httpx.Client
    report: Report

    def fetch(self, files: Iterable[ModelFile]) -> None:
        """Fetch files, those of one archive together."""
        ordered = sorted(files, key=lambda file: file.archive.url if file.archive else "")
        for archive, members in groupby(ordered, key=lambda file: file.archive):
            if archive is None:
                for file in members:
                    self.folder.settle(file, *self._download(file))
                continue
            whole = file_of_archive(archive)
            path, source = self._download(whole)
            try:
                check(whole, path, fingerprint(path), None, source)
                take_members(path, members, self.folder)
            finally:
                path.unlink(missing_ok=True)

    def _download(self, file: ModelFile) -> tuple[Path, str]:
        """Return the path of a file that came, and from where; what came in pieces that do not fit comes anew."""
        _log.info("%s: from %s%s", file.name, self._from(file), "" if file.size is None else f", {file.size:,} bytes")
        pin = self.folder.pins().get(file.name)
        hash_known = is_published(file) or pin is not None
        download = Download(self.client, self.source, self.folder, file, hash_known, self.report)
        path = download.run()
        if download.resumed and fault_of(file, fingerprint(path), pin):
            _log.info("%s: its pieces do not fit together; starting anew", file.name)
            path.unlink()
            download.run()
        return path, f"what came from {self._from(file)}"

    def _from(self, file: ModelFile) -> str:
        return shown(self.source.address_of(file))


def take_members(archive: Path, members: Iterable[ModelFile], folder: ModelsFolder) -> None:
    """Put members of an archive in their places; holds the folder's lock.

    Raises:
        ModelCorrupt: the archive is damaged, or a member is another file than the catalogue's.
        PullFailed: the folder cannot be written.
    """
    for file in members:
        part = folder.part_of(file.name)
        with folder.writing(part):
            folder.check_room(file.size or 0)
            try:
                extract(archive, file, part)
            except ModelCorrupt:
                part.unlink(missing_ok=True)
                raise
        folder.settle(file, part, f"{file.member} in {archive.name.removesuffix('.part')}")


def extract(archive: Path, file: ModelFile, target: Path) -> None:
    """Write the member of an archive that is a file of the catalogue; it is not checked against any hash.

    Raises:
        ModelCorrupt: the archive is damaged, encrypted or hostile, or has no such member.
        OSError: it cannot be read, or the file not be written.
    """
    name = archive.name.removesuffix(".part")
    try:
        with zipfile.ZipFile(archive) as opened:
            member = _find_member(opened, file)
            with opened.open(member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)  # no more than the member says, and with the checksum that it says
    except ModelCorrupt as error:
        raise ModelCorrupt(f"{name}: {error}") from None
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which is what a senseless offset gives
            raise
        raise ModelCorrupt(f"{name} is not a zip archive that can be read, or is damaged: {error}") from error
    if target.stat().st_size != member.file_size:
        raise ModelCorrupt(f"{name}: a member is smaller than the {member.file_size:,} bytes that it says")


def _find_member(archive: zipfile.ZipFile, file: ModelFile) -> zipfile.ZipInfo:
    """Return the member of the file's name, or else the one whose last part is the same; nothing is wrong with it."""
    members = [member for member in archive.infolist() if not member.is_dir()]
    exact = [member for member in members if member.filename == file.member]
    last = PurePosixPath(file.member).name
    found = exact or [member for member in members if PurePosixPath(member.filename).name == last]
    if len(found) != 1:
        raise ModelCorrupt(f"it holds {'no' if not found else 'more than one'} {file.member}")
    (member,) = found
    if member.compress_type not in _METHODS:
        raise ModelCorrupt(f"{file.member} is compressed by another method than archives of models are")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ModelCorrupt(f"{file.member} is a link, not a file")
    if file.size not in (None, member.file_size):
        raise ModelCorrupt(f"{file.member} is another file: {member.file_size:,} bytes instead of {file.size:,}")
    if member.file_size > LARGEST or member.file_size > _MOST_SHRUNK * member.compress_size + _SMALL:
        raise ModelCorrupt(f"{file.member} would grow from {member.compress_size:,} to {member.file_size:,} bytes")
    return member
