"""The files of the page: who gets them, and what a browser may do with them."""

import re

import pytest

from keras_espmedsam.serve.page_files import page_files

TOKEN = "0123456789abcdef"


def test_the_page_allows_nothing_from_elsewhere(client):
    server = client()
    assert len(page_files()) > 8
    for address, (content, kind) in page_files().items():
        answer = server.get(address)
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers["content-type"] == kind
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert set(re.findall(r"(?:src|action|uri|ancestors) ([^;]+)", policy)) <= {
            "'none'",
            "'self'",
        }
        assert answer.headers["x-content-type-options"] == "nosniff"
        without = content.replace(b"http://www.w3.org/2000/svg", b"")
        assert not re.search(rb"https?:|//[a-z]+\.", without), address


@pytest.mark.parametrize("name", ["index.html", "none.js", "..%2fapp.py", "%2e%2e/app.py"])
def test_nothing_else_is_there(client, name):
    assert client().get(f"/page/{name}").status_code == 404


def test_the_page_itself_needs_no_token(client, eye):
    server = client(token=TOKEN)
    for address in page_files():
        assert server.get(address).status_code == 200
    for address in ("/page/image", "/page/masks"):
        assert server.post(address, content=eye).status_code == 401
    assert server.get("/models").status_code == 401


def test_the_page_is_not_for_another_name_of_the_machine(client):
    answer = client().get("/", headers={"host": "evil.example"})
    assert answer.status_code == 403
