import dataclasses
import pickle

import keras
import numpy as np
import pytest

from keras_espmedsam.data import read_image, read_mask
from keras_espmedsam.distillation import DecoupledDistiller, DistillationDataset, TeacherCache
from keras_espmedsam.distillation.variants import vary
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.pixels import to_rgb
from keras_espmedsam.imaging.placement import Placement
from keras_espmedsam.models import ESPMedSAMImageConverter
from keras_espmedsam.training import Augmentation

MODALITIES = ("xray", "fundus", "microscopy")
FLIPPED = Augmentation(
    horizontal_flip=1,
    rotation=0,
    scale=(1, 1),
    shift=0,
    stretch=0,
    brightness=0,
    contrast=0,
    saturation=0,
)


@pytest.fixture
def records(write):
    """Two images of a modality, of different data sets, and one or two of the others."""
    return [
        write("a", "xray"),
        write("b", "xray", dataset="other"),
        write("c", "fundus"),
        write("d", "microscopy"),
        write("e", "microscopy"),
    ]


@pytest.fixture
def make(converter):
    def make(domain=None, **options):
        return DistillationDataset(
            converter, domain=domain, **{"modalities": MODALITIES, "batch_size": 2, **options}
        )

    return make


@pytest.fixture
def build(tmp_path, converter):
    """A built cache of records."""

    def build(teacher, records, *variants, **options):
        cache = TeacherCache(
            tmp_path / "cache", teacher, records, converter, variants or ("identity",), **options
        )
        cache.build(announce=None)
        return cache

    return build


def _normalised(record):
    """What the student sees of an image of the canvas's size."""
    values = to_rgb(read_image(record.image).array) * 255
    return (values - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]


def _batches(dataset):
    return [dataset[i] for i in range(dataset.num_batches)]


def _equal(one, other):
    keras.tree.map_structure(np.testing.assert_array_equal, one, other)


def test_one_pass_of_both_parts(make, write, records):
    photographs = [write("p", "", labelled=False), write("q", "", labelled=False)]
    dataset = make(records, common=photographs, common_batch_size=1)
    batches = _batches(dataset)
    assert [len(batch) for batch in batches] == [1, 1, 1]
    parts = [x["domain"] for (x,) in batches]
    assert [part["modalities"].tolist() for part in parts] == [[0, 0], [1, 2], [2]]
    assert parts[0]["modalities"].dtype == np.int32 and parts[0]["images"].dtype == np.float32
    images = np.concatenate([part["images"] for part in parts])
    expected = [_normalised(record) for record in records]
    np.testing.assert_allclose(images, expected, rtol=1e-5, atol=1e-5)
    # The shorter part begins again.
    assert [sorted(x["common"]) for (x,) in batches] == [["images"]] * 3
    images = np.concatenate([x["common"]["images"] for (x,) in batches])
    expected = [_normalised(photographs[i]) for i in (0, 1, 0)]
    np.testing.assert_allclose(images, expected, rtol=1e-5, atol=1e-5)


def test_draws_depend_on_seed_epoch_and_number_alone(make, write, records, build, conv_teacher):
    cache = build(conv_teacher(), records, "identity", "hflip")
    options = dict(common=[write("p", "")], domain_cache=cache, steps=4)
    one = make(records, seed=1, **options)
    ahead = make(records, seed=1, workers=2, **options)
    batches = _batches(one)
    _equal(_batches(ahead), batches)
    _equal(one[2], batches[2])
    for other in (make(records, seed=2, **options), one):
        other.on_epoch_end()
        images = [
            np.stack([x["domain"]["images"] for (x,) in some])
            for some in (_batches(other), batches)
        ]
        assert np.abs(images[0] - images[1]).max() > 0.1


def test_a_worker_process_draws_the_same(make, records, build, conv_teacher):
    cache = build(conv_teacher(), records, "identity", "hflip")
    draw = make(records, domain_cache=cache, steps=2)._prefetch.get_batch
    _equal(pickle.loads(pickle.dumps(draw))(3, 1), draw(3, 1))


def test_images_come_in_the_variant_of_their_features(make, records, build, conv_teacher):
    names = ("hflip", "rot90", "antitranspose")
    cache = build(conv_teacher(features=("embedding", "conv")), records, *names)
    dataset = make(records, domain_cache=cache, steps=10, labels=True)
    known = {
        (row, name): vary(_normalised(record), name)
        for row, record in enumerate(records)
        for name in names
    }
    seen = set()
    for x, y in _batches(dataset):
        part = x["domain"]
        assert list(part["targets"]) == ["domain"]
        assert part["targets"]["domain"]["embedding"].dtype == np.float16
        for i, image in enumerate(part["images"]):
            ((row, name),) = [k for k, v in known.items() if np.abs(v - image).max() < 1e-4]
            assert part["modalities"][i] == MODALITIES.index(records[row].modality)
            for feature, value in cache.targets(row, name).items():
                np.testing.assert_array_equal(part["targets"]["domain"][feature][i], value)
            left = np.arange(32)[None] < np.full((32, 1), 16)
            np.testing.assert_array_equal(y["masks"][i, ..., 0], vary(left, name))
            seen.add((row, name))
        assert (y["patches"].shape, y["masks"].dtype) == ((2, 1, 1, 1), np.float32)
        assert (y["patches"] == 1).all()
    assert len(seen) > 8 and {name for _, name in seen} == set(names)


