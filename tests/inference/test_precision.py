"""What is computed in: said in one place, refused where it cannot be, before Keras starts."""

import dataclasses

import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError
from keras_espmedsam.export.formats import all_formats, get_format
from keras_espmedsam.inference.load_models import check_name, load_segmenter
from keras_espmedsam.inference.precision import check_precision, computed_in

NANO = "espmedsam_nano_256"


@pytest.mark.parametrize("precision", [None, "float32", "bfloat16"])
def test_every_precision_of_a_preset_is_allowed(precision):
    check_precision(precision)
    check_name(NANO, precision)


@pytest.mark.parametrize(
    ("precision", "sentence"),
    [
        ("float16", "chosen when a model is exported."),
        ("int8", "chosen when a model is exported."),
        ("bf16", "did you mean bfloat16?"),
        ("mixed_bfloat16", "expected float32 or bfloat16"),
        ("", "expected float32 or bfloat16"),
        (32, "Received the precision 32 to compute in"),
        (np.array(["float32", "bfloat16"]), "expected float32 or bfloat16"),
    ],
)
def test_another_precision_is_refused(precision, sentence):
    for function in (check_precision, lambda one: load_segmenter(NANO, one)):
        with pytest.raises(InputError) as caught:
            function(precision)
        assert sentence in str(caught.value) and not str(caught.value).endswith("..")


def test_which_artefacts_are_computed_in_what():
    able = {one.name for one in all_formats() if "bfloat16" in one.computes_in}
    assert able == {"openvino"}
    assert all("float32" in one.computes_in for one in all_formats())
    for name, path in (("onnx", "eye.onnx"), ("tflite", "eye.tflite")):
        check_name(path, "float32")
        with pytest.raises(InputError, match=rf"exported as {name} computes only in float32, not"):
            check_name(path, "bfloat16")
        with pytest.raises(InputError, match=rf"exported as {name} computes only in float32, not"):
            check_precision("bfloat16", get_format(name))
    check_name("eye.xml", "bfloat16")


def test_a_segmenter_that_is_loaded_keeps_what_it_computes_in():
    class Loaded:
        modalities = ("eye",)

        def segment(self, images, modalities, **options):
            raise AssertionError

    assert load_segmenter(Loaded()).modalities == ("eye",)
    with pytest.raises(InputError, match=r"loaded already; .*dtype='mixed_bfloat16'"):
        load_segmenter(Loaded(), "bfloat16")
    with pytest.raises(InputError, match="loaded already"):
        kem.inference.segment_files(Loaded(), "eye.png", "eye", precision="float32")


def test_what_computes_in_two_precisions_tells_both():
    @dataclasses.dataclass
    class Part:
        compute_dtype: str
        image_encoder: object = None

    @dataclasses.dataclass
    class Segmenter:
        backbone: Part

    mixed = Segmenter(Part("float32", Part("bfloat16")))
    assert computed_in(mixed) == "bfloat16 and float32"
    assert computed_in(Segmenter(Part("float16", Part("float16")))) == "float16"
    assert computed_in(object()) == "float32"
