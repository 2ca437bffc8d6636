"""Steps on PyTorch."""

import keras
import torch


class Steps:
    """`train_step` and `test_step` of a model with streams."""

    def train_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        with torch.no_grad():
            targets = self.teacher_targets(x)
        gradients, total = [], 0.0
        for stream in self.streams:
            loss = self.stream_loss(stream, x, y, targets, training=True)
            own = [variable.value for variable in self.stream_variables(stream)]
            for value in own:
                value.grad = None
            # Not `autograd.grad`, which the hooks of DistributedDataParallel do not notice.
            self.optimizer.scale_loss(loss).backward(inputs=own)
            gradients += [value.grad for value in own]
            total += loss.detach()
        with torch.no_grad():
            self.optimizer.apply(gradients, self.trainable_variables)
        self.loss_tracker.update_state(total)
        return self.get_metrics_result()

    def test_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        with torch.no_grad():
            self.update_test_losses(x, y)
        return self.get_metrics_result()
