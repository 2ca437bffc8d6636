"""`fit`, `evaluate` and `predict` of a task on raw images from any kind of source."""

import functools

import keras

from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.other_packages import deserialize_with_others
from keras_espmedsam.imaging.host_call import as_tuple, plain_refusals
from keras_espmedsam.imaging.raw_batch import array_rows
from keras_espmedsam.models.batch_prediction import compiled_alone
from keras_espmedsam.models.compile_notice import compile_notices
from keras_espmedsam.models.jit_compilation import loaded_jit_compile
from keras_espmedsam.models.metrics_before_trace import (
    made_before_trace,
    optimizer_made_before_trace,
)
from keras_espmedsam.models.progress_bar import with_progress_bar
from keras_espmedsam.models.training_data import one_batch_at_once, preprocessed
from keras_espmedsam.models.weight_rollback import kept_weights
from keras_espmedsam.registries import losses


def trains_on_raw_images(decorated):
    """Class decorator: makes a keras-hub task train on raw images from any kind of source.

    A decorator, not a base class, since keras-hub writes the name of a task's first base class
    into the presets that it saves.

    Args:
        decorated: keras-hub `Task` with `prepare_batch(x, y=None, sample_weight=None,
            class_weight=None)`, which checks one raw batch and returns inputs of the model, and
            `raw_inputs`, the names of a raw batch's parts; `loss_scope(x)`, a context in which
            the loss and the metrics are computed; `trained_outputs(outputs)`, the outputs that
            they see; `metric_targets(x, y)`, what metrics compare with these;
            `check_arrays(x, y)`, which checks the rows of all images before the first batch; and
            `training_begins()`, called before training. It overrides `compile`.

    Example:
        >>> kem.models.TiCImageClassifier.fit is kem.models.ESPMedSAMImageSegmenter.fit
        True
    """
    for name, method in vars(_RawTraining).items():
        if not name.startswith("__"):
            setattr(decorated, name, method)
    return decorated


