"""Files in, a result for each image out: without a network, with models that anyone can follow."""

import contextlib
import gc
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import Targets, inspect_image_file, read_image
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.content import is_blank
from keras_espmedsam.imaging.pixels import to_rgb
from keras_espmedsam.inference import FileResult, item_batches, segment_files


class Brightness:
    """A pixel's probability is its brightness; fundus has it the other way round."""

    modalities = ("xray", "fundus")

    def __init__(self):
        self.batches = []
        self.made = []

    def segment(self, images, modalities, threshold=0.5, batch_size=8, mirror=False):
        self.batches.append(len(images))
        if any(image.shape[:2] == (13, 13) for image in images):
            raise InputError("Received an image of 13 x 13; such images bring bad luck.")
        found = []
        for image, modality in zip(images, modalities, strict=True):
            unit = to_rgb(image, "auto")[..., 0].astype("float32")
            found.append(unit if modality == "xray" else 1 - unit)
            if mirror:
                found[-1] = np.zeros_like(unit)
        self.made += map(weakref.ref, found)
        return {
            "masks": [values >= threshold for values in found],
            "probabilities": found,
            "blank": [is_blank(to_rgb(image, "auto")) for image in images],
        }


class FirstPixel:
    """Tells images apart by their first pixel: below 100 an X-ray, up to 199 fundus, then MRI."""

    class_names = ("xray", "fundus", "mri")
    min_confidence = 0.75

    def __init__(self):
        self.batches = []

    def classify(self, images, batch_size=32):
        self.batches.append(len(images))
        rows = []
        for image in images:
            pixel = int(image.flat[0])
            sure = (pixel % 10) / 10 or 1.0
            row = np.full(3, (1 - sure) / 2)
            row[pixel // 100] = sure
            rows.append(row)
        return {"probabilities": rows}


@pytest.fixture
def segmenter():
    return Brightness()


@pytest.fixture
def classifier():
    return FirstPixel()


@pytest.fixture
def image(tmp_path):
    def write(name, dark=0, size=(4, 6)):
        array = np.full(size, 220, np.uint8)
        array[:, : size[1] // 2] = dark
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)
        return path

    return write


@pytest.fixture
def pages(tmp_path):
    """`pages(name, values)`: a file of several images, each of one brightness and a dark corner."""

    def write(name, values, size=(4, 6)):
        images = []
        for value in values:
            array = np.full(size, value, np.uint8)
            array[-1, -1] = 0
            images.append(Image.fromarray(array))
        path = tmp_path / name
        images[0].save(path, save_all=True, append_images=images[1:])
        return path

    return write


def named(results):
    return [(one.path.name, one.index, one.modality, one.error is None) for one in results]


def test_a_result_says_all(image, segmenter):
    path = image("eye.png", dark=51)
    (result,) = segment_files(segmenter, path, "xray", threshold=0.2)
    assert (result.path, result.index, result.count) == (path, 0, 1)
    assert (result.modality, result.confidence, result.error) == ("xray", None, None)
    assert (result.blank, result.notices) == (False, ())
    assert result.probabilities.dtype == np.float32 and result.mask.dtype == bool
    np.testing.assert_allclose(result.probabilities[0], [0.2] * 3 + [220 / 255] * 3, rtol=1e-6)
    assert result.mask.all()
    np.testing.assert_array_equal(result.image.array, read_image(path).array)
    assert result.file.size == (4, 6)
    with pytest.raises(AttributeError):
        result.mask = None
    assert repr(result) == f"<FileResult: {path}: xray, 100.0% foreground>"


def test_a_path_several_and_a_generator_are_the_same(image, segmenter):
    paths = [image(f"{number}.png", dark=number) for number in range(3)]
    wanted = [(f"{number}.png", 0, "fundus", True) for number in range(3)]
    inspected = [inspect_image_file(path) for path in paths]
    for given in (paths, tuple(map(str, paths)), iter(paths), np.array(list(map(str, paths))),
                  paths[0].parent, str(paths[0].parent / "*.png"), inspected):  # fmt: skip
        assert named(segment_files(segmenter, given, "fundus")) == wanted
    assert named(segment_files(segmenter, str(paths[1]), 1)) == wanted[1:2]
    assert named(segment_files(segmenter, [], "fundus")) == []
    twice = segment_files(segmenter, [paths[0], paths[0]], "fundus")
    assert named(twice) == wanted[:1] * 2


def test_the_order_is_that_of_the_paths_whatever_fails(image, segmenter, classifier, tmp_path):
    (tmp_path / "empty.png").touch()
    paths = [
        tmp_path / "missing.png", image("a.png"), tmp_path / "empty.png", image("mri.png", 200),
        image("unsure.png", 105), image("unlucky.png", size=(13, 13)), image("b.png", 109),
        tmp_path / "none*.png", image("c.png"),
    ]  # fmt: skip
    results = list(segment_files(segmenter, paths, recognizer=classifier, batch_size=3))
    assert named(results) == [
        ("missing.png", None, None, False),
        ("a.png", 0, "xray", True),
        ("empty.png", None, None, False),
        ("mri.png", 0, None, False),
        ("unsure.png", 0, None, False),
        ("unlucky.png", 0, None, False),
        ("b.png", 0, "fundus", True),
        ("none*.png", None, None, False),
        ("c.png", 0, "xray", True),
    ]
    words = iter(
        ("does not exist", "is empty", "recognised as mri", "not recognised: fundus 0.50",
         "bad luck", "No file matches")
    )  # fmt: skip
    for result in results:
        if result.error is None:
            continue
        assert isinstance(result.error, InputError)
        assert next(words) in str(result.error) and result.path.name in str(result.error)
        assert result.mask is result.probabilities is result.image is None
        assert repr(result) == f"<FileResult: {result.error}>"
    assert [one.confidence for one in results if not one.error] == [1.0, 0.9, 1.0]


def test_every_image_of_a_file_has_a_result(image, pages, segmenter):
    paths = [image("x.png"), pages("clip.tif", [10, 250, 130]), image("y.png")]
    results = list(segment_files(segmenter, paths, "xray", batch_size=2))
    assert [(one.path.name, one.index, one.count) for one in results] == [
        ("x.png", 0, 1), ("clip.tif", 0, 3), ("clip.tif", 1, 3), ("clip.tif", 2, 3),
        ("y.png", 0, 1),
    ]  # fmt: skip
    assert [bool(one.mask[0, 0]) for one in results[1:4]] == [False, True, True]
    assert segmenter.batches == [2, 2, 1]
    assert repr(results[2]).startswith(f"<FileResult: {paths[1]}, image 2 of 3: xray, 9")


def test_images_before_a_damage_have_results_whatever_the_batches(tmp_path, image, segmenter):
    tifffile = pytest.importorskip("tifffile", reason="needs the extra medical")
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path) as tiff:
        for value in (0, 1, 7, 0):  # The third is out of range.
            tiff.write(np.full((4, 6), value, np.float32))
    for batch_size in (1, 2, 8):
        results = list(
            segment_files(segmenter, [path, image("x.png")], "xray", batch_size=batch_size)
        )
        assert named(results) == [
            ("pages.tif", 0, "xray", True),
            ("pages.tif", 1, "xray", True),
            ("pages.tif", 2, None, False),
            ("x.png", 0, "xray", True),
        ]
        assert "pages.tif" in str(results[2].error) and results[2].count == 4


