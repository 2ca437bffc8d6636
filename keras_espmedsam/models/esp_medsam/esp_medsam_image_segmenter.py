"""ESP-MedSAM as a segmentation task: raw images in, masks of the same size out."""

import contextlib

import keras
import numpy as np

from keras_espmedsam import losses
from keras_espmedsam.data.targets import UNLABELLED, Targets
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.hub.from_preset import knows_builtin_presets
from keras_espmedsam.imaging.host_call import host_call, rank
from keras_espmedsam.imaging.postprocessing import checked_postprocessing
from keras_espmedsam.imaging.raw_batch import batch_parts, check_batch, named_inputs
from keras_espmedsam.inference.modalities import no_modality
from keras_espmedsam.losses.per_target_loss import of_modalities
from keras_espmedsam.metrics import DiceScore, ForegroundIoU, TargetDice
from keras_espmedsam.models.class_weights import weights_by_class
from keras_espmedsam.models.esp_medsam.calibrated_segmenter import CalibratedSegmenter
from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import ESPMedSAMBackbone
from keras_espmedsam.models.esp_medsam.esp_medsam_image_segmenter_preprocessor import (
    ESPMedSAMImageSegmenterPreprocessor,
    any_target,
)
from keras_espmedsam.models.esp_medsam.extendable_segmenter import ExtendableSegmenter
from keras_espmedsam.models.esp_medsam.pixel_weights import weigh_classes
from keras_espmedsam.models.esp_medsam.quality_segmenter import QualitySegmenter
from keras_espmedsam.models.esp_medsam.raw_targets import first_channels, labelled_channels
from keras_espmedsam.models.esp_medsam.scope_segmenter import ScopeSegmenter
from keras_espmedsam.models.esp_medsam.trained_targets import (
    FITTED,
    forget_fitted,
    trained_targets,
)
from keras_espmedsam.models.image_encoder import image_encoder_of
from keras_espmedsam.models.jit_compilation import check_jit_compile
from keras_espmedsam.models.quantization import keeps_quantization
from keras_espmedsam.models.raw_training import trains_on_raw_images
from keras_espmedsam.models.tasks import ImageSegmenter, checked_preprocessor
from keras_espmedsam.models.weight_loading import tell_of_loading
from keras_espmedsam.ops.device_constant import device_constant, device_number
from keras_espmedsam.optimizers import decoupled


