"""What made a result: the model, its version and the options it ran with."""

import dataclasses
import uuid

# Of this package, drawn once: every UID that is made here is derived from it.
_NAMESPACE = uuid.UUID("5f0c7f0e-8f7b-4d55-9a66-3c6f0a3d8d1b")
_MOST = 64  # The characters of a DICOM text of the type LO.


@dataclasses.dataclass(frozen=True)
class ModelIdentity:
    """The model that made a result, its version and the options it ran with.

    The same model with the same options gives the same UIDs for the same image, so that an archive
    does not keep a result twice.

    Args:
        name: the model's name, such as `"espmedsam_nano_256"`.
        version: its version, such as `"2"`.
        fingerprint: a checksum of the model's files.
        options: what a result depends on besides image and model, as text.
        software: the version of this package.

    Example:
        >>> model = ModelIdentity("eye", "1", "abc", "threshold=0.5", "0.2.0")
        >>> model.uid("SEG", "1.2.3") == model.uid("SEG", "1.2.3") != model.uid("SEG", "1.2.4")
        True
        >>> model.uid("SEG", "1.2.3")[:5]
        '2.25.'
    """

    name: str
    version: str
    fingerprint: str
    options: str
    software: str

    def __post_init__(self) -> None:
        # A backslash separates values in DICOM.
        for key in ("name", "version", "software"):
            text = getattr(self, key).replace("\\", "/").strip()[:_MOST] or "unknown"
            object.__setattr__(self, key, text)

    def uid(self, *parts: str) -> str:
        """Return the UID of what this model makes of something.

        Args:
            *parts: what is made, and of which object.

        Source: DICOM PS3.5, B.2 (UIDs derived from a UUID); RFC 9562, 5.5.
        """
        text = "\n".join(
            (self.name, self.version, self.fingerprint, self.options, self.software, *parts)
        )
        return f"2.25.{uuid.uuid5(_NAMESPACE, text).int}"

    @property
    def serial_number(self) -> str:
        """The beginning of the checksum, as the serial number of a device."""
        return self.fingerprint[:16] or "unknown"
