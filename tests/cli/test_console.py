"""What reaches the terminal: no text from a file steers it."""

import errno

import pytest
import typer
from rich.markdown import Markdown
from rich.table import Table

from keras_espmedsam.cli import console
from keras_espmedsam.errors import InputError

EVIL = "\x1b[2J\x1b]0;title\x07\x9b31m\u202ename"


def _raw(text):
    return [one for one in text if not one.isprintable() and one not in "\n"]


def test_sentences_and_cells_are_shown_with_escapes(capsys):
    console.print_error(EVIL)
    console.print_error(InputError(f"The file {EVIL} is damaged."))
    console.stderr().print(f"{EVIL}: [red]noticed[/red].")
    table = Table("name", "value")
    table.add_row(EVIL, "1")
    console.stdout().print(table)
    out, err = capsys.readouterr()
    assert _raw(out + err) == []
    assert r"\x1b[2J\x1b]0;title\x07\x9b31m\u202ename" in err and r"\x1b[2J" in out
    assert "[red]noticed[/red]." in err


@pytest.mark.parametrize("name", ["a.png", "Röntgen [1].png"])
def test_plain_text_is_printed_as_it_is(capsys, name):
    console.print_error(f"{name}\nis damaged.")
    console.print_path(name)
    out, err = capsys.readouterr()
    assert err == f"error: {name}\nis damaged.\n" and out == f"{name}\n"


def test_a_path_is_one_line_of_stdout_and_is_not_cut(capsys):
    path = "/folder" * 500 + "/a\nb.png"
    console.print_path(path)
    assert capsys.readouterr().out == path.replace("\n", "\\n") + "\n"


def test_what_goes_on_is_no_markup(capsys):
    shown = console.stderr()
    shown.print(shown.status(f"Loading [bold]{EVIL}").renderable)
    err = capsys.readouterr().err
    assert r"Loading [bold]\x1b[2J" in err and _raw(err) == []


def test_a_notice_of_a_file_is_shown_with_escapes(capsys):
    notices = console.Notices(console.stderr())
    for _ in range(5):
        notices.add(EVIL, "its window is not used")
    notices.end()
    assert _raw(capsys.readouterr().err) == []


def test_a_link_of_a_card_shows_where_it_leads(capsys):
    console.stdout().print(Markdown("[words](https://example.org/a)", hyperlinks=False))
    assert "https://example.org/a" in capsys.readouterr().out


def test_a_full_disk_is_one_sentence_wherever_it_is_met(capsys):
    error = OSError(errno.ENOSPC, "No space left on device", "/tmp/a")
    with pytest.raises(typer.Exit), console.errors_reported(lambda: "1 epoch is kept."):
        raise error
    err = capsys.readouterr().err
    assert "/tmp/a cannot be written: No space left" in err and err.endswith("1 epoch is kept.\n")
    with pytest.raises(FileNotFoundError), console.errors_reported():
        raise FileNotFoundError(errno.ENOENT, "a fault of ours")
