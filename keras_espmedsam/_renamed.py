"""Names of version 0.1.0, which still work until version 0.3.

The first import of an old name warns (`DeprecationWarning`) and returns the new module itself, so
that both names stand for the same one. If a module was split, it returns the names of all parts.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

_PACKAGE = "keras_espmedsam"

MODULES: dict[str, str | tuple[str, ...]] = {
    "_backend": "_startup",
    "_extras": "_startup",
    "checkpoints": "converters",
    "checkpoints.espmedsam": "converters.espmedsam",
    "checkpoints.keras_hub_sam": "converters.keras_hub_sam",
    "checkpoints.matching": "converters.matching",
    "checkpoints.mobilesam": "converters.mobilesam",
    "checkpoints.names": "converters.names",
    "checkpoints.output": (
        "hub.write_preset",
        "converters.matching",
        "converters.untrained_segmenter",
    ),
    "checkpoints.reader": "converters.reader",
    "checkpoints.sam": "converters.sam",
    "checksums": "hub.checksums",
    "cli.batches": "inference.item_batches",
    "cli.inputs": "inference.input_files",
    "cli.recognize_files": "inference.recognize_files",
    "cli.segment_files": "inference.segment_files",
    "data.deep_colour": "data.formats.deep_colour",
    "data.dicom": "data.formats.dicom",
    "data.dicom_codecs": "data.formats.dicom_codecs",
    "data.dicom_window": "data.formats.dicom_window",
    "data.file_kinds": ("data.formats.file_kind", "data.formats.unread", "data.file_names"),
    "data.lookup_table": "data.formats.lookup_table",
    "data.nifti": "data.formats.nifti",
    "data.overlay": "imaging.overlay",
    "data.picture": (
        "data.decoded_image",
        "data.formats.image_source",
        "data.formats.volume",
        "data.layout",
    ),
    "data.pictures": "data.images",
    "data.raster": "data.formats.raster",
    "data.tiff": "data.formats.tiff",
    "distillation.probe": "models.feature_specs",
    "evaluation.measures": "evaluation.metrics",
    "evaluation.paper_measures": "evaluation.paper_metrics",
    "export.export_task": "export._export_model",
    "export.onnx_file": "export.formats.onnx",
    "export.openvino_ir": "export.formats.openvino",
    "export.runtimes": "export.formats",
    "export.saved_model": "export.formats.saved_model",
    "export.tensorflow_process": "export.other_process",
    "export.tflite": "export.formats.tflite",
    "initial_values": "hub.initial_values",
    "losses.batch_dice_loss": "losses.dice_loss",
    "losses.mean_focal_loss": "losses.focal_loss",
    "losses.published_dice_focal_loss": "losses.dice_focal_loss",
    "models.esp_medsam.modality_recognition": "inference.auto_modality",
    "models.esp_medsam.segment_pictures": ("inference.image_segmentation", "inference.modalities"),
    "models.host_call": "imaging.host_call",
    "models.kept_weights": "models.weight_rollback",
    "models.picture_batches": "inference.image_batches",
    "models.raw_batch": "imaging.raw_batch",
    "preset_registry": ("hub.built_in_presets", "hub.from_preset"),
    "recognition": "inference.recognition",
    "training.augmentation": "training.data.augmentation",
    "training.averaged_weights": "training.run.averaged_weights",
    "training.balance": "training.data.sampling_weights",
    "training.batch_layers": "training.data.batch_layers",
    "training.distill_config": "distillation.config",
    "training.distribution": "training.devices.distribution",
    "training.drawing": "training.data.batch_sampler",
    "training.folder_lock": "training.run.folder_lock",
    "training.learning_curves": "training.run.learning_curves",
    "training.medical_ranges": "training.data.medical_ranges",
    "training.placed_pictures": "training.data.image_store",
    "training.random_states": "training.run.random_states",
    "training.read_ahead": "training.data.prefetch",
    "training.read_sources": "training.data.read_sources",
    "training.run_config": (
        "training.config.run_config",
        "training.config.data_settings",
        "training.config.field_types",
        "training.config.known_names",
        "training.config.model_settings",
        "training.config.phase_settings",
    ),
    "training.run_folder": "training.run.run_folder",
    "training.run_record": "training.run.run_record",
    "training.run_state": "training.run.run_state",
    "training.segmentation_dataset": "training.data.segmentation_dataset",
    "training.settings": "training.config.settings",
    "training.shares": "training.devices.sharded_batches",
    "training.torch_replicas": "training.devices.torch_replicas",
    "training.train_config": "training.config.train_config",
}

# In `data` as well as in the file that defines them.
_READING = {
    "inspect_picture_file": "inspect_image_file",
    "read_picture": "read_image",
    "read_pictures": "read_images",
}

# By the module with the new name.
ATTRIBUTES = {
    "data": {"Picture": "DecodedImage", **_READING},
    "data.decoded_image": {"Picture": "DecodedImage"},
    "data.folder": {"picture_files": "image_files"},
    "data.formats.image_source": {"PictureSource": "ImageSource"},
    "data.images": {"PictureFile": "ImageFile", **_READING},
    "export": {"export_task": "export_model"},
    "export._export_model": {"export_task": "export_model"},
    "inference.image_batches": {"picture_batches": "image_batches"},
    "models.image_converter": {"PictureConverter": "HostImageConverter"},
    "training.config.data_settings": {"PicturesSettings": "DataSettings"},
    "training.data.batch_sampler": {"Drawing": "BatchSampler"},
    "training.data.image_store": {"PlacedPictures": "ImageStore"},
    "training.data.prefetch": {"ReadAhead": "Prefetch"},
    "training.data.sampling_weights": {"balanced_groups": "sampling_weights"},
    "training.devices.sharded_batches": {
        "BatchShare": "ShardedBatches",
        "Copies": "ReplicatedBatches",
    },
}


class _OldNames(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """The first finder, because a folder left by an update would be found as an empty package."""

    def __init__(self) -> None:
        self._specs: dict[str, importlib.machinery.ModuleSpec | None] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, _, name = fullname.partition(".")
        if package != _PACKAGE or name not in MODULES:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        new = MODULES[spec.name.partition(".")[2]]
        names = [f"{_PACKAGE}.{name}" for name in ((new,) if isinstance(new, str) else new)]
        # Python does not count the frames of the import system.
        _warn(spec.name, " and ".join(names), stacklevel=3)
        modules = [importlib.import_module(name) for name in names]
        for module in modules:
            if module.__name__.partition(".")[2] in ATTRIBUTES:
                vars(module).setdefault("__getattr__", _answers_for(module))
        if len(modules) == 1:
            self._specs[spec.name] = modules[0].__spec__
            return modules[0]
        both = ModuleType(spec.name)
        for module in modules:
            vars(both).update({k: v for k, v in vars(module).items() if not k.startswith("__")})
        vars(both)["__getattr__"] = _answers_for(*modules)
        return both

    def exec_module(self, module: ModuleType) -> None:
        # The import has just written the old name's spec into the module.
        assert module.__spec__ is not None
        module.__spec__ = self._specs.pop(module.__spec__.name, module.__spec__)


def install() -> None:
    """Make the old names of modules importable; called once, when the package is imported."""
    if not any(isinstance(finder, _OldNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, _OldNames())


def old_attribute(module: str, name: str) -> object:
    """Return the attribute for a name of version 0.1.0, for a module's `__getattr__`.

    Args:
        module: the module's `__name__`.
        name: the old name.

    Raises:
        AttributeError: for a name that never existed.
    """
    new = ATTRIBUTES.get(module.partition(".")[2], {}).get(name)
    if new is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    _warn(f"{module}.{name}", f"{module}.{new}", stacklevel=4)
    return getattr(sys.modules[module], new)


def old_member(old: str, new: str) -> Any:
    """Return a property for an attribute or method that was called `old` in version 0.1.0."""

    def get(self: object) -> Any:
        name = type(self).__name__
        _warn(f"{name}.{old}", f"{name}.{new}", stacklevel=3)
        return getattr(self, new)

    return property(get)


def _answers_for(*modules: ModuleType) -> Callable[[str], object]:
    """Return a `__getattr__` that looks up old names in the first module that has them."""
    renamed = {
        name: module.__name__
        for module in reversed(modules)
        for name in ATTRIBUTES.get(module.__name__.partition(".")[2], {})
    }

    def answer(name: str) -> object:
        return old_attribute(renamed.get(name, modules[0].__name__), name)

    return answer


def _warn(old: str, new: str, stacklevel: int) -> None:
    message = f"{old} is now {new}; the old name will be removed in version 0.3."
    warnings.warn(message, DeprecationWarning, stacklevel)
