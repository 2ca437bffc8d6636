"""The published implementations' outputs for the recipe's weights, against ours.

One 1024 x 1024 forward pass per model and backend, through a converted and reloaded preset.
"""

import importlib.util
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_espmedsam.converters import convert_espmedsam, convert_mobilesam
from keras_espmedsam.converters.matching import assign_tensors
from keras_espmedsam.converters.names import decoder_entries, vit_entries
from keras_espmedsam.converters.sam import encoder_options
from keras_espmedsam.layers import QueryDecoupledModalityDecoder
from keras_espmedsam.models import ESPMedSAMImageSegmenter, ViTMedBackbone
from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import MODALITIES

safetensors_numpy = pytest.importorskip("safetensors.numpy")

# The issue asks for 1e-3 and aims for 1e-4; this is what all backends keep.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def oracle(shared_dir):
    """The recipe: `state_dict`, `image`, `load` (a reference by name)."""
    folder = shared_dir / "oracle"
    spec = importlib.util.spec_from_file_location("oracle_recipe", folder / "recipe.py")
    recipe = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        # The shared folder is not ours to put a __pycache__ into.
        patch.setattr("sys.dont_write_bytecode", True)
        spec.loader.exec_module(recipe)

    def load(name):
        with np.load(folder / name) as file:
            return {key: file[key] for key in file.files}

    return SimpleNamespace(state_dict=recipe.state_dict, image=recipe.image, load=load)


def channels_last(image):
    return np.ascontiguousarray(image.transpose(0, 2, 3, 1))


def predict(model, inputs):
    """One jitted pass; a batch of one without its batch axis."""
    outputs = keras.Model.predict(model, inputs, batch_size=1, verbose=0)
    return {name: value[0] for name, value in outputs.items()}


@pytest.fixture(scope="module")
def espmedsam(oracle, tmp_path_factory):
    """Every recorded array, from the reference and from us."""
    reference = oracle.load("espmedsam_seed2.npz")
    seed, modality = int(reference["seed"]), int(reference["modality"])
    folder = tmp_path_factory.mktemp("espmedsam")
    safetensors_numpy.save_file(
        oracle.state_dict("espmedsam.manifest.json", seed), folder / "released.safetensors"
    )
    convert_espmedsam([folder / "released.safetensors"], [MODALITIES[modality]], folder / "preset")
    segmenter = ESPMedSAMImageSegmenter.from_preset(str(folder / "preset"))
    encoder, backbone = segmenter.backbone.image_encoder, segmenter.backbone
    embeddings = encoder.output
    prompt = backbone.prompt_generator(embeddings)["dense_prompt"]
    model = keras.Model(
        encoder.input,
        {
            "patch_embed": encoder.patch_embedding.output,
            **{f"stage{i}": encoder.mergings[i].output for i in range(3)},
            "stage3": encoder.blocks[3][-1].output,
            "image_embeddings": embeddings,
            "all_queries": backbone.mask_decoder(embeddings, prompt, all_queries=True),
            **segmenter.decode(embeddings),
        },
    )
    ours = predict(model, channels_last(oracle.image(1024, seed)))
    return reference, {
        # The reference is subsampled, and channels first but for the stages.
        "patch_embed": ours["patch_embed"][::16, ::16].transpose(2, 0, 1),
        "stage0": ours["stage0"][::8, ::8],
        **{f"stage{i}": ours[f"stage{i}"][::4, ::4] for i in (1, 2, 3)},
        "image_embeddings": ours["image_embeddings"][::4, ::4].transpose(2, 0, 1),
        "patch_logits": ours["patches"][..., 0],
        "low_res_logits": ours["all_queries"][::2, ::2, :6].transpose(2, 0, 1),
        "mask_logits": ours["masks"][::8, ::8, 0],
    }


@pytest.mark.parametrize(
    "name",
    [
        "patch_embed",
        "stage0",
        "stage1",
        "stage2",
        "stage3",
        "image_embeddings",
        "patch_logits",
        "low_res_logits",
        "mask_logits",
    ],
)
def test_espmedsam(espmedsam, record_property, name):
    reference, ours = espmedsam
    assert ours[name].shape == reference[name].shape
    record_property("largest_difference", float(np.abs(ours[name] - reference[name]).max()))
    np.testing.assert_allclose(ours[name], reference[name], rtol=0, atol=TOLERANCE)