def test_one_modality_per_batch(make, records):
    dataset = make(records, steps=60, batch_size=4, one_modality_per_batch=True)
    drawn = [set(x["domain"]["modalities"].tolist()) for (x,) in _batches(dataset)]
    assert all(len(modalities) == 1 for modalities in drawn)
    counts = [drawn.count({k}) for k in range(3)]
    assert min(counts) > 10
    weighted = make(
        records, steps=40, one_modality_per_batch=True, weights={"xray": 3, "fundus": 0}
    )
    drawn = np.concatenate([x["domain"]["modalities"] for (x,) in _batches(weighted)])
    assert not (drawn == 1).any() and 0.55 < (drawn == 0).mean() < 0.95


def test_modalities_are_drawn_alike_unless_data_sets_are(make, records):
    for balance, expected in (("modality", [1 / 3] * 3), ("dataset", [5 / 8, 1 / 8, 1 / 4])):
        dataset = make(records, steps=6, batch_size=100, balance=balance)
        drawn = np.concatenate([x["domain"]["modalities"] for (x,) in _batches(dataset)])
        np.testing.assert_allclose(np.bincount(drawn) / 600, expected, atol=0.07)


def test_several_teachers(make, write, records, build, conv_teacher):
    # A teacher for each modality of the domain, and two common ones.
    own = {
        name: build(conv_teacher(seed=i), [r for r in records if r.modality == name], "hflip")
        for i, name in enumerate(MODALITIES)
    }
    photographs = [write("p", ""), write("q", "")]
    common = {
        "first": build(conv_teacher(seed=7), photographs, "identity", "hflip"),
        "second": build(conv_teacher(seed=8), photographs, "vflip", "hflip"),
    }
    dataset = make(records, common=photographs, common_caches=common, domain_cache=own)
    (x,) = dataset[1]
    found = x["domain"]["targets"]["domain"]["embedding"]
    np.testing.assert_array_equal(found[0], own["fundus"].targets(0, "hflip")["embedding"])
    np.testing.assert_array_equal(found[1], own["microscopy"].targets(0, "hflip")["embedding"])
    assert list(x["common"]["targets"]) == ["first", "second"]
    # In the variant that both of them hold.
    for name, cache in common.items():
        value = cache.targets(0, "hflip")["embedding"]
        np.testing.assert_array_equal(x["common"]["targets"][name]["embedding"][0], value)
    # A single one goes by its teacher's name.
    (x,) = make(common=photographs, common_caches=common["first"])[0]
    assert list(x) == ["common"] and list(x["common"]["targets"]) == ["conv_teacher"]


def test_augmentation_without_a_cache(make, records):
    dataset = make(
        records, common=records, augment={"fundus": FLIPPED}, common_augment=FLIPPED, labels=True
    )
    x, y = dataset[1]
    expected = np.stack([_normalised(records[2])[:, ::-1], _normalised(records[3])])
    np.testing.assert_allclose(x["domain"]["images"], expected, rtol=1e-5, atol=1e-5)
    assert y["masks"][0, 0, :, 0].tolist() == [0] * 16 + [1] * 16
    assert y["masks"][1, 0, :, 0].tolist() == [1] * 16 + [0] * 16
    expected = [_normalised(records[i])[:, ::-1] for i in (2, 3)]
    np.testing.assert_allclose(x["common"]["images"], expected, rtol=1e-5, atol=1e-5)


def test_teachers_see_images_in_a_higher_resolution(make, write, converter):
    records = [write("a", "xray", size=(96, 96)), write("b", "fundus", size=(96, 48))]
    options = dict(augment={"xray": FLIPPED}, labels=True)
    x, y = make(records, common=records[:1], teacher_size=(96, 96), **options)[0]
    large = ESPMedSAMImageConverter(image_size=(96, 96))
    shown, masks = [], []
    for record, step in zip(records, (-1, 1), strict=True):
        array = (to_rgb(read_image(record.image).array) * 255).astype("uint8")
        shown.append(array[:, ::step])
        masks.append(read_mask(record.mask)[:, ::step])
    part = x["domain"]
    assert part["teacher_images"].shape == (2, 96, 96, 3)
    assert x["common"]["teacher_images"].shape == (1, 96, 96, 3)
    np.testing.assert_allclose(part["teacher_images"][0], large.convert_batch(shown[0]), atol=1e-5)
    # Made from the same pixels, and not from an image of the student's size.
    np.testing.assert_allclose(part["images"][0], converter.convert_batch(shown[0]), atol=1e-5)
    assert part["images"].shape == (2, 32, 32, 3)
    place = Placement.of((96, 96), (32, 32))
    np.testing.assert_array_equal(y["masks"][0, ..., 0], place.forward_mask(masks[0]))
    # Half as wide as high: its left half is a quarter of the canvas.
    assert y["masks"][1, 0, :, 0].tolist() == [1.0] * 8 + [0.0] * 24
    assert y["patches"].shape == (2, 1, 1, 1)
    same = make(records, teacher_size=(32, 32), **options)[0][0]
    assert "teacher_images" not in same["domain"]


