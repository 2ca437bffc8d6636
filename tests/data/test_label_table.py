import pytest

from keras_espmedsam.data.label_table import (
    check_target_name,
    labels_text,
    parse_labels,
    values_by_target,
)
from keras_espmedsam.errors import InputError

REFUGE = {128: ("optic_disc",), 0: ("optic_disc", "optic_cup"), 255: ()}


@pytest.mark.parametrize(
    "labels",
    [
        "128=optic_disc;0=optic_disc+optic_cup;255=background",
        " 128 = optic_disc ; 0 = optic_disc + optic_cup ; 255 = background ; ",
        {128: "optic_disc", 0: ["optic_disc", "optic_cup"], 255: "background"},
        {"128": ["optic_disc"], "0": "optic_disc+optic_cup", "255": ["background"]},
        {128: ("optic_disc",), 0: ("optic_disc", "optic_cup"), 255: "background"},
    ],
    ids=["text", "spaces", "dict", "JSON", "tuples"],
)
def test_every_way_to_write_a_table(labels):
    assert parse_labels(labels) == REFUGE
    assert parse_labels(labels_text(parse_labels(labels))) == REFUGE


def test_values_of_each_target():
    assert values_by_target(REFUGE) == {"optic_disc": (128, 0), "optic_cup": (0,)}


def test_values_may_be_below_zero():
    assert parse_labels("-1=lungs;+2=heart") == {-1: ("lungs",), 2: ("heart",)}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("", "Received labels=''; expected a name, or several, for each value"),
        ({}, "expected a name, or several"),
        (7, "Received labels=7; expected a name, or several"),
        (["lungs"], "expected a name, or several"),
        ("lungs", "in which 'lungs' is no whole number"),
        ("1.5=lungs", "in which '1.5' is no whole number"),
        ({1.0: "lungs"}, "in which 1.0 is no whole number"),
        ({True: "lungs"}, "in which True is no whole number"),
        ("1=lungs;1=heart", r"names the value 1 twice; join its targets with \+"),
        ({1: "lungs", "1": "heart"}, "names the value 1 twice"),
        ("1=", r"the value 1 has the names \[''\]; expected one or more"),
        ({1: None}, r"the value 1 has the names \[None\]"),
        ({1: []}, r"the value 1 has the names \[\]"),
        ("1=optic disc", r"the names \['optic disc'\]; expected"),
        ("1=lungs+lungs", r"the names \['lungs', 'lungs'\]; expected one or more different"),
        ("1=lungs+background", "or background alone"),
        ("1=background", "which names no target"),
        ("1=lungs,2=heart", r"the names \['lungs,2=heart'\]"),
    ],
)
def test_tables_that_cannot_be_used(labels, message):
    with pytest.raises(InputError, match=message):
        parse_labels(labels)


def test_where_it_was_given_is_told():
    with pytest.raises(InputError, match=r"Received labels='x' in row 3 of the index a.csv, in"):
        parse_labels("x", "in row 3 of the index a.csv")


@pytest.mark.parametrize("name", ["", "optic disc", "1st", "a:b", None, 3, "é"])
def test_names_that_are_not_allowed(name):
    assert check_target_name("optic-disc_2") == "optic-disc_2"
    with pytest.raises(InputError, match=r"in row 1; expected a name of letters, digits"):
        check_target_name(name, "in row 1")