@pytest.fixture(scope="module")
def mobilesam(oracle, tmp_path_factory):
    """Reference, weights and our embeddings, from a converted universal preset."""
    reference = oracle.load("mobilesam_seed2.npz")
    seed = int(reference["seed"])
    weights = oracle.state_dict("mobilesam.manifest.json", seed)
    folder = tmp_path_factory.mktemp("mobilesam")
    safetensors_numpy.save_file(weights, folder / "mobile_sam.safetensors")
    convert_mobilesam(folder / "mobile_sam.safetensors", folder / "preset")
    segmenter = ESPMedSAMImageSegmenter.from_preset(str(folder / "preset"))
    encoder = segmenter.backbone.image_encoder
    model = keras.Model(encoder.input, {"image_embeddings": encoder.output})
    inputs = {
        "images": channels_last(oracle.image(1024, seed)),
        "modalities": np.array([3], "int32"),
    }
    return reference, weights, predict(model, inputs)["image_embeddings"]


def test_mobilesam_image_embeddings(mobilesam, record_property):
    """The preset's controllers start closed, so that its embeddings are MobileSAM's."""
    reference, _, embeddings = mobilesam
    ours = embeddings[::4, ::4].transpose(2, 0, 1)
    difference = np.abs(ours - reference["image_embeddings"]).max()
    record_property("largest_difference", float(difference))
    assert ours.shape == reference["image_embeddings"].shape
    assert difference <= TOLERANCE


def test_mobilesam_mask_of_a_box(mobilesam, record_property):
    """SAM's decoder is ours with SAM's tokens for queries: the box's mask must come out.

    The tokens are quality, four masks and the two corners; the second gives the single mask.
    """
    reference, weights, embeddings = mobilesam
    tokens = np.concatenate(
        [
            weights["mask_decoder.iou_token.weight"],
            weights["mask_decoder.mask_tokens.weight"],
            box_tokens(reference["box"], weights),
        ]
    )
    decoder = QueryDecoupledModalityDecoder(num_queries=len(tokens), query_indices=(1,))
    image = keras.Input((64, 64, 256))
    no_mask = keras.Input((64, 64, 256))
    model = keras.Model([image, no_mask], {"masks": decoder(image, no_mask)})
    entries = decoder_entries(decoder)
    assign_tensors(weights, entries, ignored_prefixes=("",))
    decoder.queries.assign(tokens)
    dense = np.broadcast_to(weights["prompt_encoder.no_mask_embed.weight"], (1, 64, 64, 256))

    masks = predict(model, [embeddings[None], np.ascontiguousarray(dense)])["masks"]

    ours = masks[::2, ::2, 0]
    expected = np.squeeze(reference["low_res_logits"])
    assert ours.shape == expected.shape
    record_property("largest_difference", float(np.abs(ours - expected).max()))
    np.testing.assert_allclose(ours, expected, rtol=0, atol=TOLERANCE)


def test_sam_image_embeddings(oracle, record_property):
    """SAM's own encoder, of 256 x 256 pixels; test_sam.py takes one through a preset."""
    reference = oracle.load("sam_vit_small_seed2.npz")
    seed = int(reference["seed"])
    weights = oracle.state_dict("sam_vit_small.manifest.json", seed)
    options = encoder_options(weights, "The reference")
    encoder = ViTMedBackbone(**options, num_tokens=0, adapter=False, image_shape=(256, 256, 3))
    assign_tensors(weights, vit_entries(encoder))
    model = keras.Model(encoder.input, {"image_embeddings": encoder.output})
    ours = predict(model, channels_last(oracle.image(256, seed)))["image_embeddings"]
    difference = np.abs(ours.transpose(2, 0, 1) - reference["image_embeddings"]).max()
    record_property("largest_difference", float(difference))
    assert difference <= TOLERANCE


def box_tokens(box, weights):
    """SAM's prompt encoder for one box: positions of its corners plus what corner it is."""
    corners = (np.asarray(box, "float32").reshape(2, 2) + 0.5) / 1024 * 2 - 1
    matrix = weights["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]
    phase = 2 * np.pi * corners @ matrix
    which = [weights[f"prompt_encoder.point_embeddings.{i}.weight"][0] for i in (2, 3)]
    return np.concatenate([np.sin(phase), np.cos(phase)], axis=1) + np.stack(which)
