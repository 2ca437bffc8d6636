"""keras-hub's `from_preset` and `save_to_preset`, with the built-in presets and checksums."""

import contextvars
import functools
from collections.abc import Callable

from keras_espmedsam._shown import shown
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.built_in_presets import builtin_presets, resolve_preset
from keras_espmedsam.hub.checksums import check_checksums
from keras_espmedsam.hub.local_preset import local_preset
from keras_espmedsam.hub.preset_arguments import EVERY_MODEL, check_arguments
from keras_espmedsam.hub.saved_config import check_configs
from keras_espmedsam.hub.saved_dtype import dtype_to_load, leave_out_mixed_dtype
from keras_espmedsam.hub.space_for_weights import check_space_for_weights
from keras_espmedsam.hub.stored_weights import (
    check_all_used,
    check_finite_weights,
    most_numbers,
    stored_weights,
)
from keras_espmedsam.hub.write_preset import replaced_preset, write_own_origins

# Whether a task is being loaded or saved, so that its parts need no checks of their own.
_PART = contextvars.ContextVar("part", default=False)


def is_loading_preset() -> bool:
    """Return whether `from_preset` or `save_to_preset` of one of our classes is running.

    Example:
        >>> is_loading_preset()
        False
    """
    return _PART.get()


def _find_in_legacy_files(decorated):
    """Let Keras' legacy .h5 files of a model load without `custom_objects`.

    Those files name the model's class without its package.
    """
    import keras

    keras.saving.get_custom_objects()[decorated.__name__] = decorated


def _load_weights(load, path, preset, arguments):
    """Load a whole model, and check that all stored weights were used and are finite."""
    # Not at the top, so that presets can be listed without Keras.
    from keras_espmedsam.hub.initial_values import load_undrawn

    stored = stored_weights(path)
    model = load_undrawn(load, most_numbers(path))
    # With arguments that change the network, some weights may be left over on purpose.
    if not arguments.keys() - EVERY_MODEL:
        check_all_used(model, stored, preset)
    check_finite_weights(model, f"the preset {preset}")
    return model


class _BuiltinPresets:
    """A class property: the built-in presets whose task or backbone is this class."""

    def __get__(self, instance, owner):
        return {
            name: entry
            for name, entry in builtin_presets(earlier=True).items()
            if owner.__name__ in entry["classes"]
        }


def knows_builtin_presets(has_weights: bool = True) -> Callable[[type], type]:
    """Make a class decorator that adds our presets to a keras-hub class.

    It is not a base class, because keras-hub writes the name of a task's first base class into the
    presets that it saves.

    Args:
        has_weights: bool. Whether the class loads weights; preprocessing does not.

    Example:
        >>> "espmedsam_tinyvit_1024" in kem.models.ESPMedSAMImageSegmenter.presets
        True
    """

    def decorate(decorated):
        # A class's own method, which may take more arguments, runs inside this one.
        own = vars(decorated).get("from_preset")

        def from_preset(cls, preset, *args, **kwargs):
            """Load a preset by name, folder, or `hf://`, `kaggle://` or `modelscope://` address.

            A preset at an address is downloaded first, then read and checked like a folder.

            Args:
                preset: str or path. A built-in name is its newest version; `NAME@VERSION` is that
                    one, such as `"espmedsam_nano_256@1"`.
                *args, **kwargs: passed to keras-hub, such as `load_weights=False` to load only
                    the architecture; `dtype`, by default Keras' current one, whatever the preset
                    was saved in; or `image_shape`, `(height, width, 3)`, of the model's images.

            Raises:
                InputError: for an unknown name or version (the message lists the known ones), a
                    failed download, files that differ from the checksums of `save_to_preset`,
                    unknown arguments, weights of another network, and NaN or infinite weights.

            Example:
                >>> Segmenter = kem.models.ESPMedSAMImageSegmenter
                >>> Segmenter.from_preset("espmedsam_nano_256").modalities[:3]
                ('dermoscopy', 'xray', 'ultrasound')
            """
            wanted = args[0] if args else kwargs.get("load_weights", has_weights)
            path = local_preset(resolve_preset(preset, wanted), bool(wanted))
            outermost = not _PART.get()
            if outermost:
                check_checksums(path, weights=has_weights and wanted)
                check_configs(path)
            if own is not None:
                load = own.__get__(None, cls)
            else:
                load = super(decorated, cls).from_preset
            whole = has_weights and wanted and outermost
            part = _PART.set(True)
            try:
                if has_weights:
                    check_arguments(cls, path, kwargs)
                    if kwargs.get("dtype") is None and (dtype := dtype_to_load(path)):
                        kwargs["dtype"] = dtype
                load = functools.partial(load, path, *args, **kwargs)
                return _load_weights(load, path, preset, kwargs) if whole else load()
            except InputError:
                raise
            # A damaged preset, or one of another version, can fail anywhere in Keras, keras-hub,
            # h5py and the constructors.
            except Exception as error:
                if not outermost or isinstance(error, MemoryError):
                    raise  # The task that this is a part of reports it.
                raise InputError(
                    f"The preset {str(preset)!r} cannot be read "
                    f"({shown(error, 200)}). It is incomplete or damaged, or its classes are not "
                    "known here; install, download or convert it again, or import the package that "
                    "defines them."
                ) from error
            finally:
                _PART.reset(part)

        def save_to_preset(self, preset_dir, *args, **kwargs):
            """Save to a folder, with checksums of the files for `from_preset` to compare.

            If the program is killed, the folder holds either its old content or the whole new
            preset. Other files in the folder stay. If the model's image encoder says what it was
            begun from, that goes into `origins.json`, and into a card if there is none.

            Args:
                preset_dir: str or path.
                *args, **kwargs: passed to keras-hub.

            Raises:
                InputError: for a folder that cannot be written, or a folded model.
            """
            if getattr(self, "is_folded", False):
                raise InputError(
                    "This model is folded, for inference only; save or export the model that it "
                    "was made from."
                )
            save = super(decorated, self).save_to_preset
            if _PART.get():
                save(preset_dir, *args, **kwargs)
                return
            with replaced_preset(preset_dir) as folder:
                if has_weights and self.built:
                    check_space_for_weights(self, folder)
                part = _PART.set(True)
                try:
                    save(folder, *args, **kwargs)
                finally:
                    _PART.reset(part)
                if has_weights:
                    leave_out_mixed_dtype(folder)
                    write_own_origins(self, folder, preset_dir)

        decorated.save_to_preset = save_to_preset
        decorated.presets = _BuiltinPresets()
        decorated.from_preset = classmethod(from_preset)
        if has_weights:
            _find_in_legacy_files(decorated)
        return decorated

    return decorate
