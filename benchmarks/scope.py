"""Whether images of another kind are told from those of the modality that was said.

    ESPMEDSAM_DATA=/path/to/data python benchmarks/scope.py measure --output runs/scope.npz
    ESPMEDSAM_DATA=/path/to/data python benchmarks/scope.py corrupt --output runs/scope.json
    python benchmarks/scope.py report --input runs/scope --page docs/reports/scope.md

`measure` computes the mean and the spread of the embedding's channels, of which `scope_score` is a
logistic regression, and the logits of the recogniser of modalities, for proper images, for images
of each modality that are given as each other one, and for photographs and generated images
(`tools/outliers.py`). `corrupt` segments some test images and worse copies of them. `report` takes
the preset's coefficients, and the times of `benchmarks/pass_times.py`, and compares with scores
that know proper images alone: the distance of Mahalanobis with a covariance for each modality and
with one for all (arXiv 1807.03888), relative to that of all images (arXiv 2106.09022), and the
distance to the fifth nearest of the normalised statistics (arXiv 2204.06507); and with the same
regression without photographs and generated images. Of the recogniser it takes the energy
(arXiv 2010.03759), the largest logit (arXiv 1911.11132) and the largest probability
(arXiv 1610.02136), and what it says of the modality that was said. All have their threshold where
2 % of the val images are above. To choose between them only the splits train and val count, crossed
images of val and data sets that are left out of the fit.
"""

import argparse
import io
import json
import os
import pathlib
import platform
import sys
import time

import numpy as np
from PIL import Image, ImageFilter
from preset_accuracy import spread
from report_pages import write_page
from scope_report import figures, page

from keras_espmedsam.data import atomic_path, read_images, read_index, read_targets
from keras_espmedsam.evaluation import dice
from keras_espmedsam.imaging.intensity import AUTO
from keras_espmedsam.imaging.raw_batch import read_row
from keras_espmedsam.inference.image_batches import filled_up
from keras_espmedsam.inference.load_models import load_recognizer

ROOT = pathlib.Path(__file__).resolve().parents[1]
PRESET = "espmedsam_nano_256"
SEED = 0
# By split, the most images of a data set, and of these the most that are given as the others.
COUNTS = {
    "train": (40, 6),
    "val": (0, 3),
    "test": (40, 6),
    "unseen": (0, 0),
    "transfer_test": (0, 0),
}
GENERATED = 18
STRENGTHS = (0.5, 1.0)


def grouped(index, split):
    """dict of data set to its records, each image once."""
    found = {}
    for record in read_index(index, (split,)):
        found.setdefault(record.dataset, {})[record.image] = record
    return {name: list(of.values()) for name, of in found.items()}


def images_as_given(index, modalities):
    """Yield what is known of each image that is to be measured, and a function that reads it."""
    for split, (most, crossed) in COUNTS.items():
        for dataset, records in grouped(index, split).items():
            records = spread(records, most)
            others = spread(records, crossed) if crossed else []
            for record in records:
                what = {"split": split, "dataset": dataset, "of": record.modality}
                image = next(iter(read_images(record.image))).array
                yield {**what, "said": record.modality}, image
                if any(record is other for other in others):
                    for said in modalities:
                        if said != record.modality:
                            yield {**what, "said": said}, image
    sys.path.insert(0, str(ROOT / "tools"))
    import outliers
    import skimage.data
    from fit_scope import others as fitted

    rng = np.random.default_rng(SEED + 1)
    held = outliers.read_photographs(outliers.HELD_OUT_PHOTOGRAPHS)
    held += [getattr(skimage.data, name)() for name in ("astronaut", "coffee", "page")]
    made = [one for _, one in outliers.synthetic(GENERATED, 256, rng, held, outliers.HELD_OUT)]
    for split, dataset, images in (
        ("train", "others", fitted(24, 24)),
        ("test", "photographs", held),
        ("test", "generated", made),
    ):
        for image in images:
            for said in modalities:
                yield {"split": split, "dataset": dataset, "of": "", "said": said}, image


class RecognizerLogits:
    """Computes the logits of the recogniser of modalities, in batches."""

    def __init__(self, recognizer, batch=8):
        self.recognizer, self.batch = recognizer, batch
        self.waiting, self.logits = [], []

    def add(self, image):
        """Add an image; return its place in the logits."""
        converter = self.recognizer.image_converter
        self.waiting.append(converter.convert(read_row(converter, [image], 0, AUTO)))
        place = len(self.logits) + len(self.waiting) - 1
        if len(self.waiting) == self.batch:
            self.done()
        return place

    def done(self):
        """Return the logits of all images, `(images, classes)`."""
        if self.waiting:
            inputs = np.stack(filled_up(self.waiting, self.batch))
            outputs = self.recognizer.predict_prepared(inputs)
            self.logits.extend(np.asarray(outputs)[: len(self.waiting)])
            self.waiting = []
        return np.array(self.logits, "float32")


