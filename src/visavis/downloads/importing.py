"""Importing of files that are there already: recognised by their hashes, or else by their names."""

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
    all_files,
    check,
    file_of_archive,
    fingerprint,
    is_published,
)
from visavis.downloads.licences import Accept, Restriction, is_accepted, refuse, require, restriction_of
from visavis.downloads.pull import take_members
from visavis.errors import InvalidOption, VisavisError
from visavis.files import is_hidden
from visavis.models.installation import packs_with
from visavis.models.packs import Archive, ModelFile


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one file."""

    path: Path  # of the file that was given
    names: tuple[str, ...] = ()  # which files of the catalogue it is, or holds; empty where it is none
    error: VisavisError | None = None  # why it was refused; None where it was not


def import_files(
    paths: Iterable[Path], folder: ModelsFolder, *, name: str | None = None, accept: Accept = refuse
) -> Iterator[Imported]:
    """Copy files of packs to where models are kept, each when its result is asked for; one that fails stops no other.

    Args:
        paths: of files, zip archives as their publishers offer them, and folders: of these, all files below that are
            recognised; hidden files and folders, such as trash, are passed over, and nothing is said of others.
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
        yield _import(path, folder, as_file, accept) or Imported(path, error=_unknown(path))
        return
    found = False
    for inside in _files_below(path):
        if result := _import(inside, folder, None, accept):
            found = True
            yield result
    if not found:
        yield Imported(path, error=InvalidOption(f"{path} holds no file of any pack"))


def _files_below(path: Path) -> list[Path]:
    """Return the files of a folder that may be models; what is hidden, as in caches and trash, is not."""
    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not is_hidden(name)]
        inside = (Path(folder, name) for name in names if not is_hidden(name))
        found += [each for each in inside if each.is_file() and 0 < each.stat().st_size <= LARGEST]
    return sorted(found)


def _import(path: Path, folder: ModelsFolder, as_file: ModelFile | None, accept: Accept) -> Imported | None:
    """Take one file; return None where it is of no pack."""
    try:
        found = _fingerprint(path)
        files, archive = ((as_file,), None) if as_file else _recognise(path, found, folder)
        if not files:
            return None
        require(_restrictions(files, folder), folder, accept)
        if archive:
            check(file_of_archive(archive), path, found, None, str(path))
            with folder.locked():
                take_members(path, files, folder)
        else:
            for file in files:
                _copy(path, found, file, folder)
        return Imported(path, tuple(file.name for file in files))
    except VisavisError as error:
        return Imported(path, error=error)


def _fingerprint(path: Path) -> Fingerprint:
    try:
        if path.exists() and not path.is_file():
            raise InvalidOption(f"{path} is no file")
        if path.stat().st_size > LARGEST:
            raise InvalidOption(f"{path} has {path.stat().st_size:,} bytes, more than any model")
        return fingerprint(path)
    except OSError as error:
        raise InvalidOption(f"{path} cannot be read: {error.strerror or error}") from error


def _recognise(path: Path, found: Fingerprint, folder: ModelsFolder) -> tuple[tuple[ModelFile, ...], Archive | None]:
    """Return which files a file is, by its hash or else by its name; or the files of which archive it is."""
    files, pins = all_files(), folder.pins()
    by_hash = [f for f in files if found.sha256 == (f.sha256 or pins.get(f.name)) or found.sha384 == f.sha384]
    if by_hash:
        return tuple(by_hash), None
    archives = {file.archive: file_of_archive(file.archive) for file in files if file.archive}
    same = [archive for archive, whole in archives.items() if whole.sha256 == found.sha256]
    same += [archive for archive, whole in archives.items() if whole.name == path.name]
    if same:
        return tuple(file for file in files if file.archive == same[0]), same[0]
    return tuple(file for file in files if file.name == path.name), None


def _copy(path: Path, found: Fingerprint, file: ModelFile, folder: ModelsFolder) -> None:
    # Told before it is copied, which may take a while; what was copied is checked again.
    check(file, path, found, folder.pins().get(file.name), str(path))
    if folder.look_at(file):
        return
    with folder.locked():
        part = folder.part_of(file.name)
        with folder.writing(part):
            folder.check_room(found.size)
            shutil.copyfile(path, part)
        folder.settle(file, part, str(path))


def _restrictions(files: Iterable[ModelFile], folder: ModelsFolder) -> list[Restriction]:
    """Return what is to be accepted for files: for each, the licence of a pack that restricts it."""
    found: dict[str, Restriction] = {}
    for file in files:
        those = []
        for pack in packs_with(file.name):
            parts = (*pack.parts, *pack.optional)
            restricted = {each.name for part in parts if not part.commercial_use for each in part.files}
            if file.name in restricted and (restriction := restriction_of(pack, parts)):
                those.append(restriction)
        if those and not any(is_accepted(each, folder) for each in those):
            found.setdefault(those[0].pack, those[0])
    return list(found.values())


def _file_called(name: str) -> ModelFile:
    by_name = {file.name: file for file in all_files()}
    if name not in by_name:
        close = difflib.get_close_matches(name, by_name, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(by_name)}"
        raise InvalidOption(f"no pack has a file {name!r}; {hint}")
    return by_name[name]


def _unknown(path: Path) -> InvalidOption:
    unpublished = [file.name for file in all_files() if not is_published(file)]
    by_name = f"; without a published hash, and so recognised by name or with --as NAME: {', '.join(unpublished)}"
    return InvalidOption(
        f"{path} is no file of any pack, neither by its SHA-256 ({fingerprint(path).sha256}) nor by its name; visavis "
        f"models show PACK tells what a pack needs{by_name if unpublished else ''}"
    )
