"""The blocks of a page that can be run or checked, in their order.

Fenced blocks of any language, indented blocks of commands, the YAML between two `---` that begins a
page, and hidden preparation:

    <!-- setup
    import numpy as np
    -->

A block after `<!-- not run: REASON -->` is left out. `title="NAME"` after the language of a fence
is the name of the file that the block shows.
"""

import dataclasses
import re
from pathlib import Path

from sybil import Document, Region, Sybil
from sybil.parsers.abstract.lexers import BlockLexer
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

ROOT = Path(__file__).resolve().parents[2]
_SINGLE = ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "SECURITY.md")
SHELL = ("sh", "shell", "bash", "console")

_FENCES = RawFencedCodeBlockLexer(re.compile(r"(?P<info>[^\n]*)\n"))
_COMMENTS = BlockLexer(re.compile(r"^(?P<prefix>[ \t]*)<!--", re.MULTILINE), "-->")
_FRONT_MATTER = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)
# Lines of four spaces or more, with the blank ones between them, after a blank line.
_INDENTED = re.compile(r"(?<=\n\n)(?: {4,}\S[^\n]*\n|[ \t]*\n(?= {4}))+")
_COMMANDS = "espmedsam|python3?|pip|make|pytest|torchrun|git|hf|adb|pre-commit"
COMMAND = re.compile(
    rf"^\s*(?:\$ )?(?:\w+=\S*\s+(?:\\\n\s*)?)*(?:\.venv/bin/)?(?:{_COMMANDS})(?=\s)", re.MULTILINE
)


@dataclasses.dataclass
class Block:
    """One block of a page.

    Attributes:
        line: number of the line in the page at which its text begins.
        language: of a fence, in small letters; "setup" for hidden preparation.
        text: without fence, comment or indentation.
        title: name of the file that it shows, or "".
        reason: why it is not run, or "".
    """

    line: int
    language: str
    text: str
    title: str = ""
    reason: str = ""


def pages():
    """All pages, as paths relative to the repository."""
    found = [name for name in _SINGLE if (ROOT / name).exists()]
    for folder in ("docs", "presets"):
        found += sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.md"))
    return found


def blocks_of(path):
    """The blocks of one page, a list of `Block`."""
    document = Sybil([_regions]).parse(Path(path))
    return [example.parsed for example in document.examples()]


def _regions(document: Document):
    text = document.text
    candidates = [*_fenced(document), *_comments(document), *_indented(text)]
    front = _FRONT_MATTER.match(text)
    if front:
        candidates.append(
            _region(text, front.start(), front.end(), front.start(1), "yaml", front[1])
        )
    end = 0
    waiting = None  # The comment that says why the next block is not run.
    for region in sorted(candidates, key=lambda one: one.start):
        if region.start < end:  # A fence in a comment, a comment or an indented line in a fence.
            continue
        end = region.end
        block = region.parsed
        if waiting is not None:
            between = text[waiting.end : region.start].removeprefix("-->")
            assert block.language != "comment" and not between.strip(), (
                f"{document.path}:{waiting.parsed.line}: no block follows the comment 'not run'"
            )
            block.reason, waiting = waiting.parsed.reason, None
        if block.reason and block.language == "comment":
            waiting = region
        elif block.language != "comment":
            yield region
    assert waiting is None, f"{document.path}: no block follows the last comment 'not run'"


def _region(text, start, end, first, language, source, **more):
    line = text.count("\n", 0, first) + 1
    return Region(start, end, parsed=Block(line, language, source, **more))


def _fenced(document):
    for fence in _FENCES(document):
        info = fence.lexemes["info"].strip()
        source = fence.lexemes["source"]
        language = re.match(r"[{ .]*([\w+-]*)", info)[1].lower()
        title = re.search(r"title=[\"']([^\"']+)", info)
        first = document.text.index("\n", fence.start) + 1
        yield _region(
            *(document.text, fence.start, fence.end, first, language, str(source)),
            title=title[1] if title else "",
        )


def _comments(document):
    for comment in _COMMENTS(document):
        source = comment.lexemes["source"]
        kind, _, rest = source.strip().partition("\n")
        reason = re.fullmatch(r"not run:?(.*)", source.strip(), re.DOTALL)
        if reason:
            said = " ".join(reason[1].split())
            assert said, f"{document.path}: the comment 'not run' gives no reason"
            yield _region(
                *(document.text, comment.start, comment.end, comment.start, "comment", ""),
                reason=said,
            )
        elif kind.strip() == "setup":
            first = document.text.index("\n", comment.start) + 1
            yield _region(document.text, comment.start, comment.end, first, "setup", rest)
        else:
            yield _region(document.text, comment.start, comment.end, comment.start, "comment", "")


def _indented(text):
    """Indented blocks of which a line is a command."""
    for found in _INDENTED.finditer(text):
        lines = found[0].splitlines()
        before = text[: found.start()].rstrip().rpartition("\n")[2]
        # What is indented below these is their text.
        is_text = re.match(r"(!!!|\?\?\?\+?|===) ", before)
        if is_text or not COMMAND.search(found[0]):
            continue
        depth = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
        source = "\n".join(line[depth:] for line in lines) + "\n"
        yield _region(text, found.start(), found.end(), found.start(), "sh", source)
