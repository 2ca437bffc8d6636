"""What every image encoder must do: an abstract test that each encoder's test derives from."""

import json

import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.models import ESPMedSAMBackbone, ESPMedSAMImageSegmenter, as_image_encoder

NAMES = ("skin", "lung", "eye")
RNG = np.random.default_rng(0)


class ImageEncoderContract:
    """Derive a class named `Test...`, with `make`; the rest says what the encoder can do.

    Example:
        class TestMyEncoder(ImageEncoderContract):
            sizes = ((64, 64),)

            def make(self, **kwargs):
                return MyEncoder(width=8, **kwargs)
    """

    sizes = ((64, 32), (32, 32))
    """Images that it takes, sides being multiples of 32; the first is used throughout."""
    holds_controllers = False
    """Whether `make(num_modalities=3)` works."""
    several_levels = False
    """Whether maps of several strides meet, so that sizes that they do not divide are refused."""

    follows_policies = True
    """Whether its configuration has a `dtype` that all of it follows, in what it declares too."""

    def make(self, **kwargs):
        """A small encoder of `dtype` and, perhaps, `num_modalities`."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    def encoder(self, build):
        cls = type(self) if not isinstance(self, type) else self
        options = {"num_modalities": 3} if cls.holds_controllers else {}
        return build.randomize(cls().make(**options))

    def _images(self, count=1, size=None):
        return RNG.normal(size=(count, *(size or self.sizes[0]), 3)).astype("float32")

    def _inputs(self, encoder, modalities=(0,), images=None):
        images = self._images(len(modalities)) if images is None else images
        if as_image_encoder(encoder).num_modalities < 2:
            return images
        return {"images": images, "modalities": np.array(modalities, "int32")}

    # === What it says of itself ===

    @pytest.mark.parametrize("index", [0, 1])
    def test_levels_and_strides_are_those_declared(self, build, encoder, index):
        size = self.sizes[min(index, len(self.sizes) - 1)]
        contract = as_image_encoder(encoder)
        assert contract.fixed_size in (None, size)
        images = self._images(size=size)
        found = build.run(Features(contract), self._inputs(encoder, images=images))
        assert set(found) == set(contract.levels) <= set(contract.feature_names)
        for name, (stride, width) in contract.levels.items():
            assert found[name].shape == (1, size[0] // stride, size[1] // stride, width), name
        assert contract.levels["embedding"].stride == contract.output_stride
        whole = build.run(encoder, self._inputs(encoder, images=images))
        np.testing.assert_allclose(found["embedding"], whole, atol=1e-5, rtol=1e-5)

    def test_a_size_that_does_not_fit_is_refused_in_a_sentence_or_rounded_up(self, build, encoder):
        contract = as_image_encoder(encoder)
        size = tuple(side + 2 for side in self.sizes[0])
        inputs = self._inputs(encoder, images=self._images(size=size))
        if contract.fixed_size is not None:
            # Called, since Keras' `predict` on JAX asks nothing.
            with pytest.raises(ValueError, match="expected shape"):
                encoder(inputs)
        elif self.several_levels:
            assert contract.size_multiple > 1
            with pytest.raises(ValueError, match=f"multiples of {contract.size_multiple}"):
                build.run(encoder, inputs)
        elif contract.size_multiple == 1:
            rounded = tuple(-(-side // contract.output_stride) for side in size)
            assert build.run(encoder, inputs).shape[1:3] == rounded

    @pytest.mark.skipif(
        keras.backend.backend() != "tensorflow", reason="`run` compiles where Keras compiles"
    )
    def test_a_graph_gives_what_operations_one_by_one_give(self, build, encoder):
        sizes = [as_image_encoder(encoder).fixed_size] * 2
        if None in sizes:  # The graph for a second size leaves sizes open.
            sizes = self.sizes[:2]
        for size in sizes:
            inputs = self._inputs(encoder, images=self._images(size=size))
            expected = build.run(encoder, inputs)
            found = keras.Model.predict_on_batch(encoder, inputs)
            scale = np.abs(expected).max()
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * scale)

    def test_all_weights_have_a_depth_or_belong_to_the_neck(self, encoder):
        depths = as_image_encoder(encoder).layers_by_depth()
        if not depths:
            pytest.skip("It has no blocks.")
        rates = kem.optimizers.layerwise_learning_rates(encoder, 0.5)
        assert min(rates.values()) == 0.5 ** (len(depths) - 1)
        found = {id(weight) for layers in depths for layer in layers for weight in layer.weights}
        rest = {w.path.partition("/")[0] for w in encoder.weights if id(w) not in found}
        assert rest <= {"neck"}

    # === Saving ===

    def test_config_round_trip(self, build, encoder):
        config = encoder.get_config()
        again = type(encoder).from_config(json.loads(json.dumps(config, default=list)))
        assert type(again) is type(encoder)
        assert [w.shape for w in again.weights] == [w.shape for w in encoder.weights]
        again.set_weights(encoder.get_weights())
        inputs = self._inputs(encoder)
        np.testing.assert_array_equal(build.run(again, inputs), build.run(encoder, inputs))
        assert as_image_encoder(again).levels == as_image_encoder(encoder).levels

    def test_what_is_saved_gives_the_same(self, build, encoder, tmp_path):
        encoder.save(tmp_path / "encoder.keras")
        again = keras.saving.load_model(tmp_path / "encoder.keras")
        inputs = self._inputs(encoder)
        np.testing.assert_array_equal(build.run(again, inputs), build.run(encoder, inputs))

    # === Precision and training ===

    def test_precision_is_a_policy(self, build, encoder):
        options = {"num_modalities": 3} if self.holds_controllers else {}
        mixed = self.make(dtype="mixed_bfloat16", **options)
        mixed.set_weights(encoder.get_weights())
        assert {w.dtype for w in mixed.weights} == {"float32"}
        inputs = self._inputs(encoder)
        found, expected = (build.run(model, inputs) for model in (mixed, encoder))
        if self.follows_policies:
            assert keras.backend.standardize_dtype(mixed.output.dtype) == "bfloat16"
        difference = np.abs(np.asarray(found, "float32") - expected).mean()
        assert difference < 0.05 * np.abs(expected).mean() + 1e-3

    def test_frozen_layers_keep_their_statistics(self, build):
        encoder = build.randomize(self.make())
        images = self._images(2)
        expected = build.run(encoder, images)
        for layer in encoder.layers:
            layer.trainable = False
        assert encoder.trainable_weights == []
        before = encoder.get_weights()
        trained = build.run(Features(as_image_encoder(encoder), training=True), images)
        np.testing.assert_allclose(trained["embedding"], expected, atol=1e-5, rtol=1e-5)
        for old, new in zip(before, encoder.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)

    # === Controllers ===

    def test_a_controller_is_its_modalitys_alone(self, build):
        if not self.holds_controllers:
            contract = as_image_encoder(self.make())
            assert contract.num_modalities == 0 and contract.controller_layers(0) == []
            return
        encoder = build.randomize(self.make(num_modalities=3))
        layers = [encoder.controller_layers(k) for k in range(3)]
        ids = [{id(w) for layer in own for w in layer.weights} for own in layers]
        assert all(ids) and not (ids[0] & ids[1] or ids[1] & ids[2] or ids[0] & ids[2])
        inputs = self._inputs(encoder, (0, 1, 2), self._images().repeat(3, axis=0))
        before = build.run(encoder, inputs)
        assert np.abs(before[0] - before[1]).max() > 1e-3
        for layer in layers[1]:
            for weight in layer.weights:
                weight.assign(build.array(weight) + 1)
        after = build.run(encoder, inputs)
        np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
        assert np.abs(after[1] - before[1]).max() > 1e-3
        encoder.close_controller(1)
        closed = build.run(encoder, inputs)
        np.testing.assert_array_equal(closed[[0, 2]], before[[0, 2]])
        shared = build.run(Features(encoder, controllers=False), inputs)["embedding"]
        # A closed token has a bias of its own that is far below all others, not minus infinity.
        np.testing.assert_allclose(closed[1], shared[1], atol=2e-3)

    def test_the_shared_encoder_is_one_without_controllers(self, build, encoder):
        if not self.holds_controllers:
            pytest.skip("It holds no controllers.")
        plain = self.make(num_modalities=0)
        shared = [weight for weight in encoder.weights if not hasattr(weight, "modality")]
        for old, new in zip(shared, plain.weights, strict=True):
            new.assign(build.array(old))
        inputs = self._inputs(encoder)
        found = build.run(Features(encoder, controllers=False), inputs)["embedding"]
        np.testing.assert_allclose(found, build.run(plain, inputs["images"]), atol=1e-5, rtol=1e-5)

    # === In use ===

    # That other backends save, extend and specialise a segmenter, tests of one encoder show.
    @pytest.mark.slow_on("jax", "tensorflow")
    def test_in_a_segmenter(self, build, encoder, tmp_path):
        segmenter = build.segmenter(
            build.backbone(encoder, transformer_depth=1), image_size=self.sizes[0]
        )
        build.randomize(segmenter)
        backbone = segmenter.backbone
        images, modalities = self._images(2), np.array([2, 0], "int32")
        inputs = {"images": images, "modalities": modalities}
        whole = build.run(backbone, inputs)
        assert whole["masks"].shape == (2, *self.sizes[0], 1)
        encode, decode = (build.compiled(part) for part in (backbone.encode, backbone.decode))
        apart = decode(encode(images, modalities), modalities)["masks"]
        scale = np.abs(whole["masks"]).max()
        np.testing.assert_allclose(build.array(apart), whole["masks"], atol=1e-5 * scale)
        held = self.holds_controllers
        assert all(bool(backbone.controller_layers(name)) == held for name in NAMES)
        segmenter.save_to_preset(tmp_path)
        again = ESPMedSAMImageSegmenter.from_preset(str(tmp_path))
        np.testing.assert_array_equal(build.run(again.backbone, inputs)["masks"], whole["masks"])
        # The precision of the whole is the encoder's too.
        half = ESPMedSAMBackbone.from_preset(str(tmp_path), dtype="bfloat16", load_weights=False)
        policies = {half.image_encoder.dtype_policy.name, half.output["image_embeddings"].dtype}
        assert policies == {"bfloat16"} or not self.follows_policies
        # The others' masks are as they were.
        extended = build.run(again.add_modality("fetal").backbone, inputs)["masks"]
        np.testing.assert_allclose(extended, whole["masks"], atol=1e-5 * scale)
        single = again.specialize("eye")
        one = build.run(single.backbone, {"images": images})["masks"]
        np.testing.assert_allclose(one[0], whole["masks"][0], atol=1e-5 * scale)

    # Distillation on JAX is tried with one encoder, in tests/distillation.
    @pytest.mark.slow_on("jax")
    def test_as_teacher_and_student(self, build, encoder):
        contract = as_image_encoder(encoder)
        name = contract.feature_names[0]
        teacher = kem.distillation.Teacher(encoder, features=(name, "embedding"))
        assert teacher.trainable_variables == []
        images = self._images(2)
        distiller = kem.distillation.DecoupledDistiller(
            build.randomize(self.make(), seed=2), common_teachers=teacher, phase="common"
        )
        distiller.compile(run_eagerly=keras.backend.backend() == "tensorflow")
        before = [build.array(w) for w in distiller.student.trainable_weights]
        history = distiller.fit({"common": {"images": images}}, batch_size=2, verbose=0).history
        assert np.isfinite(history["loss"][0])
        moved = [
            not np.array_equal(old, build.array(new))
            for old, new in zip(before, distiller.student.trainable_weights, strict=True)
        ]
        assert any(moved)
        with pytest.raises(kem.errors.InputError, match="has no feature 'nothing'; it has"):
            kem.distillation.Teacher(encoder, features=("nothing",))


class Features(keras.Model):
    """`features` as a model, so that it is compiled."""

    def __init__(self, encoder, training=False, **options):
        super().__init__()
        # Behind a function: an encoder that is no layer is not tracked otherwise.
        self.function = lambda *args: encoder.features(*args, training=training, **options)
        # Or Keras on JAX would run it operation by operation first, each compiled by itself.
        self.built = True

    def call(self, inputs):
        if isinstance(inputs, dict):
            return self.function(inputs["images"], inputs["modalities"])
        return self.function(inputs)
