"""Encoders of keras-hub as teacher and student, of other widths, strides and image sizes."""

import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.distillation import DecoupledDistiller, FeatureLoss, MaskLoss, Teacher

NAMES = ("skin", "eye")


def segmenter(tiny, growth, stride, size, seed):
    densenet = {"stackwise_num_repeats": [1, 1], "compression_ratio": 0.5, "growth_rate": growth}
    encoder = kem.models.KerasHubImageEncoder(
        {"class_name": "DenseNetBackbone", "config": densenet},
        neck_dim=8,
        neck_levels=("P2", "P3"),
        output_stride=stride,
        image_shape=(size, size, 3),
    )
    backbone = tiny.backbone(NAMES, encoder=encoder)
    return tiny.randomize(kem.models.ESPMedSAMImageSegmenter(backbone), seed)


@pytest.mark.slow_on("jax")
def test_features_masks_and_labels_are_learnt_together(tiny):
    student, teacher = segmenter(tiny, 4, 8, 32, 1), segmenter(tiny, 6, 4, 64, 2)
    distiller = DecoupledDistiller(
        student,
        domain_teachers=Teacher(teacher, features=("embedding", "P3", "masks")),
        phase="joint",
        losses=[FeatureLoss(), FeatureLoss("P2", "P3"), MaskLoss()],
    )
    # The levels have other widths, and the embeddings the same.
    assert set(distiller.projections) == {"domain/domain/P2_mse"}
    distiller.compile(keras.optimizers.Adam(1e-3), run_eagerly=keras.backend.backend() != "jax")
    x, y = tiny.batch("domain", modalities=(0, 1))
    large = np.random.default_rng(1).normal(size=(2, 64, 64, 3)).astype("float32")
    shown = x["domain"]
    x = {"domain": {**shown, "teacher_images": large}}
    logs = distiller.test_on_batch(x, y, return_dict=True)
    given = {"images": large, "modalities": shown["modalities"]}
    truth = 1 / (1 + np.exp(-keras.Model.predict_on_batch(teacher, given)["masks"]))
    truth = truth.reshape(2, 32, 2, 32, 2, 1).mean(axis=(2, 4))
    found = keras.Model.predict_on_batch(student, shown)["masks"]
    expected = (np.logaddexp(0, found) - truth * found).mean()
    assert logs["domain_masks_cross_entropy"] == pytest.approx(expected, rel=1e-3)
    terms = {"domain_embedding_mse", "domain_P2_mse", "domain_masks_cross_entropy"}
    assert terms < set(logs)
    assert logs["loss"] == pytest.approx(sum(logs.values()) - logs["loss"], rel=1e-4)
    learning = [distiller.projections["domain/domain/P2_mse"].kernel]
    encoder = student.backbone.image_encoder
    learning += [weight for weight in encoder.trainable_variables if len(weight.shape) == 4]
    before, kept = tiny.values(learning), tiny.values(teacher.weights)
    distiller.train_on_batch(x, y)
    assert len(before) > 3
    for old, new in zip(before, tiny.values(learning), strict=True):
        assert not np.array_equal(old, new)
    for old, new in zip(kept, tiny.values(teacher.weights), strict=True):
        np.testing.assert_array_equal(old, new)