def measure(preset, index, output):
    """Store what the embedding and the recogniser say of each image, as it is given."""
    from keras_espmedsam.evaluation.embedding_samples import EmbeddingSamples
    from keras_espmedsam.models import ESPMedSAMImageSegmenter

    segmenter = ESPMedSAMImageSegmenter.from_preset(preset)
    recognizer = load_recognizer(None)
    embedding, recognised = EmbeddingSamples(segmenter), RecognizerLogits(recognizer)
    known, places, last = [], [], None
    for what, image in images_as_given(index, segmenter.modalities):
        # The place of what is known stands for the data set.
        embedding.add(image, what["said"], len(known))
        known.append(what)
        # The recogniser does not know as what an image is given.
        places.append(places[-1] if image is last else recognised.add(image))
        last = image
    samples = sorted(embedding.done(), key=lambda one: one.dataset)
    with atomic_path(output) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            statistics=np.array([one.statistics for one in samples], "float32"),
            recognised=recognised.done()[places],
            classes=np.array(recognizer.class_names),
            least=np.float32(recognizer.min_confidence),
            known=np.array(json.dumps(known)),
        )
    print(f"{len(known)} images into {output}")


def corrupted(image, kind, strength, rng):
    """A worse copy of a uint8 image `(height, width, 3)`."""
    if kind == "blurred":
        radius = 0.02 * strength * max(image.shape[:2])
        return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))
    if kind == "dark":
        return (image * (1 - 0.8 * strength)).astype("uint8")
    if kind == "noisy":
        return (image + rng.normal(0, 60 * strength, image.shape)).clip(0, 255).astype("uint8")
    stored = io.BytesIO()
    Image.fromarray(image).save(stored, "JPEG", quality=int(40 - 30 * strength))
    return np.asarray(Image.open(stored).convert("RGB"))


def cropped(image, masks, strength):
    """The middle of an image and its masks: 85 % or 70 % of its height and width."""
    height, width = image.shape[:2]
    top, left = (int(side * 0.15 * strength) for side in (height, width))
    part = slice(top, height - top), slice(left, width - left)
    return image[part], {name: mask[part] for name, mask in masks.items()}


KINDS = ("blurred", "dark", "noisy", "JPEG", "cropped")


def worse_copies(image, masks, rng):
    """Yield kind, strength, image and masks: first the image as it is."""
    yield "as they are", 0.0, image, masks
    for kind in KINDS:
        for strength in STRENGTHS:
            if kind == "cropped":
                yield kind, strength, *cropped(image, masks, strength)
            else:
                yield kind, strength, corrupted(image, kind, strength, rng), masks


def corrupt(preset, name, index, output, count):
    """Store what is predicted of some test images and worse copies of them, and the times."""
    from keras_espmedsam.export.description import preset_name
    from keras_espmedsam.imaging.intensity import already_read
    from keras_espmedsam.models import ESPMedSAMImageSegmenter

    segmenter = ESPMedSAMImageSegmenter.from_preset(preset)
    rows, rng = {}, np.random.default_rng(SEED)
    for records in grouped(index, "test").values():
        for record in spread(records, count):
            image, found = next(iter(read_targets(record)))
            pixels = image.array
            pixels = np.stack([pixels] * 3, axis=-1) if pixels.ndim == 2 else pixels[..., :3]
            labels = {name: one.mask for name, one in found.items()}
            for kind, strength, worse, truth in worse_copies(pixels, labels, rng):
                result = segmenter.segment(worse, record.modality, **already_read(segmenter))
                own = rows.setdefault((kind, strength), {"dice": [], "quality": [], "flagged": []})
                own["flagged"].append(not result["in_scope"])
                for label, mask in truth.items():
                    target = label or result["targets"][0]
                    number = result["targets"].index(target)
                    masks = result["masks"]
                    own["dice"].append(dice(mask, masks[..., number] if masks.ndim == 3 else masks))
                    own["quality"].append(result["quality"][target])
    found = {
        "preset": name or preset_name(preset),
        "images_of_a_dataset": count,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "corrupted": [
            {"kind": kind, "strength": strength, "masks": len(own["dice"])}
            | {name: float(np.mean(values)) for name, values in own.items()}
            for (kind, strength), own in rows.items()
        ],
    }
    with atomic_path(output) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def report(preset, given, times, target):
    from keras_espmedsam.models import ESPMedSAMImageSegmenter

    scope = ESPMedSAMImageSegmenter.from_preset(preset, load_weights=False).scope
    corrupted = json.loads(given.with_suffix(".json").read_text(encoding="utf-8"))
    with np.load(given.with_suffix(".npz")) as archive:
        made = figures(dict(archive), corrupted, scope)
    made["times"] = json.loads(times.read_text(encoding="utf-8"))
    write_page(target, "\n".join(page(made)) + "\n", made)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["measure", "corrupt", "report"])
    parser.add_argument("--preset", default=PRESET)
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--name", help="of the preset in the report; by default its own")
    parser.add_argument("--images", type=int, default=2, help="of a data set, for corrupt")
    parser.add_argument("--input", type=pathlib.Path, default=pathlib.Path("runs/scope"))
    parser.add_argument("--times", type=pathlib.Path, default=pathlib.Path("runs/pass_times.json"))
    parser.add_argument("--page", type=pathlib.Path, default=ROOT / "docs/reports/scope.md")
    given = parser.parse_args(arguments)
    if given.what == "report":
        report(given.preset, given.input, given.times, given.page)
        return
    index = pathlib.Path(os.environ.get("ESPMEDSAM_DATA", "")) / "index2.csv"
    if not index.is_file():
        parser.error("set ESPMEDSAM_DATA to the folder that holds index2.csv.")
    if given.what == "measure":
        measure(given.preset, index, given.output or given.input.with_suffix(".npz"))
    else:
        output = given.output or given.input.with_suffix(".json")
        corrupt(given.preset, given.name, index, output, given.images)


if __name__ == "__main__":
    main()
