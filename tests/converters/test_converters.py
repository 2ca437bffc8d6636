import zlib

import keras
import numpy as np
import pytest

from keras_espmedsam.converters import convert_espmedsam, convert_mobilesam, espmedsam
from keras_espmedsam.converters.names import (
    controller_entries,
    decoder_entries,
    encoder_entries,
    prompt_entries,
)
from keras_espmedsam.converters.untrained_segmenter import published_segmenter
from keras_espmedsam.errors import InputError
from keras_espmedsam.layers.window_attention import CLOSED_TOKEN_BIAS
from keras_espmedsam.models import (
    ESPMedSAMBackbone,
    ESPMedSAMImageConverter,
    ESPMedSAMImageSegmenter,
    ESPMedSAMImageSegmenterPreprocessor,
    TinyViTBackbone,
)

save_file = pytest.importorskip("safetensors.numpy").save_file
torch = pytest.importorskip("torch")


def array(name, shape, variant=0):
    """Values that tell every tensor and position apart and keep activations finite."""
    generator = np.random.default_rng([zlib.crc32(name.encode()), variant])
    values = generator.standard_normal(shape).astype("float32")
    if len(shape) > 1:
        return values / np.float32(np.prod(shape[1:]) ** 0.5)
    scale = name.endswith((".weight", "running_var"))
    return np.abs(0.1 * values + (1 if scale else 0))


def tensors_of(entries, variant=0):
    return {
        entry.name: array(
            entry.name, entry.layout.torch_shape(tuple(entry.variable.shape)), variant
        )
        for entry in entries
    }


class Parts:
    """The tensors of a model's checkpoint: `shared`, `mobilesam`, and `controller(variant)`."""

    def __init__(self, backbone):
        self.encoder = backbone.image_encoder
        decoder = decoder_entries(backbone.mask_decoder)
        self.shared = tensors_of(
            [*encoder_entries(self.encoder, "SemiTViT."), *decoder, *prompt_entries(backbone)]
        )
        self.mobilesam = tensors_of([*encoder_entries(self.encoder, "image_encoder."), *decoder])

    def controller(self, variant):
        return tensors_of(controller_entries(self.encoder, "SemiTViT.", 0), variant)

    def released(self, variant):
        return {**self.shared, **self.controller(variant)}


@pytest.fixture(scope="module")
def parts():
    return Parts(published_segmenter(("fundus",), (3,), "released", "pad").backbone)


@pytest.fixture(scope="module")
def universal(parts, tmp_path_factory):
    """A preset of fundus alone, and one of fundus and X-ray, given in this order."""
    return converted_alone_and_both(parts, tmp_path_factory.mktemp("presets"))


def converted_alone_and_both(parts, folder):
    names = ["fundus", "xray"]
    files = [folder / f"{name}.safetensors" for name in names]
    for variant, file in enumerate(files):
        save_file(parts.released(variant), file)
    convert_espmedsam(files[:1], names[:1], folder / "fundus")
    convert_espmedsam(files, names, folder / "both")
    return {
        name: ESPMedSAMImageSegmenter.from_preset(str(folder / name)) for name in ("fundus", "both")
    }


def assert_holds(entries, tensors):
    for name, variable, layout in entries:
        held = keras.ops.convert_to_numpy(variable.value)
        np.testing.assert_array_equal(held, layout.to_keras(tensors[name]), err_msg=name)


@pytest.mark.slow_on("jax", "tensorflow")
def test_one_file_gives_one_modality(universal):
    backbone = universal["fundus"].backbone
    assert backbone.modalities == ("fundus",)
    assert backbone.num_queries == 7 and backbone.query_indices == (3,)
    # Spec: shared encoder, one controller, decoder, patch decoder, prompter and queries.
    trainable = sum(int(np.prod(v.shape)) for v in backbone.trainable_variables)
    assert trainable == 5_743_892 + 3_144_202 + 3_505_024 + 65_793 + 1_024 + 1_792


@pytest.mark.slow_on("jax")
def test_files_are_merged_in_the_order_of_the_release(parts, universal):
    backbone = universal["both"].backbone
    encoder = backbone.image_encoder
    assert backbone.modalities == ("xray", "fundus")
    assert backbone.query_indices == (1, 3) and backbone.num_queries == 7
    assert_holds(
        [
            *encoder_entries(encoder, "SemiTViT."),
            *decoder_entries(backbone.mask_decoder),
            *prompt_entries(backbone),
        ],
        parts.shared,
    )
    assert_holds(controller_entries(encoder, "SemiTViT.", 0), parts.controller(1))
    assert_holds(controller_entries(encoder, "SemiTViT.", 1), parts.controller(0))


