"""Who may see the page: whoever has the address that the command printed, in one browser, on this host.

Any program on the host can open a port of 127.0.0.1, and any page that the user has open can make the browser ask there. So:

- The address carries a token. It is exchanged at once for a cookie that scripts cannot read (HttpOnly) and that no other site
  can make the browser send (SameSite=Strict); nothing is answered without it. Both are random and end with the command.
- A name of somebody else's that leads to 127.0.0.1 (DNS rebinding) shows in the Host header: only names of this host count.
- What another page asks for shows in Origin and Sec-Fetch-Site (Fetch Metadata, W3C).
- What does anything is a POST and needs a third secret, which only scripts of this page can read.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable

from aiohttp import web

from weft.api import types as t
from weft.model import encode

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ENTRY = "/enter"
HEADER = "Weft-Page"
"""Carries the page's secret with a POST."""
NAMES = ("127.0.0.1", "localhost", "[::1]")
"""Of this host, in a Host header. With any port: a tunnel of ssh may lead from another one to ours."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}


class Guard:
    """`token`: goes into the address. `page`: the third secret."""

    def __init__(self) -> None:
        self.token, self.page, self._cookie = (secrets.token_urlsafe(24) for _ in range(3))
        self._name = f"weft-{secrets.token_hex(4)}"
        """Cookies are the same for all ports of a host: another page of Weft's has another name."""

    def enter(self, request: web.Request) -> web.Response:
        """The token for the cookie. A browser that comes from elsewhere would not send this cookie along a redirection: so
        this is a page, which leads on by itself."""
        if not _same(request.query.get("token", ""), self.token):
            return refused(
                request, 401, "this address is of an earlier `weft ui`, or not whole: use the one it printed"
            )
        response = _document("Weft", 'One moment: <a href="/">the page</a>.', 200)
        response.headers["Refresh"] = "0; url=/"
        response.set_cookie(self._name, self._cookie, httponly=True, samesite="Strict", path="/")
        return response

    @web.middleware
    async def watched(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """A middleware: refuses what is not from the user's own browser and page."""
        if why := self._strange(request):
            return refused(request, 403, why)
        if request.path == ENTRY and request.method == "GET":
            return self.enter(request)
        if not _same(request.cookies.get(self._name, ""), self._cookie):
            return refused(request, 401, "not let in: open the address that `weft ui` printed, with its token")
        if request.method != "GET" and not _same(request.headers.get(HEADER, ""), self.page):
            return refused(request, 403, f"a {request.method} needs the header {HEADER} of this page")
        return await handler(request)

    def _strange(self, request: web.Request) -> str:
        """Why a request is none of our page's."""
        host = request.headers.get("Host", "")
        name, colon, port = host.rpartition(":")
        if (name if colon and port.isdigit() else host) not in NAMES:
            return "asked for by a name that is not this host's: use 127.0.0.1"
        origin = request.headers.get("Origin", "")
        if origin and origin != f"http://{host}":
            return "asked for by a page of another origin"
        if request.path != ENTRY and request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return "asked for by another site"
        return ""


async def protect(_: web.Request, response: web.StreamResponse) -> None:
    """A signal: whatever is answered says what the browser may do with it."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.pop("Server", None)


def refused(request: web.Request, status: int, why: str) -> web.Response:
    if request.path.startswith("/api/"):
        error = t.Error(error="denied", message=why)
        return web.Response(status=status, body=encode(error), content_type="application/json")
    return _document("Weft: not let in", f"Weft: {why}.", status)


def _document(title: str, text: str, status: int) -> web.Response:
    """`text`: our own words, never a request's."""
    icon = '<link rel="icon" href="/static/icon.svg" type="image/svg+xml">'
    head = f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>{icon}</head>'
    body = f"<!doctype html>{head}<body><p>{text}</p></body></html>"
    return web.Response(status=status, text=body, content_type="text/html")


def _same(given: str, secret: str) -> bool:
    """In a time that tells nothing of where they differ."""
    return hmac.compare_digest(given.encode(errors="replace"), secret.encode())
