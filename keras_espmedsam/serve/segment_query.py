"""The query parameters of `POST /segment`."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.chosen_targets import DEFAULT_THRESHOLD
from keras_espmedsam.inference.test_time import parse_scales

MOST_SCALES = 4
"""The most scales of a request."""

LARGEST_SCALE = 2.0
"""The largest scale of a request: the time of a pass grows with its square, and all wait for it."""


class SegmentQuery(BaseModel):
    """What is asked of an image; the options of `espmedsam segment`."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(
        None, description="Name of the model; not needed if the server has one."
    )
    modality: str | None = Field(
        None,
        description="The kind of image, such as fundus; auto recognises it. Default: auto, or the "
        "model's modality if it has only one.",
    )
    target: list[str] = Field(
        [], description="Only this target; repeat it for several. Default: all."
    )
    threshold: float | None = Field(
        None, ge=0, le=1, description="Pixels with at least this probability are foreground."
    )
    guarantee: Literal["recall", "false_discovery_rate", "dice"] | None = Field(
        None, description="Make masks of which this is guaranteed, if the model was calibrated."
    )
    mirror: bool = Field(
        False, description="Average with the result for the mirrored image; takes twice as long."
    )
    scales: str | None = Field(
        None,
        description="Average the results for the image at several sizes, as factors of the "
        f"model's image size up to {LARGEST_SCALE:g}, such as 0.75,1,1.25; each takes a pass. "
        "Default: 1.",
    )
    postprocess: bool = Field(
        True, description="Remove small objects and fill holes, where the model says so."
    )
    intensity: str | None = Field(
        None,
        description="Values shown as black and white: auto, full or LOW:HIGH. Default: the "
        "model's choice, else auto.",
    )
    output: Literal["json", "png", "nifti", "dicom-seg", "zip"] = Field(
        "json",
        description="json: areas and confidence; png: the mask of one target (0 and 255); nifti: "
        "the mask of one target of a NIfTI file; dicom-seg: a DICOM Segmentation of a DICOM file, "
        "which names the patient as DICOM demands; zip: every file that `espmedsam segment` "
        "writes.",
    )
    outlines: Literal["geojson", "coco"] | None = Field(
        None,
        description="With json and zip, also the objects: outlines as GeoJSON, or run lengths "
        "(RLE) as COCO JSON.",
    )

    def check(self) -> None:
        """Check parameters that exclude each other.

        Raises:
            InputError: when two of them do.
        """
        given = {
            "threshold": self.threshold is not None,
            "mirror": self.mirror,
            "scales": request_scales(self.scales) is not None,
        }
        others = [name for name, one in given.items() if one]
        if self.guarantee is not None and others:
            raise InputError(
                f"Received guarantee with {others[0]}; a guarantee holds for its own thresholds, "
                "without mirroring and at the model's image size, so leave one of the two out."
            )
        if self.outlines is not None and self.output not in ("json", "zip"):
            raise InputError(
                f"Received outlines={self.outlines} with output={self.output}; give output=json or "
                "output=zip."
            )

    def options(self) -> dict[str, Any]:
        """Return the arguments of `segment_files` that are given here."""
        return {
            "threshold": DEFAULT_THRESHOLD if self.threshold is None else self.threshold,
            "mirror": self.mirror,
            "scales": request_scales(self.scales),
            "postprocess": self.postprocess,
            "guarantee": self.guarantee,
            "targets": self.target or None,
            "intensity": self.intensity,
        }


def request_scales(text: str | None) -> tuple[float, ...] | None:
    """Return the scales of a request, or `None` for the model's image size alone.

    Args:
        text: numbers with commas between them; `None` for none.

    Raises:
        InputError: for anything else, and for more or larger scales than a server computes.

    Example:
        >>> request_scales("0.75,1,1.25")
        (0.75, 1.0, 1.25)
    """
    scales = parse_scales(text, "the scales")
    if scales is not None and (len(scales) > MOST_SCALES or max(scales) > LARGEST_SCALE):
        raise InputError(
            f"Received the scales {shown_value(text)}; a server takes up to {MOST_SCALES}, each "
            f"up to {LARGEST_SCALE:g}. Use espmedsam segment for others."
        )
    return scales
