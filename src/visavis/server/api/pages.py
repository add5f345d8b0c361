"""Pages for people: files of the package, and what browsers may do for them."""

import hashlib
from functools import cache
from importlib import resources
from pathlib import PurePosixPath

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

_MEDIA_TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "json": "application/json",
    "svg": "image/svg+xml",
    "txt": "text/plain",
}
_UI = "ui"  # the folder of the page, and where it is served
# Besides what every answer has; see server/observability.py.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(self), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}

router = APIRouter(include_in_schema=False)


def page_file(name: str) -> Response:
    """Return a file of this folder's parent: a page, or a part of one, that runs and shows nothing from elsewhere."""
    content = resources.files("visavis.server").joinpath(name).read_bytes()
    return Response(content, headers=_HEADERS, media_type=_MEDIA_TYPES[name.rpartition(".")[2]])


def wants_page(request: Request) -> bool:
    """Tell whether a browser asks, to show what it gets to people, and there is the page for it."""
    return bool(request.app.state.settings.ui) and "text/html" in request.headers.get("accept", "")


@router.get("/ui/{name:path}")
@router.head("/ui/{name:path}")
async def ui(request: Request, name: str) -> Response:
    """Show the page, or a part of it: one of these files, and nothing else."""
    path = f"{_UI}/{name or 'index.html'}"
    if not request.app.state.settings.ui or path not in _tags():
        raise HTTPException(404)
    answer = page_file(path)
    answer.headers.update({"ETag": _tags()[path], "Cache-Control": "no-cache"})
    if _tags()[path] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=answer.headers)
    return answer


@router.get("/ui")
async def to_ui(request: Request) -> Response:
    """Lead to the page; from there on, what it names is beside it."""
    if not request.app.state.settings.ui:
        raise HTTPException(404)
    return RedirectResponse("ui/")


@cache
def _tags() -> dict[str, str]:
    """Return the entity tag of each file of the page, by its path."""
    waiting, tags = [(_UI, resources.files("visavis.server").joinpath(_UI))], {}
    while waiting:
        path, found = waiting.pop()
        if found.is_dir():
            waiting += [(f"{path}/{each.name}", each) for each in found.iterdir()]
        elif PurePosixPath(path).suffix[1:] in _MEDIA_TYPES:
            tags[path] = f'"{hashlib.sha256(found.read_bytes()).hexdigest()[:32]}"'
    return tags


@router.get("/docs")
@router.get("/docs.js")
@router.get("/docs.css")
async def docs(request: Request) -> Response:
    """Show the API to people."""
    path: str = request.scope["route"].path
    return page_file("docs.html" if path == "/docs" else path[1:])
