"""Templates, static files and the page that says what was refused."""

from __future__ import annotations

import mimetypes
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from accredit.console.entry import STATIC, is_fragment
from accredit.console.plots import bar, line
from accredit.console.text import datum, moment, nests, remaining, rows_alike, said, short

__all__ = ["Pages", "StaticFiles"]

_HERE: Final = Path(__file__).parent
_YEAR_S: Final = 365 * 86_400


class StaticFiles:
    """The few files a browser needs, in memory. The digest in each URL lets browsers keep them for good."""

    def __init__(self) -> None:
        self._files = {path.name: path.read_bytes() for path in sorted((_HERE / "static").iterdir())}
        self._digests = {name: sha256(content).hexdigest()[:16] for name, content in self._files.items()}

    def url(self, name: str) -> str:
        return f"{STATIC}{name}?v={self._digests[name]}"

    async def answer(self, request: Request) -> Response:
        """The file that was asked for, if there is one."""
        name = request.path_params["name"]
        content = self._files.get(name)
        if content is None:
            return Response(status_code=404)
        kind = mimetypes.guess_type(name)[0] or "text/plain"
        kept = f"public, max-age={_YEAR_S}, immutable" if "v" in request.query_params else "no-cache"
        return Response(content, media_type=kind, headers={"cache-control": kept})


class Pages:
    """Renders templates. Everything is escaped unless `text.py` made it."""

    def __init__(self, static: StaticFiles) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters |= {"datum": datum, "moment": moment, "said": said, "short": short}
        self._environment.globals |= {
            "bar": bar,
            "plot": line,
            "static": static.url,
            "nests": nests,
            "remaining": remaining,
            "rows_alike": rows_alike,
        }

    def page(self, template: str, /, *, status: int = 200, **shown: Any) -> HTMLResponse:
        """A whole page."""
        return HTMLResponse(self._environment.get_template(f"{template}.html").render(shown), status)

    def view(self, request: Request, template: str, part: str, /, **shown: Any) -> HTMLResponse:
        """A page, or that part of it alone when the page itself asks: the same URL, and the same values, for both."""
        wanted = is_fragment(request) and request.headers.get("hx-target", "").endswith(f"#{part}")
        return self.page(f"part_{part}" if wanted else template, **shown)
