"""SAM's and keras-hub's weights to the medical teacher, with small encoders."""

import keras
import keras_hub
import numpy as np
import pytest

from keras_espmedsam.converters import convert_keras_hub_sam, convert_sam
from keras_espmedsam.converters.keras_hub_sam import sam_tensors
from keras_espmedsam.converters.matching import assign_tensors
from keras_espmedsam.converters.names import decoder_entries
from keras_espmedsam.converters.sam import encoder_options
from keras_espmedsam.errors import InputError
from keras_espmedsam.layers import QueryDecoupledModalityDecoder
from keras_espmedsam.layers.window_attention import CLOSED_TOKEN_BIAS
from keras_espmedsam.models import ESPMedSAMImageSegmenter
from keras_espmedsam.models.image_converter import MEAN, STD

save_file = pytest.importorskip("safetensors.numpy").save_file

DIM, GRID = 16, (4, 4)


def array(x):
    return keras.ops.convert_to_numpy(x)


@pytest.fixture(scope="module")
def theirs():
    """keras-hub's whole SAM, small, with weights that hide nothing."""
    encoder = keras_hub.models.ViTDetBackbone(
        hidden_size=24,
        num_layers=2,
        intermediate_dim=32,
        num_heads=2,
        global_attention_layer_indices=[1],
        image_shape=(64, 64, 3),
        num_output_channels=DIM,
        window_size=3,
    )
    prompts = keras_hub.layers.SAMPromptEncoder(
        hidden_size=DIM,
        image_embedding_size=GRID,
        input_image_size=(64, 64),
        mask_in_channels=4,
    )
    decoder = keras_hub.layers.SAMMaskDecoder(
        hidden_size=DIM,
        num_layers=2,
        intermediate_dim=8,
        num_heads=8,
        embedding_dim=DIM,
        iou_head_hidden_dim=8,
    )
    backbone = keras_hub.models.SAMBackbone(encoder, prompts, decoder)
    decoder.build()
    rng = np.random.default_rng(0)
    for weight in [*backbone.weights, *decoder.weights]:
        values = rng.normal(scale=0.3, size=weight.shape)
        weight.assign((1 + values if weight.name == "gamma" else values).astype("float32"))
    return backbone


@pytest.fixture(scope="module")
def teacher(theirs, tmp_path_factory):
    """The messages, and the preset loaded."""
    folder = tmp_path_factory.mktemp("teacher") / "preset"
    messages = convert_keras_hub_sam(theirs, folder)
    return messages, ESPMedSAMImageSegmenter.from_preset(str(folder))


def test_keras_hub_image_embeddings(theirs, teacher, record_property):
    """Theirs normalises images of [0, 1] itself. Ours has closed tokens and adapters."""
    images = np.random.default_rng(1).uniform(size=(1, 64, 64, 3)).astype("float32")
    expected = keras.Model.predict_on_batch(theirs.image_encoder, images)
    encoder = teacher[1].backbone.image_encoder
    normalised = ((255 * images - np.array(MEAN)) / np.array(STD)).astype("float32")
    ours = keras.Model.predict_on_batch(encoder, normalised)
    assert np.abs(expected).max() > 1
    record_property("largest_difference", float(np.abs(ours - expected).max()))
    np.testing.assert_allclose(ours, expected, atol=2e-4)


def test_teacher_starts_closed_and_trains_its_additions(teacher):
    messages, segmenter = teacher
    encoder = segmenter.backbone.image_encoder
    assert "2" in messages[0] and "64 x 64" in messages[0]
    assert messages[1] == (
        "The self-prompts and the modality queries are random: train the model before use."
    )
    assert encoder.num_tokens == 10 and encoder.window_size == 3 and encoder.global_indices == (1,)
    assert segmenter.preprocessor.image_converter.image_size == (64, 64)
    for block in encoder.blocks:
        assert array(block.attention.tokens.bias.value) == [CLOSED_TOKEN_BIAS]
        assert not array(block.adapter.specific.dense_layers[-1].kernel.value).any()
        assert array(block.adapter.common.dense_layers[-1].kernel.value).any()