def test_what_the_segmenter_refuses_ends_its_file_alone(pages, image, segmenter):
    unlucky = pages("clip.tif", [10, 20, 30], size=(13, 13))
    for batch_size in (1, 2, 8):
        results = segment_files(
            segmenter, [image("x.png"), unlucky, image("y.png")], "xray", batch_size=batch_size
        )
        assert named(results) == [
            ("x.png", 0, "xray", True), ("clip.tif", 0, None, False), ("y.png", 0, "xray", True),
        ]  # fmt: skip


# === Modalities ===


def test_a_modality_for_each_path(image, segmenter, classifier):
    paths = [image("folder/1.png"), image("folder/2.png"), image("3.png"), image("4.png", 109)]
    given = [paths[0].parent, paths[2], paths[3]]
    found = segment_files(segmenter, given, [b"fundus", 0, "auto"], recognizer=classifier)
    assert [(one.modality, one.confidence) for one in found] == [
        ("fundus", None), ("fundus", None), ("xray", None), ("fundus", 0.9),
    ]  # fmt: skip
    assert classifier.batches == [1]
    found = segment_files(segmenter, iter(given[1:]), np.array([1, 0]))
    assert [one.modality for one in found] == ["fundus", "xray"]


def test_a_file_of_several_is_recognised_as_a_whole(pages, image, segmenter, classifier):
    # Images 2, 4, 6, 8 and 10 of 10 are looked at; 0.6 and four times 0.9 are 0.84 in the mean.
    clip = pages("clip.tif", [200, 106, 200, 109, 200, 109, 200, 109, 200, 109])
    found = list(segment_files(segmenter, [clip, image("x.png")], recognizer=classifier))
    assert [one.modality for one in found] == ["fundus"] * 10 + ["xray"]
    assert found[0].confidence == pytest.approx(0.84)
    refused = pages("refused.tif", [10, 110, 10])
    (result,) = segment_files(segmenter, refused, recognizer=classifier)
    assert (result.index, result.count, result.mask) == (None, 3, None)
    assert "was not recognised: xray 0.66, fundus 0.33" in str(result.error)


