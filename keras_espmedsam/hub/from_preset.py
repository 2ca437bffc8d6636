"""Loading and saving by keras-hub's methods, which know the built-in presets and checksums."""

import contextvars
import functools
from collections.abc import Callable

from keras_espmedsam._shown import shown
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.built_in_presets import builtin_presets, resolve_preset
from keras_espmedsam.hub.checksums import check_checksums
from keras_espmedsam.hub.preset_arguments import EVERY_MODEL, check_arguments
from keras_espmedsam.hub.saved_config import check_configs
from keras_espmedsam.hub.saved_dtype import dtype_to_load, leave_out_mixed_dtype
from keras_espmedsam.hub.stored_weights import (
    check_all_used,
    check_finite_weights,
    most_numbers,
    stored_weights,
)
from keras_espmedsam.hub.write_preset import replaced_preset

# Whether this is part of loading or saving a task, whose files are compared and counted as a whole.
_PART = contextvars.ContextVar("part", default=False)


def _find_in_legacy_files(decorated):
    """Let Keras' legacy .h5 files of a model load without `custom_objects`.

    They name the model's class without its package, and all that is in it as other files do.
    """
    import keras

    keras.saving.get_custom_objects()[decorated.__name__] = decorated


def _load_weights(load, path, preset, arguments):
    """A whole model of a preset, whose weights fit it and are numbers."""
    # Not at the top: the names of the presets are listed without Keras.
    from keras_espmedsam.hub.initial_values import load_undrawn

    if "://" in path:
        model = load_undrawn(load)
    else:
        stored = stored_weights(path)
        model = load_undrawn(load, most_numbers(path))
        # Who asks for another network than the saved one knows that some weights are left over.
        if not arguments.keys() - EVERY_MODEL:
            check_all_used(model, stored, preset)
    check_finite_weights(model, preset)
    return model


class _BuiltinPresets:
    """Class property: the built-in presets whose task or backbone is this class."""

    def __get__(self, instance, owner):
        return {
            name: entry
            for name, entry in builtin_presets().items()
            if owner.__name__ in entry["classes"]
        }


def knows_builtin_presets(has_weights: bool = True) -> Callable[[type], type]:
    """Class decorator: `from_preset` and `presets` of a keras-hub class know our presets.

    A decorator and not a base class, since keras-hub writes the name of a task's first base into
    the presets that it saves.

    Args:
        has_weights: bool. Whether the class loads weights; preprocessing does not.

    Example:
        >>> "espmedsam_tinyvit_1024" in kem.models.ESPMedSAMImageSegmenter.presets
        True

    Source: ours.
    """

    def decorate(decorated):
        # A class's own method, which may know more arguments, runs inside of this one.
        own = vars(decorated).get("from_preset")

        def from_preset(cls, preset, *args, **kwargs):
            """Load by built-in name, folder, `hf://` or `kaggle://` handle.

            Args:
                preset: str or path.
                *args, **kwargs: handed to keras-hub, such as `load_weights=False` for the
                    architecture alone; `dtype`, else Keras' current one, whatever the preset was
                    saved in; or `image_shape`, (height, width, 3), of the model's images.

            Raises:
                InputError: for a name that is neither built in, nor a folder, nor a handle; the
                    message lists the known names. Also for a damaged preset: its files are
                    compared with the checksums that `save_to_preset` wrote. Also for arguments
                    that the class does not know, for weights that are another network's, and for
                    those that are NaN or infinite.

            Example:
                >>> Segmenter = kem.models.ESPMedSAMImageSegmenter
                >>> Segmenter.from_preset("espmedsam_nano_256").modalities[:3]
                ('dermoscopy', 'xray', 'ultrasound')

            Source: keras-hub's `from_preset`; the built-in names are ours.
            """
            wanted = args[0] if args else kwargs.get("load_weights", has_weights)
            path = resolve_preset(preset, wanted)
            local, outermost = "://" not in path, not _PART.get()
            if local and outermost:
                check_checksums(path, weights=has_weights and wanted)
                check_configs(path)
            if own is not None:
                load = own.__get__(None, cls)
            else:
                load = super(decorated, cls).from_preset
            whole = has_weights and wanted and outermost
            part = _PART.set(True)
            try:
                if has_weights and local:
                    check_arguments(cls, path, kwargs)
                    if kwargs.get("dtype") is None and (dtype := dtype_to_load(path)):
                        kwargs["dtype"] = dtype
                load = functools.partial(load, path, *args, **kwargs)
                return _load_weights(load, path, preset, kwargs) if whole else load()
            except InputError:
                raise
            # What is damaged, or of another version, fails anywhere in Keras, keras-hub, h5py and
            # the constructors.
            except Exception as error:
                if not (local and outermost) or isinstance(error, MemoryError):
                    raise  # A failed download says so itself, and a part's error goes on.
                raise InputError(
                    f"The preset {str(preset)!r} cannot be read "
                    f"({shown(error, 200)}). It is incomplete or damaged, or its classes are not "
                    "known here; install, download or convert it again, or import what defines "
                    "them."
                ) from error
            finally:
                _PART.reset(part)

        def save_to_preset(self, preset_dir, *args, **kwargs):
            """Save to a folder, with the checksums of its files, which `from_preset` compares.

            Killed at any moment, the folder holds what it held before or all that is saved. What
            it held beside a preset stays in it.

            Args:
                preset_dir: str or path.
                *args, **kwargs: handed to keras-hub.

            Raises:
                InputError: for a folder that cannot be written, or a model that was folded.

            Source: keras-hub's `save_to_preset`; the checksums are ours.
            """
            if getattr(self, "is_folded", False):
                raise InputError(
                    "This model was folded, for inference alone; save or export the one that it "
                    "was made from."
                )
            save = super(decorated, self).save_to_preset
            if _PART.get():
                save(preset_dir, *args, **kwargs)
                return
            with replaced_preset(preset_dir) as folder:
                part = _PART.set(True)
                try:
                    save(folder, *args, **kwargs)
                finally:
                    _PART.reset(part)
                if has_weights:
                    leave_out_mixed_dtype(folder)

        decorated.save_to_preset = save_to_preset
        decorated.presets = _BuiltinPresets()
        decorated.from_preset = classmethod(from_preset)
        if has_weights:
            _find_in_legacy_files(decorated)
        return decorated

    return decorate
