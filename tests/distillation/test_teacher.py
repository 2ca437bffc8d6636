import keras
import numpy as np
import pytest
from keras_hub.layers import SAMMaskDecoder, SAMPromptEncoder
from keras_hub.models import SAMBackbone, ViTDetBackbone

from keras_espmedsam.distillation import Teacher
from keras_espmedsam.errors import InputError
from keras_espmedsam.models.image_converter import MEAN, STD


def test_other_normalisations_and_sizes_are_made_inside(tiny):
    model = tiny.randomize(tiny.convolution(side=32))
    raw = np.random.default_rng(0).uniform(0, 255, size=(2, 64, 64, 3)).astype("float32")
    small = raw.reshape(2, 32, 2, 32, 2, 3).mean(axis=(2, 4))  # what bilinear halving gives
    images = ((raw - MEAN) / STD).astype("float32")
    for normalization, scale in (("unit", 255), ("bytes", 1)):
        teacher = Teacher(model, normalization=normalization)
        assert teacher.image_size == (32, 32)
        found = keras.ops.convert_to_numpy(teacher(images)["embedding"])
        expected = keras.Model.predict_on_batch(model, (small / scale).astype("float32"))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_layers_of_any_model_and_stages_of_ours(tiny):
    model = tiny.randomize(tiny.convolution())
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    found = Teacher(model, features=("embedding", "stem"))(images)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "embedding": (1, 2, 2, 8),
        "stem": (1, 8, 8, 4),
    }
    with pytest.raises(InputError, match="has no feature 'stage_9'; it has embedding, "):
        Teacher(model, features=("stage_9",))


def test_teacher_of_a_segmenter_is_its_encoder_and_nothing_trains(tiny):
    student = tiny.student()
    teacher = Teacher(student)
    assert teacher.model is student.backbone.image_encoder
    assert teacher.trainable_variables == []
    assert student.trainable_variables  # the user's own model stays as it was


def test_keras_hubs_sam_serves(tiny):
    encoder = ViTDetBackbone(
        hidden_size=16, num_layers=2, intermediate_dim=32, num_heads=2,
        global_attention_layer_indices=[1], image_shape=(64, 64, 3), patch_size=16,
        num_output_channels=8, window_size=2,
    )  # fmt: skip
    prompts = SAMPromptEncoder(
        hidden_size=8, image_embedding_size=(4, 4), input_image_size=(64, 64),
        mask_in_channels=4,
    )  # fmt: skip
    decoder = SAMMaskDecoder(
        hidden_size=8, num_layers=1, intermediate_dim=16, num_heads=1, embedding_dim=8,
        num_multimask_outputs=3, iou_head_depth=2, iou_head_hidden_dim=8,
    )  # fmt: skip
    teacher = Teacher(SAMBackbone(encoder, prompts, decoder))
    assert teacher.model is encoder and teacher.image_size == (64, 64)
    spec = teacher.compute_output_spec(keras.KerasTensor((1, 64, 64, 3)))
    assert spec["embedding"].shape == (1, 4, 4, 8)


def test_fingerprint_follows_weights_architecture_and_preprocessing(tiny):
    model = tiny.randomize(tiny.convolution())
    first = Teacher(model).fingerprint()
    assert Teacher(model).fingerprint() == first
    twin = tiny.randomize(tiny.convolution())
    assert Teacher(twin).fingerprint() == first  # other automatic names, the same model
    assert Teacher(model, normalization="unit").fingerprint() != first
    assert Teacher(model, image_size=(64, 64)).fingerprint() != first
    kernel = twin.get_layer("stem").kernel
    value = tiny.values([kernel])[0]
    value[0, 0, 0, 0] += 1e-6
    kernel.assign(value)
    assert Teacher(twin).fingerprint() != first


def test_what_is_no_feature_map_is_refused():
    image = keras.Input((8, 8, 3))
    flat = keras.Model(image, keras.layers.Flatten()(image))
    with pytest.raises(InputError, match="expected a feature map"):
        Teacher(flat, name="flat").call(np.zeros((1, 8, 8, 3), "float32"))
    with pytest.raises(InputError, match="Received a teacher of type str"):
        Teacher("sam")
    with pytest.raises(InputError, match="normalization='other' of a teacher"):
        Teacher(flat, normalization="other")


def test_without_modalities_controllers_are_left_out(tiny):
    model = tiny.randomize(tiny.encoder(num_modalities=2))
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    found = Teacher(model)(images)["embedding"]
    shared = model.features(images, controllers=False)["embedding"]
    own = model.features(images, np.array([1]))["embedding"]
    found, shared, own = (keras.ops.convert_to_numpy(x) for x in (found, shared, own))
    np.testing.assert_allclose(found, shared, atol=1e-6)
    assert np.abs(found - own).max() > 1e-4


def test_a_feature_that_a_model_lacks_is_told_at_once(tiny):
    with pytest.raises(InputError, match=r"^The teacher 'big' has no feature 'stage_9'; it has"):
        Teacher(tiny.encoder(), features=("stage_0", "stage_9"), name="big")