def test_keras_hub_masks(theirs):
    """Their decoder's first mask is ours with their tokens for queries."""
    tensors = sam_tensors(theirs, "It")
    decoder = theirs.mask_decoder
    tokens = [array(layer.embeddings.value) for layer in (decoder.iou_token, decoder.mask_tokens)]
    ours = QueryDecoupledModalityDecoder(5, query_indices=(1,), mlp_dim=8)
    ours.build((None, *GRID, DIM))
    assign_tensors(tensors, decoder_entries(ours), ignored_prefixes=("image_encoder.",))
    ours.queries.assign(np.concatenate(tokens))
    positions = theirs.prompt_encoder.positional_embedding_layer.encode_image(GRID)
    image, dense = (keras.Input((*GRID, DIM), batch_size=1) for _ in range(2))
    masks = decoder(image, array(positions)[None], np.zeros((1, 0, DIM), "float32"), dense)
    model = keras.Model([image, dense], {"theirs": masks["masks"], "ours": ours(image, dense)})

    rng = np.random.default_rng(2)
    inputs = [rng.normal(size=(1, *GRID, DIM)).astype("float32") for _ in range(2)]
    outputs = model.predict_on_batch(inputs)
    np.testing.assert_allclose(outputs["ours"][0, ..., 0], outputs["theirs"][0, 0], atol=1e-4)


def test_a_checkpoint_of_another_size(theirs, tmp_path):
    """From a file, without decoder, additions or the file's own size."""
    tensors = sam_tensors(theirs.image_encoder, "It")
    assert all(name.startswith("image_encoder.") for name in tensors)
    path = tmp_path / "sam.safetensors"
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path)
    messages = convert_sam(path, tmp_path / "p", image_size=96, num_tokens=0, adapter=False)
    assert "resized for 96 x 96" in messages[1]
    assert "holds no mask decoder, so that it, the self-prompts" in messages[2]
    segmenter = ESPMedSAMImageSegmenter.from_preset(str(tmp_path / "p"))
    encoder = segmenter.backbone.image_encoder
    assert encoder.image_shape == (96, 96, 3) and encoder.adapter_layers() == []
    assert segmenter.preprocessor.image_converter.image_size == (96, 96)
    np.testing.assert_array_equal(
        array(encoder.position_embedding.table.value), tensors["image_encoder.pos_embed"][0]
    )
    for wrong in (48, 0):
        with pytest.raises(InputError, match=f"size of {wrong} x {wrong} for a SAM of 64 x 64"):
            convert_sam(path, tmp_path / "q", image_size=wrong)
    assert not (tmp_path / "q").exists()


@pytest.mark.parametrize(
    ("width", "depth", "heads", "global_indices"),
    [
        (768, 12, 12, (2, 5, 8, 11)),
        (1024, 24, 16, (5, 11, 17, 23)),
        (1280, 32, 16, (7, 15, 23, 31)),
    ],
)
def test_released_configurations_are_recognised(width, depth, heads, global_indices):
    def zeros(*shape):
        # Of the right shape, and without its memory.
        return np.broadcast_to(np.float32(0), shape)

    tensors = {
        "image_encoder.patch_embed.proj.weight": zeros(width, 3, 16, 16),
        "image_encoder.pos_embed": zeros(1, 64, 64, width),
        "image_encoder.blocks.0.mlp.lin1.weight": zeros(4 * width, width),
        "image_encoder.neck.0.weight": zeros(256, width, 1, 1),
    }
    for i in range(depth):
        rows = 127 if i in global_indices else 27
        tensors[f"image_encoder.blocks.{i}.norm1.weight"] = zeros(width)
        for axis in "hw":
            name = f"image_encoder.blocks.{i}.attn.rel_pos_{axis}"
            tensors[name] = zeros(rows, width // heads)
    assert encoder_options(tensors, "It") == {
        "hidden_dim": width,
        "depth": depth,
        "num_heads": heads,
        "mlp_ratio": 4,
        "patch_size": 16,
        "window_size": 14,
        "global_indices": global_indices,
        "neck_dim": 256,
        "position_grid": (64, 64),
    }


def test_what_is_not_a_sam_is_refused(theirs, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"image_encoder.layers.0.bias": np.ones(3, "float32")}, path)
    with pytest.raises(InputError, match=r"other.safetensors is not a SAM: it has no image_enc"):
        convert_sam(path, tmp_path / "p")
    tensors = sam_tensors(theirs.image_encoder, "It")
    del tensors["image_encoder.blocks.1.attn.qkv.bias"]
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path)
    with pytest.raises(InputError, match=r"missing: image_encoder.blocks.1.attn.qkv.bias"):
        convert_sam(path, tmp_path / "p")
    image = keras.Input((32, 32, 3))
    plain = keras.Model(image, keras.layers.Conv2D(8, 16, strides=16)(image))
    with pytest.raises(InputError, match=r"The given model \(Functional\) has no image encoder"):
        convert_keras_hub_sam(plain, tmp_path / "p")
    with pytest.raises(InputError, match="cannot be loaded by keras-hub"):
        convert_keras_hub_sam(tmp_path, tmp_path / "p")
    assert not (tmp_path / "p").exists()
