"""One check that all losses share."""

from keras_espmedsam.errors import InputError


def check_ranks(y_true, y_pred, expected):
    """Refuse targets that would be broadcast against predictions of another rank.

    Args:
        y_true, y_pred: tensors.
        expected: str. The shape that both should have, for the message.

    Raises:
        InputError: when the ranks differ.

    Source: ours.
    """
    if len(y_true.shape) != len(y_pred.shape):
        raise InputError(
            f"A loss received targets of shape {tuple(y_true.shape)} for predictions of shape "
            f"{tuple(y_pred.shape)}; expected {expected} for both."
        )
