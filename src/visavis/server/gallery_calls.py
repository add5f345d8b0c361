"""What all calls to galleries have in common: who calls, which gallery is meant, and that workers do the work."""

from collections.abc import Callable

from fastapi import Request
from starlette.responses import Response

from visavis.server.inputs import Body
from visavis.server.keys import KeyRecord
from visavis.server.reading import check_path
from visavis.server.runner import Submit, at_once, run
from visavis.server.work import Answer, Job
from visavis.service.galleries import Galleries
from visavis.service.gallery import OpenGallery

_NOBODY = "anonymous"


def key_of(request: Request) -> KeyRecord | None:
    """Return the key that a call came with, where keys are required."""
    key: KeyRecord | None = getattr(request.state, "key", None)
    return key


def galleries_of(request: Request) -> Galleries:
    """Return the server's galleries, for the caller to act on."""
    key = key_of(request)
    galleries: Galleries = request.app.state.galleries
    return galleries.acting_as(f"key {key.id}" if key else _NOBODY)


def open_gallery(request: Request) -> OpenGallery:
    """Return the gallery that the path names. To be called by a worker: it asks the store.

    Raises:
        GalleryNotFound: there is none of that name.
    """
    return galleries_of(request).open(request.path_params["gallery"])


def subject_in_path(request: Request) -> str:
    """Return the subject's ID that the path names.

    Raises:
        Problem: the path is not UTF-8.
    """
    check_path(request)
    subject: str = request.path_params["subject"]
    return subject


def job(act: Callable[[], Answer]) -> Job[Answer]:
    """Return work that has nothing to do with images."""
    return Job((), lambda _recognizer, _sources: act())


async def answer(request: Request, act: Callable[[Galleries], Answer]) -> Response:
    """Answer with what a worker does with the galleries."""

    def parse(_body: Body) -> Job[Answer]:
        return job(lambda: act(galleries_of(request)))

    return await run(request, parse)


async def answer_of(request: Request, act: Callable[[OpenGallery], Answer], submit: Submit = at_once) -> Response:
    """Answer with what a worker does with the gallery that the path names."""

    def parse(_body: Body) -> Job[Answer]:
        return job(lambda: act(open_gallery(request)))

    return await run(request, parse, submit)
