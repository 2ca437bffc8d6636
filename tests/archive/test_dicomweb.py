"""What is asked of an archive over HTTP, and what its answers mean."""

import http.server
import json
import threading

import pytest

from keras_espmedsam.archive import DicomWebArchive, Instance, dicomweb
from keras_espmedsam.errors import InputError
from tests.dicom.images import dicom_image

pytest.importorskip("dicomweb_client", reason="needs the extra dicom")


@pytest.fixture
def server(monkeypatch):
    """A server that gives the answers in its list, and notes what it is asked."""
    monkeypatch.setattr(dicomweb, "_BACKOFF", 0.01)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length)
            made.asked.append((self.command, self.path, self.headers.get("Authorization")))
            status, body = made.answers.pop(0) if len(made.answers) > 1 else made.answers[0]
            self.send_response(status)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline(), 16):
                    self.rfile.read(size + 2)
                self.rfile.readline()
            self.do_GET()

        def log_message(self, *arguments):
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.asked, made.answers = [], []
    made.url = f"http://127.0.0.1:{made.server_port}/dicom-web"
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def entry(uid, modality="US"):
    return {
        "0020000D": {"vr": "UI", "Value": ["1.2"]},
        "0020000E": {"vr": "UI", "Value": ["1.2.3"]},
        "00080018": {"vr": "UI", "Value": [uid]},
        "00080060": {"vr": "CS", "Value": [modality]},
    }


def test_find(server):
    answer = json.dumps([entry("1.2.3.4"), entry("1.2.3.5", "SR"), entry("1.2.3.4")]).encode()
    # The first answers are of a busy archive; an empty list is the end of the results.
    server.answers = [(503, b""), (429, b""), (200, answer), (200, b"[]")]
    archive = DicomWebArchive(f"{server.url}/", "s3cret", 5)
    found = archive.find("1.2", "1.2.3", {"Modality": "US"})
    assert found == [
        Instance("1.2", "1.2.3", "1.2.3.4", "US"),
        Instance("1.2", "1.2.3", "1.2.3.5", "SR"),
    ]
    assert [one.may_be_image for one in found] == [True, False]
    command, path, token = server.asked[0]
    assert (command, token) == ("GET", "Bearer s3cret")
    assert path.startswith("/dicom-web/studies/1.2/series/1.2.3/instances?")
    assert "Modality=US" in path and server.asked[1] == server.asked[0]


def test_find_studies_by_query(server):
    study = json.dumps([{"0020000D": {"vr": "UI", "Value": ["1.2"]}}]).encode()
    instances = json.dumps([entry("1.2.3.4")]).encode()
    server.answers = [(200, study), (200, b"[]"), (200, instances), (200, b"[]")]
    found = DicomWebArchive(server.url).find(query={"StudyDate": "20260102"})
    assert [one.uid for one in found] == ["1.2.3.4"]
    assert "studies?" in server.asked[0][1] and "StudyDate=20260102" in server.asked[0][1]
    assert server.asked[0][2] is None


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (401, b"", "answered 401 when it was asked to find images; give a token: --token-file"),
        (403, b"", "answered 403"),
        (404, b"", "check the address and the UIDs"),
        (503, b"Planted^Name", "answered 503 when it was asked to find images; look into its log"),
        (200, b"<html>Planted^Name", "sent something else than DICOM"),
    ],
)
def test_answers_that_are_no_results(server, status, body, sentence):
    server.answers = [(status, body)]
    with pytest.raises(InputError, match=sentence) as error:
        DicomWebArchive(server.url).find("1.2")
    assert "Planted" not in str(error.value)
    assert len(server.asked) == (5 if status == 503 else 1)


def test_stored_objects_that_are_refused(server, tmp_path):
    failed = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA700]}}]}}
    server.answers = [(200, json.dumps(failed).encode())]
    with pytest.raises(InputError, match=r"did not store 1 of 1 results .*A700"):
        DicomWebArchive(server.url).store([dicom_image(tmp_path / "a.dcm", "fundus")])


def test_nobody_listens(server, tmp_path):
    archive = DicomWebArchive("http://127.0.0.1:9/dicom-web", seconds=2)
    with pytest.raises(InputError, match=r"at http://127\.0\.0\.1:9/dicom-web cannot be reached"):
        archive.fetch(Instance("1.2", "1.2.3", "1.2.3.4"), tmp_path / "a.dcm")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["pacs.example", "ftp://pacs.example", "https://", "https://pacs.example/?a=1"]
)
def test_wrong_addresses(url):
    with pytest.raises(InputError, match="not that of a DICOMweb service"):
        DicomWebArchive(url)


def test_passwords_in_addresses():
    with pytest.raises(InputError, match="--token-file") as error:
        DicomWebArchive("https://user:s3cret@pacs.example/dicom-web")
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("token", ["", "two words", "s3crét", "a\r\nb"])
def test_tokens_that_are_none(token):
    with pytest.raises(InputError, match="Received a token that is empty") as error:
        DicomWebArchive("https://pacs.example/dicom-web", token)
    assert not token or token not in str(error.value)
