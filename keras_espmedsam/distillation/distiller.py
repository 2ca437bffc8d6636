"""Multi-Modal Decoupled Knowledge Distillation as a Keras model with its own `train_step`."""

import contextlib
import inspect

import keras
import numpy as np
from keras import ops

from keras_espmedsam.distillation.given_teachers import (
    by_modality,
    common_by_name,
    features_asked,
    terms_of,
)
from keras_espmedsam.distillation.mask_loss import MASKS, MaskLoss
from keras_espmedsam.distillation.matched_targets import MatchedTargets
from keras_espmedsam.distillation.phases import named_student_phase
from keras_espmedsam.distillation.steps import Steps
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.other_packages import deserialize_with_others
from keras_espmedsam.losses import DiceFocalLoss, PatchLoss
from keras_espmedsam.losses.per_target_loss import of_modalities
from keras_espmedsam.losses.segmentation_losses import get as segmentation_losses
from keras_espmedsam.models.compile_notice import compile_notices
from keras_espmedsam.models.feature_specs import feature_specs
from keras_espmedsam.models.image_encoder import as_image_encoder, image_encoder_of
from keras_espmedsam.models.jit_compilation import check_jit_compile
from keras_espmedsam.ops.device_constant import device_constant, device_number
from keras_espmedsam.optimizers import decoupled, replicas
from keras_espmedsam.registries import image_encoders
from keras_espmedsam.registries import losses as mask_losses


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class DecoupledDistiller(Steps, keras.Model):
    """Teach a light segmenter what larger models know, common and domain knowledge separately.

    Each phase trains some of the student's weights; all others stay the same, bit for bit:

    - `"common"`: images of any kind, without controllers, train the shared encoder.
    - `"controllers"`: images of modality k train controller k. The shared encoder is frozen with
      its BatchNorm statistics.
    - `"both"`: the two at once, each image on its own part.
    - `"joint"`: everything trainable in the student learns from labels and, if there are teachers
      of the domain, from their features.

    Weights that you freeze (`trainable = False`) stay frozen in every phase.

    With a `MaskLoss` among the losses, the student's masks learn from those of the teachers of the
    domain, target by target. A target that is neither labelled nor taught in a batch learns
    nothing from it; its own weights stay the same, bit for bit.

    Args:
        student: `ESPMedSAMImageSegmenter`, `ESPMedSAMBackbone` or its image encoder alone.
        common_teachers: `Teacher` (or a model that it takes), a list of them, or a dict by name.
        domain_teachers: `Teacher` (or such a model) for all modalities, or a dict of modality to
            its own. Each of several teachers runs on the whole batch, which a cache avoids.
        phase: `"common"`, `"controllers"`, `"both"`, `"joint"`, or the name of another
            `StudentPhase` of `keras_espmedsam.registries.distillation_phases`.
        losses: `FeatureLoss` or `MaskLoss`, list of them, or dict of teacher to list; in a dict,
            `"domain"` are the terms of the teachers of the domain. `None` is the MSE of the
            embeddings. Common teachers have no masks, and leave out a `MaskLoss` of a list.
        label_losses: dict of `keras.losses.Loss` for `masks` and `patches` in the joint phase;
            `None` is the segmenter's own. `label_weight` scales them. If the student has several
            targets, that of the masks is computed for each labelled one; see `PerTargetLoss`.
        label_weight: float. Factor of the label losses.

    Data: `x`, a dict of `common` (`{"images": (n, height, width, 3)}`) and `domain` (`{"images":
    ..., "modalities": (m,) int}`), or the one that the phase needs; images are normalised as the
    student expects. A part may hold `targets`, `{teacher: {feature: array}}` with the key
    `"domain"` for all teachers of the domain; these teachers then do not run. `y`, in the joint
    phase: `{"masks": (m, height, width, channels), "patches": (m, height / 32, width / 32, 1)}`,
    -1 in whole masks that are not labelled.

    Metrics: `loss`, and one per term: `common_embedding_mse` (with several common teachers
    `common_sam_embedding_mse`), `domain_embedding_mse`, `label_masks`, `label_patches`.

    Raises:
        InputError: for a phase that lacks a teacher, a feature that the student lacks, or a batch
            without what the phase needs.

    Example:
        >>> def small(**kwargs):
        ...     return TinyViTBackbone(
        ...         hidden_dims=(8, 8, 16, 16), depths=(1, 1, 1, 1), num_heads=(1, 2, 2),
        ...         window_sizes=(4, 4, 4), neck_dim=16, **kwargs)
        >>> student = small(num_modalities=6)
        >>> distiller = kem.distillation.DecoupledDistiller(
        ...     student, domain_teachers=small(), phase="controllers")
        >>> distiller.compile()
        >>> x = {"images": np.zeros((1, 32, 32, 3), "float32"), "modalities": np.array([3])}
        >>> sorted(distiller.fit({"domain": x}, verbose=0).history)
        ['domain_embedding_mse', 'loss']

    Source: ESP-MedSAM (arXiv 2407.14153), section 3. Departs from the paper: the phases `"both"`
    and `"joint"`, and losses other than the MSE of the embeddings, are additions.
    """

    def __init__(
        self,
        student,
        common_teachers=None,
        domain_teachers=None,
        phase="controllers",
        losses=None,
        label_losses=None,
        label_weight=1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._kind = named_student_phase(phase)
        self.student = student
        self.phase = phase
        self.streams = self._kind.streams
        self.label_weight = float(label_weight)
        backbone = getattr(student, "backbone", student)
        # Wrapped in functions: otherwise Keras would track and save the same weights twice.
        self._backbone = lambda: backbone
        encoder = image_encoder_of(student)
        self._encoder = lambda: encoder
        self.common_teachers = common_by_name(common_teachers)
        self.domain_teachers = by_modality(
            domain_teachers, self.modalities, features_asked(terms_of(losses, "domain"))
        )
        self._check_teachers()
        self.losses_by_teacher = self._sorted_losses(losses)
        self._check_modalities()
        targets = getattr(backbone, "target_set", None)
        self._groups = targets.group_numbers() if targets is not None and targets.exclusive else ()
        label_losses = label_losses or {"masks": DiceFocalLoss(), "patches": PatchLoss()}
        if targets is not None and targets.num_channels > 1 and MASKS in label_losses:
            of_targets = segmentation_losses(
                label_losses[MASKS], targets.num_channels, self._groups
            )
            label_losses = {**label_losses, MASKS: of_targets[MASKS]}
        self.label_losses = label_losses
        self.matched_targets = self._match_targets()
        # By the term's name; the terms themselves do not know the student's groups.
        self._mask_losses = {
            term.name: term.of_targets(self._groups)
            for term in self.losses_by_teacher["domain"].get("domain", ())
            if isinstance(term, MaskLoss)
        }
        self.projections = self._make_projections()
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.trackers = {name: keras.metrics.Mean(name=name) for name in self._metric_names()}
        self.built = True

    # === What is trained ===

    @property
    def modalities(self):
        """Tuple of the student's modalities: names, or indices for a bare encoder."""
        named = getattr(self._backbone(), "modalities", None)
        if named is not None:
            return tuple(named)
        return tuple(range(as_image_encoder(self._encoder()).num_modalities))

    def stream_variables(self, stream):
        """Return the variables that a stream, `"common"` or `"domain"`, trains.

        Example, with the class's `distiller`:
            >>> len(distiller.stream_variables("domain")) == 6 * 3 * 8
            True

        Source: ESP-MedSAM (arXiv 2407.14153).
        """
        variables = list(self._kind.variables(self._backbone(), self._encoder(), stream))
        for key, projection in self.projections.items():
            if key.startswith(f"{stream}/"):
                variables += projection.trainable_variables
        return variables

    @property
    def trainable_variables(self):
        return [variable for stream in self.streams for variable in self.stream_variables(stream)]

    @property
    def non_trainable_variables(self):
        trained = {id(variable) for variable in self.trainable_variables}
        return [variable for variable in self.variables if id(variable) not in trained]

    trainable_weights = trainable_variables
    non_trainable_weights = non_trainable_variables

    def checkpoint_variables(self):
        """Variables needed to resume: the student, the projections and the optimizer's state.

        The teachers, which never change, are not included.
        """
        teachers = [*self.common_teachers.values(), *self.domain_teachers.values()]
        frozen = {id(variable) for teacher in teachers for variable in teacher.variables}
        own = [variable for variable in self.variables if id(variable) not in frozen]
        return own + (list(self.optimizer.variables) if self.optimizer is not None else [])

    # === Losses ===

    def teacher_targets(self, x):
        """Return targets of all streams: those in the batch, or the teachers' features.

        Args:
            x: dict of the streams' parts, as in `fit`.

        Returns:
            dict of stream to `{teacher: {feature: tensor}}`; the teachers of the domain are one.
        """
        targets = {}
        for stream in self.streams:
            part = self._part(x, stream)
            if part.get("targets"):
                targets[stream] = self._checked_targets(part["targets"], stream)
            elif stream == "common":
                targets[stream] = {
                    name: teacher(part["images"]) for name, teacher in self.common_teachers.items()
                }
            elif self.domain_teachers:
                targets[stream] = {"domain": self._domain_targets(part)}
            else:
                targets[stream] = {}
        return targets

    def stream_loss(self, stream, x, y, targets, training):
        """Return the loss of one stream, a scalar, and update its terms' metrics.

        Args:
            stream: `"common"` or `"domain"`.
            x, y: a batch, as in `fit`.
            targets: result of `teacher_targets`.
            training: bool.
        """
        part = self._part(x, stream)
        modalities = part.get("modalities")
        features = self._features(
            part["images"],
            modalities,
            stream == "domain",
            # The shared encoder's BatchNorm is frozen while controllers are trained.
            training=training and stream in self._kind.batch_statistics,
        )
        outputs = None
        if self._decodes(stream, y):
            backbone = self._backbone()
            embeddings = backbone.with_details(features["embedding"], part["images"])
            outputs = backbone.decode(embeddings, modalities)
        total = 0.0
        for teacher, found in targets[stream].items():
            for term in self.losses_by_teacher[stream][teacher]:
                if isinstance(term, MaskLoss):
                    loss = self._mask_loss(term, found[MASKS], outputs[MASKS], modalities)
                    self._track(self._metric_name(stream, teacher, term), loss)
                    total = total + loss
                    continue
                feature = features[term.student]
                projection = self.projections.get(f"{stream}/{teacher}/{term.name}")
                if projection is not None:
                    feature = projection(feature)
                loss = term(_on_grid(found[term.teacher], feature), feature)
                self._track(self._metric_name(stream, teacher, term), loss)
                total = total + loss
        if self._kind.labels and y is not None:
            for name, label_loss in self.label_losses.items():
                with self._loss_scope(modalities):
                    loss = self.label_weight * label_loss(y[name], outputs[name])
                self._track(f"label_{name}", loss)
                total = total + loss
        return total

    def update_test_losses(self, x, y):
        """Update the metrics with all losses of one batch in inference mode."""
        targets = self.teacher_targets(x)
        total = 0.0
        for stream in self.streams:
            total = total + self.stream_loss(stream, x, y, targets, training=False)
        self.loss_tracker.update_state(total * replicas.count())

    @property
    def metrics(self):
        return [self.loss_tracker, *self.trackers.values()]

    def call(self, x, training=False):
        """Return the student's embedding of each part of a batch, in inference mode."""
        embeddings = {}
        for stream in self.streams:
            part = self._part(x, stream)
            features = self._features(
                part["images"], part.get("modalities"), stream == "domain", training=False
            )
            embeddings[stream] = features["embedding"]
        return embeddings

    def compile(self, optimizer="auto", **kwargs):
        """Configure training; see `keras.Model.compile`. The losses are set in the constructor.

        Args:
            optimizer: `"auto"` (Adam at the published rate of the phase), a name or a
                `keras.optimizers.Optimizer`; wrapped in `DecoupledOptimizer`, so that each
                controller has its own state.
            **kwargs: such as `run_eagerly` or, except on PyTorch, `jit_compile`.

        Example, with the class's `distiller`:
            >>> distiller.compile(keras.optimizers.AdamW(1e-3, weight_decay=0.05))
            >>> type(distiller.optimizer).__name__
            'DecoupledOptimizer'

        Source: ESP-MedSAM (arXiv 2407.14153) and its authors' sibling projects, the rates.
        """
        check_jit_compile(kwargs.get("jit_compile"))
        if isinstance(optimizer, str) and optimizer == "auto":
            optimizer = keras.optimizers.Adam(self._kind.learning_rate)
        super().compile(optimizer=decoupled(keras.optimizers.get(optimizer)), **kwargs)

    def fit(self, *args, **kwargs):
        """Distil; see `keras.Model.fit`."""
        given = inspect.signature(super().fit).bind(*args, **kwargs).arguments
        with compile_notices(self, given) as arguments:
            return super().fit(**arguments)

    # === Inside ===

    def _decodes(self, stream, y):
        """Whether a stream's losses need the student's masks."""
        labels = self._kind.labels and y is not None
        return labels or (stream == "domain" and bool(self._mask_losses))

    def _mask_loss(self, term, given, masks, modalities):
        """Return the loss of the student's masks, from those of its teacher, in their channels."""
        truth = _on_grid(self.matched_targets(given, modalities), masks)
        with self._loss_scope(modalities):
            return term.weight * self._mask_losses[term.name](truth, masks)

    def _loss_scope(self, modalities):
        """Return a context in which losses of exclusive groups know each image's modality."""
        if self._groups and modalities is not None:
            return of_modalities(modalities)
        return contextlib.nullcontext()

    def _features(self, images, modalities, controllers, training):
        encoder = as_image_encoder(self._encoder())
        if encoder.num_modalities < 2:
            modalities = None
        return encoder.features(images, modalities, controllers=controllers, training=training)

    def _checked_targets(self, targets, stream):
        expected = self.losses_by_teacher[stream]
        if set(targets) != set(expected):
            raise InputError(
                f"Received targets of {', '.join(targets)} for the {stream} images; expected "
                f"those of {', '.join(expected) or 'no teacher'}."
            )
        for teacher, terms in expected.items():
            missing = {term.teacher for term in terms} - set(targets[teacher])
            if missing:
                raise InputError(
                    f"The targets of {teacher} for the {stream} images lack "
                    f"{', '.join(sorted(missing))}; they hold {', '.join(targets[teacher])}."
                )
        return targets

    def _domain_targets(self, part):
        teachers = list(self.domain_teachers.values())
        modalities = part.get("modalities")
        found = [
            teacher(part["images"], self._indices_of(teacher, part["images"], modalities))
            for teacher in teachers
        ]
        if len(teachers) == 1:
            return found[0]
        if MASKS in found[0]:
            width = max(one[MASKS].shape[-1] for one in found)
            found = [{**one, MASKS: _widened(one[MASKS], width)} for one in found]
        numbers = [device_number(k, like=modalities) for k in range(len(found))]
        own = [ops.reshape(ops.equal(modalities, k), (-1, 1, 1, 1)) for k in numbers]
        targets = {}
        for name in found[0]:
            nothing = device_number(0, like=found[0][name])
            values = [ops.where(mask, f[name], nothing) for mask, f in zip(own, found, strict=True)]
            targets[name] = sum(values[1:], values[0])
        return targets

    def _indices_of(self, teacher, images, modalities):
        """Return the modalities of images as a teacher numbers them."""
        own = tuple(max(index, 0) for index in teacher.indices_of(self.modalities))
        if not teacher.takes_modalities or own == tuple(range(len(own))) != (0,):
            return modalities
        if modalities is None:  # The student has one; of a teacher without names it is not known.
            if teacher.modalities is None or isinstance(self.modalities[0], int):
                return None
            return ops.full((ops.shape(images)[0],), own[0], dtype="int32")
        modalities = ops.convert_to_tensor(modalities)
        return ops.take(device_constant(_as_int32, own, like=modalities), modalities)

    def _part(self, x, stream):
        if not isinstance(x, dict) or stream not in x:
            received = ", ".join(x) if isinstance(x, dict) else type(x).__name__
            raise InputError(
                f"The phase {self.phase!r} received a batch of {received}; expected a dict with "
                f"{' and '.join(self.streams)}."
            )
        return x[stream]

    def _track(self, name, loss):
        # Under a TensorFlow strategy, Keras passes one replica's share of the mean.
        self.trackers[name].update_state(ops.stop_gradient(loss) * replicas.count())

    def _check_teachers(self):
        if "common" in self.streams and not self.common_teachers:
            raise InputError(f"The phase {self.phase!r} needs common_teachers; received none.")
        if "medical_teacher" in self._kind.needs and not self.domain_teachers:
            raise InputError(f"The phase {self.phase!r} needs domain_teachers; received none.")
        held = as_image_encoder(self._encoder()).num_modalities
        if self._kind.trains_controllers and not held:
            raise InputError(
                f"The phase {self.phase!r} received a student without modality controllers; build "
                "its image encoder with num_modalities."
            )

    def _check_modalities(self):
        """Raise if a teacher with controllers is to give embeddings of modalities it lacks."""
        terms = self.losses_by_teacher["domain"].get("domain", ())
        if all(isinstance(term, MaskLoss) for term in terms):
            return
        for key, teacher in self.domain_teachers.items():
            wanted = self.modalities if key == "domain" else (key,)
            indices = zip(wanted, teacher.indices_of(wanted), strict=True)
            missing = [str(name) for name, index in indices if index < 0]
            if missing and teacher.num_modalities > 1:
                raise InputError(
                    f"The teacher {teacher.name!r} has controllers of "
                    f"{', '.join(map(str, teacher.modalities))}, and the student also has "
                    f"{', '.join(missing)}, whose embeddings it cannot teach; give a dict with a "
                    "teacher for each modality, or a MaskLoss alone."
                )

    def _match_targets(self):
        """Return the `MatchedTargets` of student and teachers, or `None` without a `MaskLoss`."""
        terms = self.losses_by_teacher["domain"].get("domain", ())
        if not any(isinstance(term, MaskLoss) for term in terms):
            return None
        student = getattr(self._backbone(), "target_set", None)
        if student is None:
            raise InputError(
                f"Received a MaskLoss for a student of type {type(self.student).__name__}, which "
                "has no masks; expected an ESPMedSAMImageSegmenter or ESPMedSAMBackbone."
            )
        for teacher in self.domain_teachers.values():
            if not teacher.decodes:
                raise InputError(
                    f"The teacher {teacher.name!r} gives no masks; build it as Teacher(segmenter, "
                    f"features={(*teacher.features, MASKS)})."
                )
        one = self.domain_teachers.get("domain")
        return MatchedTargets(
            student,
            {name: (one or self.domain_teachers[name]).target_set for name in self.modalities},
        )

    def _sorted_losses(self, losses):
        """dict of stream to dict of teacher to its list of terms."""

        def of(teacher):
            terms = terms_of(losses, teacher)
            if teacher == "domain" or not any(isinstance(term, MaskLoss) for term in terms):
                return terms
            kept = [term for term in terms if not isinstance(term, MaskLoss)]
            if isinstance(losses, dict) or not kept:
                raise InputError(
                    f"Received a MaskLoss for the common teacher {teacher!r}, which has no masks; "
                    "give it a FeatureLoss, and a MaskLoss to teachers of the domain alone."
                )
            return kept

        names = {*self.common_teachers, "domain"}
        if isinstance(losses, dict) and set(losses) - names:
            raise InputError(
                f"Received losses for {', '.join(sorted(set(losses) - names))}; the teachers are "
                f"{', '.join(sorted(names))}."
            )
        return {
            "common": {name: of(name) for name in self.common_teachers},
            "domain": {"domain": of("domain")} if self.domain_teachers else {},
        }

    def _make_projections(self):
        """Make a 1 x 1 convolution for every term whose widths differ."""
        projections = {}
        student = feature_specs(self._encoder(), self._features_of)
        for stream in self.streams:
            for teacher, terms in self.losses_by_teacher[stream].items():
                first = (
                    self.common_teachers[teacher]
                    if stream == "common"
                    else next(iter(self.domain_teachers.values()))
                )
                given = feature_specs(first.model, first)
                for term in terms:
                    if isinstance(term, MaskLoss):
                        continue
                    if term.student not in student:
                        raise InputError(
                            f"The student has no feature {term.student!r}; it has "
                            f"{', '.join(student)}."
                        )
                    if term.teacher not in given:
                        raise InputError(
                            f"The teacher {first.name!r} gives no feature {term.teacher!r}; build "
                            f"it as Teacher(model, features={(*given, term.teacher)})."
                        )
                    width, wanted = student[term.student].shape[-1], given[term.teacher].shape[-1]
                    if width != wanted:
                        projection = keras.layers.Conv2D(
                            wanted, 1, name=f"{stream}_{teacher}_{term.name}_projection"
                        )
                        projection.build((None, None, None, width))
                        projections[f"{stream}/{teacher}/{term.name}"] = projection
        return projections

    def _features_of(self, images, modalities):
        return self._features(images, modalities, True, training=False)

    def _metric_name(self, stream, teacher, term):
        several = stream == "common" and len(self.common_teachers) > 1
        return f"common_{teacher}_{term.name}" if several else f"{stream}_{term.name}"

    def _metric_names(self):
        names = [
            self._metric_name(stream, teacher, term)
            for stream in self.streams
            for teacher, terms in self.losses_by_teacher[stream].items()
            for term in terms
        ]
        if self._kind.labels:
            names += [f"label_{name}" for name in self.label_losses]
        if len(set(names)) < len(names):
            raise InputError(
                f"Received terms of one name: {', '.join(names)}; give each FeatureLoss a name of "
                "its own."
            )
        return names

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "student": serialize(self.student),
            "common_teachers": serialize(dict(self.common_teachers)),
            "domain_teachers": serialize(dict(self.domain_teachers)),
            "phase": self.phase,
            "losses": {
                teacher: [serialize(term) for term in terms]
                for stream in self.losses_by_teacher.values()
                for teacher, terms in stream.items()
            },
            "label_losses": serialize(dict(self.label_losses)),
            "label_weight": self.label_weight,
        }

    @classmethod
    def from_config(cls, config):
        deserialize = keras.saving.deserialize_keras_object
        config = dict(config)
        for key in ("student", "common_teachers", "domain_teachers"):
            config[key] = deserialize_with_others(config[key], image_encoders)
        config["label_losses"] = deserialize_with_others(config["label_losses"], mask_losses)
        config["losses"] = {
            teacher: [deserialize(term) for term in terms]
            for teacher, terms in config["losses"].items()
        }
        return cls(**config)


def _widened(masks, width):
    """Fill masks up with channels that are unknown."""
    fill = width - masks.shape[-1]
    if not fill:
        return masks
    nothing = ops.full_like(masks[..., :1], float("-inf"))
    return ops.concatenate([masks, *[nothing] * fill], axis=-1)


def _as_int32(numbers):
    return np.array(numbers, "int32")


def _on_grid(target, feature):
    """Return the target on the grid of the student's feature, as float32."""
    target = ops.cast(target, "float32")
    size, own = tuple(feature.shape[1:3]), tuple(target.shape[1:3])
    if size == own or None in (*size, *own):
        return target
    if own[0] % size[0] == 0 and own[1] % size[1] == 0:
        pool = (own[0] // size[0], own[1] // size[1])
        return ops.average_pool(target, pool, pool, data_format="channels_last")
    return ops.image.resize(target, size, interpolation="bilinear", data_format="channels_last")