class _RawTraining:
    """The methods. They call `keras.Model` directly, since keras-hub's would preprocess again.

    Example:
        >>> backbone = TiCBackbone(
        ...     hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 1), kernel_size=3)
        >>> preprocessor = TiCImageClassifierPreprocessor(TiCImageConverter(image_size=(16, 16)))
        >>> task = TiCImageClassifier(
        ...     backbone, class_names=("fundus", "xray"), preprocessor=preprocessor)
        >>> images = np.zeros((2, 20, 30, 3), "uint8")
    """

    def preprocess_samples(self, x, y=None, sample_weight=None):
        """Convert raw samples to inputs and targets; without a preprocessor, return them as is."""
        if self.preprocessor is None:
            return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        # `call`, since Keras appends all pixels to the message of an error raised in `__call__`.
        return self.preprocessor.call(x, y=y, sample_weight=sample_weight)

    def make_train_function(self, force=False):
        """As Keras', but rebuilt when `enable_lora` or `quantize` has replaced weights."""
        _mark_new(self, self.train_function)
        optimizer_made_before_trace(self)
        return keras.Model.make_train_function(self, force or _has_other_weights(self))

    def make_test_function(self, force=False):
        """As `make_train_function`."""
        _mark_new(self, self.test_function)
        return keras.Model.make_test_function(self, force or _has_other_weights(self))

    def make_predict_function(self, force=False):
        """As `make_train_function`."""
        return keras.Model.make_predict_function(self, force or _has_other_weights(self))

    # With the actual arguments: a subclass may compute its loss from other targets.
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """As Keras', in the task's `loss_scope`; on TensorFlow losses get their variables first."""
        y_pred = self.trained_outputs(y_pred)
        compute = functools.partial(
            keras.Model.compute_loss, self, x, y, y_pred, sample_weight, training
        )
        with self.loss_scope(x):
            # The others trace a step only once anyway.
            if keras.backend.backend() == "tensorflow" and _is_first(self, "loss"):
                made_before_trace(compute)
            return compute()

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """As Keras', in the `loss_scope`, of `metric_targets`.

        On TensorFlow the first call creates their variables.
        """
        y, y_pred = self.metric_targets(x, y), self.trained_outputs(y_pred)
        compute = functools.partial(keras.Model.compute_metrics, self, x, y, y_pred, sample_weight)
        with self.loss_scope(x):
            if keras.backend.backend() == "tensorflow" and _is_first(self, "metrics"):
                made_before_trace(compute)
            return compute()

    if keras.backend.backend() == "torch":  # The others run their traced functions.

        def predict_step(self, data):
            """As Keras'; for a shape seen before, PyTorch replays the recorded operations."""
            from keras_espmedsam.models.torch_capture import CapturedInference

            x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
            if self.run_eagerly:
                return self(x, training=False)
            if not hasattr(self, "_captured_inference"):
                self._captured_inference = CapturedInference()
            return self._captured_inference(self, x)

    def compile_from_config(self, config):
        """Compile as saved; Keras leaves this to classes that override `compile`."""
        options = deserialize_with_others(config, losses, "load with compile=False")
        self.compile(**loaded_jit_compile(options))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def fit(
        self,
        x=None,
        y=None,
        *,
        batch_size=None,
        validation_split=0.0,
        validation_data=None,
        validation_batch_size=None,
        sample_weight=None,
        class_weight=None,
        shuffle=True,
        **kwargs,
    ):
        """Train on raw images and targets; see `keras.Model.fit` for all other arguments.

        Args:
            x: raw images, or, if the model has several modalities, a dict of `images` and
                `modalities` (a name or index for all, or a list, array or tensor of them). Images
                are one array or tensor `(batch, height, width, channels)`, or a list, tuple or
                object array of images of any sizes, as `segment` takes them; one image is a batch
                of one. Or a source of batches `(x, y)` or `(x, y, sample_weight)` of them:
                tf.data, grain, `keras.utils.PyDataset`, torch `DataLoader` or a Python generator.
            y: if `x` is images: for a segmenter raw masks, `(batch, height, width)`,
                `(batch, height, width, 1)` or a list of them of the images' own sizes; for a
                classifier labels.
            validation_data: a source like `x`, or a tuple of images, targets and optional weights.
            validation_batch_size: int or None. Batch size for validation images; `None` is
                `batch_size`.
            validation_split: float. Last fraction of the images, held out for validation.
            sample_weight: one number of 0 or more per image, `(batch,)`; for a segmenter also one
                per pixel, `(batch, height, width)`, `(batch, height, width, 1)` or a list of maps
                of the images' own sizes. Pixels of weight 0 (void, outside the field of view) do
                not count in any loss or metric; an image's loss is the mean over its other
                pixels, times their mean weight. Padding is background of that mean weight.
            class_weight: dict of a class's number or name to its weight, multiplied with
                `sample_weight`. For a classifier it weighs the images of that class, for a
                segmenter the pixels of background (0) or foreground (1).

        Raises:
            InputError: for another kind of source, or images and targets that do not fit.

        Example:
            >>> history = task.fit(images, ["xray", "fundus"], verbose=0)
            >>> len(history.history["loss"])
            1
        """
        if validation_batch_size is None:
            validation_batch_size = batch_size
        elif validation_batch_size < 1:
            raise InputError(
                f"Received validation_batch_size={validation_batch_size}; expected 1 or more."
            )
        data, held_out = preprocessed(
            self, x, y, sample_weight, batch_size, shuffle, validation_split, class_weight, True
        )
        if validation_data is not None:
            of = (
                validation_data if isinstance(validation_data, tuple | list) else (validation_data,)
            )
            if not 1 <= len(of) <= 3:
                raise InputError(
                    f"Received validation_data of {len(of)} parts; expected (x, y) or "
                    "(x, y, sample_weight), or a data source."
                )
            validation_data, _ = preprocessed(
                self, *(*of, None, None)[:3], validation_batch_size, needs_targets=True
            )
        else:
            validation_data = held_out
            if held_out is not None and validation_batch_size is not None:
                held_out.batch_size = validation_batch_size
        self.training_begins()
        # `keras.Model.fit` passes this same object to `evaluate`.
        self._ready_validation_data = validation_data
        try:
            # Arrays are shuffled by their own data set. Of sources, Keras shuffles a PyDataset,
            # but one that counts epochs and draws samples itself reads ahead in order.
            shuffle = shuffle and isinstance(x, keras.utils.PyDataset) and not hasattr(x, "epoch")
            kwargs |= {"validation_data": validation_data, "shuffle": shuffle}
            kwargs = with_progress_bar(kwargs)
            with kept_weights(self), plain_refusals(), compile_notices(self, kwargs) as arguments:
                return keras.Model.fit(self, data, **arguments)
        finally:
            self._ready_validation_data = None

    def evaluate(self, x=None, y=None, *, batch_size=None, sample_weight=None, **kwargs):
        """Compute losses and metrics on raw images and targets; sources as in `fit`.

        Example:
            >>> sorted(task.evaluate(images, [1, 0], verbose=0, return_dict=True))
            ['accuracy', 'loss']
        """
        data = x
        if x is None or x is not getattr(self, "_ready_validation_data", None):
            data, _ = preprocessed(self, x, y, sample_weight, batch_size, needs_targets=True)
        kwargs = with_progress_bar(kwargs)
        with kept_weights(self), plain_refusals(), compile_notices(self, kwargs) as arguments:
            return keras.Model.evaluate(self, data, **arguments)

    def predict(self, x, *, batch_size=None, **kwargs):
        """Return the model's raw outputs, logits, for raw images; sources as in `fit`.

        For results per image use `segment` or `classify`.

        Example:
            >>> task.predict(images, verbose=0).shape
            (2, 2)
        """
        data, _ = preprocessed(self, x, None, None, batch_size)
        with kept_weights(self), plain_refusals(), compile_notices(self, kwargs) as arguments:
            return keras.Model.predict(self, one_batch_at_once(data), **arguments)

    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, **kwargs):
        """Train one step on one batch of raw images; see `keras.Model.train_on_batch`."""
        batch = self._raw_batch(x, y, sample_weight, class_weight)
        self.training_begins()
        return keras.Model.train_on_batch(self, *batch, **kwargs)

    def test_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        """Compute losses and metrics of one raw batch; see `keras.Model.test_on_batch`."""
        batch = self._raw_batch(x, y, sample_weight)
        return keras.Model.test_on_batch(self, *batch, **kwargs)

    def predict_on_batch(self, x):
        """Return the model's raw outputs for one batch of raw images."""
        (x,) = self._raw_batch(x, needs_targets=False)
        with compiled_alone(self):
            return keras.Model.predict_on_batch(self, x)

    def _raw_batch(self, x, y=None, sample_weight=None, class_weight=None, needs_targets=True):
        """Convert one batch, given as to `fit`, to the tuple that Keras takes."""
        if self.preprocessor is not None:
            if needs_targets and y is None:
                raise InputError("Received images without targets (y); give one for each image.")
            x, y, sample_weight, _ = array_rows(x, y, sample_weight, self.raw_inputs)
        return as_tuple(self.prepare_batch(x, y, sample_weight, class_weight))


def _mark_new(task, function):
    """Mark a step's computation as not yet made; a function is `None` after `compile`."""
    task._made_for_steps = () if function is None else ("loss", "metrics")


def _is_first(task, kind):
    """Whether a step computes this for the first time since it was created."""
    made = getattr(task, "_made_for_steps", ("loss", "metrics"))
    if kind in made:
        return False
    task._made_for_steps = (*made, kind)
    return True


def _has_other_weights(task):
    """Whether the task's variables were replaced since the last call.

    A backbone does not know the tasks that use it. Their functions, traced by TensorFlow with the
    old weights, would keep giving the old outputs, so all three are then recreated.
    """
    weights = tuple(map(id, task.weights))
    known = getattr(task, "_traced_weights", None)
    if weights == known:
        return False  # Keras searches every object that an attribute is set to.
    task._traced_weights = weights
    changed = known is not None
    if changed:
        task.train_function = task.test_function = task.predict_function = None
    return changed