def test_refused_files_leave_no_gaps_in_the_batches(image, segmenter, classifier, tmp_path):
    paths = [image(f"{i}.png", dark) for i, dark in enumerate((10, 106, 10, 106, 10, 10))]
    paths.insert(1, tmp_path / "missing.png")
    results = list(segment_files(segmenter, paths, recognizer=classifier, batch_size=2))
    assert [one.path for one in results] == paths
    assert classifier.batches == [2, 2, 2]
    assert segmenter.batches == [2, 2]


def test_of_one_modality_nothing_is_recognised_unless_asked_for(image, segmenter, classifier):
    segmenter.modalities = ("xray",)
    fundus = image("x.png", dark=109)
    for options in ({}, {"modality": None}):
        (result,) = segment_files(segmenter, fundus, recognizer=classifier, **options)
        assert (result.modality, result.confidence) == ("xray", None)
    assert classifier.batches == []
    (result,) = segment_files(segmenter, fundus, "auto", recognizer=classifier)
    assert "recognised as fundus" in str(result.error)


def test_of_several_modalities_each_file_is_recognised(image, segmenter, classifier):
    path = image("x.png", dark=109)
    for options in ({}, {"modality": None}):
        (result,) = segment_files(segmenter, path, recognizer=classifier, **options)
        assert (result.modality, result.confidence) == ("fundus", 0.9)


# === What is said of a file ===


def test_notices(tmp_path, image, pages, segmenter):
    tifffile = pytest.importorskip("tifffile", reason="needs the extra medical")
    tifffile.imwrite(tmp_path / "ct.tif", np.linspace(-900, 1200, 24, dtype="int16").reshape(4, 6))
    black = tmp_path / "black.png"
    Image.new("L", (6, 4)).save(black)
    clip = tmp_path / "clip.tif"
    Image.new("L", (6, 4)).save(clip, save_all=True, append_images=[Image.new("L", (6, 4), 9)])
    paths = [image("x.png"), tmp_path / "ct.tif", black, clip]
    with_warnings_as_errors = segment_files(segmenter, paths, "xray")
    results = list(with_warnings_as_errors)
    assert [one.blank for one in results] == [False, False, True, True, True]
    assert results[0].notices == results[3].notices == ()
    assert len(results[1].notices) == 1 and "black and white" in results[1].notices[0]
    assert results[2].notices == results[4].notices
    assert "nearly the same brightness" in results[2].notices[0]


def test_intensity_is_what_the_call_says_or_else_the_segmenter(tmp_path, segmenter):
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((4, 6), 1000, np.uint16)).save(path)
    (result,) = segment_files(segmenter, path, "xray", intensity=(0, 4000))
    np.testing.assert_allclose(result.probabilities, 0.25, atol=1e-4)

    class Preset(Brightness):
        intensity = (0, 2000)

        def segment(self, *args, intensity=None, **kwargs):
            assert intensity == "auto"  # Files were read by it: not once more.
            return super().segment(*args, **kwargs)

    (result,) = segment_files(Preset(), path, "xray")
    np.testing.assert_allclose(result.probabilities, 0.5, atol=1e-4)
    (result,) = segment_files(segmenter, path, "xray", mirror=True)
    assert not result.probabilities.any()


