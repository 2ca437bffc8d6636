"""The files of the page for people: what they are, and how browsers must treat them."""

from importlib.resources import files

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_START = "index.html"

HEADERS = {
    # Nothing from another host, nothing inline, and in no frame of another page.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # An update of the package must not leave half of its files in a browser.
    "Cache-Control": "no-cache",
}
"""The headers of every file of the page."""


def page_files() -> dict[str, tuple[bytes, str]]:
    """Return the page's files: dict of address to bytes and media type.

    Example:
        >>> page_files()["/"][1]
        'text/html; charset=utf-8'
    """
    found = {}
    for one in sorted(files(__package__).joinpath("page").iterdir(), key=lambda file: file.name):
        suffix = f".{one.name.rpartition('.')[2]}"
        if suffix in _TYPES:
            address = "/" if one.name == _START else f"/page/{one.name}"
            found[address] = one.read_bytes(), _TYPES[suffix]
    return found
