"""A TensorBoard log without the machine's name, written without TensorFlow."""

import os
import time
from pathlib import Path
from typing import IO, Any

import keras

from keras_espmedsam._startup import require
from keras_espmedsam.metrics.unmeasured import unmeasured


class TensorBoardLog(keras.callbacks.Callback):
    """Write each epoch's values to files that TensorBoard shows.

    Tags, steps and folders are those of `keras.callbacks.TensorBoard`: `epoch_loss` and so on, in
    `train/` and `validation/`. That callback, like every writer of TensorFlow and TensorBoard, puts
    the machine's name into its file names, but a log may be published. What no image labels is not
    written, where that callback writes NaN.

    Args:
        folder: path; created if it does not exist. Each start of a run adds files.

    Raises:
        InputError: if TensorBoard is not installed.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((4, 2), "float32"), np.ones((4, 1), "float32")
        >>> _ = model.fit(x, y, epochs=1, verbose=0, callbacks=[TensorBoardLog(folder)])
        >>> [path.parent.name for path in folder.rglob("events.out.tfevents.*")]
        ['train']

    Source: TensorFlow's `tf.train.Event` in TFRecord, the format.
    """

    def __init__(self, folder: str | os.PathLike):
        super().__init__()
        require("tensorboard", "A log for TensorBoard", "train")
        self.folder = Path(folder)
        self._files: dict[str, IO[bytes]] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write an epoch's values, completely before the next epoch begins."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        for name in unmeasured(values):
            del values[name]
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None:
            rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
            values.setdefault("learning_rate", rate)
        for part, prefix in (("train", ""), ("validation", "val_")):
            own = {
                f"epoch_{name.removeprefix(prefix)}": value
                for name, value in values.items()
                if name.startswith("val_") == bool(prefix)
            }
            if own:
                self._write(part, epoch, own)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
        self._files = {}

    def _write(self, part, epoch, values):
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        now = time.time()
        events = []
        if part not in self._files:
            (self.folder / part).mkdir(parents=True, exist_ok=True)
            # Named by time, like TensorFlow's: TensorBoard reads files in the order of names.
            path = self.folder / part / f"events.out.tfevents.{now:020.9f}"
            self._files[part] = path.open("xb")
            events.append(Event(wall_time=now, file_version="brain.Event:2"))
        summary = Summary(
            value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        )
        events.append(Event(wall_time=now, step=epoch, summary=summary))
        writer = RecordWriter(self._files[part])
        for event in events:
            writer.write(event.SerializeToString())
        writer.flush()