# === Wrong arguments ===


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"threshold": 1.5}, "threshold=1.5"),
        ({"threshold": float("nan")}, "threshold=nan"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"modality": "fudnus"}, "'fudnus'; this model knows xray, fundus.*did you mean fundus"),
        ({"modality": 2}, r"modality 2; this model knows xray, fundus \(0 to 1\)"),
        ({"modality": ["xray", "xray"]}, "2 modalities for 1 images"),
        ({"modality": {"x.png": "xray"}}, "Unknown modality"),
        ({"intensity": "bright"}, "intensity 'bright'"),
        ({"recognizer": 3}, "recognizer of type int"),
        ({"recognizer": "nona"}, "Unknown preset 'nona'"),
        ({"paths": 3}, "path of type int"),
        ({"paths": None}, "path of type NoneType"),
        ({"paths": np.zeros((4, 6), "uint8")}, "path of type ndarray.*use segment"),
        ({"paths": [b"x.png"]}, "path of type bytes"),
        ({"paths": b"x.png"}, "path of type bytes"),
        ({"max_pixels": "many"}, "max_pixels='many'; expected a number of 1 or more"),
        ({"max_pixels": 0}, "max_pixels=0"),
        ({"segmenter": Brightness}, "segmenter of type type"),
        ({"recognizer": FirstPixel}, "recognizer of type type"),
        ({"segmenter": "nona"}, "Unknown preset 'nona'"),
        ({"segmenter": 3}, "segmenter of type int"),
    ],
)
def test_wrong_arguments_are_told_at_once(segmenter, arguments, words):
    with pytest.raises(InputError, match=words):
        segment_files(**{"segmenter": segmenter, "paths": ["x.png"], **arguments})


def test_an_empty_path_is_no_folder(segmenter):
    (result,) = segment_files(segmenter, "", "xray")
    assert "empty path" in str(result.error)


def test_max_pixels(image, segmenter):
    path = image("x.png")
    (result,) = segment_files(segmenter, path, "xray", max_pixels=23)
    assert "24 pixels; the limit is 23" in str(result.error)


def test_reports_in_a_folder_are_passed_over_and_named_ones_are_not(tmp_path, image, segmenter):
    pydicom = pytest.importorskip("pydicom", reason="needs the extra medical")
    image("x.png")
    report = pydicom.Dataset()
    report.file_meta = pydicom.dataset.FileMetaDataset()
    report.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    report.file_meta.MediaStorageSOPClassUID = pydicom.uid.BasicTextSRStorage
    report.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    report.SOPClassUID = pydicom.uid.BasicTextSRStorage
    report.Modality = "SR"
    report.save_as(tmp_path / "report.dcm", enforce_file_format=True)
    assert named(segment_files(segmenter, tmp_path, "xray")) == [("x.png", 0, "xray", True)]
    (result,) = segment_files(segmenter, tmp_path / "report.dcm", "xray")
    assert result.error is not None


# === Streams ===


def test_paths_are_asked_for_when_they_are_needed(image, segmenter, classifier):
    asked = []

    def paths():
        for number in range(100):
            asked.append(number)
            yield image(f"{number}.png")

    results = segment_files(segmenter, paths(), recognizer=classifier, batch_size=2)
    assert asked == []
    next(results)
    assert len(asked) == 2
    assert segmenter.batches == [2]
    next(results)
    assert len(asked) == 2
    next(results)
    assert len(asked) == 4
    results.close()
    assert len(asked) == 4
    with pytest.raises(StopIteration):
        next(results)


def test_an_error_is_not_kept_waiting(tmp_path, segmenter):
    asked = []

    def paths():
        for number in range(9):
            asked.append(number)
            yield tmp_path / f"{number}.png"

    next(segment_files(segmenter, paths(), "xray"))
    assert asked == [0]


def test_closing_closes_the_files(pages, segmenter):
    path = pages("clip.tif", [10, 20, 30])
    with contextlib.closing(segment_files(segmenter, path, "xray", batch_size=1)) as results:
        next(results)
    path.unlink()  # Windows would refuse it for an open file.