def tiny_segmenter(modalities, query_indices, **converter):
    """In place of the published configuration, which JAX compiles for most of a minute."""
    encoder = TinyViTBackbone(
        hidden_dims=(8, 8, 16, 16),
        depths=(1, 1, 1, 1),
        num_heads=(1, 2, 2),
        window_sizes=(4, 4, 4),
        neck_dim=16,
        num_modalities=len(modalities),
        adapter_ratio=1,
    )
    backbone = ESPMedSAMBackbone(
        encoder,
        modalities=modalities,
        num_queries=7,
        query_indices=query_indices,
        transformer_depth=1,
        transformer_num_heads=2,
        transformer_mlp_dim=16,
    )
    converter = ESPMedSAMImageConverter(image_size=(64, 64), **converter)
    return ESPMedSAMImageSegmenter(backbone, ESPMedSAMImageSegmenterPreprocessor(converter))


@pytest.mark.slow_on("jax", "tensorflow")
def test_universal_mask_is_that_of_the_single_preset(tmp_path, monkeypatch):
    monkeypatch.setattr(espmedsam, "published_segmenter", tiny_segmenter)
    parts = Parts(tiny_segmenter(("fundus",), (3,)).backbone)
    universal = converted_alone_and_both(parts, tmp_path)
    image = np.random.default_rng(0).standard_normal((1, 64, 64, 3)).astype("float32")

    def masks(segmenter, inputs):
        return keras.ops.convert_to_numpy(segmenter.backbone.predict_on_batch(inputs)["masks"])

    xray, fundus = masks(
        universal["both"],
        {"images": np.repeat(image, 2, axis=0), "modalities": np.array([0, 1], "int32")},
    )
    alone = masks(universal["fundus"], {"images": image})[0]
    np.testing.assert_allclose(fundus, alone, atol=1e-4)
    assert np.abs(xray - alone).max() > 0.1


@pytest.mark.slow_on("jax")
def test_preset_properties(universal):
    converter = universal["fundus"].preprocessor.image_converter
    assert tuple(converter.image_size) == (1024, 1024)
    assert converter.normalization == "released" and converter.resize_mode == "stretch"


def test_training_checkpoint_of_data_parallel(parts, tmp_path):
    """Teacher tensors and counters are allowed, and what is ignored is said."""
    tensors = {
        **parts.released(0),
        "image_encoder.blocks.0.norm1.weight": np.ones(3, "float32"),
        "SemiTViT.head.weight": np.ones((1000, 320), "float32"),
        "SemiTViT.patch_embed.seq.0.bn.num_batches_tracked": np.array(4),
    }
    path = tmp_path / "training.pth"
    weights = {f"module.{name}": torch.from_numpy(value) for name, value in tensors.items()}
    torch.save({"model": weights, "epoch": 3}, path)
    output = tmp_path / "deep" / "er" / "preset"

    messages = convert_espmedsam(path, "fundus", output)

    assert messages[:2] == [
        f"Ignored image_encoder.* of {path} (tensors: 1): the teacher of a training checkpoint.",
        f"Ignored SemiTViT.head.* of {path} (tensors: 1): the ImageNet head, which the model "
        "does not use.",
    ]
    assert messages[-1].startswith(f"Wrote the preset {output}: fundus;")
    assert [entry.name for entry in output.parent.iterdir()] == ["preset"]


@pytest.fixture
def released_file(parts, tmp_path):
    path = tmp_path / "released.safetensors"
    save_file(parts.released(0), path)
    return path


def test_shared_parts_that_differ_are_named(parts, released_file, tmp_path):
    other = tmp_path / "other.safetensors"
    changed = parts.released(1)
    for name in ("SemiTViT.neck.1.bias", "mask_query.weight"):
        changed[name] = np.nextafter(changed[name], np.float32(9))
    save_file(changed, other)

    with pytest.raises(InputError, match="cannot be merged") as error:
        convert_espmedsam([released_file, other], ["fundus", "xray"], tmp_path / "preset")

    message = str(error.value)
    assert "2 of their" in message and "SemiTViT.neck.1.bias, mask_query.weight" in message
    assert str(released_file) in message and str(other) in message
    assert not (tmp_path / "preset").exists()


def test_missing_extra_and_misshaped_tensors_are_named(parts, tmp_path):
    tensors = parts.released(0)
    del tensors["mask_query.weight"]
    tensors["SemiTViT.neck.0.weight"] = np.ones((256, 320, 3, 3), "float32")
    tensors["SemiTViT.more"] = np.ones(1, "float32")
    path = tmp_path / "wrong.safetensors"
    save_file(tensors, path)
    with pytest.raises(InputError) as error:
        convert_espmedsam([path], ["fundus"], tmp_path / "preset")
    message = str(error.value)
    assert "missing: mask_query.weight;" in message
    assert "unexpected: SemiTViT.more;" in message
    assert "SemiTViT.neck.0.weight (256 x 320 x 3 x 3, expected 256 x 320 x 1 x 1)" in message
    assert not (tmp_path / "preset").exists()


