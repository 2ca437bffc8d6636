"""Every target of the shipped presets has a code that DICOM knows."""

import pytest

from keras_espmedsam.dicom.segment_codes import PRIVATE_SCHEME, Code, SegmentCode, segment_code
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.load_models import stored_targets
from keras_espmedsam.registries import segment_codes

pytest.importorskip("highdicom", reason="needs the extra dicom")

# What DICOM's own tables have no code for: the first is private, the second is of SNOMED CT.
_NOT_IN_DICOM = {"optic_cup", "41329004"}


def test_all_targets_of_the_preset():
    targets = stored_targets("espmedsam_nano_256")
    names = {f"{one}.{name}" for one in targets.modalities for name in targets.of(one)}
    assert names == set(segment_codes.names()) and len(names) == 12
    from pydicom.sr.codedict import codes

    known = {code.value for code in (getattr(codes.SCT, word) for word in codes.SCT.dir())}
    for name in names:
        found = segment_code(*name.split("."))
        for code in filter(None, (found.category, found.type, found.region)):
            if code.value not in _NOT_IN_DICOM:
                assert code.scheme == "SCT" and code.value in known, code
    private = [name for name in names if segment_codes.load(name).type.scheme == PRIVATE_SCHEME]
    assert private == ["fundus.optic_cup"]


def test_own_codes(monkeypatch):
    rib = SegmentCode(
        Code("91723000", "SCT", "Anatomical Structure"), Code("113197003", "SCT", "Rib")
    )
    segment_codes.register("rib", rib)
    segment_codes.register("xray.lesion", "math:pi")
    try:
        assert segment_code("xray", "rib") == segment_code("fundus", "rib") == rib
        with pytest.raises(InputError, match=r"'xray\.lesion' is of type float"):
            segment_code("xray", "lesion")
    finally:
        segment_codes.unregister("rib")
        segment_codes.unregister("xray.lesion")
    with pytest.raises(InputError, match="of 1 to 16"):
        SegmentCode(rib.category, Code("1" * 17, "SCT", "Rib"))
    long = segment_code("xray", "a_name_of_many_letters")
    assert long.type == ("a_name_of_many_l", PRIVATE_SCHEME, "a name of many letters")
