"""Results in a folder, as the command line writes them."""

import csv
import json
import os

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import Targets, inspect_image_file, read_masks
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference import FileResult, ResultWriter, object_files, result_writer


def results_of(path, masks=None):
    """What `segment_files` gives for a file: the bright pixels of each image, unless given."""
    file = inspect_image_file(path)
    for image in file.images():
        mask = image.array > 100 if masks is None else masks[image.index]
        yield FileResult(path, image.index, file.count, mask, image=image, file=file)


@pytest.fixture
def image(tmp_path):
    def write(name, size=(4, 6), **options):
        array = np.zeros(size, np.uint8)
        array[0, size[1] // 2 :] = 200
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path, **options)
        return path

    return write


@pytest.fixture
def output(tmp_path):
    return tmp_path / "results" / "masks"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_one_image(image, output):
    path = image("eye.png")
    writer = ResultWriter(output, path)
    assert not output.exists()
    (result,) = results_of(path)
    assert writer.write(result) == [output / "eye_mask.png"]
    (mask,) = read_masks(output / "eye_mask.png")
    np.testing.assert_array_equal(mask, result.mask)
    assert names(output) == ["eye_mask.png"]


def test_a_turned_photograph_gets_a_mask_as_stored(image, output):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = image("phone.png", exif=exif)
    (result,) = results_of(path)
    assert result.mask.shape == (6, 4)
    ResultWriter(output, [str(path)], overlay=True).write(result)
    with Image.open(output / "phone_mask.png") as written:
        stored = np.asarray(written)
    assert stored.shape == (4, 6) and (stored[0] == [0, 0, 0, 255, 255, 255]).all()
    with Image.open(output / "phone_overlay.png") as written:
        assert written.size == (4, 6)


def test_names_tell_files_apart(image, output):
    paths = [image("a/1.png"), image("b/1.png"), image("b/2.png")]
    writer = ResultWriter(output, paths)
    written = [path for one in paths for result in results_of(one) for path in writer.write(result)]
    assert [path.name for path in written] == ["a_1_mask.png", "b_1_mask.png", "2_mask.png"]


