"""``visavis cluster``: the unknown faces of many images, in groups."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visavis.cli.app import command
from visavis.cli.images import ImageFile, find_sources
from visavis.cli.lazy import clusters, decide, decisions, groups, np, outputs, stores
from visavis.cli.options import All, Index, ModelOptions, NamesFile, Paths
from visavis.cli.terminal import counted, progress_bar, results_stream
from visavis.errors import InvalidOption, VisavisError
from visavis.options import Option

if TYPE_CHECKING:
    from visavis.cli.groups import GroupedFace, Groups, Names
    from visavis.models.packs import Pack, QualityLimits
    from visavis.models.recognizer import Observed

EXAMPLES = """\b
Takes SciPy: pip install 'visavis[cluster]'

From unknown faces to a gallery: write a page with -o, type names on it, save them, and enrol them. With an index no
photo is looked at again, as with another --threshold, or when photos were added.

\b
Exit codes:
  0  all images were looked at, whether they show faces or not
  1  some images failed; each is named on standard error and in the results
  2  nothing could be done: wrong usage or set-up, no image found

\b
Examples:
  visavis cluster photos/ -o people.html --index people.visavis
  visavis cluster photos/ -o people.html --index people.visavis --names names.json --threshold 0.5
  visavis enrol photos/ --index people.visavis --names names.json
  visavis cluster photos/ --names names.json --sort-into people/
  visavis cluster photos/ --json | jq -r 'select(.group == 1).file'
"""
_PAGE_SUFFIXES = (".html", ".htm")
_log = logging.getLogger("visavis.cli")


@command(EXAMPLES)
def cluster(
    paths: Paths,
    *,
    all_: All = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE.html", help="Write a page that shows the faces of each group, to name them."
        ),
    ] = None,
    names: NamesFile = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--sort-into", metavar="DIR", help="Link the photos of each group into a folder there that has its name."
        ),
    ] = None,
    copy: Annotated[bool, Option("Copy photos in place of linking them.")] = False,
    index: Index = None,
    as_json: Annotated[bool, Option("Print JSON Lines: an object for each face.")] = False,
    min_size: Annotated[
        int, Option("Faces that make a group; those of smaller ones are in none.", metavar="N", at_least=1)
    ] = 2,
    threshold: Annotated[
        float | None,
        Option(
            "Faces nearer than this, on average, are one person: less for purer groups, more for fewer.",
            metavar="X",
            unset="the pack's own",
        ),
    ] = None,
    any_quality: Annotated[bool, Option("Group small and blurred faces too, which resemble each other.")] = False,
    models: ModelOptions,
) -> int:
    """Group the faces of images into people, without knowing anybody.

    Prints for each group, the largest first, its faces: the image and the box (left, top, right and bottom in pixels).
    With -o, writes a page that shows them instead, and takes names for them. Two faces of one image are taken for two
    people. A group has the name that most of its faces have in --names.
    """
    if output is not None and output.suffix.lower() not in _PAGE_SUFFIXES:
        raise InvalidOption(f"--output {output}: a page is written, and its suffix is .html")
    sources = find_sources(paths, models.max_bytes, all_=all_)
    seen: list[tuple[int, GroupedFace]] = []
    failed: list[tuple[str, VisavisError]] = []
    known = groups.Names(names) if names else None
    with outputs.open_output(output) if output else nullcontext() as page:
        clusters.check_library()
        with (
            stores.open_index(stores.index_file(index, paths), models, paths, len(sources)) as photos,
            progress_bar(len(sources)) as advance,
        ):
            pack = photos.pack
            threshold = pack.cluster_threshold if threshold is None else decide.check_threshold(threshold)
            limits = None if any_quality else pack.quality
            outcomes = photos.observe_many(source.image for source in sources)
            for number, result in enumerate(outputs.follow(sources, outcomes, Counter(), advance)):
                failed += [(result.file, result.error)] if result.error else []
                faces = (_face(sources[number], each, limits, pictured=page is not None) for each in result.faces)
                seen += [(number, face) for face in faces]
            if page or known:
                seen = [(number, _named(face, photos.id_of(sources[number].image), known)) for number, face in seen]
        found = _grouped(seen, failed, pack, threshold, min_size)
        if page is not None:
            groups.write_contact_sheet(found, len(sources), page)
    if as_json or (output is None and folder is None):
        found.write(results_stream(), as_json=as_json)
    grouped = counted(sum(map(len, found.people)), "face")
    counts = f"images: {len(sources):,}, groups: {len(found.people):,} of {grouped}, "
    counts += f"ungrouped: {len(found.ungrouped):,}, left out: {len(found.left_out):,}, failed: {len(failed):,}"
    if folder is not None:
        roots = [path for path in map(Path, paths) if path.is_dir()]
        _log.info(
            "sorted into %s: %s", folder, counted(groups.sort_into(folder, found.people, roots, copies=copy), "folder")
        )
    _log.info("%s", counts + (f"; see {output}" if output else ""))
    return int(bool(failed))


def _face(source: ImageFile, observed: Observed, limits: QualityLimits | None, *, pictured: bool) -> GroupedFace:
    """Return a face, with the code of what keeps it from being told apart: what a new gallery would refuse."""
    picture, lacks = groups.thumbnail(observed.chip) if pictured else b"", None
    if limits is not None and observed.face.quality is not None:  # which is told of all that is observed
        lacks = next((each.code for each in decisions.shortcomings(observed.face.quality, limits)), None)
    return groups.GroupedFace(source.name, source.relative.as_posix(), observed.face, lacks, picture)


def _named(face: GroupedFace, photo: str, names: Names | None) -> GroupedFace:
    return replace(face, photo=photo, name=names.of(photo, face.face) if names else None)


def _grouped(
    seen: Sequence[tuple[int, GroupedFace]],
    failed: Sequence[tuple[str, VisavisError]],
    pack: Pack,
    threshold: float,
    min_size: int,
) -> Groups:
    told_apart = [(number, face) for number, face in seen if face.left_out is None]
    images, faces = [number for number, _ in told_apart], [face for _, face in told_apart]
    vectors = np.array([each.face.embedding for each in faces], np.float32).reshape(len(faces), pack.dimension)
    found = clusters.group_faces(vectors, images, threshold=threshold, metric=pack.metric, min_size=min_size)
    grouped = {index for group in found for index in group}
    return groups.Groups(
        people=[[faces[index] for index in group] for group in found],
        ungrouped=[face for index, face in enumerate(faces) if index not in grouped],
        left_out=[face for _, face in seen if face.left_out is not None],
        failed=failed,
    )
