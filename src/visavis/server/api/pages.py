"""Pages for people: files of the package, and what browsers may do for them."""

from importlib import resources

from fastapi import APIRouter, Request
from starlette.responses import Response

_MEDIA_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
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


@router.get("/docs")
@router.get("/docs.js")
@router.get("/docs.css")
async def docs(request: Request) -> Response:
    """Show the API to people."""
    path: str = request.scope["route"].path
    return page_file("docs.html" if path == "/docs" else path[1:])
