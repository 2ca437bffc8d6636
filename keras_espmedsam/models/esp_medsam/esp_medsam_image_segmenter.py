"""ESP-MedSAM as a task: raw images in, masks at their own size out."""

import keras

from keras_espmedsam import losses
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.from_preset import knows_builtin_presets
from keras_espmedsam.imaging.host_call import host_call
from keras_espmedsam.imaging.raw_batch import batch_parts, check_batch, named_inputs
from keras_espmedsam.inference.modalities import no_modality
from keras_espmedsam.metrics import DiceScore, ForegroundIoU
from keras_espmedsam.models.class_weights import weights_by_class
from keras_espmedsam.models.esp_medsam import modality_extension, specialization
from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import ESPMedSAMBackbone
from keras_espmedsam.models.esp_medsam.esp_medsam_image_segmenter_preprocessor import (
    ESPMedSAMImageSegmenterPreprocessor,
)
from keras_espmedsam.models.esp_medsam.pixel_weights import weigh_classes
from keras_espmedsam.models.jit_compilation import check_jit_compile
from keras_espmedsam.models.quantization import keeps_quantization, refuse_quantized
from keras_espmedsam.models.raw_training import trains_on_raw_images
from keras_espmedsam.models.tasks import ImageSegmenter
from keras_espmedsam.optimizers import decoupled