def test_frames_are_numbered(image, output, tmp_path):
    path = tmp_path / "clip.tif"
    frames = [Image.new("L", (6, 4), value) for value in (0, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    writer = ResultWriter(output, [path], overlay=True)
    written = [writer.write(result) for result in results_of(path)]
    assert written == [[output / "clip_frame1_mask.png"], [output / "clip_frame2_mask.png"]]
    assert len(names(output)) == 4
    assert writer.mask_paths(inspect_image_file(path)) == [one[0] for one in written]


def test_a_volume_is_written_when_it_is_complete(output, tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="needs the extra medical")
    data = np.zeros((6, 5, 3), np.uint8)
    data[2:4, 1:3, 1] = 255
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    path = tmp_path / "brain.nii.gz"
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    writer = ResultWriter(output, [path])
    written = [writer.write(result) for result in results_of(path)]
    assert written == [[], [], [output / "brain_mask.nii.gz"]]
    mask = nibabel.load(written[-1][0])
    np.testing.assert_array_equal(np.asarray(mask.dataobj), data > 100)
    np.testing.assert_array_equal(mask.affine, affine)
    assert writer.mask_paths(inspect_image_file(path)) == written[-1]


def test_a_volume_that_failed_is_not_written(output, tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="needs the extra medical")
    path = tmp_path / "brain.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((6, 5, 2), np.uint8), np.eye(4)), path)
    writer = ResultWriter(output, [path])
    first, _ = results_of(path)
    assert writer.write(first) == []
    failed = FileResult(path, 1, 2, error=InputError("brain.nii is cut."), file=first.file)
    assert writer.write(failed) == []
    assert names(output) == []
    # What was held of it is gone: a second pass writes two slices and not three.
    assert [writer.write(result) for result in results_of(path)][-1] == [output / "brain_mask.nii"]


def test_what_is_there_is_kept_unless_it_may_be_replaced(image, output):
    path = image("x.png")
    (result,) = results_of(path)
    ResultWriter(output, [path]).write(result)
    before = (output / "x_mask.png").read_bytes()
    other = FileResult(path, 0, 1, ~result.mask, image=result.image, file=result.file)
    writer = ResultWriter(output, [path])
    for refused in (lambda: writer.check([result.file]), lambda: writer.write(other)):
        with pytest.raises(InputError, match=r"already exist: .*x_mask.png"):
            refused()
    assert (output / "x_mask.png").read_bytes() == before
    writer = ResultWriter(output, [path], overwrite=True)
    writer.check([result.file])
    writer.write(other)
    assert (output / "x_mask.png").read_bytes() != before


def test_an_image_is_never_replaced(image, tmp_path):
    paths = [image("x.png"), image("x_mask.png")]
    writer = ResultWriter(tmp_path, paths, overwrite=True)
    (result,) = results_of(paths[0])
    before = paths[1].read_bytes()
    for refused in (lambda: writer.check([result.file]), lambda: writer.write(result)):
        with pytest.raises(InputError, match="would replace an input"):
            refused()
    assert paths[1].read_bytes() == before


def test_two_results_that_would_be_one_file(image, output, tmp_path):
    clip = tmp_path / "x.tif"
    frames = [Image.new("L", (6, 4), value) for value in (0, 200)]
    frames[0].save(clip, save_all=True, append_images=frames[1:])
    paths = [clip, image("x_frame1.png")]
    writer = ResultWriter(output, paths)
    with pytest.raises(InputError, match="Two inputs would both be written"):
        writer.check(map(inspect_image_file, paths))


def test_a_file_that_was_not_among_the_paths(image, output):
    writer = ResultWriter(output, [image("x.png")])
    (result,) = results_of(image("y.png"))
    with pytest.raises(InputError, match=r"y\.png, which is not among the paths"):
        writer.write(result)


def test_the_output_is_a_folder(image, tmp_path):
    with pytest.raises(InputError, match="is a file; expected a folder"):
        ResultWriter(image("x.png"), [])
    writer = ResultWriter(image("y.png") / "deeper", [tmp_path / "y.png"])
    with pytest.raises(InputError, match="cannot be created"):
        writer.make_folder()


def test_a_full_disk_is_a_sentence(image, output, monkeypatch):
    path = image("x.png")

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(result_writer, "write_mask", fail)
    (result,) = results_of(path)
    with pytest.raises(InputError, match=r"x\.png cannot be written: No space left on device\.$"):
        ResultWriter(output, [path]).write(result)


def test_a_result_of_neither_a_mask_nor_an_error_is_refused(image, tmp_path):
    path = image("eye.png")
    writer = ResultWriter(tmp_path / "out", path)
    with pytest.raises(InputError, match="neither a mask nor an error"):
        writer.write(FileResult(path, 0, 1, file=inspect_image_file(path)))
    assert not (tmp_path / "out").exists()


def test_a_file_may_be_given_from_here_and_from_the_root(image, output, monkeypatch):
    path = image("eye.png")
    monkeypatch.chdir(path.parent)
    (result,) = results_of(path.relative_to(path.parent))
    assert ResultWriter(output, [path]).write(result) == [output / "eye_mask.png"]
    assert ResultWriter(output, [path, "eye.png"]).mask_paths(result.file) == [
        output / "eye_mask.png"
    ]


def test_slices_come_in_their_order(output, tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="needs the extra medical")
    path = tmp_path / "brain.nii.gz"
    data = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3) * 2
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), path)
    results = list(results_of(path))
    writer = ResultWriter(output, path)
    writer.write(results[0])
    with pytest.raises(InputError, match=r"slice 3 of .*; expected 2\. Pass the results of"):
        writer.write(results[2])
    # From the first one on it begins anew.
    assert [writer.write(one) for one in results] == [[], [], [output / "brain_mask.nii.gz"]]
    mask = nibabel.load(output / "brain_mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), data > 100)


def test_what_is_no_result(image, output):
    with pytest.raises(InputError, match="result of type str; expected a FileResult"):
        ResultWriter(output, [image("x.png")]).write("x.png")


def test_an_empty_output_is_refused(image):
    with pytest.raises(InputError, match="Received an empty path as output"):
        ResultWriter("", [image("x.png")])


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_an_output_that_leads_to_itself_is_refused(image, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="is a broken link; expected a folder"):
        ResultWriter(tmp_path / "loop", [image("x.png")])


def test_what_cannot_be_written_is_refused_beforehand(image, tmp_path):
    path = image("x.png")
    writer = ResultWriter(path / "deeper", [path])
    with pytest.raises(InputError, match="cannot be written: Not a directory; give another"):
        writer.check([inspect_image_file(path)])


def test_a_name_that_is_too_long_fails_alone(image, output):
    name = "x" * 248
    long, short = image(f"{name}.png"), image("y.png")
    writer = ResultWriter(output, [long, short])
    writer.check([inspect_image_file(long), inspect_image_file(short)])
    (first,), (second,) = results_of(long), results_of(short)
    with pytest.raises(InputError, match="cannot be written: File name too long"):
        writer.write(first)
    assert writer.write(second) == [output / "y_mask.png"]
    assert [path.name for path in output.iterdir()] == ["y_mask.png"]


def test_what_a_killed_program_left_is_removed(image, output):
    path = image("x.png")
    left = output / ".writing-held-ab_d3fgh.png"
    output.mkdir(parents=True, exist_ok=True)
    left.touch()
    (result,) = results_of(path)
    ResultWriter(output, [path]).write(result)
    assert [path.name for path in output.iterdir()] == ["x_mask.png"]


def test_two_writers_of_one_folder_leave_whole_files(image, output):
    path = image("x.png")
    (result,) = results_of(path)
    one, other = (ResultWriter(output, [path]) for _ in range(2))
    one.write(result)
    with pytest.raises(InputError, match="already exist"):
        other.write(result)
    again = ResultWriter(output, [path], overwrite=True)
    assert again.write(result) == [output / "x_mask.png"]
    assert [path.name for path in output.iterdir()] == ["x_mask.png"]


# === Several targets ===

NAMES = ("vessels", "disc")
TARGETS = Targets(
    {"eye": NAMES, "slide": ("nuclei",), "skin": ("mask",)},
    instances={"slide": {"nuclei": "components"}},
)


def several(path, targets=NAMES, known=NAMES, instances=None):
    """Results with a mask of the bright pixels, one of the dark ones, and so on."""
    file = inspect_image_file(path)
    for image in file.images():
        bright = image.array > 100
        masks = np.stack([bright if k % 2 == 0 else ~bright for k in range(len(targets))], axis=-1)
        yield FileResult(
            *(path, image.index, file.count, masks),
            **dict(modality="eye", image=image, file=file, targets=targets, known_targets=known),
            instances={name: labels[image.index] for name, labels in (instances or {}).items()},
        )


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_each_target_has_a_mask_of_its_own(image, output):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = image("phone.png", exif=exif)
    writer = ResultWriter(output, path, overlay=True)
    (result,) = several(path)
    written = writer.write(result)
    assert written == [output / "phone_vessels_mask.png", output / "phone_disc_mask.png"]
    assert names(output) == ["phone_disc_mask.png", "phone_overlay.png", "phone_vessels_mask.png"]
    vessels, disc = (read(one) for one in written)
    assert (vessels[0] == [0, 0, 0, 255, 255, 255]).all() and vessels.shape == (4, 6)
    np.testing.assert_array_equal(disc, 255 - vessels)
    assert read(output / "phone_overlay.png").shape[0] == 6 + 2 * 24  # The legend is below.
    assert writer.mask_paths(result.file, NAMES) == written
    assert writer.mask_paths(result.file, NAMES, ["disc"]) == written[1:]


def test_a_target_keeps_its_name_where_others_are_left_out(image, output):
    (result,) = several(image("eye.png"), targets=("disc",))
    assert ResultWriter(output, result.path).write(result) == [output / "eye_disc_mask.png"]


def test_a_modality_with_one_target_has_the_name_of_one(image, output):
    (result,) = several(image("eye.png"), targets=("nuclei",), known=("nuclei",))
    assert result.mask.shape == (4, 6, 1)
    assert ResultWriter(output, result.path).write(result) == [output / "eye_mask.png"]


def test_pages_of_several_targets(output, tmp_path):
    path = tmp_path / "clip.tif"
    frames = [Image.new("L", (6, 4), value) for value in (0, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    writer = ResultWriter(output, [path])
    written = [one.name for result in several(path) for one in writer.write(result)]
    assert written == [f"clip_frame{number}_{name}_mask.png" for number in (1, 2) for name in NAMES]
    assert read(output / "clip_frame2_vessels_mask.png").all()


def test_label_images(image, output):
    path = image("slide.png")
    labels = np.arange(24, dtype=np.int32).reshape(1, 4, 6)
    (result,) = several(path, ("nuclei",), ("nuclei",), {"nuclei": labels})
    writer = ResultWriter(output, path, overlay=True)
    written = writer.write(result)
    assert [one.name for one in written] == ["slide_mask.png", "slide_nuclei_instances.png"]
    stored = read(written[1])
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored, labels[0])


def test_more_objects_than_a_png_can_number(image, output):
    path = image("slide.png")
    labels = np.full((1, 4, 6), 70_000, np.int32)
    (result,) = several(path, ("mask",), ("mask",), {"mask": labels})
    written = ResultWriter(output, path).write(result)
    assert [one.name for one in written] == ["slide_mask.png", "slide_instances.tiff"]
    np.testing.assert_array_equal(read(written[1]), labels[0])


def test_a_volume_of_several_targets_and_objects(output, tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="needs the extra medical")
    data = np.zeros((6, 5, 2), np.uint8)
    data[2:4, 1:3, 1] = 255
    path = tmp_path / "brain.nii.gz"
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    shape = inspect_image_file(path).size
    labels = np.zeros((2, *next(inspect_image_file(path).images()).size), np.int32)
    labels[0, 0, 0] = labels[1, -1, -1] = 1
    assert labels[0].size == np.prod(shape)
    writer = ResultWriter(output, path, overlay=True, polygons="geojson", counts=output / "c.csv")
    written = [writer.write(one) for one in several(path, instances={"disc": labels})]
    assert written[0] == []
    assert [one.name for one in written[1]] == [
        "brain_vessels_mask.nii.gz",
        "brain_disc_mask.nii.gz",
        "brain_disc_instances.nii.gz",
    ]
    vessels, disc, objects = (nibabel.load(one) for one in written[1])
    np.testing.assert_array_equal(np.asarray(vessels.dataobj), data > 100)
    np.testing.assert_array_equal(np.asarray(disc.dataobj), data <= 100)
    np.testing.assert_array_equal(objects.affine, affine)
    assert sorted(np.unique(np.asarray(objects.dataobj))) == [0, 1, 2]  # An object of each slice.
    assert sum(name.endswith(".geojson") for name in names(output)) == 2
    writer.finish()
    rows = list(csv.DictReader((output / "c.csv").open()))
    assert [(row["number"], row["target"], row["objects"]) for row in rows] == [
        *(("1", "vessels", "0"), ("1", "disc", "1"), ("2", "vessels", "1"), ("2", "disc", "1")),
    ]
    assert rows[2]["area_mm2"] == "24.0"  # 4 pixels of 2 x 3 mm


def test_a_volume_that_failed_leaves_no_counts(output, tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="needs the extra medical")
    path = tmp_path / "brain.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((6, 5, 2), np.uint8), np.eye(4)), path)
    writer = ResultWriter(output, path, counts=output / "counts.csv")
    first, _ = several(path)
    writer.write(first)
    failed = FileResult(path, 1, 2, error=InputError("brain.nii is cut."), file=first.file)
    assert writer.write(failed) == []
    writer.finish()
    assert len((output / "counts.csv").read_text().splitlines()) == 1


# === Objects ===


def test_outlines_for_qupath(image, output):
    path = image("eye.png")
    (result,) = several(path)
    writer = ResultWriter(output, path, polygons="geojson")
    writer.write(result)
    assert writer.finish() == []
    features = json.loads((output / "eye_polygons.geojson").read_text())["features"]
    assert [one["properties"]["classification"]["name"] for one in features] == list(NAMES)
    ring = features[0]["geometry"]["coordinates"][0]
    assert sorted(map(tuple, ring[:-1])) == [(3, 0), (3, 1), (6, 0), (6, 1)]


def test_one_coco_file_and_one_table_for_all(image, output, tmp_path):
    paths = [image("a/1.png"), image("b/1.png"), image("b/2.png")]
    counts = tmp_path / "new" / "counts.csv"
    writer = ResultWriter(output, paths, polygons="coco", counts=counts)
    writer.check(map(inspect_image_file, paths), TARGETS, ["eye"])
    for path in paths:
        writer.write(next(several(path)))
    assert not counts.exists()
    assert writer.finish() == [counts, output / "coco.json"]
    content = json.loads((output / "coco.json").read_text())
    assert [one["file_name"] for one in content["images"]] == ["a/1.png", "b/1.png", "b/2.png"]
    assert [one["name"] for one in content["categories"]] == list(NAMES)
    assert len(content["annotations"]) == 6
    rows = list(csv.DictReader(counts.open()))
    assert [row["image"] for row in rows[::2]] == ["a/1.png", "b/1.png", "b/2.png"]
    assert {row["area_pixels"] for row in rows[::2]} == {"3"} and rows[0]["modality"] == "eye"
    writer.finish()  # Its own files may be written again.
    with pytest.raises(InputError, match=r"already exist: .*coco\.json"):
        ResultWriter(output, paths, polygons="coco").finish()


def test_pages_have_names_of_their_own_in_coco(output, tmp_path):
    path = tmp_path / "clip.tif"
    frames = [Image.new("L", (6, 4), value) for value in (0, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    writer = ResultWriter(output, [path], polygons="coco")
    for result in several(path):
        writer.write(result)
    writer.finish()
    content = json.loads((output / "coco.json").read_text())
    assert [one["file_name"] for one in content["images"]] == ["clip_frame1.tif", "clip_frame2.tif"]


# === Checked before anything is written ===


def test_results_of_every_possible_modality_are_kept(image, output):
    path = image("x.png")
    file = inspect_image_file(path)
    output.mkdir(parents=True)
    for name, modalities in (
        ("x_disc_mask.png", ["eye"]),
        ("x_nuclei_instances.png", ["slide"]),
        ("x_mask.png", ["skin"]),
    ):
        (output / name).touch()
        writer = ResultWriter(output, path)
        for checked in (modalities, None):
            with pytest.raises(InputError, match=f"already exist: .*{name}"):
                writer.check([file], TARGETS, checked)
        if modalities == ["eye"]:
            writer.check([file], TARGETS, ["skin"])
            writer.check([file], TARGETS, ["eye"], ["vessels"])
        ResultWriter(output, path, overwrite=True).check([file], TARGETS)
        (output / name).unlink()


def test_a_target_in_a_files_own_name_never_replaces_another_result(image, output):
    eye, named = image("x.png"), image("x_disc.png")
    files = [inspect_image_file(path) for path in (eye, named)]
    # Both with several targets: x_disc_mask.png is of x.png alone.
    writer = ResultWriter(output, [eye, named])
    writer.check(files, TARGETS, ["eye"])
    for path in (eye, named):
        writer.write(next(several(path)))
    assert len(names(output)) == 4
    # If x_disc.png may be of a modality with one target, its mask would be x_disc_mask.png, too.
    writer = ResultWriter(output, [eye, named], overwrite=True)
    with pytest.raises(InputError, match=r"Two inputs would both be written to .*x_disc_mask.png"):
        writer.check(files, TARGETS)
    writer.write(next(several(eye)))
    (other,) = several(named, ("mask",), ("mask",))
    with pytest.raises(InputError, match=r"x_disc.png would replace that of .*x.png; segment"):
        writer.write(other)
    assert not read(output / "x_disc_mask.png")[0, 3:].any()  # Still of x.png.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"polygons": "shapes"}, "polygons='shapes'; expected geojson or coco"),
        ({"counts": ""}, "for the table of counts; expected the path of a file"),
        ({"counts": "."}, "expected the path of a file, such as counts.csv"),
    ],
)
def test_wrong_options(image, output, options, words):
    with pytest.raises(InputError, match=words):
        ResultWriter(output, [image("x.png")], **options)


def test_a_table_never_replaces_an_image_or_another_table(image, output, tmp_path):
    path, other = image("x.png"), image("y.png")
    table = tmp_path / "counts.csv"
    table.write_text("mine")
    file = inspect_image_file(path)
    for counts, words in (
        (path, "would replace an image"),
        (other, "would replace an image"),
        (table, r"counts.csv already exists; choose another --counts"),
        (path / "counts.csv", "cannot be written: Not a directory"),
        (output / "x_mask.png", "Two inputs would both be written"),
    ):
        with pytest.raises(InputError, match=words):
            ResultWriter(output, [path], counts=counts).check([file])
    ResultWriter(output, [path], counts=table, overwrite=True).check([file])
    with pytest.raises(InputError, match="already exists"):
        ResultWriter(output, [path], counts=table).finish()
    assert table.read_text() == "mine"


def test_a_table_that_cannot_be_written_is_a_sentence(image, output, monkeypatch):
    writer = ResultWriter(output, [image("x.png")], counts=output / "counts.csv")

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(object_files, "write_counts", fail)
    with pytest.raises(InputError, match=r"cannot be written to .*: No space left on device\."):
        writer.finish()
