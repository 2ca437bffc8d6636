"""Write a model repository for NVIDIA's Triton Inference Server."""

import json
import os
import re
from pathlib import Path

import numpy as np

from keras_espmedsam._files import alone_in, remove_leftovers, replace_folder, writing_folder
from keras_espmedsam.errors import InputError
from keras_espmedsam.export._export_model import export_model
from keras_espmedsam.export.comparison import made_image
from keras_espmedsam.export.description import checksums, preset_name, targets_of
from keras_espmedsam.export.exported_segmenter import ExportedSegmenter
from keras_espmedsam.export.formats import get_format
from keras_espmedsam.export.image_graph import image_graph
from keras_espmedsam.export.triton_config import config_text
from keras_espmedsam.inference.test_time import converter_of

PRECISIONS = ("float32", "float16")
# Of the pixels of an image; rounding alone moves some that are next to a threshold.
MOST_DIFFERENT = 1e-3
CHECKED = "ONNX Runtime on a CPU; not run on Triton"
# Higher than wide, wider than high, and smaller than most models' images.
_SIZES = ((300, 220), (180, 400), (90, 70))
# Rounding may flip a patch that prompts the decoder; of several images it does so in few.
_DRAWS = 5
_VERSION = "1"


def export_triton(
    task,
    repository,
    name=None,
    size=None,
    modality=None,
    precision="float32",
    overwrite=False,
    preset=None,
    licence=None,
    report=None,
):
    """Write a segmenter as a model of a Triton model repository, in one ONNX file.

    The file takes an image of any size and gives masks of that size: resizing, padding, the sizes
    of modalities, calibration, and exclusive and nested targets are inside. Removing small objects,
    filling holes and telling objects apart are not: its masks are those of
    `segment(..., postprocess=False)`. It is run in ONNX Runtime and compared, not in Triton.

    Args:
        task: `ESPMedSAMImageSegmenter`.
        repository: the repository's folder, made if there is none; its other models stay.
        name: of the model and its folder; `None` is the preset's name, with the modality's.
        size: (height, width) at which the model sees images, multiples of 32; `None` is the
            preset's, which modalities may have of their own.
        modality: name or index: only this one. `None` keeps all, and `modality` is an input.
        precision: `"float32"` or `"float16"`, in which weights are stored.
        overwrite: bool. Whether to replace a model of that name.
        preset, licence, report: see `export_model`.

    Returns:
        dict: the description that is in the file and, as `espmedsam.json`, in its folder, and
        `path`, the model's folder.

    Raises:
        InputError: for options that the model does not support, a missing library, and a file whose
            masks differ from the package's own in more than one pixel of a thousand, which is then
            deleted.

    Source: Triton's model repository and its ONNX Runtime backend.
    """
    report = report or (lambda sentence: None)
    repository = Path(os.fspath(repository))
    if not getattr(task, "is_segmenter", False):
        raise InputError(
            "A classifier has no masks to bring back to an image's size; export it with "
            "export_for and write its config.pbtxt by hand."
        )
    if precision not in PRECISIONS:
        raise InputError(
            f"Received the precision {precision!r} for a Triton repository; expected "
            f"{' or '.join(PRECISIONS)}."
        )
    name = _checked_name(name, task, modality, preset)
    place = repository / name
    if not overwrite:
        _refuse_replacing(place)
    sizes = _image_sizes(task, size, modality)
    try:
        repository.mkdir(parents=True, exist_ok=True)
        remove_leftovers(repository)
        with writing_folder(repository) as folder:
            core = folder / "core.onnx"
            about = export_model(
                task,
                "onnx",
                core,
                size="any" if len(set(sizes.values())) > 1 else next(iter(sizes.values())),
                modality=modality,
                precision=precision,
                flavor="logits",
                preset=preset,
                licence=licence,
                report=report,
            )
            description = _description(task, about, sizes, name)
            made = folder / name
            _write(made, core, description, _segmenter(task, about, core, size, modality), report)
            with alone_in(repository):
                if not overwrite:
                    _refuse_replacing(place)
                if place.is_dir() and not place.is_symlink():
                    replace_folder(made, place)
                else:
                    made.replace(place)
    except OSError as error:
        raise InputError(
            f"{place} cannot be written ({error.strerror or error}); give another repository, on "
            "a disk with enough space. Nothing was kept."
        ) from error
    return {**description, "path": str(place)}


def _checked_name(name, task, modality, preset):
    if name is None:
        stem = (preset_name(preset) or "espmedsam").split("@")[0].rstrip("/").rsplit("/", 1)[-1]
        if modality is not None:
            stem += f"_{task.modalities[int(task.modality_indices(modality, 1)[0])]}"
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", stem).lstrip(".")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", str(name)):
        raise InputError(
            f"Received the model name {name!r}; expected letters, digits and _.- alone, because it "
            "is a folder's name and part of an address."
        )
    return name


def _refuse_replacing(place):
    if os.path.lexists(place):
        raise InputError(f"{place} already exists; give another name, or ask to overwrite it.")


def _image_sizes(task, size, modality):
    """Return the size of the model's images by modality; `None` is the image's own."""
    converter = task.preprocessor.image_converter if task.preprocessor else None
    names = task.modalities
    if modality is not None:
        names = [names[int(task.modality_indices(modality, 1)[0])]]
    if size is not None or converter is None:  # export_model checks both.
        return dict.fromkeys(names, size)
    return {name: converter_of(converter, name).image_size for name in names}


