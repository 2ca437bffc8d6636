"""Steps on JAX: pure functions of the model's state."""

import jax
import keras


class Steps:
    """`train_step` and `test_step` of a model with streams."""

    def train_step(self, state, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        trainable, fixed, slots, metrics = state
        with self._scope(trainable, fixed, metrics):
            targets = self.teacher_targets(x)

        def loss_of(own, others, fixed, metrics, stream):
            values = {**others, **own}
            values = [values[id(variable)] for variable in self.trainable_variables]
            with self._scope(values, fixed, metrics) as scope:
                loss = self.stream_loss(stream, x, y, targets, training=True)
            with keras.StatelessScope(
                state_mapping=list(zip(self.optimizer.variables, slots, strict=True))
            ):
                scaled = self.optimizer.scale_loss(loss)
            return scaled, (loss, *self._after(scope))

        by_id = {id(v): a for v, a in zip(self.trainable_variables, trainable, strict=True)}
        gradients, total = [], 0.0
        for stream in self.streams:
            own = {id(variable): by_id[id(variable)] for variable in self.stream_variables(stream)}
            others = {key: value for key, value in by_id.items() if key not in own}
            found, (loss, fixed, metrics) = jax.grad(loss_of, has_aux=True)(
                own, others, fixed, metrics, stream
            )
            gradients += [found[key] for key in own]
            total += loss
        trainable, slots = self.optimizer.stateless_apply(slots, gradients, trainable)
        with self._scope(trainable, fixed, metrics) as scope:
            self.loss_tracker.update_state(total)
            logs = self.get_metrics_result()
        _, metrics = self._after(scope)
        return logs, (trainable, fixed, slots, metrics)

    def test_step(self, state, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        trainable, fixed, metrics = state
        with self._scope(trainable, fixed, metrics) as scope:
            self.update_test_losses(x, y)
            logs = self.get_metrics_result()
        fixed, metrics = self._after(scope)
        return logs, (trainable, fixed, metrics)

    def _scope(self, trainable, fixed, metrics):
        """Give the model's variables these values within the block."""
        variables = (
            *self.trainable_variables,
            *self.non_trainable_variables,
            *self.metrics_variables,
        )
        values = (*trainable, *fixed, *metrics)
        return keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True)))

    def _after(self, scope):
        """Return the values of the variables that a scope may have changed."""
        return (
            [scope.get_current_value(variable) for variable in self.non_trainable_variables],
            [scope.get_current_value(variable) for variable in self.metrics_variables],
        )