def test_no_more_than_a_batch_is_held(image, segmenter):
    paths = [image(f"{number}.png") for number in range(20)] + [Path("missing.png")] * 5
    most = 0
    errors = []
    for result in segment_files(segmenter, paths, "xray", batch_size=4):
        errors.append(result.error)
        del result
        gc.collect()
        most = max(most, sum(one() is not None for one in segmenter.made))
    assert 0 < most <= 4
    assert sum(error is not None for error in errors) == 5
    assert all(error is None or error.__traceback__ is None for error in errors)


def test_large_images_make_small_batches(image, segmenter, monkeypatch):
    monkeypatch.setattr(item_batches, "BATCH_PIXELS", 50)
    paths = [image(f"{number}.png", size=(5, 6)) for number in range(4)]
    assert len(list(segment_files(segmenter, paths, "xray"))) == 4
    assert segmenter.batches == [2, 2]


def test_nothing_is_printed_and_warned(image, segmenter, capfd, recwarn):
    path = image("x.png")
    Image.new("L", (6, 4)).save(path.with_name("black.png"))
    list(segment_files(segmenter, [path, path.with_name("black.png"), "missing.png"], "xray"))
    assert tuple(capfd.readouterr()) == ("", "")
    assert [one for one in recwarn if issubclass(one.category, UserWarning)] == []


def test_a_result_of_ones_own():
    result = FileResult(Path("x.png"), error=InputError("x.png is empty."))
    assert result.index is None and result.count == 0
    assert result != FileResult(Path("x.png"), error=InputError("x.png is empty."))
    assert repr(FileResult(Path("x.png"), 0, 2)) == "<FileResult: x.png, image 1 of 2: no mask>"


def test_importing_it_imports_no_keras():
    code = "import sys; import keras_espmedsam.inference; print('keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_a_segmenter_of_ones_own_may_give_masks_alone(image, segmenter):
    class MasksAlone(Brightness):
        def segment(self, *args, **kwargs):
            return {"masks": super().segment(*args, **kwargs)["masks"]}

    (result,) = segment_files(MasksAlone(), image("x.png"), "xray")
    assert result.probabilities is None and result.mask.any() and not result.blank


@pytest.mark.parametrize("modality", ["xray", "auto"])
def test_what_was_read_before_the_paths_fail_has_results(image, segmenter, classifier, modality):
    def paths():
        yield from (image("1.png"), image("2.png"))
        raise ConnectionError("the archive is gone")

    results = segment_files(segmenter, paths(), modality, recognizer=classifier, batch_size=8)
    assert [next(results).path.name for _ in range(2)] == ["1.png", "2.png"]
    with pytest.raises(ConnectionError, match="the archive is gone"):
        next(results)


def test_models_of_ones_own_that_give_too_little(image, segmenter):
    class OneMask(Brightness):
        def segment(self, images, *args, **kwargs):
            found = super().segment(images, *args, **kwargs)
            return {**found, "masks": found["masks"][:0]}

    class NoRow(FirstPixel):
        def classify(self, images, batch_size=32):
            return {"probabilities": np.zeros((0, 3))}

    paths = [image("1.png"), image("2.png")]
    for result in segment_files(OneMask(), paths, "xray"):
        assert "The segmenter OneMask returned 0 masks" in str(result.error)
    for result in segment_files(segmenter, paths, recognizer=NoRow()):
        assert "The recogniser NoRow returned 0 rows of probabilities" in str(result.error)


# === Several targets ===

EYE = ("vessels", "disc", "cup")


class Layers:
    """A target's probability is the image's brightness to a power: 1, 2, 3."""

    modalities = ("xray", "fundus", "slide")
    target_set = Targets(
        {"xray": ("lungs", "disc"), "fundus": EYE, "slide": ("nuclei",)},
        instances={"slide": {"nuclei": "components"}},
    )

    def __init__(self):
        self.options = []

    def segment(self, images, modalities, threshold, batch_size, mirror, **options):
        self.options.append({"threshold": threshold, **options})
        found = {name: [] for name in ("masks", "probabilities", "targets", "instances")}
        for image, modality in zip(images, modalities, strict=True):
            wanted = options.get("targets") or self.target_set.of(modality)
            names = [name for name in wanted if name in self.target_set.of(modality)]
            powers = [self.target_set.index(modality, name) + 1 for name in names]
            unit = np.stack([to_rgb(image)[..., 0] ** power for power in powers], axis=-1)
            found["masks"].append(unit >= 0.5)
            found["probabilities"].append(unit)
            found["targets"].append(tuple(names))
            objects = {"nuclei": np.ones(image.shape[:2], np.int32)} if modality == "slide" else {}
            found["instances"].append(objects)
        return found


