"""What a SavedModel of a stranger may ask TensorFlow for."""

import json

import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.export import ExportedSegmenter
from keras_espmedsam.export.formats.saved_model_operators import check_saved_model

tf = pytest.importorskip("tensorflow", reason="there is no SavedModel without it")

SPEC = tf.TensorSpec([1, 32, 32, 3], tf.uint8, name="images")


def saved(folder, function, module=None):
    """A SavedModel of a function of images."""
    module = module or tf.Module()
    module.serve = tf.function(function, input_signature=[SPEC], autograph=False)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return folder


def brightness(images):
    return {"probabilities": tf.reduce_mean(tf.cast(images, tf.float32), -1) / 255}


def files(folder):
    """A function of images that reads and writes files."""

    def run(images):
        text = tf.io.read_file(str(folder / "secret"))
        with tf.control_dependencies([tf.io.write_file(str(folder / "marker"), text)]):
            return brightness(images)

    return run


def within_a_function(run):
    inner = tf.function(run, autograph=False)
    outer = tf.function(lambda images: inner(images), autograph=False)
    return lambda images: outer(images)


def within_a_condition(run):
    def choose(images):
        dark = tf.reduce_sum(tf.cast(images, tf.int32)) < 0
        chosen = tf.cond(dark, lambda: run(images), lambda: brightness(images))
        return {"probabilities": chosen["probabilities"]}

    return choose


def test_mathematics_is_let_through_and_gives_its_numbers(tmp_path):
    path = saved(tmp_path / "eye", brightness)
    check_saved_model(path)
    (tmp_path / "eye.json").write_text(json.dumps({
        "task": "segmentation", "format": "saved_model", "flavor": "images", "resize_mode": "pad",
        "normalization": {"mean": [123.675, 116.28, 103.53], "divisor": [58.395, 57.12, 57.375]},
        "inputs": {"images": {"shape": [1, 32, 32, 3]}}, "modalities": ["fundus"]}))  # fmt: skip
    found = ExportedSegmenter(path).segment(np.full((32, 32, 3), 102, "uint8"))
    np.testing.assert_allclose(found["probabilities"], 0.4, atol=1e-6)


@pytest.mark.parametrize("wrap", [lambda run: run, within_a_function, within_a_condition])
def test_files_are_refused_wherever_they_are_reached(tmp_path, wrap):
    (tmp_path / "secret").write_text("secret")
    path = saved(tmp_path / "eye", wrap(files(tmp_path)))
    with pytest.raises(InputError, match=r"needs: .*ReadFile.*--trust"):
        check_saved_model(path)
    assert not (tmp_path / "marker").exists()


def test_python_and_loops_are_refused(tmp_path):
    def python(images):
        found = tf.py_function(lambda: 1.0, [], tf.float32)
        return {"probabilities": brightness(images)["probabilities"] * found}

    def loop(images):
        found = tf.while_loop(lambda one: True, lambda one: one + 1, [tf.constant(0.0)])
        return {"probabilities": brightness(images)["probabilities"] * found}

    for number, (function, named) in enumerate(((python, "EagerPyFunc"), (loop, "While"))):
        with pytest.raises(InputError, match=named):
            check_saved_model(saved(tmp_path / str(number), function))


def test_what_loading_alone_would_run_is_refused(tmp_path):
    (tmp_path / "words").write_text("a\nb\n")
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            *(str(tmp_path / "words"), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE),
            *(tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER),
        ),
        -1,
    )
    with pytest.raises(InputError, match=r"needs: .*object (asset|resource)"):
        check_saved_model(saved(tmp_path / "eye", brightness, module))


def test_saving_and_restoring_may_not_be_called(tmp_path):
    def save(images):
        value = tf.cast(images, tf.float32)
        write = tf.raw_ops.SaveV2(
            prefix=str(tmp_path / "x"), tensor_names=["a"], shape_and_slices=[""], tensors=[value]
        )
        with tf.control_dependencies([write]):
            return brightness(images)

    with pytest.raises(InputError, match="needs: SaveV2"):
        check_saved_model(saved(tmp_path / "eye", save))


def test_parts_old_ones_and_circles(tmp_path):
    from tensorflow.core.protobuf import saved_model_pb2

    path = saved(tmp_path / "eye", within_a_function(brightness))
    graph = saved_model_pb2.SavedModel()
    graph.ParseFromString((path / "saved_model.pb").read_bytes())

    def changed(change):
        copy = saved_model_pb2.SavedModel()
        copy.CopyFrom(graph)
        change(copy.meta_graphs[0])
        (path / "saved_model.pb").write_bytes(copy.SerializeToString())

    def call_itself(meta):
        for function in meta.graph_def.library.function:
            for node in function.node_def:
                if node.op.endswith("PartitionedCall"):
                    node.attr["f"].func.name = function.signature.name

    changed(call_itself)
    with pytest.raises(InputError, match="calls itself"):
        check_saved_model(path)
    changed(lambda meta: meta.ClearField("object_graph_def"))
    with pytest.raises(InputError, match="not one of TensorFlow 2"):
        check_saved_model(path)
    changed(lambda meta: None)
    check_saved_model(path)
    (path / "saved_model.cpb").write_text("")
    with pytest.raises(InputError, match="into parts"):
        check_saved_model(path)
