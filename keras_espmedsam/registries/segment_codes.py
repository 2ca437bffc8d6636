"""The codes of targets in DICOM objects, by `modality.target`, or `target` for any modality.

An entry is a `keras_espmedsam.dicom.SegmentCode`. A target without one gets a private code, which
other programs show but do not understand.
"""

from keras_espmedsam.registries.registry import Registry

_MODULE = "keras_espmedsam.dicom.segment_codes"

segment_codes = Registry(
    "segment_codes",
    "segment code",
    {
        "colonoscopy.polyp": f"{_MODULE}:POLYP",
        "dermoscopy.lesion": f"{_MODULE}:SKIN_LESION",
        "fundus.arteries": f"{_MODULE}:RETINAL_ARTERIES",
        "fundus.optic_cup": f"{_MODULE}:OPTIC_CUP",
        "fundus.optic_disc": f"{_MODULE}:OPTIC_DISC",
        "fundus.veins": f"{_MODULE}:RETINAL_VEINS",
        "fundus.vessels": f"{_MODULE}:RETINAL_VESSELS",
        "microscopy.nuclei": f"{_MODULE}:NUCLEI",
        "ultrasound.lesion": f"{_MODULE}:LESION",
        "xray.clavicles": f"{_MODULE}:CLAVICLES",
        "xray.heart": f"{_MODULE}:HEART",
        "xray.lungs": f"{_MODULE}:LUNGS",
    },
)
