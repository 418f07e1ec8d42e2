"""The page is served at /. The build leaves it in web/dist."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

DIST = Path(__file__).parents[2] / "web" / "dist"

MISSING = (
    "The page was not built when soundlora was installed. Install again where npm packages can be had "
    "(pip install -v shows what failed), or run npm ci && npm run build in src/soundlora/web. The API works without it."
)

_HEADERS = {
    # A dropped file or a log line must not make the page load anything from elsewhere.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self' blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2"}

router = APIRouter(include_in_schema=False)


def is_built() -> bool:
    return (DIST / "index.html").is_file()


@router.api_route("/", methods=["GET", "HEAD"])
def index() -> Response:
    if not is_built():
        return PlainTextResponse(MISSING + "\n", 404)
    return FileResponse(DIST / "index.html", headers=_HEADERS | {"Cache-Control": "no-cache"})


@router.api_route("/icon.svg", methods=["GET", "HEAD"])
def icon() -> Response:
    return _file(DIST / "icon.svg")


@router.api_route("/assets/{name}", methods=["GET", "HEAD"])
def asset(name: str) -> Response:
    """Send a built file. Its name carries a hash of the content, so a browser may keep it for ever."""
    return _file(DIST / "assets" / name)


def _file(path: Path) -> Response:
    if path.suffix not in _TYPES or not path.is_file():
        raise HTTPException(404, "There is no such file.")
    caching = "public, max-age=31536000, immutable" if path.parent.name == "assets" else "no-cache"
    return FileResponse(path, media_type=_TYPES[path.suffix], headers=_HEADERS | {"Cache-Control": caching})