@knows_builtin_presets()
@trains_on_raw_images
@keeps_quantization
@keras.saving.register_keras_serializable(package="keras_espmedsam")
class ESPMedSAMImageSegmenter(ImageSegmenter):
    """Segment medical images of several modalities without prompts.

    Args:
        backbone: `ESPMedSAMBackbone`.
        preprocessor: `ESPMedSAMImageSegmenterPreprocessor`, or `None` to feed `fit`, `evaluate`
            and `predict` with normalised images and ready targets.

    Call: as the backbone, giving `masks` and `patches`. For images use `segment`.

    Example, a small untrained one (`from_preset` loads a trained one):
        >>> encoder = TinyViTBackbone(
        ...     hidden_dims=(16, 16, 32, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 2),
        ...     window_sizes=(4, 4, 4), neck_dim=32, num_modalities=6)
        >>> backbone = ESPMedSAMBackbone(encoder, transformer_num_heads=2, transformer_mlp_dim=64)
        >>> converter = ESPMedSAMImageConverter(image_size=(64, 64))
        >>> segmenter = ESPMedSAMImageSegmenter(
        ...     backbone, ESPMedSAMImageSegmenterPreprocessor(converter))

    The examples of the methods go on from here.

    Source: ESP-MedSAM (arXiv 2407.14153).
    """

    backbone_cls = ESPMedSAMBackbone
    preprocessor_cls = ESPMedSAMImageSegmenterPreprocessor

    def __init__(self, backbone, preprocessor=None, **kwargs):
        # === Layers ===
        self.backbone = backbone
        self.preprocessor = preprocessor

        # === Functional Model ===
        super().__init__(
            inputs=backbone.input,
            outputs={name: backbone.output[name] for name in ("masks", "patches")},
            **kwargs,
        )

    def encode(self, images, modalities=None):
        """The heavy pass; see `ESPMedSAMBackbone.encode`.

        Example:
            >>> images = segmenter.preprocessor({"images": np.zeros((1, 48, 80, 3), "uint8")})
            >>> embeddings = segmenter.encode(images["images"], np.array([3]))
            >>> tuple(embeddings.shape)
            (1, 4, 4, 32)

        Source: ESP-MedSAM (arXiv 2407.14153).
        """
        return self.backbone.encode(images, modalities)

    def decode(self, embeddings, modalities=None, all_queries=False):
        """The cheap pass; see `ESPMedSAMBackbone.decode`.

        Example:
            >>> embeddings = segmenter.encode(np.zeros((1, 64, 64, 3), "float32"), np.array([3]))
            >>> tuple(segmenter.decode(embeddings, np.array([3]))["masks"].shape)
            (1, 64, 64, 1)

        Source: ESP-MedSAM (arXiv 2407.14153).
        """
        return self.backbone.decode(embeddings, modalities, all_queries)

    def specialize(self, modality):
        """A model of one modality: its controller, all queries, and no `modalities` input.

        Args:
            modality: str or int. Name or index.

        Returns:
            `ESPMedSAMImageSegmenter` with weights of its own, whose masks for this modality equal
            this model's.

        Raises:
            InputError: for an unknown modality.

        Example:
            >>> fundus = segmenter.specialize("fundus")
            >>> fundus.modalities, fundus.count_params() < segmenter.count_params()
            (('fundus',), True)

        Source: ours; the released checkpoints hold one modality each.
        """
        (index,) = self.modality_indices(modality, 1)
        return specialization.specialize(self, int(index))

    def add_modality(self, name, init_from=None, freeze=True):
        """A model with one more modality: a controller and a query of its own, and copies of all.

        Only samples of the new modality see its query, so that training it, with all else frozen,
        leaves the masks of every other modality as they are. This model stays as it is too.

        Args:
            name: str. Letters, digits, `-` and `_`.
            init_from: str, int or None. The modality whose controller and query the new ones
                start from; `None` starts with a controller that changes nothing and a random
                query.
            freeze: bool. Call `train_only_modality` on the result, as it is to be trained.

        Returns:
            `ESPMedSAMImageSegmenter` with weights of its own; `name` is its last modality.

        Raises:
            InputError: for a name that is taken or cannot be one, an unknown `init_from`, or a
                quantised model.

        Example:
            >>> extended = segmenter.add_modality("fetal_ultrasound", init_from="ultrasound")
            >>> extended.modalities[6:], len(segmenter.modalities)
            (('fetal_ultrasound',), 6)

        Source: modality transfer: ESP-MedSAM (arXiv 2407.14153); the hidden query is ours.
        """
        refuse_quantized(self, "add_modality()", "add it there, and quantize the result")
        source = None if init_from is None else int(self.modality_indices(init_from, 1)[0])
        extended = modality_extension.extend(self, name, source)
        if freeze:
            extended.train_only_modality(name)
        return extended

    def train_only_modality(self, modality):
        """Freeze all but one modality's own weights, or nothing; call it before `compile`.

        Frozen are the encoder with its BatchNorm statistics, self-prompts, decoder and the other
        modalities; trained are the controller and, where the modality has them to itself, its
        query and hyper-network: an added modality has, the query of another is a row of a shared
        weight. Files do not keep this: call it again after loading.

        Args:
            modality: str, int or None. Name or index; `None` lets everything be trained again.

        Raises:
            InputError: for an unknown modality.

        Example:
            >>> segmenter.train_only_modality("fundus")
            >>> {variable.modality for variable in segmenter.trainable_variables}
            {3}
            >>> segmenter.train_only_modality(None)

        Source: ours; what a phase trains is ESP-MedSAM's (arXiv 2407.14153).
        """
        index = None if modality is None else int(self.modality_indices(modality, 1)[0])
        modality_extension.train_only(self.backbone, index)

    # === Training ===

    def prepare_batch(self, x, y=None, sample_weight=None, class_weight=None):
        """Check one raw batch's modalities and preprocess it.

        Args:
            x: dict of raw `images` and `modalities` (indices or names, or one for all), or images
                alone for a model of one modality; see `fit`.
            y: raw masks, or a dict of them as `masks`, or `None`.
            sample_weight: `(batch,)`, or one per pixel, `(batch, height, width[, 1])` or a list
                of maps of the images' own sizes, or a dict of these as `masks`, or `None`.
            class_weight: dict of 0 (background) and 1 (foreground) to the weights of the pixels
                that show them, multiplied with `sample_weight`; or `None`.

        Returns:
            `x`, `(x, y)` or `(x, y, sample_weight)`, ready for the model.

        Raises:
            InputError: for modalities that are missing or unknown, and masks or weights that do
                not fit.

        Example:
            >>> x = {"images": np.zeros((1, 48, 80, 3), "uint8"), "modalities": ["fundus"]}
            >>> segmenter.prepare_batch(x)["modalities"].tolist()
            [3]

        Source: ours.
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
            # Numbers may be those of a model of several, of which this one was made.
            names = [modalities] if isinstance(modalities, str) else modalities
            named = [name for name in names if isinstance(name, str)]
            self.modality_indices(named, len(named))
        if isinstance(y, dict) and self.preprocessor is not None:
            if set(y) != {"masks"}:
                raise InputError(
                    f"Received targets as a dict of {', '.join(map(str, y))}; expected masks "
                    'alone, or {"masks": ...}: the patches are derived from them.'
                )
            y = y["masks"]
        if class_weight is not None and isinstance(sample_weight, dict):
            if sample_weight.get("patches") is not None and self.preprocessor is not None:
                raise InputError(
                    "Received class_weight beside a sample_weight of the patches, which follow the "
                    "classes of their pixels; give a sample_weight of the masks alone."
                )
        prepared = self.preprocess_samples(x, y=y, sample_weight=sample_weight)
        if class_weight is None or y is None:
            return prepared
        x, y, sample_weight = batch_parts(prepared)
        return x, *self._weigh_classes(y, sample_weight, class_weight)

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
        """Configure training, with the paper's losses as default.

        Args:
            optimizer: `"auto"` (AdamW, 1e-4), a name or `keras.optimizers.Optimizer`. It is
                wrapped in `DecoupledOptimizer`, so that a modality absent from a batch is not
                updated.
            loss: `"auto"` or `"standard"` (`DiceFocalLoss` of the masks plus `PatchLoss` of the
                patches), `"published"`, what else `keras_espmedsam.losses.get` takes, such as
                `{"name": "FocalLoss", "gamma": 1.0}`, or what `keras.Model.compile` takes.
            metrics: `"auto"`: `DiceScore` and `ForegroundIoU` of the masks, as weighted metrics
                (a pixel or image of `sample_weight` 0 has no part in them) where
                `weighted_metrics` are not given.
            **kwargs: see `keras.Model.compile`. On PyTorch not `jit_compile=True`.

        Example:
            >>> segmenter.compile(optimizer="sgd")
            >>> type(segmenter.optimizer).__name__
            'DecoupledOptimizer'

        Source: losses: ESP-MedSAM (arXiv 2407.14153); the decoupled optimiser is ours.
        """
        check_jit_compile(kwargs.get("jit_compile"))
        if isinstance(optimizer, str) and optimizer == "auto":
            optimizer = keras.optimizers.AdamW(1e-4)
        optimizer = keras.optimizers.get(optimizer)
        current = getattr(self, "optimizer", None)
        if current is not None and optimizer is getattr(current, "optimizer", None):
            optimizer = current  # Compiled again with the same one, as Keras allows.
        if self.takes_modalities:
            optimizer = decoupled(optimizer)
        if isinstance(loss, str) or (isinstance(loss, dict) and "name" in loss):
            loss = losses.get("standard" if loss == "auto" else loss)
        if isinstance(metrics, str) and metrics == "auto":
            metrics = {"masks": [DiceScore(), ForegroundIoU()]}
            if kwargs.get("weighted_metrics") is None:
                metrics, kwargs["weighted_metrics"] = None, metrics
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)