def _segmenter(task, about, core, size, modality):
    """Return the package's own way from an image to its masks, with the same network."""
    segmenter = ExportedSegmenter.of(about, get_format("onnx").load(core))
    converter = task.preprocessor.image_converter
    if size is not None:
        converter = converter.at_size(size)
    elif modality is not None:
        converter = converter_of(converter, about["modalities"][0])
    segmenter.image_converter = converter
    return segmenter


def _description(task, about, sizes, name):
    """Describe the file: what `export_model` says of the network, with other inputs and outputs."""
    targets = targets_of(about)
    taken = ("format", "precision", "preset", "keras_espmedsam", "licence", "intended_use")
    kept = ("targets", "exclusive", "nested", "probability_calibration", "predicts_quality")
    one = targets.num_channels == 1
    shape = [None, None] if one else [None, None, max(map(len, targets.names.values()))]
    planes = "" if one else "; one plane for each name in `targets`, 0 beyond a modality's own"
    inputs = {"image": {"dtype": "uint8", "shape": [None, None, 3], "values": "RGB, 0 to 255"}}
    if "modalities" in about["inputs"]:
        inputs["modality"] = {
            "dtype": "int32",
            "shape": [1],
            "values": "index into `modalities` of this file",
        }
    outputs = {
        "masks": {"dtype": "uint8", "shape": shape, "values": f"0 or 1{planes}"},
        "probabilities": {"dtype": "float32", "shape": shape, "values": f"0 to 1{planes}"},
    }
    for further, length in (("quality", targets.num_channels), ("scope_score", 1)):
        if further in about["outputs"]:
            values = about["outputs"][further]["values"]
            outputs[further] = {"dtype": "float32", "shape": [length], "values": values}
    found = {
        "task": "segmentation",
        "server": "triton",
        "name": name,
        **{key: about[key] for key in taken},
        "modalities": about["modalities"],
        "image_sizes": {key: list(value) if value else None for key, value in sizes.items()},
        "threshold": 0.5,
        "inputs": inputs,
        "outputs": outputs,
        **{key: about[key] for key in kept if key in about},
    }
    own = {name: converter_of(task.preprocessor.image_converter, name).image_size for name in sizes}
    scoped = [name for name in task.scope or () if name in sizes and own[name] == sizes[name]]
    return found | ({"tells_scope": scoped} if scoped else {})


def _write(folder, core, description, segmenter, report):
    """Write the model's folder, run its file and compare it with `segmenter`."""
    import onnx

    version = folder / _VERSION
    version.mkdir(parents=True)
    model = image_graph(
        onnx.load(str(core)),
        segmenter.target_set,
        [description["image_sizes"][name] for name in segmenter.modalities],
        tuple(segmenter.description["normalization"][key] for key in ("mean", "divisor")),
        segmenter.image_converter.resize_mode,
        segmenter.probability_calibration,
    )
    path = version / "model.onnx"
    onnx.save(model, str(path))
    different, furthest = compare_images(get_format("onnx").load(path), segmenter)
    description["difference"] = {
        "checked_in": CHECKED,
        "pixels": float(f"{different:.3g}"),
        "probabilities": float(f"{furthest:.3g}"),
    }
    report(
        f"Run in ONNX Runtime: at most {different:.2g} of an image's pixels differ from segment's. "
        "Not run on Triton."
    )
    entries = {"espmedsam": json.dumps(description), "licence": description["licence"]}
    onnx.helper.set_model_props(model, entries)
    onnx.save(model, str(path))
    digests = checksums(get_format("onnx"), path)
    description["sha256"] = {f"{_VERSION}/{name}": digest for name, digest in digests.items()}
    text = json.dumps(description, indent=1) + "\n"
    (folder / "espmedsam.json").write_text(text, encoding="utf-8")
    (folder / "config.pbtxt").write_text(config_text(description), encoding="utf-8")


def compare_images(runtime, segmenter):
    """Compare what the file gives for generated images with what a segmenter gives.

    Args:
        runtime: callable from a dict of inputs to a dict of outputs.
        segmenter: an `ExportedSegmenter`, or a task.

    Returns:
        The largest share of pixels that differ, of any image and target, and the largest difference
        of a probability.

    Raises:
        InputError: if more than one pixel of a thousand differs.
    """
    worst = (0.0, 0.0)
    for number, name in enumerate(segmenter.modalities):
        size = _SIZES[number % len(_SIZES)]
        least = (np.inf, np.inf)
        for draw in range(_DRAWS):
            image = made_image(np.random.default_rng((number, draw)), size)
            least = min(least, _difference(runtime, segmenter, image, number, name))
            if least[0] <= MOST_DIFFERENT:
                break
        worst = tuple(map(max, worst, least))
    if not worst[0] <= MOST_DIFFERENT:
        raise InputError(
            f"The file for Triton gives masks that differ from the package's own in {worst[0]:.2%} "
            f"of an image's pixels, more than {MOST_DIFFERENT:.1%}. Nothing was kept."
        )
    return worst


def _difference(runtime, segmenter, image, number, name):
    inputs = {"image": image}
    if segmenter.takes_modalities:
        inputs["modality"] = np.array([number], "int32")
    found = runtime(inputs)
    # In brightness already, whatever range of stored values the preset shows.
    expected = segmenter.segment(image, name, postprocess=False, intensity="auto")
    masks, probabilities = (np.atleast_3d(expected[key]) for key in ("masks", "probabilities"))
    count = masks.shape[2]
    differs = np.atleast_3d(found["masks"])[..., :count] != masks
    beyond = np.atleast_3d(found["masks"])[..., count:]
    gap = np.abs(np.atleast_3d(found["probabilities"])[..., :count] - probabilities)
    return max(differs.mean(axis=(0, 1)).max(), float(beyond.any())), float(gap.max())
