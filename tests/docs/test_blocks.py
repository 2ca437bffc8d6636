"""Every block of every page runs, from the top of the page to its end.

- Python runs in one namespace for each page. It is compared with what its comments state
  (`stated_values.py` says how) and with what stands below `>>>`: a float may be one unit of its
  last digit off, and `...` stands for anything.
- Blocks of the shell run in bash, `espmedsam` within this process (`shell_blocks.py`). The commands
  of reports and of presets' cards take hours: their arguments and configurations are checked.
- Configurations are validated, other data parsed (`data_blocks.py`).
- A block with a title is written to the file of that name first.
- `<!-- not run: REASON -->` before a block leaves it out.
"""

import contextlib
import doctest
import io
import sys
import traceback
import types

import pytest
from sybil.evaluators.doctest import NUMBER, OutputChecker

from tests.docs import data_blocks, shell_blocks, shell_commands, stated_values
from tests.docs.page_blocks import COMMAND, ROOT, SHELL, blocks_of, pages

# How many blocks are not run, each with its reason in the page. This number only goes down.
NOT_RUN = 1
_NOT_RUN_WHOLLY = ("docs/reports/", "presets/")
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | NUMBER
# Of what may be shown and not be run.
_SHOWN = ("", "text", "kotlin", "groovy", "xml", "diff", "mermaid", "html", "svg", "makefile")


@pytest.mark.parametrize("page", pages())
def test_every_block_runs(page, page_folder, record_property):
    found = blocks_of(ROOT / page)
    if not found:
        return
    runner = _Runner(page, record_property)
    failures = []
    for block in found:
        try:
            runner.run(block)
        except (Exception, SystemExit) as error:
            failures.append(f"{page}:{block.line}: {_told(error, page)}")
    assert not failures, "\n\n".join(failures[:6])


def test_few_blocks_are_not_run():
    reasons = [
        f"{page}:{block.line}: {block.reason}"
        for page in pages()
        for block in blocks_of(ROOT / page)
        if block.reason
    ]
    assert len(reasons) == NOT_RUN, "\n".join(reasons)


class _Runner:
    """One page's namespace, and what was run of it."""

    def __init__(self, page, record):
        self.page = page
        self.record = record
        # A module, so that what is defined in a page can be found by its name, as pickle does.
        module = types.ModuleType("page")
        sys.modules["page"] = module
        self.namespace = vars(module)
        is_run = not page.startswith(_NOT_RUN_WHOLLY)
        self.commands = shell_commands.table(is_run, self._count_command)

    def run(self, block):
        language = "python" if block.language in ("py", "pycon") else block.language
        if block.reason:
            self._count("blocks not run")
        elif language == "setup":
            stated_values.run(block.text, self.namespace, ROOT / self.page, block.line)
        elif language == "python" and block.text.lstrip().startswith(">>>"):
            self._count("Python blocks run")
            self._run_doctest(block)
        elif language == "python":
            self._count("Python blocks run")
            if block.title:
                data_blocks.write(block)
            with contextlib.redirect_stdout(io.StringIO()):
                compared = stated_values.run(
                    block.text, self.namespace, ROOT / self.page, block.line
                )
            self._count("stated values compared", compared)
        elif language == "console":
            for command, output in shell_blocks.of_console(block.text):
                given = shell_blocks.run(command, self.commands)
                if output:
                    self._count("stated values compared")
                    said = _difference(output, given)
                    assert not said, said
        elif language in SHELL:
            shell_blocks.run(block.text, self.commands)
        elif language in data_blocks.LANGUAGES:
            self._count("data blocks validated")
            data_blocks.check(block)
        else:
            assert language in _SHOWN, f"no way is known to check a block of {language!r}"
            assert not COMMAND.search(block.text), "commands are fenced as sh"
            if block.title:
                data_blocks.write(block)

    def _run_doctest(self, block):
        parser, runner = (
            doctest.DocTestParser(),
            doctest.DocTestRunner(OutputChecker(), False, _FLAGS),
        )
        test = parser.get_doctest(block.text, {}, self.page, self.page, block.line - 1)
        test.globs = self.namespace
        told = []
        runner.run(test, out=told.append, clear_globs=False)
        self._count("stated values compared", sum(bool(one.want) for one in test.examples))
        assert not runner.failures, "".join(told)

    def _count(self, what, number=1):
        if number:
            self.record(f"blocks: {what}", number)

    def _count_command(self, what):
        self._count(f"commands {what}")


def _difference(stated, given):
    checker = OutputChecker()
    if checker.check_output(stated + "\n", given, _FLAGS):
        return ""
    return f"stated is\n{stated}\nand it was\n{given}"


def _told(error, page):
    """The error, and where in the page it arose."""
    places = [
        f"line {one.lineno}"
        for one in traceback.extract_tb(error.__traceback__)
        if one.filename == str(ROOT / page)
    ]
    where = f"({places[0]}) " if places else ""
    if isinstance(error, AssertionError):
        return f"{where}{error}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{where}{type(error).__name__}: {error}\n  raised at {last.filename}:{last.lineno}"
