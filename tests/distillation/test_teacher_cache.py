import dataclasses
import pickle

import keras
import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import Record
from keras_espmedsam.distillation import TeacherCache, teacher_cache
from keras_espmedsam.distillation.variants import VARIANTS, vary
from keras_espmedsam.errors import InputError
from keras_espmedsam.models import ESPMedSAMImageConverter
from keras_espmedsam.training.data.image_store import ImageStore

MODALITIES = ("xray", "fundus", "microscopy")


@pytest.fixture
def passes(monkeypatch):
    """Shapes of the batches that teachers are given, one per pass."""
    shapes = []

    def counted(self, inputs):
        shapes.append(inputs["images"].shape)
        return keras.Model.predict_on_batch(self, inputs)

    monkeypatch.setattr(teacher_cache._Predictor, "predict_on_batch", counted, raising=False)
    return shapes


@pytest.fixture
def make(tmp_path, conv_teacher, converter):
    """Make a cache of records; options override."""
    default = conv_teacher()

    def make(records, teacher=default, converter=converter, **options):
        return TeacherCache(tmp_path / "cache", teacher, records, converter, **options)

    return make


def _build(cache, **options):
    return cache.build(**{"batch_size": 4, "announce": None, **options})


def test_every_variant_is_a_pass_of_its_own(make, write, passes, conv_teacher, converter):
    records = [write("one"), write("two"), write("three", size=(16, 32))]
    cache = make(records, variants=tuple(VARIANTS))
    assert not cache.complete
    done = []
    assert _build(cache, batch_size=10, progress=lambda *at: done.append(at)) == 24
    assert cache.complete and done == [(10, 24), (20, 24), (24, 24)]
    # The last batch is filled up: another size would be another compilation.
    assert passes == [(10, 32, 32, 3)] * 3
    model = conv_teacher().model
    images = ImageStore(records, (32, 32), "pad", cache=False)
    canvases = [image for image, _ in images[range(3)]]
    images = converter.convert_batch(
        np.stack([vary(canvas, name) for canvas in canvases for name in VARIANTS])
    )
    expected = keras.ops.convert_to_numpy(model(images))
    found = [cache.targets(row, name)["embedding"] for row in range(3) for name in VARIANTS]
    assert found[0].dtype == np.float16
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-3)
    # Not what one would have by moving the features.
    assert np.abs(found[4] - vary(found[0], "hflip")).max() > 0.1


def test_a_complete_cache_costs_no_pass(make, write, passes):
    records = [write("one"), write("two")]
    _build(make(records, variants=("identity", "hflip")))
    assert len(passes) == 1
    again = make(records[::-1], variants="hflip")
    assert again.complete and again.required_bytes() == 0
    assert _build(again) == 0
    assert len(passes) == 1
    first = make(records, variants="hflip").targets(0, "hflip")["embedding"]
    np.testing.assert_array_equal(again.targets(1, "hflip")["embedding"], first)


def test_what_changed_is_computed_and_nothing_else(make, write, passes):
    records = [write("one"), write("two"), write("three")]
    _build(make(records))
    old = make(records).targets(1)["embedding"].copy()
    records[1] = write("two", seed=99)  # The same name, other pixels.
    cache = make(records)
    assert _build(cache) == 1
    assert np.abs(cache.targets(1)["embedding"] - old).max() > 0.1
    assert _build(make([*records, write("four")])) == 1
    assert _build(make(records, variants=("identity", "vflip"))) == 3
    records[1] = write("two")
    np.testing.assert_array_equal(make(records).targets(1)["embedding"], old)


@pytest.mark.parametrize(
    "change", ["weights", "features", "normalization", "image_size", "resize_mode"]
)
def test_another_teacher_or_preprocessing_has_a_place_of_its_own(change, make, write, conv_teacher):
    records = [write("one", size=(16, 32))]
    first = make(records)
    _build(first)
    other = {
        "weights": lambda: dict(teacher=conv_teacher(seed=1)),
        "features": lambda: dict(teacher=conv_teacher(features=("embedding", "conv"))),
        "normalization": lambda: dict(teacher=conv_teacher(normalization="unit")),
        "image_size": lambda: dict(converter=ESPMedSAMImageConverter(image_size=(64, 32))),
        "resize_mode": lambda: dict(
            converter=ESPMedSAMImageConverter(image_size=(32, 32), resize_mode="stretch")
        ),
    }[change]()
    second = make(records, **other)
    assert not second.complete
    with pytest.raises(InputError, match=r"lacks .*one.png as identity; call build"):
        second.targets(0)
    assert "other teacher or preprocessing" in second.disk_use()
    _build(second)
    assert (
        not all(
            np.array_equal(second.targets(0).get(name), value)
            for name, value in first.targets(0).items()
        )
        or change == "features"
    )
    if change == "features":
        assert {k: v.shape for k, v in second.targets(0).items()} == {
            "embedding": (2, 2, 2),
            "conv": (2, 2, 4),
        }
    assert make(records).complete


def test_the_modality_matters_to_a_teacher_with_controllers(
    make, write, scaled_teacher, conv_teacher
):
    records = [write("one", "xray"), write("two", "microscopy")]
    options = dict(teacher=scaled_teacher, modalities=MODALITIES)
    cache = make(records, **options)
    _build(cache)
    relabelled = dataclasses.replace(records[0], modality="fundus")
    other = make([relabelled, records[1]], **options)
    assert _build(other) == 1
    found = other.targets(0)["embedding"].astype("float32")
    np.testing.assert_allclose(found, 2 * cache.targets(0)["embedding"], rtol=2e-3, atol=1e-3)
    # A teacher without controllers is not told, and its features are the same.
    _build(make([records[0]], modalities=MODALITIES))
    assert make([relabelled], modalities=MODALITIES).complete
    with pytest.raises(InputError, match="no modality; the teacher knows xray, fundus"):
        make([dataclasses.replace(records[0], modality="")], **options)


