"""What mkdocs does beside building the pages of docs/: it generates pages and rewrites links.

Generated are the reference (commands, configuration, classes and functions, presets, errors) and
the pages of the repository's own files such as CHANGELOG.md: each from the one place where its
facts are, so that it cannot differ from it.
"""

import os
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
# Before the package is imported, and for the notebooks that the build runs.
os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ["ESPMEDSAM_TOY"] = "1"

# At the top: mkdocs finds modules in this folder only while it loads this one.
import docs_api  # noqa: E402
import docs_commands  # noqa: E402
import docs_configuration  # noqa: E402
import docs_errors  # noqa: E402
import docs_figures  # noqa: E402
import docs_links  # noqa: E402
import docs_nav  # noqa: E402
import docs_notebooks  # noqa: E402
import docs_presets  # noqa: E402
import docs_try  # noqa: E402

# Files of the repository's root that are pages.
ROOT_FILES = {
    "ARCHITECTURE.md": "explanation/architecture.md",
    "CHANGELOG.md": "project/changelog.md",
    "CODE_OF_CONDUCT.md": "project/code_of_conduct.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
}
# Files outside docs/, each with the page that shows it.
SHOWN = ROOT_FILES | {
    f"presets/{name}/README.md": f"reference/presets/{name}.md" for name in docs_presets.cards()
}


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages, and complete the navigation with them."""
    root_files = {
        page: (ROOT / source).read_text(encoding="utf-8") for source, page in ROOT_FILES.items()
    }
    for page, text in (root_files | _reference()).items():
        files.append(File.generated(config, page, content=text))
    pages = [file.src_uri for file in files if file.is_documentation_page()]
    config.nav = docs_nav.expand_nav(config.nav, pages)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite a page's links to files of the repository."""
    uri = page.file.src_uri
    source = {page: file for file, page in SHOWN.items()}.get(uri, f"docs/{uri}")
    return docs_links.rewrite_links(markdown, source, uri, SHOWN, ROOT, address())


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Put figures within the page, so that their boxes are links and their text is read.

    A notebook is for Colab too, so that its links are to the repository: here they lead to pages.
    """
    uri, at = page.file.src_uri, address()

    def link(target: str, source: str) -> str:
        return docs_links.target_on_site(target, source, uri, SHOWN, ROOT, at) or target

    if uri.endswith(".ipynb"):
        html = docs_notebooks.for_the_site(html, page.file, files, at)
    return docs_figures.inline_figures(html, uri, ROOT / "docs", link)


def on_post_build(config: Any) -> None:
    """Put the page for browsers beside the documentation, if there is one."""
    docs_try.copy_page(Path(config.site_dir))


def address() -> str | None:
    """The repository's, as pyproject.toml says."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    urls = {name.lower(): url.rstrip("/") for name, url in project.get("urls", {}).items()}
    return next((urls[name] for name in ("repository", "source", "homepage") if name in urls), None)


def _reference():
    rooms = docs_api.rooms()
    return {
        "reference/commands.md": docs_commands.commands_page(),
        "reference/configuration.md": docs_configuration.configuration_page(),
        "reference/errors.md": docs_errors.errors_page(),
        "reference/presets.md": docs_presets.presets_page(),
        "reference/api/index.md": docs_api.index_page(rooms),
        **{f"reference/presets/{name}.md": card for name, card in docs_presets.cards().items()},
        **{
            f"reference/api/{room}.md": docs_api.room_page(room, names)
            for room, names in rooms.items()
        },
    }