@knows_builtin_presets()
@trains_on_raw_images
@keeps_quantization
@keras.saving.register_keras_serializable(package="keras_espmedsam")
# keras-hub writes the name of the first base class into presets.
class ESPMedSAMImageSegmenter(
    ImageSegmenter, ExtendableSegmenter, CalibratedSegmenter, QualitySegmenter, ScopeSegmenter
):
    """Segment medical images of several modalities without prompts.

    Args:
        backbone: `ESPMedSAMBackbone`.
        preprocessor: `ESPMedSAMImageSegmenterPreprocessor`, or `None` if you pass `fit`,
            `evaluate` and `predict` normalised images and ready targets.
        postprocessing: dict of modality to dict of target to what `segment` does with its mask:
            `min_area`, `fill_holes` and `max_objects`; see
            `keras_espmedsam.imaging.postprocessing.postprocess_mask`. Empty by default.
        probability_calibration: dict of modality to dict of target to what `segment` does with its
            probabilities: `temperature` and `bias`; see
            `keras_espmedsam.imaging.probability_calibration.calibrated`. Empty by default.
        guarantees: dict of modality to dict of target to what is guaranteed of its masks; see
            `keras_espmedsam.inference.guarantees.checked_guarantees`. Empty by default;
            `calibrate` makes them.
        quality: dict of modality to dict of target to the coefficients from which the Dice of its
            mask is predicted; see `keras_espmedsam.inference.quality.checked_quality`. Empty by
            default; `fit_quality` makes them.
        scope: dict of modality to the coefficients from which it is told whether an image is of
            this modality; see `keras_espmedsam.inference.scope.checked_scope`. Empty by default;
            `fit_scope` makes them.

    Call: like the backbone, returning `masks` and `patches`; with `quality` also `quality`,
    `(batch, channels)`, see `keras_espmedsam.layers.MaskQuality`; and with `scope` also
    `scope_score`, `(batch,)`, see `keras_espmedsam.layers.ScopeScore`. For raw images use
    `segment`.

    Example, a small untrained model (`from_preset` loads a trained one):
        >>> encoder = TinyViTBackbone(
        ...     hidden_dims=(16, 16, 32, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 2),
        ...     window_sizes=(4, 4, 4), neck_dim=32, num_modalities=6)
        >>> backbone = ESPMedSAMBackbone(encoder, transformer_num_heads=2, transformer_mlp_dim=64)
        >>> converter = ESPMedSAMImageConverter(image_size=(64, 64))
        >>> segmenter = ESPMedSAMImageSegmenter(
        ...     backbone, ESPMedSAMImageSegmenterPreprocessor(converter))

    The examples of the methods continue from here.

    Source: ESP-MedSAM (arXiv 2407.14153).
    """

    backbone_cls = ESPMedSAMBackbone
    preprocessor_cls = ESPMedSAMImageSegmenterPreprocessor

    def __init__(
        self,
        backbone,
        preprocessor=None,
        postprocessing=None,
        probability_calibration=None,
        guarantees=None,
        quality=None,
        scope=None,
        **kwargs,
    ):
        # === Layers ===
        self.backbone = backbone
        self.preprocessor = checked_preprocessor(type(self), preprocessor)
        if preprocessor is not None:
            _check_image_sizes(preprocessor.image_converter, backbone)
        # Properties, since Keras would wrap a dict in an attribute.
        rules = checked_postprocessing(postprocessing, _targets_of(backbone))
        self._postprocessing = lambda: rules
        self._set_calibration(probability_calibration, guarantees)
        self._set_quality(quality)
        self._set_scope(scope)

        # === Functional Model ===
        outputs = {name: backbone.output[name] for name in ("masks", "patches")}
        modalities = backbone.input.get("modalities")
        outputs |= self.quality_output(outputs["masks"], modalities)
        outputs |= self.scope_output(backbone.output.get("image_embeddings"), modalities)
        super().__init__(inputs=backbone.input, outputs=outputs, **kwargs)
        self._awaits_weights = False
        tell_of_loading(self, backbone, image_encoder_of(backbone))

    @property
    def target_set(self):
        """`Targets`: the targets of each modality, and how they relate."""
        return _targets_of(self.backbone)

    @property
    def targets(self):
        """dict of modality to tuple of str: its targets, in the order of the masks' channels.

        Example:
            >>> segmenter.targets["fundus"]
            ('mask',)
        """
        return dict(self.target_set.names)

    @property
    def postprocessing(self):
        """dict of modality to dict of target to what `segment` does with its mask."""
        return self._postprocessing()

    def get_config(self):
        config = super().get_config()
        if self.postprocessing:  # Left out by default, so that version 0.1.0 loads such presets.
            config["postprocessing"] = self.postprocessing
        for name in FITTED:
            if getattr(self, name):
                config[name] = getattr(self, name)
        return config

    def weights_change(self):
        """Remove what holds for the present weights only."""
        forget_fitted(self)

    def training_begins(self):
        """Remove what holds for weights that training changes, and keep it for the others."""
        forget_fitted(self, trained_targets(self))

    def weights_loaded(self):
        """Called when weights were loaded into this model or its backbone.

        A model that was made from a configuration has none before, and its configuration is about
        those that are loaded first.
        """
        if not self._awaits_weights:
            self.weights_change()
        self._awaits_weights = False

    @classmethod
    def from_config(cls, config):
        segmenter = super().from_config(config)
        segmenter._awaits_weights = True
        return segmenter

    def rebuilt_with(self, **changes):
        """Return a segmenter of the same backbone, which shares all weights.

        Args:
            **changes: arguments of the class that are different; all others stay.

        Example:
            >>> rules = {"fundus": {"mask": {"min_area": 9}}}
            >>> segmenter.rebuilt_with(postprocessing=rules).postprocessing == rules
            True
        """
        kept = {name: getattr(self, name) for name in ("postprocessing", *FITTED)}
        return type(self)(self.backbone, self.preprocessor, **{**kept, **changes})

    def encode(self, images, modalities=None):
        """Compute image embeddings: the expensive pass. See `ESPMedSAMBackbone.encode`.

        Example:
            >>> images = segmenter.preprocessor({"images": np.zeros((1, 48, 80, 3), "uint8")})
            >>> embeddings = segmenter.encode(images["images"], np.array([3]))
            >>> tuple(embeddings.shape)
            (1, 4, 4, 32)

        Source: ESP-MedSAM (arXiv 2407.14153).
        """
        return self.backbone.encode(images, modalities)

    def decode(self, embeddings, modalities=None, all_queries=False):
        """Predict masks from embeddings: the cheap pass. See `ESPMedSAMBackbone.decode`.

        Example:
            >>> embeddings = segmenter.encode(np.zeros((1, 64, 64, 3), "float32"), np.array([3]))
            >>> tuple(segmenter.decode(embeddings, np.array([3]))["masks"].shape)
            (1, 64, 64, 1)

        Source: ESP-MedSAM (arXiv 2407.14153).
        """
        return self.backbone.decode(embeddings, modalities, all_queries)

    # === Training ===

    def prepare_batch(self, x, y=None, sample_weight=None, class_weight=None):
        """Check one raw batch's modalities and preprocess the batch.

        Args:
            x: dict of raw `images` and `modalities` (indices or names, or one for all), or only
                images for a model of one modality; see `fit`.
            y: raw masks, or a dict of them as `masks` and, with several targets, `labelled`
                `(batch, channels)` bool; or `None`. Masks of one channel show the first target of
                their modality, and the others are not labelled.
            sample_weight: `(batch,)`, or one per pixel: `(batch, height, width[, 1])` or a list
                of maps of the images' own sizes, or a dict of these as `masks`, or `None`.
            class_weight: dict of 0 (background) and 1 (foreground) to weights of their pixels,
                multiplied with `sample_weight`; or `None`.

        Returns:
            `x`, `(x, y)` or `(x, y, sample_weight)`, ready for the model.

        Raises:
            InputError: for missing or unknown modalities, and for masks or weights that do not
                fit.

        Example:
            >>> x = {"images": np.zeros((1, 48, 80, 3), "uint8"), "modalities": ["fundus"]}
            >>> segmenter.prepare_batch(x)["modalities"].tolist()
            [3]
        """
        x = named_inputs(x, self.raw_inputs)
        images = x["images"]
        if self.preprocessor is not None:
            check_batch(images)
        modalities = x.pop("modalities", None)
        if self.takes_modalities:
            if modalities is None:
                how = ': {"images": ..., "modalities": ...}'
                raise InputError(no_modality(self.modalities, how))
            (x["modalities"],) = host_call(
                lambda m, rows: self.modality_indices(m, len(rows)),
                (modalities, images),
                (("int32", (None,)),),
            )
        elif isinstance(modalities, str | list | tuple):
            # Indices may refer to a larger model that this one was made from.
            names = [modalities] if isinstance(modalities, str) else modalities
            named = [name for name in names if isinstance(name, str)]
            self.modality_indices(named, len(named))
        if y is not None and self.preprocessor is not None:
            y = self._raw_masks(y, x)
        if class_weight is not None and isinstance(sample_weight, dict):
            if sample_weight.get("patches") is not None and self.preprocessor is not None:
                raise InputError(
                    "Received class_weight together with a sample_weight of the patches, which "
                    "follow the classes of their pixels; give a sample_weight of the masks only."
                )
        prepared = self.preprocess_samples(x, y=y, sample_weight=sample_weight)
        if isinstance(y, dict) and self.preprocessor is not None:
            if self.backbone.self_prompt_targets == "union":
                prepared = self._with_patches_of_any_target(prepared)
        if class_weight is None or y is None:
            return prepared
        if self.target_set.num_channels > 1:
            raise InputError(
                "Received class_weight for a model with several targets per modality, which would "
                "weigh all of them alike; use a loss that weighs false negatives, such as "
                "TverskyLoss, or sample_weight."
            )
        x, y, sample_weight = batch_parts(prepared)
        return x, *self._weigh_classes(y, sample_weight, class_weight)

    def check_arrays(self, x, y):
        """Refuse masks that contradict the model's targets, by the number of the first image.

        Args:
            x: dict of `images` and, with several modalities, `modalities`: an entry per image.
            y: raw masks, or a dict of them as for `prepare_batch`; or `None`.

        Raises:
            InputError: see `prepare_batch`.
        """
        modalities = x.get("modalities")
        if y is None or (modalities is None and self.takes_modalities):
            return  # `prepare_batch` reports it.
        if self.takes_modalities:
            modalities = self.modality_indices(modalities, len(x["images"]))
            x = {**x, "modalities": modalities}
        self._raw_masks(y, x)

    def _raw_masks(self, y, x):
        """Return raw masks, or with several channels a dict of `masks` and `labelled`."""
        channels = self.target_set.num_channels
        if isinstance(y, dict):
            allowed = {"masks", "labelled"} if channels > 1 else {"masks"}
            if "masks" not in y or not set(y) <= allowed:
                more = ', "labelled": labelled' if channels > 1 else ""
                raise InputError(
                    f"Received targets as a dict of {', '.join(map(str, y)) or 'nothing'}; "
                    f'expected masks, or {{"masks": masks{more}}}. Patches follow from the masks.'
                )
        masks = y["masks"] if isinstance(y, dict) else y
        if channels == 1:
            return masks
        size = None if isinstance(masks, list | tuple) else getattr(masks, "shape", (None,))[-1]
        if size is not None and rank(masks) == 3:  # Without an axis of channels.
            size = 1
        if size not in (None, 1, channels):
            raise InputError(
                f"Received masks of shape {tuple(masks.shape)} for a model with {channels} "
                f"channels; expected (batch, height, width, {channels}), one for each target of "
                "a modality, or (batch, height, width, 1), the first target, or a list of such "
                "maps of the images' own sizes."
            )
        targets = self.target_set
        inputs = {
            "images": x["images"],
            # Only to check what is excluded or nested, and for the number of their channels.
            "masks": masks if targets.exclusive or targets.nested or size != channels else None,
            "modalities": x.get("modalities"),
            "given": y.get("labelled") if isinstance(y, dict) else None,
        }
        inputs = {name: value for name, value in inputs.items() if value is not None}

        def find(images, *others):
            return labelled_channels(targets, len(images), **dict(zip(names, others, strict=True)))

        _, *names = inputs
        (labelled,) = host_call(find, list(inputs.values()), (("bool", (None, channels)),))
        return {"masks": masks, "labelled": labelled}

    def _with_patches_of_any_target(self, prepared):
        """Join the patches of each channel to one map: whether any target is in a patch."""
        x, y, *weights = batch_parts(prepared)
        number = [len(self.target_set.of(modality)) for modality in self.modalities]
        modalities = x["modalities"] if self.takes_modalities else None
        shape = (*y["patches"].shape[:-1], 1)
        (patches,) = host_call(
            lambda patches, *rows: any_target(patches, np.array(number)[rows[0] if rows else [0]]),
            [one for one in (y["patches"], modalities) if one is not None],
            (("float32", shape),),
        )
        y = {**y, "patches": patches}
        return keras.utils.pack_x_y_sample_weight(x, y, weights[0] if weights else None)

    def metric_targets(self, x, y):
        """Return the targets that metrics see: hidden channels are unlabelled to them."""
        targets = self.target_set
        masks = y.get("masks") if isinstance(y, dict) else None
        if masks is None or not any(map(targets.hidden, targets.modalities)):
            return y
        counts = tuple(len(targets.of(modality)) for modality in targets.modalities)
        shown = device_constant(first_channels, counts, targets.num_channels, like=masks)
        if self.takes_modalities:
            rows = keras.ops.cast(keras.ops.reshape(x["modalities"], (-1,)), "int32")
            shown = keras.ops.take(shown, rows, axis=0)
        unlabelled = device_number(UNLABELLED, like=masks)
        return {**y, "masks": keras.ops.where(shown[:, None, None], masks, unlabelled)}

    def loss_scope(self, x):
        """Return a context in which losses and metrics of the masks know each sample's modality."""
        if self.target_set.num_channels > 1 and self.takes_modalities:
            return of_modalities(x["modalities"])
        return contextlib.nullcontext()

    def _weigh_classes(self, y, sample_weight, class_weight):
        by_class = weights_by_class(class_weight, 2, ("background", "foreground"))
        base = sample_weight
        if isinstance(sample_weight, dict):
            base = sample_weight["masks"]
        maps, grids = (("float32", tuple(y[name].shape)) for name in ("masks", "patches"))
        weights, patches, pooled = host_call(
            lambda masks, *base: weigh_classes(masks, by_class, *base),
            (y["masks"],) if base is None else (y["masks"], base),
            (maps, grids, grids),
        )
        return {**y, "patches": patches}, {"masks": weights, "patches": pooled}

    def compile(self, optimizer="auto", loss="auto", *, metrics="auto", **kwargs):
        """Configure training, by default with the paper's losses.

        Args:
            optimizer: `"auto"` (AdamW, 1e-4), a name or `keras.optimizers.Optimizer`. It is
                wrapped in `DecoupledOptimizer`, so that a modality or target absent from a batch is
                not updated.
            loss: `"auto"` or `"standard"` (`DiceFocalLoss` of the masks plus `PatchLoss` of the
                patches), `"published"`, anything else that `keras_espmedsam.losses.get` takes,
                such as `{"name": "FocalLoss", "gamma": 1.0}`, or anything that
                `keras.Model.compile` takes.
            metrics: `"auto"`: `DiceScore` (`TargetDice` for several targets) and `ForegroundIoU`
                of the masks, as weighted metrics (pixels or images with a `sample_weight` of 0 do
                not count), unless you pass `weighted_metrics`.
            **kwargs: see `keras.Model.compile`. On PyTorch, `jit_compile=True` is not supported.

        Example:
            >>> segmenter.compile(optimizer="sgd")
            >>> type(segmenter.optimizer).__name__
            'DecoupledOptimizer'

        Source: ESP-MedSAM (arXiv 2407.14153), the losses. Departs from the paper: the optimizer is
        wrapped.
        """
        check_jit_compile(kwargs.get("jit_compile"))
        if isinstance(optimizer, str) and optimizer == "auto":
            optimizer = keras.optimizers.AdamW(1e-4)
        optimizer = keras.optimizers.get(optimizer)
        current = getattr(self, "optimizer", None)
        if current is not None and optimizer is getattr(current, "optimizer", None):
            optimizer = current  # Compiled again with the same one, as Keras allows.
        if self.takes_modalities or self.target_set.num_channels > 1:
            optimizer = decoupled(optimizer)
        if isinstance(loss, str) or (isinstance(loss, dict) and "name" in loss):
            loss = self._losses_of_targets("standard" if loss == "auto" else loss)
        elif isinstance(loss, dict) and isinstance(loss.get("masks"), keras.losses.Loss):
            loss = {**loss, "masks": self._losses_of_targets(loss["masks"])["masks"]}
        if isinstance(metrics, str) and metrics == "auto":
            several = self.target_set.num_channels > 1
            dice = TargetDice(self.targets) if several else DiceScore()
            metrics = {"masks": [dice, ForegroundIoU()]}
            if kwargs.get("weighted_metrics") is None:
                metrics, kwargs["weighted_metrics"] = None, metrics
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    def _losses_of_targets(self, identifier):
        targets = self.target_set
        return losses.get(
            identifier, num_channels=targets.num_channels, groups=targets.group_numbers()
        )


def _check_image_sizes(converter, backbone):
    """Check the sizes of single modalities; a model of one size has none."""
    sizes = getattr(converter, "image_sizes", None) or {}
    for name in sizes:
        if name not in backbone.modalities:
            raise InputError(
                f"Received image_sizes of {name!r}{did_you_mean(name, backbone.modalities)} This "
                f"model's modalities are {', '.join(backbone.modalities)}."
            )
    if sizes and None not in tuple(backbone.input["images"].shape[1:3]):
        converter.image_sizes = {}


def _targets_of(backbone):
    """Return a backbone's `Targets`; one of another package may know nothing of targets."""
    targets = getattr(backbone, "target_set", None)
    return Targets.of_modalities(backbone.modalities) if targets is None else targets