def test_a_build_that_was_stopped_goes_on(make, write, passes):
    class Stopped(Exception):
        pass

    def stop(done, _):
        if done == 4:
            raise Stopped

    records = [write(str(i)) for i in range(6)]
    cache = make(records)
    with pytest.raises(Stopped):
        _build(cache, batch_size=2, progress=stop)
    again = make(records)
    assert not again.complete
    assert again.required_bytes() == 0  # The room was reserved before.
    assert _build(again, batch_size=2) == 2
    assert len(passes) == 3
    assert again.complete and cache.targets(5)["embedding"].shape == (2, 2, 2)


def test_the_disk_use_is_said_before_it_is_taken(make, write, monkeypatch):
    records = [write("one"), write("two"), write("one")]
    monkeypatch.setattr(teacher_cache, "free_bytes", lambda _: 40_000_000_000)
    cache = make(records, variants=("identity", "hflip"))
    said = []

    def announce(sentence):
        said.append(sentence)
        assert not cache.folder.exists()

    cache.build(announce=announce)
    # 2 x 2 x 2 half-precision numbers are 16 bytes; the same image is kept once.
    (place,) = cache.folder.glob("*/*")
    assert said == [
        "The features of 2 images in 2 variants by the teacher conv_teacher take 64 bytes in "
        f"{place}; 40 GB are free."
    ]
    more = make([*records, write("three")], variants=("identity", "hflip"))
    assert "take 96 bytes in" in more.disk_use() and "32 bytes of it new" in more.disk_use()


def test_too_little_space_is_refused(make, write, monkeypatch):
    cache = make([write("one")])
    monkeypatch.setattr(teacher_cache, "free_bytes", lambda _: 15)
    with pytest.raises(InputError, match=r"needs 16 bytes more in .* where 15 bytes are free"):
        _build(cache)
    assert not cache.folder.exists()


def test_features_beyond_half_precision_are_refused(make, write, conv_teacher):
    cache = make([write("one")], teacher=conv_teacher(gain=1e3))
    with pytest.raises(InputError, match=r"'embedding' of .*one.png values up to .*65504"):
        _build(cache)
    assert not cache.complete


def test_frames_are_images_of_their_own(make, tmp_path):
    frames = [Image.new("RGB", (32, 32), (10 * i, 0, 200 - i)) for i in range(3)]
    path = tmp_path / "frames.tiff"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    whole = Record("train", "fundus", "drive", path)
    with pytest.raises(InputError, match="holds several images; expected a record for each"):
        _build(make([whole]))
    records = [dataclasses.replace(whole, index=i) for i in (2, 0, 1)]
    cache = make(records)
    assert _build(cache, batch_size=2) == 3
    values = [float(cache.targets(row)["embedding"][0, 0, 0]) for row in range(3)]
    # The features of a plain colour are linear in it.
    assert values[2] == pytest.approx((values[0] + values[1]) / 2, abs=2e-3)
    assert abs(values[0] - values[1]) > 0.01


def test_a_bad_file_ends_the_build_before_the_first_pass(make, write, passes):
    records = [write("one"), write("two")]
    records[1].image.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"1 of 2 records cannot be used. .*two.png"):
        _build(make(records))
    assert not passes


def test_workers_read_a_copy_without_the_teacher(make, write):
    cache = make([write("one")])
    _build(cache)
    copy = pickle.loads(pickle.dumps(cache))
    np.testing.assert_array_equal(copy.targets(0)["embedding"], cache.targets(0)["embedding"])
    assert copy.row(cache.records[0]) == 0


def test_unusable_arguments_are_refused(make, write, converter):
    record = write("one")
    with pytest.raises(InputError, match="no records"):
        make([])
    with pytest.raises(InputError, match="without image_size"):
        make([record], converter=ESPMedSAMImageConverter())
    with pytest.raises(InputError, match="normalization='released'"):
        make([record], converter=ESPMedSAMImageConverter((32, 32), normalization="released"))
    with pytest.raises(InputError, match="expected one or more of identity"):
        make([record], variants=("sideways",))
    with pytest.raises(InputError, match=r"missing.png cannot be read: No such file"):
        make([dataclasses.replace(record, image=record.image.with_name("missing.png"))])
    cache = make([record])
    with pytest.raises(InputError, match="is not among the 1 images"):
        cache.row(write("two"))
    with pytest.raises(InputError, match="Received the variant 'hflip'"):
        cache.targets(0, "hflip")


def test_black_and_white_are_a_part_of_what_is_cached(make, write, passes, tmp_path):
    """Images that are read otherwise have other features; a converter's own are applied once."""
    record = write("deep")
    values = np.random.default_rng(0).integers(0, 4096, (32, 32)).astype("uint16")
    Image.fromarray(values).save(record.image)
    said = [dataclasses.replace(record, intensity=one) for one in ("full", (0.0, 4095.0))]
    found = []
    for records, options in (
        ([said[0]], {}),
        ([said[1]], {}),
        ([record], {"converter": ESPMedSAMImageConverter((32, 32), intensity=(0, 4095))}),
    ):
        cache = make(records, **options)
        _build(cache)
        found.append(cache.targets(0)["embedding"])
    assert len(passes) == 2  # the third is the second
    assert np.abs(found[0].astype("float32") - found[1]).max() > 0.1
    np.testing.assert_array_equal(found[1], found[2])
