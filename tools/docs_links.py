"""Links of the documentation's pages to files of the repository that are not on the site."""

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

# A fenced block, a span of code or an HTML comment, in which nothing is a link; or a link.
_PARTS = re.compile(
    r"(?P<code>^(?P<fence> *(?:```+|~~~+))[^\n]*\n.*?^(?P=fence)[^\n]*$"
    r"|(?P<ticks>`+)(?!`)[^\n]*?(?<!`)(?P=ticks)(?!`)|<!--.*?-->)"
    r"|\[(?P<text>[^\[\]]*)\]\((?P<target>[^()\s]+)(?P<title>\s+\"[^\"]*\")?\)",
    re.MULTILINE | re.DOTALL,
)


def rewrite_links(
    markdown: str, source: str, page: str, pages: Mapping[str, str], root: Path, address: str | None
) -> str:
    """A page's Markdown whose links work on the site.

    Args:
        markdown: the text.
        source: path of its file in the repository, which its links are relative to.
        page: path of the page among the pages of the site.
        pages: paths of files in the repository, to those of the pages that show them.
        root: folder of the repository.
        address: of the repository, as `https://host/owner/name`; without one, of a link to a
            file outside of the site its text is left.

    Returns:
        The text. What leads to another page leads to where that is; what leads to a file of the
        repository, to its address; all else is unchanged, so that a broken link is found.
    """

    def rewritten(found: re.Match) -> str:
        if found["code"]:
            return found[0]
        target = target_on_site(found["target"], source, page, pages, root, address)
        if target is None:
            return found["text"]
        return f"[{found['text']}]({target}{found['title'] or ''})"

    return _PARTS.sub(rewritten, markdown)


def target_on_site(target, source, page, pages, root, address):
    """Where a link leads on the site; None if that has no address."""
    path, mark, anchor = target.partition("#")
    if not path or path.startswith("/") or re.match(r"[a-z][a-z0-9+.-]*:", path, re.IGNORECASE):
        return target
    file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    on_disk = root / file
    if file in pages or (file.startswith("docs/") and not on_disk.is_dir()):
        shown = pages.get(file, file.removeprefix("docs/"))
        return posixpath.relpath(shown, posixpath.dirname(page) or ".") + mark + anchor
    if file.startswith("..") or not on_disk.exists():
        return target
    if address is None:
        return None
    return f"{address}/{'tree' if on_disk.is_dir() else 'blob'}/main/{file}{mark}{anchor}"