def test_a_result_has_its_targets_masks_and_objects(image):
    model = Layers()
    eye, slide = segment_files(
        model, [image("eye.png", dark=180), image("slide.png")], ["fundus", "slide"]
    )
    assert eye.targets == eye.known_targets == EYE and eye.instances == {}
    assert eye.mask.shape == eye.probabilities.shape == (4, 6, 3)
    assert list(eye.masks) == list(EYE)
    assert [mask.mean() for mask in eye.masks.values()] == [1, 0.5, 0.5]
    assert repr(eye) == (f"<FileResult: {eye.path}: fundus, 100.0% vessels, 50.0% disc, 50.0% cup>")
    assert (slide.targets, slide.mask.shape) == (("nuclei",), (4, 6, 1))
    assert slide.instances["nuclei"].all()
    assert repr(slide).endswith("slide, 50.0% foreground>")
    assert model.options == [{"threshold": 0.5}]


def test_a_model_without_names_has_one_target(image, segmenter):
    (result,) = segment_files(segmenter, image("x.png"), "xray", threshold={"mask": 0.9})
    assert (result.targets, result.known_targets, result.instances) == (("mask",), ("mask",), {})
    assert list(result.masks) == ["mask"] and result.masks["mask"] is result.mask
    (same,) = segment_files(segmenter, image("x.png"), "xray", targets="mask")
    assert same.targets == ("mask",)


def test_only_some_targets_of_files_of_several_modalities(image):
    model = Layers()
    paths = [image(f"{number}.png") for number in range(3)]
    results = list(
        segment_files(
            model, paths, ["fundus", "xray", "slide"], targets=["disc", "vessels", "nuclei"]
        )
    )
    assert [one.targets for one in results] == [("disc", "vessels"), ("disc",), ("nuclei",)]
    assert [one.known_targets for one in results] == [EYE, ("lungs", "disc"), ("nuclei",)]
    # A batch is asked only for what its modalities have.
    model = Layers()
    list(segment_files(model, paths[:2], "fundus", targets="cup", postprocess=False))
    assert model.options == [{"threshold": 0.5, "targets": ["cup"], "postprocess": False}]


def test_a_target_that_a_recognised_modality_lacks_fails_its_file_alone(image, classifier):
    xray, eye = image("lung.png", dark=40), image("eye.png", dark=109)
    found = segment_files(
        Layers(), [xray, eye, xray], recognizer=classifier, targets=("vessels", "cup")
    )
    first, second, third = found
    assert second.error is None and second.targets == ("vessels", "cup")
    for one in (first, third):
        assert str(one.error) == (
            f"{xray}: Received the target 'vessels', which belongs to fundus; expected one of "
            "lungs, disc (xray)."
        )


@pytest.mark.parametrize(
    ("modality", "options", "words"),
    [
        ("xray", {"targets": ["lungs", "cup"]}, "'cup', which belongs to fundus"),
        (["xray", "xray"], {"targets": "cup"}, "'cup', which belongs to fundus"),
        ("auto", {"targets": "cpu"}, r"'cpu'; did you mean cup\?"),
        ("xray", {"targets": []}, "expected one or more names"),
        ("xray", {"threshold": {"lung": 0.5}}, r"threshold of 'lung'; did you mean lungs\?"),
        ("xray", {"threshold": {"lungs": 7}}, "threshold=7 of lungs"),
    ],
)
def test_wrong_targets_are_refused_at_once(image, modality, options, words):
    paths = [image("x.png"), image("y.png")]
    with pytest.raises(InputError, match=words):
        segment_files(Layers(), paths, modality, **options)


def test_a_mask_for_other_targets_is_a_sentence(image):
    class Wrong(Layers):
        def segment(self, images, modalities, **options):
            return {"masks": [np.ones((*image.shape[:2], 2)) for image in images]}

    (result,) = segment_files(Wrong(), image("x.png"), "fundus")
    assert "returned a mask of shape (4, 6, 2) for the targets vessels, disc, cup" in str(
        result.error
    )
