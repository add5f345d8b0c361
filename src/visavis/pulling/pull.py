"""Pulling packs: from their official addresses, or a mirror, into the folder of models."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

import httpx

from visavis.errors import ModelCorrupt, PullFailed
from visavis.models.installation import source_path
from visavis.models.packs import Archive, ModelFile, Pack, Part, Role
from visavis.pulling.archives import extract
from visavis.pulling.folder import ModelsFolder
from visavis.pulling.hashing import disguise_of, fault_of, fingerprint, is_published
from visavis.pulling.holdings import chosen_parts, pulled_files
from visavis.pulling.licences import Accept, require, restriction_of
from visavis.pulling.source import Source, file_of_archive, shown
from visavis.pulling.transfer import Report, Wanted, download, open_client

_log = logging.getLogger(__name__)
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
