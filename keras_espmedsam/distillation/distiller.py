"""Multi-Modal Decoupled Knowledge Distillation as a Keras model with its own `train_step`."""

import contextlib
import inspect

import keras
from keras import ops

from keras_espmedsam.distillation.given_teachers import (
    by_modality,
    common_by_name,
    features_asked,
    terms_by_teacher,
    terms_of,
)
from keras_espmedsam.distillation.label_losses import losses_of_labels
from keras_espmedsam.distillation.mask_loss import MASKS, MaskLoss
from keras_espmedsam.distillation.matched_targets import match_targets
from keras_espmedsam.distillation.metric_names import metric_name, metric_names
from keras_espmedsam.distillation.phases import named_student_phase
from keras_espmedsam.distillation.projections import make_projections
from keras_espmedsam.distillation.saved_distiller import distiller_arguments, distiller_config
from keras_espmedsam.distillation.steps import Steps
from keras_espmedsam.distillation.teacher_checks import check_modalities, check_teachers
from keras_espmedsam.distillation.teacher_targets import (
    check_targets,
    domain_targets,
    on_grid,
    part_of,
    teachers_images,
)
from keras_espmedsam.losses.per_target_loss import of_modalities
from keras_espmedsam.models.compile_notice import compile_notices
from keras_espmedsam.models.feature_specs import feature_specs
from keras_espmedsam.models.image_encoder import as_image_encoder, image_encoder_of
from keras_espmedsam.models.jit_compilation import check_jit_compile
from keras_espmedsam.optimizers import decoupled, replicas


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
    student expects. With `teacher_images`, such as the same images in a higher resolution, the
    teachers see these. A part may hold `targets`, `{teacher: {feature: array}}` with the key
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
        check_teachers(
            phase,
            self._kind,
            self.common_teachers,
            self.domain_teachers,
            as_image_encoder(encoder).num_modalities,
        )
        self.losses_by_teacher = terms_by_teacher(
            losses, self.common_teachers, self.domain_teachers
        )
        domain_terms = self.losses_by_teacher["domain"].get("domain", ())
        check_modalities(self.domain_teachers, self.modalities, domain_terms)
        targets = getattr(backbone, "target_set", None)
        self._groups = () if targets is None else targets.group_numbers()
        channels = 1 if targets is None else targets.num_channels
        self.label_losses = losses_of_labels(label_losses, channels, self._groups)
        mask_terms = [term for term in domain_terms if isinstance(term, MaskLoss)]
        self.matched_targets = None
        if mask_terms:
            self.matched_targets = match_targets(student, self.modalities, self.domain_teachers)
        # By the term's name; the terms themselves do not know the student's groups.
        self._mask_losses = {term.name: term.of_targets(self._groups) for term in mask_terms}
        self.projections = make_projections(
            feature_specs(encoder, self._features_of),
            {stream: self.losses_by_teacher[stream] for stream in self.streams},
            self.common_teachers,
            self.domain_teachers,
        )
        names = metric_names(
            self.losses_by_teacher, self.streams, self.label_losses if self._kind.labels else ()
        )
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.trackers = {name: keras.metrics.Mean(name=name) for name in names}
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
            part = part_of(x, stream, self.streams, self.phase)
            if part.get("targets"):
                check_targets(part["targets"], self.losses_by_teacher[stream], stream)
                targets[stream] = part["targets"]
            elif stream == "common":
                images = teachers_images(part)
                targets[stream] = {
                    name: teacher(images) for name, teacher in self.common_teachers.items()
                }
            elif self.domain_teachers:
                teachers = list(self.domain_teachers.values())
                targets[stream] = {"domain": domain_targets(teachers, self.modalities, part)}
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
        part = part_of(x, stream, self.streams, self.phase)
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
                else:
                    feature = features[term.student]
                    projection = self.projections.get(f"{stream}/{teacher}/{term.name}")
                    if projection is not None:
                        feature = projection(feature)
                    loss = term(on_grid(found[term.teacher], feature), feature)
                self._track(metric_name(self.losses_by_teacher, stream, teacher, term), loss)
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
            part = part_of(x, stream, self.streams, self.phase)
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
        truth = on_grid(self.matched_targets(given, modalities), masks)
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

    def _track(self, name, loss):
        # Under a TensorFlow strategy, Keras passes one replica's share of the mean.
        self.trackers[name].update_state(ops.stop_gradient(loss) * replicas.count())

    def _features_of(self, images, modalities):
        return self._features(images, modalities, True, training=False)

    def get_config(self):
        return {**super().get_config(), **distiller_config(self)}

    @classmethod
    def from_config(cls, config):
        return cls(**distiller_arguments(config))