def test_output_is_not_overwritten(released_file, tmp_path):
    full, file = tmp_path / "full", tmp_path / "file"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    file.write_text("mine")
    for convert in (
        lambda output: convert_espmedsam([released_file], ["fundus"], output),
        lambda output: convert_mobilesam(released_file, output),
    ):
        with pytest.raises(InputError, match="is not empty"):
            convert(full)
        with pytest.raises(InputError, match="is a file"):
            convert(file)
    assert (full / "mine.txt").read_text() == file.read_text() == "mine"


@pytest.mark.parametrize(
    ("count", "modalities", "says"),
    [
        (1, ["retina"], "Unknown modality 'retina'; the release knows dermoscopy, xray"),
        (2, ["fundus"], "2 checkpoints and 1 modalities"),
        (0, [], "0 checkpoints and 0 modalities"),
        (2, ["fundus", "fundus"], "'fundus' more than once"),
    ],
)
def test_files_and_modalities_must_pair_up(tmp_path, count, modalities, says):
    with pytest.raises(InputError, match=says):
        convert_espmedsam(["a.pth"] * count, modalities, tmp_path / "preset")


@pytest.mark.parametrize("bad", ["first", "second"])
def test_a_bad_file_is_told_before_the_model_is_built(released_file, tmp_path, monkeypatch, bad):
    monkeypatch.setattr(espmedsam, "published_segmenter", lambda *_, **__: pytest.fail("built"))
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(released_file.read_bytes()[:2000])
    for wrong, says in ((cut, "damaged or cut short"), (tmp_path / "no.pth", "does not exist")):
        files = [wrong, released_file] if bad == "first" else [released_file, wrong]
        with pytest.raises(InputError, match=says) as error:
            convert_espmedsam(files, ["fundus", "xray"], tmp_path / "preset")
        assert str(wrong) in str(error.value)
    assert not (tmp_path / "preset").exists()


def test_failed_write_leaves_nothing(released_file, tmp_path, monkeypatch):
    def fail(self, folder, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ESPMedSAMImageSegmenter, "save_to_preset", fail)
    with pytest.raises(InputError, match="No space left on device"):
        convert_espmedsam([released_file], ["fundus"], tmp_path / "out" / "preset")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow_on("jax", "tensorflow")
def test_mobilesam(parts, tmp_path):
    """Every modality starts from MobileSAM's embeddings; an empty output folder is taken."""
    path, output = tmp_path / "mobile_sam.pt", tmp_path / "preset"
    ignored = {
        "image_encoder.head.weight": np.ones(2, "float32"),
        "mask_decoder.iou_token.weight": np.ones((1, 256), "float32"),
        "mask_decoder.output_hypernetworks_mlps.2.layers.0.bias": np.ones(256, "float32"),
    }
    tensors = {**parts.mobilesam, **ignored}
    torch.save({name: torch.from_numpy(value) for name, value in tensors.items()}, path)
    output.mkdir()

    messages = convert_mobilesam(path, output)

    assert sum("(tensors: 1)" in message for message in messages) == 3
    segmenter = ESPMedSAMImageSegmenter.from_preset(str(output))
    backbone = segmenter.backbone
    converter = segmenter.preprocessor.image_converter
    assert converter.normalization == "imagenet" and converter.resize_mode == "pad"
    assert len(backbone.modalities) == 6 and backbone.query_indices == tuple(range(6))
    encoder = backbone.image_encoder
    assert_holds(
        [*encoder_entries(encoder, "image_encoder."), *decoder_entries(backbone.mask_decoder)],
        parts.mobilesam,
    )
    # What test_parity.py measures for one modality holds for all: no controller is open.
    for blocks in encoder.blocks[1:]:
        for block in blocks:
            for token, adapter in zip(block.attention.tokens, block.adapter.adapters, strict=True):
                assert keras.ops.convert_to_numpy(token["bias"].value) == CLOSED_TOKEN_BIAS
                assert not keras.ops.convert_to_numpy(adapter["dense_2_kernel"].value).any()


def test_mobilesam_refuses_an_espmedsam_checkpoint(released_file, tmp_path):
    with pytest.raises(InputError, match=r"missing: image_encoder\..* and \d+ more; unexpected"):
        convert_mobilesam(released_file, tmp_path / "preset")
