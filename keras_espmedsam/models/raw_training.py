"""`fit`, `evaluate` and `predict` of a task on raw pictures from every kind of source."""

import keras

from keras_espmedsam.models.host_call import as_tuple
from keras_espmedsam.models.kept_weights import kept_weights
from keras_espmedsam.models.training_data import preprocessed


def trains_on_raw_pictures(decorated):
    """Class decorator: a keras-hub task trains on raw pictures from every kind of source.

    A decorator and not a base class, since keras-hub writes the name of a task's first base into
    the presets that it saves.

    Args:
        decorated: keras-hub `Task` with `prepare_batch(x, y=None, sample_weight=None)`, which
            checks one raw batch and gives what the model takes. It overrides `compile`.

    Example:
        >>> kem.models.TiCImageClassifier.fit is kem.models.ESPMedSAMImageSegmenter.fit
        True

    Source: ours.
    """
    for name, method in vars(_RawTraining).items():
        if not name.startswith("__"):
            setattr(decorated, name, method)
    return decorated


class _RawTraining:
    """The methods. They name `keras.Model`, since keras-hub's own would preprocess once more.

    Example:
        >>> backbone = TiCBackbone(
        ...     hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 1), kernel_size=3)
        >>> preprocessor = TiCImageClassifierPreprocessor(TiCImageConverter(image_size=(16, 16)))
        >>> task = TiCImageClassifier(
        ...     backbone, class_names=("fundus", "xray"), preprocessor=preprocessor)
        >>> images = np.zeros((2, 20, 30, 3), "uint8")
    """

    def preprocess_samples(self, x, y=None, sample_weight=None):
        """Raw samples to the model's inputs and targets; unchanged without a preprocessor."""
        if self.preprocessor is None:
            return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        # `call`, since Keras appends all pixels to the message of an error raised in `__call__`.
        return self.preprocessor.call(x, y=y, sample_weight=sample_weight)

    def compile_from_config(self, config):
        """Compile as saved; Keras leaves this to classes that override `compile`."""
        self.compile(**keras.saving.deserialize_keras_object(config))
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
        sample_weight=None,
        shuffle=True,
        **kwargs,
    ):
        """Train on raw pictures and targets; see `keras.Model.fit` for all other arguments.

        Args:
            x: array of raw images `(batch, height, width, channels)`, or a dict of them as
                `images` and of `modalities` where the model has several; or a tf.data, grain,
                `keras.utils.PyDataset` or torch `DataLoader` source of `(x, y)` or
                `(x, y, sample_weight)` batches of them.
            y: for arrays, raw masks `(batch, height, width, 1)` of a segmenter, labels of a
                classifier.
            validation_data: a source as `x`, or a tuple of arrays.
            validation_split: float. Last fraction of the arrays to validate on.

        Raises:
            InputError: for another kind of source, or pictures and targets that do not fit.

        Example:
            >>> history = task.fit(images, ["xray", "fundus"], verbose=0)
            >>> len(history.history["loss"])
            1

        Source: ours.
        """
        data, held_out = preprocessed(
            self, x, y, sample_weight, batch_size, shuffle=shuffle, split=validation_split
        )
        if validation_data is not None:
            if isinstance(validation_data, tuple | list):
                validation_data = preprocessed(self, *_three(validation_data), batch_size)[0]
            else:
                validation_data = preprocessed(self, validation_data, None, None, batch_size)[0]
        else:
            validation_data = held_out
        # `keras.Model.fit` calls `evaluate` with this very object.
        self._ready_validation_data = validation_data
        try:
            # Arrays are shuffled by their own data set; of sources, Keras shuffles a PyDataset, but
            # not one that counts epochs and draws anew in each: it reads ahead in order.
            shuffle = shuffle and isinstance(x, keras.utils.PyDataset) and not hasattr(x, "epoch")
            with kept_weights(self):
                return keras.Model.fit(
                    self, data, validation_data=validation_data, shuffle=shuffle, **kwargs
                )
        finally:
            self._ready_validation_data = None

    def evaluate(self, x=None, y=None, *, batch_size=None, sample_weight=None, **kwargs):
        """Losses and metrics on raw pictures and targets; sources as in `fit`.

        Example:
            >>> sorted(task.evaluate(images, [1, 0], verbose=0, return_dict=True))
            ['accuracy', 'loss']

        Source: ours.
        """
        data = x
        if x is not getattr(self, "_ready_validation_data", None):
            data, _ = preprocessed(self, x, y, sample_weight, batch_size)
        with kept_weights(self):
            return keras.Model.evaluate(self, data, **kwargs)

    def predict(self, x, *, batch_size=None, **kwargs):
        """The model's own outputs, logits, for raw pictures; sources as in `fit`.

        For results per picture use `segment` or `classify`.

        Example:
            >>> task.predict(images, verbose=0).shape
            (2, 2)

        Source: ours.
        """
        data, _ = preprocessed(self, x, None, None, batch_size)
        with kept_weights(self):
            return keras.Model.predict(self, data, **kwargs)

    def train_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        """One step on one batch of raw pictures and targets; see `keras.Model.train_on_batch`."""
        batch = as_tuple(self.prepare_batch(x, y, sample_weight))
        return keras.Model.train_on_batch(self, *batch, **kwargs)

    def test_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        """Losses and metrics of one batch of raw pictures; see `keras.Model.test_on_batch`."""
        batch = as_tuple(self.prepare_batch(x, y, sample_weight))
        return keras.Model.test_on_batch(self, *batch, **kwargs)

    def predict_on_batch(self, x):
        """The model's own outputs for one batch of raw pictures."""
        return keras.Model.predict_on_batch(self, self.prepare_batch(x))


def _three(data):
    return (*data, None)[:3] if len(data) < 3 else tuple(data)
