"""Steps on TensorFlow."""

import keras
import tensorflow as tf

from keras_espmedsam.models.metrics_before_trace import optimizer_made_before_trace
from keras_espmedsam.optimizers import replicas


class Steps:
    """`train_step` and `test_step` of a model with streams."""

    def make_train_function(self, force=False):
        """As Keras', but a step is traced only once."""
        optimizer_made_before_trace(self)
        return super().make_train_function(force)

    def train_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        # Outside the tapes, which would otherwise keep all of the teachers' activations.
        targets = self.teacher_targets(x)
        gradients, total = [], 0.0
        for stream in self.streams:
            own = self.stream_variables(stream)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([variable.value for variable in own])
                loss = self.stream_loss(stream, x, y, targets, training=True)
                scaled = self.optimizer.scale_loss(loss)
            gradients += tape.gradient(scaled, [variable.value for variable in own])
            total += loss
        self.optimizer.apply(gradients, self.trainable_variables)
        self.loss_tracker.update_state(total * replicas.count())
        return self.get_metrics_result()

    def test_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        self.update_test_losses(x, y)
        return self.get_metrics_result()
