"""What is black and white, said for an image, for a run, or not at all."""

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import check_records, read_image, read_index, read_samples
from keras_espmedsam.errors import InputError, InputWarning

TWELVE_BITS = np.linspace(0, 4095, 100).astype("uint16").reshape(10, 10)


@pytest.fixture
def index(tmp_path):
    Image.fromarray(TWELVE_BITS).save(tmp_path / "a.png")
    Image.new("L", (10, 10), 255).save(tmp_path / "m.png")

    def write(*intensities, header="split,modality,dataset,image,mask,intensity"):
        rows = [f"train,xray,lungs,a.png,m.png,{said}" for said in intensities]
        (tmp_path / "index.csv").write_text("\n".join([header, *rows]) + "\n")
        return tmp_path / "index.csv"

    return write


def test_the_column_of_an_index(index):
    records = read_index(index("full", "0:4095", "", "auto"))
    assert [one.intensity for one in records] == ["full", (0.0, 4095.0), None, "auto"]
    highest = [float(np.max(next(read_samples(one))[0].array)) for one in records]
    np.testing.assert_allclose(highest, [4095 / 65535, 1, 1, 1], atol=1e-6)


def test_the_record_goes_before_the_run(index):
    said, unsaid = read_index(index("full", ""))
    for record, expected in ((said, 4095 / 65535), (unsaid, 0.5)):
        image, _ = next(read_samples(record, intensity=(0, 8190)))
        assert float(image.array.max()) == pytest.approx(expected, abs=1e-6)


def test_a_wrong_column_is_told(index):
    with pytest.raises(InputError, match=r"intensity '4095' \(in row 1 of the index .*index.csv\)"):
        read_index(index("4095"))


def test_an_index_without_the_column(index):
    path = index("", header="split,modality,dataset,image,mask")
    assert read_index(path)[0].intensity is None


def test_all_ways_of_reading_agree(index):
    """What is trained on is what is segmented."""
    record = read_index(index(""))[0]
    with pytest.warns(InputWarning, match="only 12 of its 16 bits are used"):
        alone = read_image(record.image).array
    low, high = np.percentile(TWELVE_BITS, (0.1, 99.9))
    np.testing.assert_allclose(alone, np.clip((TWELVE_BITS - low) / (high - low), 0, 1), atol=1e-6)
    np.testing.assert_array_equal(next(read_samples(record))[0].array, alone)


def test_checking_takes_it(index):
    record = read_index(index(""))[0]
    assert check_records([record], intensity=(0, 4095)) == ([record], [])
