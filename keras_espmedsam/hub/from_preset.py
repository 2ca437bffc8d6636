"""Loading and saving by keras-hub's methods, which know the built-in presets and checksums."""

import contextvars
import functools
import json
from collections.abc import Callable

from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.built_in_presets import builtin_presets, resolve_preset
from keras_espmedsam.hub.checksums import check_checksums, write_checksums
from keras_espmedsam.hub.preset_arguments import check_arguments
from keras_espmedsam.hub.saved_dtype import dtype_to_load, leave_out_mixed_dtype

# Whether this is part of loading or saving a task, whose files are compared and counted as a whole.
_PART = contextvars.ContextVar("part", default=False)


def _find_in_legacy_files(decorated):
    """Let Keras' legacy .h5 files of a model load without `custom_objects`.

    They name the model's class without its package, and all that is in it as other files do.
    """
    import keras

    keras.saving.get_custom_objects()[decorated.__name__] = decorated


def _load_undrawn(load):
    # Not at the top: the names of the presets are listed without Keras.
    from keras_espmedsam.hub.initial_values import load_undrawn

    return load_undrawn(load)


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
                    that the class does not know.

            Example:
                >>> Segmenter = kem.models.ESPMedSAMImageSegmenter
                >>> Segmenter.from_preset("espmedsam_nano_256").modalities[:3]
                ('dermoscopy', 'xray', 'ultrasound')

            Source: keras-hub's `from_preset`; the built-in names are ours.
            """
            wanted = args[0] if args else kwargs.get("load_weights", has_weights)
            path = resolve_preset(preset, wanted)
            if "://" not in path and not _PART.get():
                check_checksums(path, weights=has_weights and wanted)
            if own is not None:
                load = own.__get__(None, cls)
            else:
                load = super(decorated, cls).from_preset
            whole = has_weights and wanted and not _PART.get()
            part = _PART.set(True)
            try:
                if has_weights and "://" not in path:
                    check_arguments(cls, path, kwargs)
                    if kwargs.get("dtype") is None and (dtype := dtype_to_load(path)):
                        kwargs["dtype"] = dtype
                load = functools.partial(load, path, *args, **kwargs)
                return _load_undrawn(load) if whole else load()
            except (OSError, KeyError, json.JSONDecodeError) as error:
                if "://" in path:
                    raise  # A failed download says so itself.
                # h5py and json speak of signatures and columns; say which preset is damaged.
                raise InputError(
                    f"The preset {str(preset)!r} cannot be read ({error}). It is incomplete or "
                    "damaged; install or convert it again."
                ) from error
            finally:
                _PART.reset(part)

        def save_to_preset(self, preset_dir, *args, **kwargs):
            """Save to a folder, with the checksums of its files, which `from_preset` compares.

            Args:
                preset_dir: str or path.
                *args, **kwargs: handed to keras-hub.

            Source: keras-hub's `save_to_preset`; the checksums are ours.
            """
            if getattr(self, "is_folded", False):
                raise InputError(
                    "This model was folded, for inference alone; save or export the one that it "
                    "was made from."
                )
            part = _PART.set(True)
            try:
                super(decorated, self).save_to_preset(preset_dir, *args, **kwargs)
            finally:
                _PART.reset(part)
            if not _PART.get():
                if has_weights:
                    leave_out_mixed_dtype(preset_dir)
                write_checksums(preset_dir)

        decorated.save_to_preset = save_to_preset
        decorated.presets = _BuiltinPresets()
        decorated.from_preset = classmethod(from_preset)
        if has_weights:
            _find_in_legacy_files(decorated)
        return decorated

    return decorate
