"""Importing files that somebody already has: recognised by their hashes, by their names, or as what they are called."""

import difflib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from visavis.downloads.folder import (
    LARGEST,
    Fingerprint,
    ModelsFolder,
    disguise_of,
    fault_of,
    fingerprint,
    is_published,
    misnamed,
)
from visavis.downloads.installed import all_files
from visavis.downloads.pull import Accept, Restriction, is_accepted, refuse, require, restriction_of, take_members
from visavis.downloads.transfer import file_of_archive
from visavis.errors import InvalidOption, ModelCorrupt, VisavisError
from visavis.models.catalogue import packs_with
from visavis.models.packs import Archive, ModelFile, Pack


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one file.

    Attributes:
        path: of the file that was given.
        names: which files of the catalogue it is, or holds; empty where it is none.
        error: why it was refused; None where it was not.
    """

    path: Path
    names: tuple[str, ...] = ()
    error: VisavisError | None = None


@dataclass(frozen=True, slots=True)
class _Recognised:
    """What a file is: files of the catalogue, or an archive that holds them."""

    files: tuple[ModelFile, ...]
    archive: Archive | None = None


def import_files(
    paths: Iterable[Path], folder: ModelsFolder, *, name: str | None = None, accept: Accept = refuse
) -> Iterator[Imported]:
    """Copy files of packs to where models are kept, each when its result is asked for; one that fails stops no other.

    Args:
        paths: of files, zip archives as their publishers offer them, and folders: of these, all files below that are
            recognised, and nothing is said of others.
        folder: where models are kept.
        name: as which file of the catalogue the one path is to be taken, in place of recognising it.
        accept: as in ``pull``.

    Raises:
        InvalidOption: there is no file of that name, or one name for several paths.
    """
    paths = list(paths)
    as_file = _file_called(name) if name else None
    if as_file and (len(paths) != 1 or paths[0].is_dir()):
        raise InvalidOption("a name is for one file: import others with a call of their own")
    return (result for path in paths for result in _imported(path, folder, as_file, accept))


def _imported(path: Path, folder: ModelsFolder, as_file: ModelFile | None, accept: Accept) -> Iterator[Imported]:
    if not path.is_dir():
        yield _import(path, folder, as_file, accept, unknown_is_error=True)
        return
    found = False
    for inside in _files_below(path):
        result = _import(inside, folder, None, accept, unknown_is_error=False)
        if result.names or result.error:
            found = True
            yield result
    if not found:
        yield Imported(path, error=InvalidOption(f"{path} holds no file of any pack"))


def _files_below(path: Path) -> list[Path]:
    """Return the files of a folder that may be models; those whose names begin with a dot, as in caches, are not."""
    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = (Path(folder, name) for name in names if not name.startswith("."))
        found += [each for each in inside if each.is_file() and 0 < each.stat().st_size <= LARGEST]
    return sorted(found)


def _import(
    path: Path, folder: ModelsFolder, as_file: ModelFile | None, accept: Accept, *, unknown_is_error: bool
) -> Imported:
    try:
        found = _fingerprint(path)
        known = _Recognised((as_file,)) if as_file else _recognise(path, found, folder)
        if known is None:
            return Imported(path, error=_unknown(path, found) if unknown_is_error else None)
        require(_restrictions(known.files, folder), folder, accept)
        _take(path, found, known, folder)
        return Imported(path, tuple(file.name for file in known.files))
    except VisavisError as error:
        return Imported(path, error=error)


def _fingerprint(path: Path) -> Fingerprint:
    try:
        if path.exists() and not path.is_file():
            raise InvalidOption(f"{path} is no file")
        if path.stat().st_size > LARGEST:
            raise InvalidOption(f"{path} has {path.stat().st_size:,} bytes, more than any model")
        return fingerprint(path)
    except VisavisError:
        raise
    except OSError as error:
        raise InvalidOption(f"{path} cannot be read: {error.strerror or error}") from error


def _recognise(path: Path, found: Fingerprint, folder: ModelsFolder) -> _Recognised | None:
    """Return what a file is, by its hash or else by its name."""
    files, pins = all_files(), folder.pins()
    by_hash = [f for f in files if found.sha256 == (f.sha256 or pins.get(f.name)) or found.sha384 == f.sha384]
    if by_hash:
        return _Recognised(tuple(by_hash))
    archives = {file.archive: file_of_archive(file.archive) for file in files if file.archive}
    same = [a for a, whole in archives.items() if whole.sha256 == found.sha256]
    same += [a for a, whole in archives.items() if whole.name == path.name]
    if same:
        return _Recognised(tuple(file for file in files if file.archive == same[0]), same[0])
    by_name = tuple(file for file in files if file.name == path.name)
    return _Recognised(by_name) if by_name else None


def _take(path: Path, found: Fingerprint, known: _Recognised, folder: ModelsFolder) -> None:
    if known.archive:
        _check(path, file_of_archive(known.archive), found, None)
        with folder.locked():
            take_members(path, known.files, folder)
        return
    for file in known.files:
        # Told before it is copied, which may take a while; what was copied is checked again.
        _check(path, file, found, folder.pins().get(file.name))
        if folder.look_at(file):
            continue
        with folder.locked():
            part = folder.part_of(file.name)
            with folder.writing(part):
                part.parent.mkdir(exist_ok=True)
                folder.check_room(found.size)
                shutil.copyfile(path, part)
            folder.settle(file, part, str(path))


def _check(path: Path, file: ModelFile, found: Fingerprint, pin: str | None) -> None:
    if fault := fault_of(file, found, pin) or misnamed(file, path):
        raise ModelCorrupt(f"{path} is not the {file.name} that visavis knows: {fault}{disguise_of(path)}")


def _restrictions(files: Iterable[ModelFile], folder: ModelsFolder) -> list[Restriction]:
    """Return what is to be accepted for files: for each, the licence of a pack that it belongs to."""
    found: dict[str, Restriction] = {}
    for file in files:
        those = [each for pack in packs_with(file.name) if (each := _restriction(pack, file))]
        if those and not any(is_accepted(each, folder) for each in those):
            found.setdefault(those[0].pack, those[0])
    return list(found.values())


def _restriction(pack: Pack, file: ModelFile) -> Restriction | None:
    parts = (*pack.parts, *pack.optional)
    restricted = (part for part in parts if not part.commercial_use)
    if any(file.name == each.name for part in restricted for each in part.files):
        return restriction_of(pack, parts)
    return None


def _file_called(name: str) -> ModelFile:
    by_name = {file.name: file for file in all_files()}
    if name not in by_name:
        close = difflib.get_close_matches(name, by_name, 1)
        hint = f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(by_name)}"
        raise InvalidOption(f"no pack has a file {name!r}{hint}")
    return by_name[name]


def _unknown(path: Path, found: Fingerprint) -> InvalidOption:
    unpublished = [file.name for file in all_files() if not is_published(file)]
    by_name = f"; without a published hash, and so recognised by name or with --as NAME: {', '.join(unpublished)}"
    return InvalidOption(
        f"{path} is no file of any pack, neither by its SHA-256 ({found.sha256}) nor by its name; visavis models show "
        f"PACK tells what a pack needs{by_name if unpublished else ''}"
    )
