"""A notebook as a page of the site: its links lead to pages, and it asks nothing of a host."""

import posixpath
import re
from typing import Any

# nbconvert's, for diagrams, which the notebooks have none of; it names another host.
_DIAGRAMS = re.compile(r'<script type="module">(?:(?!</script>).)*?mermaid.*?</script>', re.DOTALL)
_LINK = re.compile(r'(?<=href=")(?P<address>[^"#]+)')
_TITLE = re.compile(r"</h1>")


def for_the_site(html: str, page: Any, files: Any, address: str | None) -> str:
    """The content of a notebook's page, changed.

    Args:
        html: what nbconvert made.
        page: the page's `mkdocs.structure.files.File`.
        files: those of the site.
        address: of the repository, whose pages in docs/ the notebook links to.

    Returns:
        The content, with links to pages of the site, and with one to the notebook itself below the
        title.
    """

    def link(found: re.Match) -> str:
        start = f"{address}/blob/main/docs/"
        if address is None or not found["address"].startswith(start):
            return found["address"]
        target = files.get_file_from_path(found["address"].removeprefix(start))
        return found["address"] if target is None else target.url_relative_to(page)

    name = posixpath.basename(page.src_uri)
    download = f'</h1>\n<p><a href="{name}" download>Download this notebook</a></p>'
    return _TITLE.sub(download, _LINK.sub(link, _DIAGRAMS.sub("", html)), count=1)
