"""Results in a folder, as the command line writes them."""

import os

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import inspect_image_file, read_masks
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference import FileResult, ResultWriter, result_writer


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
        with pytest.raises(InputError, match=r"exist already: .*x_mask.png"):
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
    with pytest.raises(InputError, match=r"y\.png, which was not among the paths"):
        writer.write(result)


def test_the_output_is_a_folder(image, tmp_path):
    with pytest.raises(InputError, match="is a file; expected a folder"):
        ResultWriter(image("x.png"), [])
    writer = ResultWriter(image("y.png") / "deeper", [tmp_path / "y.png"])
    with pytest.raises(InputError, match="cannot be made"):
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
    with pytest.raises(InputError, match=r"the slice 3 of .* where 2 was due; give the results of"):
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
    with pytest.raises(InputError, match="is a link that leads nowhere; expected a folder"):
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
    with pytest.raises(InputError, match="exist already"):
        other.write(result)
    again = ResultWriter(output, [path], overwrite=True)
    assert again.write(result) == [output / "x_mask.png"]
    assert [path.name for path in output.iterdir()] == ["x_mask.png"]
