"""Recognizer of a command that works on galleries: loaded with the first image, several images at a time."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import TypeAlias

from visavis.cli.options import ModelOptions
from visavis.core.image import ImageLimits
from visavis.errors import VisavisError
from visavis.models.catalogue import find_pack
from visavis.models.installation import as_installed
from visavis.models.packs import Pack
from visavis.models.recognizer import Observed, Recognizer
from visavis.options import Attribute, FacesPolicy
from visavis.types import ImageSource

_MOST_STREAMS = 8  # each has buffers of its own
_BATCH = 16  # images that galleries hand over together
_Outcome: TypeAlias = tuple[Observed, ...] | VisavisError


class LateEyes:
    """Does what a ``Recognizer`` does for galleries, in several threads; the models are loaded with the first image."""

    def __init__(self, options: ModelOptions, images: int = _BATCH) -> None:
        """Find the pack.

        Args:
            options: what the Recognizer is made from.
            images: how many there are to look at, as far as that is known: one gets all cores, several share them.

        Raises:
            InvalidOption: there is none of that name.
        """
        self._catalogued = find_pack(options.pack)
        self._options = options
        self._streams = max(1, min(_cores() // (options.threads or 1), _MOST_STREAMS, images))

    def observe_many(
        self,
        images: Iterable[ImageSource],
        *,
        faces: FacesPolicy = "all",
        min_face: float | None = None,
        attributes: Sequence[Attribute] = (),
    ) -> Iterator[_Outcome]:
        """Return what ``Recognizer.observe_many`` does, in order; a few images are taken ahead."""
        recognizer = self._recognizer

        def observe(part: list[ImageSource]) -> list[_Outcome]:
            return list(recognizer.observe_many(part, faces=faces, min_face=min_face, attributes=attributes))

        # Two parts of a batch for each thread, so that a large photo in one leaves the others something to do.
        size = max(1, _BATCH // (2 * self._streams)) if self._streams > 1 else _BATCH
        ahead: deque[Future[list[_Outcome]]] = deque()
        try:
            for part in _parts(images, size):
                ahead.append(self._pool.submit(observe, part))
                if len(ahead) > 2 * self._streams:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()

    @cached_property
    def pack(self) -> Pack:
        """As it is installed, which is read when it is first asked for: much is done for galleries without it.

        Raises:
            ModelCorrupt: a file of pins or calibrations is damaged.
        """
        return as_installed(self._catalogued, self._options.models_folder())

    @property
    def limits(self) -> ImageLimits:
        """On images."""
        return self._options.limits()

    @cached_property
    def _recognizer(self) -> Recognizer:
        if self._streams == 1:
            return self._options.load()
        threads = self._options.threads or max(1, _cores() // self._streams)
        return replace(self._options, threads=threads).load(self._streams)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._streams, "visavis-eyes")


def _parts(images: Iterable[ImageSource], size: int) -> Iterator[list[ImageSource]]:
    left = iter(images)
    while part := list(islice(left, size)):
        yield part


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not everywhere
    return len(affinity(0)) if affinity else os.cpu_count() or 1
