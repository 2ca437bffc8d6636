from math import inf, nan

from keras_espmedsam.metrics.unmeasured import unmeasured


def test_values_of_nothing_beside_a_loss_are_missing():
    logs = {"loss": 0.5, "masks_dice": 0.1, "dice_eye/cup": nan, "val_loss": 2.0, "val_dice": nan}
    assert unmeasured(logs) == {"dice_eye/cup", "val_dice"}
    assert unmeasured({"masks_dice": nan}) == {"masks_dice"}  # Before any loss is known.
    assert unmeasured({"loss": 0.5, "masks_dice": inf, "text": "nan"}) == set()


def test_of_a_training_that_diverges_nothing_is_hidden():
    for loss in (nan, inf):
        assert unmeasured({"loss": loss, "masks_dice": nan}) == set()
    assert unmeasured({"loss": 0.5, "dice": nan, "val_loss": nan, "val_dice": nan}) == {"dice"}
