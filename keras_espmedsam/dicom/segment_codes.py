"""The codes that say in DICOM what a target is."""

import dataclasses
from typing import NamedTuple

from keras_espmedsam.errors import InputError
from keras_espmedsam.registries import segment_codes

PRIVATE_SCHEME = "99ESPMEDSAM"
"""The coding scheme of what has no code in SNOMED CT; private schemes begin with 99."""
_MOST_IN_VALUE, _MOST_IN_MEANING = 16, 64


class Code(NamedTuple):
    """A coded concept.

    Args:
        value: the code, such as `"39607008"`; at most 16 characters.
        scheme: its coding scheme, such as `"SCT"` for SNOMED CT; at most 16 characters.
        meaning: its name in words; at most 64 characters.

    Example:
        >>> Code("39607008", "SCT", "Lung").meaning
        'Lung'
    """

    value: str
    scheme: str
    meaning: str


@dataclasses.dataclass(frozen=True)
class SegmentCode:
    """What a target is, in the codes of a terminology.

    Args:
        category: a code of DICOM's context group 7150: anatomical structure, tissue,
            morphologically abnormal structure and so on.
        type: a code for the target itself.
        region: a code for the part of the body it lies in; None if that is in the type, or unknown.

    Raises:
        InputError: for a code that is empty or too long.

    Example:
        >>> from keras_espmedsam.registries import segment_codes
        >>> spleen = SegmentCode(ANATOMICAL_STRUCTURE, Code("78961009", "SCT", "Spleen"))
        >>> segment_codes.register("ultrasound.spleen", spleen)
        >>> segment_code("ultrasound", "spleen").type.meaning
        'Spleen'
        >>> segment_codes.unregister("ultrasound.spleen")

    Source: DICOM PS3.3, C.8.20.4 (Segment Description Macro).
    """

    category: Code
    type: Code
    region: Code | None = None

    def __post_init__(self) -> None:
        for code in filter(None, (self.category, self.type, self.region)):
            most = _MOST_IN_VALUE, _MOST_IN_VALUE, _MOST_IN_MEANING
            if any(not 0 < len(text) <= long for text, long in zip(code, most, strict=True)):
                raise InputError(
                    f"Received the code {tuple(code)!r}; expected a value and a scheme of 1 to 16 "
                    "characters, and a meaning of 1 to 64."
                )


ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
TISSUE = Code("85756007", "SCT", "Tissue")
_CONCEPT = Code("309825002", "SCT", "Spatial and Relational Concept")
_RETINA = Code("5665001", "SCT", "Retina")

LUNGS = SegmentCode(ANATOMICAL_STRUCTURE, Code("39607008", "SCT", "Lung"))
HEART = SegmentCode(ANATOMICAL_STRUCTURE, Code("80891009", "SCT", "Heart"))
CLAVICLES = SegmentCode(ANATOMICAL_STRUCTURE, Code("51299004", "SCT", "Clavicle"))
SKIN_LESION = SegmentCode(
    ABNORMAL_STRUCTURE, Code("52988006", "SCT", "Lesion"), Code("39937001", "SCT", "Skin")
)
# Of the breast, the thyroid or another organ: the source image says which.
LESION = SegmentCode(ABNORMAL_STRUCTURE, Code("52988006", "SCT", "Lesion"))
RETINAL_VESSELS = SegmentCode(TISSUE, Code("59820001", "SCT", "Blood Vessel"), _RETINA)
RETINAL_ARTERIES = SegmentCode(TISSUE, Code("51114001", "SCT", "Artery"), _RETINA)
RETINAL_VEINS = SegmentCode(TISSUE, Code("29092000", "SCT", "Vein"), _RETINA)
_OPTIC_DISC = Code("81016008", "SCT", "Optic nerve head")
OPTIC_DISC = SegmentCode(ANATOMICAL_STRUCTURE, _OPTIC_DISC)
# No context group of DICOM has a code for the cup.
OPTIC_CUP = SegmentCode(
    ANATOMICAL_STRUCTURE, Code("optic_cup", PRIVATE_SCHEME, "Optic cup"), _OPTIC_DISC
)
NUCLEI = SegmentCode(ANATOMICAL_STRUCTURE, Code("84640000", "SCT", "Nucleus"))
# The colonoscope sees the rectum, too.
POLYP = SegmentCode(
    ABNORMAL_STRUCTURE,
    Code("41329004", "SCT", "Polyp"),
    Code("14742008", "SCT", "Large intestine"),
)


def segment_code(modality: str, target: str) -> SegmentCode:
    """Return the code of a target.

    Args:
        modality: the modality's name.
        target: the target's name.

    Returns:
        That of `modality.target` or of `target` in `keras_espmedsam.registries.segment_codes`;
        otherwise a private code made of the target's name.

    Raises:
        InputError: when what another package registered is no `SegmentCode`.

    Example:
        >>> segment_code("xray", "lungs").type
        Code(value='39607008', scheme='SCT', meaning='Lung')
        >>> segment_code("xray", "left_rib").type
        Code(value='left_rib', scheme='99ESPMEDSAM', meaning='left rib')
    """
    for name in (f"{modality}.{target}", target):
        if name in segment_codes:
            found = segment_codes.load(name)
            if not isinstance(found, SegmentCode):
                raise InputError(
                    f"The segment code {name!r} is of type {type(found).__name__}; expected a "
                    "keras_espmedsam.dicom.SegmentCode. Fix the package that adds it."
                )
            return found
    meaning = target.replace("_", " ")
    return SegmentCode(
        _CONCEPT, Code(target[:_MOST_IN_VALUE], PRIVATE_SCHEME, meaning[:_MOST_IN_MEANING])
    )
