"""Make Keras' `export` method work from every backend."""

from keras_espmedsam._upward import upward


def exports_from_any_backend(decorated):
    """Class decorator: adds an `export` that writes the same from every backend.

    Keras itself exports these models from TensorFlow only: from JAX and PyTorch its converters
    reject dict inputs and open heights and widths.

    Args:
        decorated: class of a `keras.Model` that can be saved as a preset.
    """

    def export(
        self, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs
    ):
        """Write this network for another runtime, as Keras does from TensorFlow.

        The exported file takes what the network takes, normalised float32 images (and modalities),
        and returns the network's outputs. Prefer a task's `export_for`: its files take raw images
        and say how to feed them, are compared with this model in their runtime, and can have any
        format of `keras_espmedsam.registries.export_formats`, a smaller precision or one modality.

        On JAX and PyTorch, TensorFlow does the writing in a separate process. There `"onnx"` and
        `"openvino"`, for tasks only, write the same as `export_for` with `flavor="logits"`, and
        are compared.

        Args:
            filepath: str or path: a folder, or a file that ends in .onnx, .tflite, .xml or .pt2.
            format: `"tf_saved_model"` (with the endpoint `serve`), `"litert"`, `"onnx"`,
                `"openvino"`, or, on PyTorch only, `"torch"`.
            verbose: bool, or `None` for Keras' choice. Whether to print where it was written.
            input_signature: as Keras takes it. `None` leaves batch and size open, except for
                `"litert"` and `"torch"`, which take one image of the preprocessor's size.
            **kwargs: passed to Keras; on JAX and PyTorch only with `"torch"`.

        Raises:
            InputError: for an unknown format, one that this backend cannot write, and options that
                cannot be passed to another process.

        Example:
            >>> TiCBackbone(
            ...     hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 1), kernel_size=3
            ... ).export("tic.onxx", format="onxx")
            Traceback (most recent call last):
            keras_espmedsam.errors.InputError: Received the format 'onxx'; expected one of \
tf_saved_model, litert, onnx, openvino, torch; did you mean onnx? A format of another package is \
written by export_for.

        Source: Keras' `export`.
        """
        upward("export_like_keras")(
            self,
            filepath,
            format=format,
            verbose=verbose,
            input_signature=input_signature,
            **kwargs,
        )

    decorated.export = export
    return decorated
