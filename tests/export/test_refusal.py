"""The sentence about an artefact that asks for more than mathematics."""

import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.export.formats.refusal import refuse_unknown


def test_each_is_named_once_and_of_many_some():
    refuse_unknown("eye", "SavedModel", [])
    with pytest.raises(InputError, match=r"SavedModel artefact eye has .*: A, B\. They may read"):
        refuse_unknown("eye", "SavedModel", iter("BAAB"))
    with pytest.raises(InputError, match=r": A, B, C, D, E and 21 more\. They"):
        refuse_unknown("eye", "SavedModel", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    with pytest.raises(InputError) as caught:
        refuse_unknown("eye", "SavedModel", ["\x1b[2J" + "x" * 10**6])
    assert len(str(caught.value)) < 400 and str(caught.value).isprintable()