def test_cached_features_give_the_losses_of_the_teacher(make, records, build, tiny):
    teacher, student = (tiny.randomize(tiny.convolution(), seed) for seed in (2, 3))
    distiller = DecoupledDistiller(student, common_teachers=teacher, phase="common")
    distiller.compile(jit_compile=keras.backend.backend() == "jax")
    cache = build(distiller.common_teachers["teacher_0"], records[:4], "hflip")
    cached, asked = (
        distiller.evaluate(make(common=records[:4], **options), verbose=0, return_dict=True)
        for options in ({"common_caches": cache}, {"common_augment": FLIPPED})
    )
    assert cached["loss"] > 0.1
    assert cached["loss"] == pytest.approx(asked["loss"], rel=1e-3)


def test_unusable_arguments_are_refused(make, records, build, conv_teacher, converter, write):
    with pytest.raises(InputError, match="no records"):
        make()
    with pytest.raises(InputError, match="records of no modality; the student knows xray"):
        make([write("p", "")])
    with pytest.raises(InputError, match="one_modality_per_batch without steps"):
        make(records, one_modality_per_batch=True)
    with pytest.raises(InputError, match=r"weights=\{'xray': 2\} without steps"):
        make(records, weights={"xray": 2})
    with pytest.raises(InputError, match="labels=True and 1 of 6 records"):
        make([*records, write("u", "xray", labelled=False)], labels=True)
    cache = build(conv_teacher(), records)
    with pytest.raises(InputError, match="an augmentation together with a cache"):
        make(records, domain_cache=cache, augment={"xray": FLIPPED})
    with pytest.raises(InputError, match=r"new.png is not among the 5 images"):
        make([*records, write("new", "xray")], domain_cache=cache)
    with pytest.raises(InputError, match="a size of the teachers' images together with a cache"):
        make(records, domain_cache=cache, teacher_size=(64, 64))
    for size in ((64, 32), (16, 16)):
        with pytest.raises(InputError, match="the same shape, and at least the student's size"):
            make(records, teacher_size=size)
    more = TeacherCache(cache.folder, conv_teacher(), records, converter, ("identity", "vflip"))
    with pytest.raises(InputError, match="is not complete; call its build"):
        make(records, domain_cache=more)
    with pytest.raises(InputError, match=r"caches of xray, and records of fundus"):
        make(records, domain_cache={"xray": cache})
    with pytest.raises(InputError, match="no variant in common"):
        common = {"one": cache, "two": build(conv_teacher(seed=1), records, "hflip")}
        make(common=records, common_caches=common)
    larger = ESPMedSAMImageConverter(image_size=(64, 64))
    with pytest.raises(InputError, match=r"a cache of images of \(32, 32\) \(pad\)"):
        DistillationDataset(larger, domain=records, modalities=MODALITIES, domain_cache=cache)
    bad = dataclasses.replace(records[0], image=records[0].image.with_name("nothing.png"))
    with pytest.raises(ValueError, match=r"image_size=.*expected .*multiples of 32"):
        make(records, teacher_size=(48, 48))
    with pytest.raises(InputError, match=r"nothing.png does not exist"):
        make([*records, bad])
    assert len(make([*records, bad], strict=False).left_out) == 1


def test_common_images_have_shares_and_a_memory_of_their_own(make, records):
    options = dict(common=records, steps=4, common_weights={"other": 0}, keep_common=False)
    dataset = make(records[:1], **options)
    drawn = dataset._prefetch.get_batch.parts
    assert drawn["common"]._drawings[0].images._kept is None
    assert drawn["domain"]._drawings[0].images._kept is not None
    left_out = [i for i, one in enumerate(dataset.records["common"]) if one.dataset == "other"]
    rows = np.concatenate([drawn["common"]._drawings[0](0, index)[0] for index in range(4)])
    assert left_out == [1] and not set(left_out) & set(rows.tolist())
    with pytest.raises(InputError, match="weights of nowhere"):
        make(common=records, steps=4, common_weights={"nowhere": 1})
