"""Models that do not state the contract of an image encoder are given one."""

import keras
import keras_hub
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.models import ESPMedSAMBackbone, ImageEncoder, as_image_encoder
from keras_espmedsam.models.image_encoder import close_controller, image_encoder_of
from tests.models.image_encoder_contract import ImageEncoderContract


def make_model(dtype=None, size=(64, 64)):
    image = keras.Input((*size, 3))
    x = keras.layers.Conv2D(6, 8, strides=8, activation="relu", name="stem", dtype=dtype)(image)
    x = keras.layers.BatchNormalization(name="norm", dtype=dtype)(x)
    return keras.Model(image, keras.layers.Conv2D(16, 2, strides=2, name="last", dtype=dtype)(x))


class TestFunctional(ImageEncoderContract):
    sizes = ((64, 64),)
    follows_policies = False  # Its layers keep the precision that they were made with.

    def make(self, **kwargs):
        return make_model(**kwargs)


class TestViTDet(ImageEncoderContract):
    """keras-hub's encoder of SAM, no feature pyramid."""

    sizes = ((64, 64),)
    follows_policies = False  # Its last layer gives float32 under any policy.

    def make(self, **kwargs):
        return keras_hub.models.ViTDetBackbone(
            hidden_size=16, num_layers=1, intermediate_dim=16, num_heads=2,
            global_attention_layer_indices=[0], image_shape=(64, 64, 3), patch_size=16,
            num_output_channels=16, window_size=2, **kwargs,
        )  # fmt: skip


class Minimal(keras_hub.models.Backbone, ImageEncoder):
    """All that a new encoder of one output has to write."""

    def __init__(self, width=16, dtype=None, **kwargs):
        image = keras.Input((64, 32, 3), name="images")
        x = keras.layers.Conv2D(width, 16, strides=16, name="patches", dtype=dtype)(image)
        super().__init__(inputs=image, outputs=x, dtype=dtype, **kwargs)
        self.width = width

    def get_config(self):
        return {**super().get_config(), "width": self.width}


Minimal = keras.saving.register_keras_serializable("tests")(Minimal)


class TestMinimal(ImageEncoderContract):
    sizes = ((64, 32),)

    def make(self, **kwargs):
        return Minimal(**kwargs)


def test_what_a_model_declares_is_taken():
    model = make_model(size=(None, None))
    contract = as_image_encoder(model)
    assert contract.output_stride is None and contract.fixed_size is None
    with pytest.raises(InputError, match="unknown output stride"):
        ESPMedSAMBackbone(model)
    model.output_stride = 16
    assert as_image_encoder(model).output_stride == 16
    assert ESPMedSAMBackbone(model, transformer_num_heads=2).image_encoder is model
    model.output_stride = 64
    with pytest.raises(InputError, match="output stride 64; expected 4, 8, 16 or 32"):
        ESPMedSAMBackbone(model)
    model.output_stride, model.size_multiple = 16, 48
    with pytest.raises(InputError, match="multiples of 48 pixels only"):
        ESPMedSAMBackbone(model)


def test_an_encoder_that_states_the_contract_is_itself():
    encoder = Minimal()
    assert as_image_encoder(encoder) is encoder
    assert (encoder.output_stride, encoder.image_shape) == (16, (64, 32, 3))
    with pytest.raises(InputError, match="of type int"):
        as_image_encoder(3)


def test_the_encoder_is_found_in_what_is_around_it(build):
    segmenter = build.segmenter()
    encoder = segmenter.backbone.image_encoder
    for model in (segmenter, segmenter.backbone, encoder):
        assert image_encoder_of(model) is encoder


def test_the_whole_takes_a_size_only_where_the_encoder_does(build):
    config = build.backbone(make_model()).get_config()
    with pytest.raises(InputError, match="of class Functional, which is made for"):
        ESPMedSAMBackbone.from_config({**config, "image_shape": (96, 96, 3)})


def test_a_modality_that_is_not_known_is_told(build):
    with pytest.raises(InputError, match="'lungs'; did you mean lung"):
        build.backbone().controller_layers("lungs")


def test_a_controller_of_another_kind_needs_a_way_to_be_closed():
    from keras_espmedsam.layers import ModalityVariables

    gate = ModalityVariables({"gate": (2,)}, name="gates")
    gate.build()
    with pytest.raises(InputError, match="'gates' holds gate: neither a token nor an adapter"):
        close_controller([gate])
