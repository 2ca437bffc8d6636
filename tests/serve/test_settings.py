"""Limits that cannot be used are told before anything is loaded."""

import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.serve import ServerSettings


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"batch_size": True},
        {"queue_size": 1.5},
        {"max_bytes": -1},
        {"max_pixels": "9"},
        {"batch_wait": -0.1},
        {"seconds": 0},
        {"seconds": float("nan")},
    ],
)
def test_limits_are_checked(wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=f"Received {name}="):
        ServerSettings(**wrong)


@pytest.mark.parametrize(
    "token", ["", "short", "with a blank in it!!", "ümlauts-and-more-signs", 7]
)
def test_a_weak_token_is_refused_and_not_repeated(token):
    with pytest.raises(InputError, match="at least 16") as raised:
        ServerSettings(token=token)
    assert not token or str(token) not in str(raised.value)


def test_the_token_is_not_shown():
    assert "secret" not in repr(ServerSettings(token="secret-secret-secret"))
