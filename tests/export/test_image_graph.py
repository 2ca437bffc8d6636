"""An image of any size in, masks of its size out: numbers of `segment`, in ONNX Runtime."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from keras_espmedsam.data import Targets
from keras_espmedsam.export.image_graph import image_graph
from keras_espmedsam.imaging.placement import Placement
from keras_espmedsam.inference.chosen_targets import choose_targets
from keras_espmedsam.inference.target_masks import ImageMaps

NORMALIZATION = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
ONE = Targets.of_modalities(("eye",))
SEVERAL = Targets(
    {"eye": ("disc", "artery", "cup", "vein"), "skin": ("lesion",), "slide": ("nuclei",)},
    exclusive={"eye": [("vein", "artery")]},
    nested={"eye": {"cup": "disc"}},
    instances={"slide": {"nuclei": "boundary"}},
)
CALIBRATION = {
    "eye": {"disc": {"temperature": 3.0}, "artery": {"bias": 0.7}},
    "skin": {"lesion": {"temperature": 0.5, "bias": -0.2}},
}


def core(channels, several):
    """A model whose logits are the normalised colours, mixed: (1, rows, columns, channels)."""
    rng = np.random.default_rng(1)
    mixed = numpy_helper.from_array(rng.normal(size=(3, channels)).astype("float32"), "mixed")
    # Names that the graph around it has, too.
    nodes = [helper.make_node("MatMul", ["images", "mixed"], ["size" if several else "masks"])]
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, [None, None, None, 3])]
    if several:
        nodes += [
            helper.make_node("Cast", ["modalities"], ["inner"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["size", "inner"], ["masks"]),
        ]
        inputs.append(helper.make_tensor_value_info("modalities", TensorProto.INT32, [1]))
    outputs = [helper.make_tensor_value_info("masks", TensorProto.FLOAT, [None] * 4)]
    graph = helper.make_graph(nodes, "core", inputs, outputs, [mixed])
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


def run(model, **inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def blobs(size, seed=3):
    """An image of noise over a slope: both resizing and thresholds have something to do."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(-60, 60, size[1])[None, :, None] * np.float32([1, -0.5, 0.3])
    return (120 + slope + rng.normal(0, 30, (*size, 3))).clip(0, 255).astype("uint8")


def expected(image, targets, index, canvas, mode, calibration):
    """What `segment` does with what the core gives, in the package's own code."""
    place = Placement.of(image.shape[:2], canvas, mode)
    mean, divisor = (np.float32(one) for one in NORMALIZATION)
    images = (place.forward(image, fill=mean, white=255) - mean) / divisor
    (weights,) = core(targets.num_channels, False).graph.initializer
    logits = images @ numpy_helper.to_array(weights) - index
    values = 1 / (1 + np.exp(-logits))
    modality = targets.modalities[index]
    chosen = choose_targets(targets, modality)
    maps = ImageMaps(chosen, values if targets.num_channels > 1 else values[..., 0], place)
    halves = {name: 0.5 for name in targets.of(modality)}
    masks, probabilities, _ = maps.results(halves, {}, (calibration or {}).get(modality))
    return masks, probabilities


@pytest.mark.parametrize("mode", ["pad", "stretch"])
@pytest.mark.parametrize("size", [(96, 150), (37, 20), (64, 64), (3, 90)])
def test_an_image_is_placed_and_its_mask_brought_back(size, mode):
    image, canvas = blobs(size), (64, 64)
    model = image_graph(core(1, False), ONE, [canvas], NORMALIZATION, mode)
    found = run(model, image=image)
    masks, probabilities = expected(image, ONE, 0, canvas, mode, None)
    assert found["masks"].dtype == "uint8" and found["masks"].shape == size
    np.testing.assert_allclose(found["probabilities"], probabilities, atol=2e-5)
    assert (found["masks"] != masks).mean() <= 1e-3
    assert 0.01 < masks.mean() < 0.99  # There is something to compare.


@pytest.mark.parametrize("index", [0, 1, 2])
def test_each_modality_has_its_canvas_targets_and_calibration(index):
    canvases, image = [(128, 128), (64, 64), (64, 96)], blobs((110, 90))
    model = image_graph(core(4, True), SEVERAL, canvases, NORMALIZATION, calibration=CALIBRATION)
    found = run(model, image=image, modality=np.array([index], "int32"))
    masks, probabilities = expected(image, SEVERAL, index, canvases[index], "pad", CALIBRATION)
    masks, probabilities = np.atleast_3d(masks), np.atleast_3d(probabilities)
    count = len(SEVERAL.of(SEVERAL.modalities[index]))
    assert found["masks"].shape == (110, 90, 4)
    np.testing.assert_allclose(found["probabilities"][..., :count], probabilities, atol=2e-5)
    assert (found["masks"][..., :count] != masks).mean() <= 1e-3
    # Neither other modalities' targets nor the hidden map of boundaries.
    assert not found["masks"][..., count:].any() and not found["probabilities"][..., count:].any()
    if index == 0:
        disc, artery, cup, vein = np.moveaxis(found["masks"], -1, 0)
        assert artery.any() and vein.any() and not (artery & vein).any()
        assert cup.any() and not (cup & ~disc).any()


def test_a_model_of_any_size_sees_the_image_at_its_own():
    image = blobs((50, 70))
    model = image_graph(core(1, False), ONE, [None], NORMALIZATION)
    found = run(model, image=image)
    masks, probabilities = expected(image, ONE, 0, None, "pad", None)
    np.testing.assert_allclose(found["probabilities"], probabilities, atol=2e-5)
    assert (found["masks"] != masks).mean() <= 1e-3


def test_of_equal_probabilities_the_first_of_the_group_has_the_pixel():
    targets = Targets({"eye": ("a", "v")}, exclusive={"eye": [("v", "a")]})
    model = image_graph(core(2, False), targets, [(64, 64)], NORMALIZATION)
    for one in model.graph.initializer:
        if one.name == "model_mixed":
            one.CopyFrom(numpy_helper.from_array(np.ones((3, 2), "float32"), one.name))
    found = run(model, image=np.full((64, 64, 3), 200, "uint8"))
    assert found["masks"][..., 1].all() and not found["masks"][..., 0].any()
