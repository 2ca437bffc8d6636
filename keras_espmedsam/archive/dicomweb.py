"""A DICOM archive over DICOMweb: find images, fetch them, and store objects."""

import contextlib
import dataclasses
import re
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_espmedsam._startup import require
from keras_espmedsam.data.formats.quiet_libraries import quiet_libraries
from keras_espmedsam.dicom import write_dicom_object
from keras_espmedsam.errors import InputError

# Kinds of objects without an image of their own.
_NO_IMAGES = {
    *("SEG", "SR", "PR", "KO", "DOC", "RTSTRUCT", "RTPLAN", "RTDOSE", "REG", "AU", "ECG", "FID"),
    *("RWV", "PLAN", "M3D"),
}
# RFC 6750, 2.1.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_TRIES, _BACKOFF = 5, 0.5
# What a server answers when it may be better later.
_AGAIN = (408, 429, 500, 502, 503, 504)


@dataclasses.dataclass(frozen=True)
class Instance:
    """An object of an archive.

    Args:
        study: its Study Instance UID.
        series: its Series Instance UID.
        uid: its SOP Instance UID.
        modality: its modality's code, such as `"US"`; empty if the archive does not say.

    Example:
        >>> Instance("1.2", "1.2.3", "1.2.3.4", "SR").may_be_image
        False
    """

    study: str
    series: str
    uid: str
    modality: str = ""

    @property
    def may_be_image(self) -> bool:
        """Whether it may hold an image, as far as its modality says."""
        return self.modality not in _NO_IMAGES


class DicomWebArchive:
    """A DICOM archive over DICOMweb (QIDO-RS, WADO-RS and STOW-RS).

    A request that fails because the server is busy or cannot be reached is repeated up to four
    times, after longer and longer waits.

    Args:
        url: the address of the service, such as `"https://pacs.example/dicom-web"`.
        token: sent as `Authorization: Bearer TOKEN`; None for none.
        seconds: how long a connection, or a pause within an answer, may take.

    Raises:
        InputError: for another kind of address, and when dicomweb-client is not installed.

    Source: DICOM PS3.18, 10.4 to 10.6.
    """

    def __init__(self, url: str, token: str | None = None, seconds: float = 60):
        web = require("dicomweb_client", "Talking to a DICOM archive", "dicom")
        requests = require("requests", "Talking to a DICOM archive", "dicom")
        retries = require("urllib3.util", "Talking to a DICOM archive", "dicom")
        self.url = _checked_url(url)
        if token is not None and not _TOKEN.fullmatch(token):
            raise InputError(
                "Received a token that is empty or has other signs than those of a bearer token; "
                "check its file or variable."
            )
        session = requests.Session()
        adapter = requests.adapters.HTTPAdapter(
            max_retries=retries.Retry(
                total=_TRIES - 1,
                backoff_factor=_BACKOFF,
                status_forcelist=_AGAIN,
                # The UIDs of what is stored do not change, so that it may be sent again.
                allowed_methods=("GET", "POST"),
                raise_on_status=False,
            )
        )
        for scheme in ("http://", "https://"):
            session.mount(scheme, adapter)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._client = web.DICOMwebClient(self.url, session, headers=headers, timeout=seconds)
        self._client.set_http_retry_params(retry=False)

    def find(
        self,
        study: str | None = None,
        series: str | None = None,
        query: Mapping[str, str] | None = None,
    ) -> list[Instance]:
        """Find instances.

        Args:
            study: only those of this study.
            series: only those of this series of it.
            query: what they have to match, as keywords or tags of DICOM: `{"Modality": "US"}`.
                Without `study` it chooses studies: `{"StudyDate": "20260101-20260131"}`.

        Returns:
            List of `Instance`, each once.

        Raises:
            InputError: when the archive cannot be reached or refuses.
        """
        filters = dict(query or {})
        with self._asked("find images"):
            if study is not None:
                found = self._client.search_for_instances(
                    study, series, search_filters=filters, get_remaining=True
                )
            else:
                studies = self._client.search_for_studies(
                    search_filters=filters, get_remaining=True
                )
                found = [
                    one
                    for entry in studies
                    for one in self._client.search_for_instances(
                        _value(entry, "0020000D"), get_remaining=True
                    )
                ]
        instances = [
            Instance(
                _value(one, "0020000D") or study or "",
                _value(one, "0020000E") or series or "",
                _value(one, "00080018"),
                _value(one, "00080060"),
            )
            for one in found
        ]
        return list(dict.fromkeys(one for one in instances if one.uid and one.series))

    def fetch(self, instance: Instance, path: Path) -> None:
        """Fetch an instance into a file, compressed as the archive keeps it.

        Raises:
            InputError: when the archive cannot be reached or refuses, or sends no DICOM.
        """
        with self._asked(f"fetch {instance.uid}"):
            dataset = self._client.retrieve_instance(
                *(instance.study, instance.series, instance.uid),
                media_types=(("application/dicom", "*"),),
            )
            write_dicom_object(path, dataset)

    def store(self, paths: Sequence[Path]) -> None:
        """Store files.

        Raises:
            InputError: when the archive cannot be reached or refuses.
        """
        pydicom = require("pydicom", "Storing DICOM objects", "dicom")
        with self._asked("store the results"):
            answer = self._client.store_instances([pydicom.dcmread(path) for path in paths])
            refused = answer.get("FailedSOPSequence") or []
        if refused:
            reason = int(refused[0].get("FailureReason") or 0)
            raise InputError(
                f"The archive did not store {len(refused)} of {len(paths)} results (its reason is "
                f"{reason:04X} in DICOM PS3.4, GG.4); look into its log."
            )

    @contextlib.contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        """Turn what goes wrong into one sentence, without the answer, which may hold anything."""
        requests = require("requests", "Talking to a DICOM archive", "dicom")
        try:
            with quiet_libraries:
                yield
        except requests.HTTPError as error:
            status = int(getattr(error.response, "status_code", 0))
            advice = {
                401: "give a token: --token-file",
                403: "the token may not do this",
                404: "check the address and the UIDs",
            }.get(status, "look into its log")
            raise InputError(
                f"The archive answered {status} when it was asked to {what}; {advice}."
            ) from None
        except requests.exceptions.InvalidJSONError as error:
            raise self._no_dicom(what, error) from None
        except requests.RequestException as error:
            raise InputError(
                f"The archive at {self.url} cannot be reached to {what} "
                f"({type(error).__name__}); check the address and the network."
            ) from None
        except (InputError, OSError):
            raise
        except Exception as error:
            raise self._no_dicom(what, error) from None

    @staticmethod
    def _no_dicom(what: str, error: Exception) -> InputError:
        return InputError(
            f"The archive sent something else than DICOM when it was asked to {what} "
            f"({type(error).__name__}); check that the address is that of its DICOMweb service."
        )


def _checked_url(url: str) -> str:
    try:
        parts = urllib.parse.urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        right = False
    if not right or parts.query or parts.fragment:
        raise InputError(
            "Received an address that is not that of a DICOMweb service; expected something like "
            "https://pacs.example/dicom-web."
        )
    if parts.username or parts.password:
        raise InputError(
            "Received an address with a user or a password in it, which logs would show; give a "
            "token instead: --token-file."
        )
    return url.rstrip("/")


def _value(entry: Mapping[str, Any], tag: str) -> str:
    """Return the first value of an element in DICOM's JSON; empty if there is none."""
    values = entry.get(tag, {}).get("Value") or [""]
    return str(values[0] or "")
