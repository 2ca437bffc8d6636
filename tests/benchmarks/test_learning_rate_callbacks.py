"""Every way of setting the learning rate, in `fit`, against the rates that are right."""

import pytest


@pytest.fixture(scope="module")
def ways(load):
    return load("learning_rate_callbacks")


@pytest.mark.slow_on("jax", "tensorflow")
def test_every_way_reaches_every_modality(ways):
    found = {name: ways.largest_difference(name) for name in ways.WAYS}
    assert {name: far for name, far in found.items() if far > 2e-6} == {}


def test_a_rate_that_does_nothing_would_be_found(ways, monkeypatch):
    monkeypatch.setattr(ways, "_by_attribute", lambda optimizer: None)
    assert ways.largest_difference("`optimizer.learning_rate = x`") > 1


def test_nothing_else_sets_the_rate_where_a_schedule_does(ways):
    for way in ways.REFUSED.values():
        with pytest.raises(TypeError, match="not settable"):
            way()


def test_the_table_names_each_way_once(ways, tmp_path):
    found = dict.fromkeys((*ways.WAYS, *ways.REFUSED), 0.5)
    ways.write_report(tmp_path / "a.md", {"torch": {"ways": found, "seconds": 1}})
    lines = (tmp_path / "a.md").read_text().splitlines()
    assert sum(line.endswith("| 0.5 |") for line in lines) == len(ways.WAYS) + len(ways.REFUSED)
