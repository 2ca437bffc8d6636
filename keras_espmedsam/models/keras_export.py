"""Keras' verb `export`, which works from every backend."""

from keras_espmedsam._upward import upward


def exports_from_any_backend(decorated):
    """Class decorator: `export`, which writes the same from every backend.

    Keras itself exports our models from TensorFlow alone: from JAX and PyTorch its converters
    refuse inputs that are a dict, and open heights and widths.

    Args:
        decorated: class of a `keras.Model` that can be saved as a preset.

    Source: ours.
    """

    def export(
        self, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs
    ):
        """Write this network for another runtime, as Keras does from TensorFlow.

        The artefact takes what the network takes, normalised float32 images (and modalities), and
        gives its outputs. For one that takes images as they are, is compared with this model in
        its runtime and says how it is fed, use `export_for` of the tasks, which has any format of
        `keras_espmedsam.registries.export_formats`, smaller precisions and single modalities.

        On JAX and PyTorch, TensorFlow writes in a process of its own; `"onnx"` and `"openvino"`, of
        tasks alone, are there what `export_for` writes with `flavor="logits"`, and compared.

        Args:
            filepath: str or path: a folder, or a file that ends in .onnx, .tflite, .xml or .pt2.
            format: `"tf_saved_model"` (whose endpoint is `serve`), `"litert"`, `"onnx"`,
                `"openvino"`, or, on PyTorch alone, `"torch"`.
            verbose: bool, or `None` for Keras' choice. Whether to say where it was written.
            input_signature: as Keras takes it. `None` leaves the batch and the size open; of
                `"litert"` and `"torch"`, which cannot, it is one image of the preprocessor's size.
            **kwargs: handed to Keras; on JAX and PyTorch those of `"torch"` alone.

        Raises:
            InputError: for an unknown format, one that this backend cannot write, and options that
                another process cannot be told.

        Example:
            >>> TiCBackbone(
            ...     hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 1), kernel_size=3
            ... ).export("tic.onxx", format="onxx")
            Traceback (most recent call last):
            keras_espmedsam.errors.InputError: Received the format 'onxx'; expected one of \
tf_saved_model, litert, onnx, openvino, torch; did you mean onnx? A format of another package is \
written by export_for.

        Source: Keras' `export`; that it works from every backend is ours.
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
