"""Who may use the server."""

import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.serve.access import check_address, is_loopback

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "server.example"])
def test_others_are_let_in_only_with_a_token(host):
    with pytest.raises(InputError, match="--token-file"):
        check_address(host, None)
    check_address(host, TOKEN)


def test_what_names_this_machine():
    names = ("localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "::1")
    assert all(map(is_loopback, names))
    assert not any(map(is_loopback, ("", "localhost.example", "0.0.0.0", "::", "10.0.0.1")))


def test_the_token_is_needed(client, eye):
    server = client(token=TOKEN)
    good = {"authorization": f"Bearer {TOKEN}"}
    path = "/segment?modality=xray"
    for wrong in ("", TOKEN, "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer ü"):
        answer = server.post(path, content=eye, headers={"authorization": wrong.encode()})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in answer.text
    assert server.post(path, content=eye, headers=good).status_code == 200
    for address in ("/models", "/metrics", "/openapi.json", "/v2", "/nothing"):
        assert server.get(address).status_code == 401
    for address in ("/health", "/v2/health/live", "/v2/health/ready"):
        assert server.get(address).status_code in (200, 503)
    # Another name for the machine is of no account then.
    good["host"] = "server.example"
    assert server.get("/models", headers=good).status_code == 200
    assert server.get("/openapi.json", headers=good).json()["security"] == [{"token": []}]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "", "127.0.0.1.evil.example"]
)
def test_without_a_token_other_names_of_the_machine_are_refused(client, host):
    answer = client().get("/models", headers={"host": host})
    assert answer.status_code == 403
    assert "no token" in answer.json()["error"]


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000"])
def test_without_a_token_this_machine_is_let_in(client, host):
    assert client().get("/models", headers={"host": host}).status_code == 200
