import pytest

from keras_espmedsam import losses
from keras_espmedsam.errors import InputError


@pytest.mark.parametrize(
    ("identifier", "masks"),
    [
        ("standard", losses.DiceFocalLoss),
        ("published", losses.PublishedDiceFocalLoss),
        ("DiceLoss", losses.DiceLoss),
        ("MeanFocalLoss", losses.MeanFocalLoss),
    ],
)
def test_names(identifier, masks):
    found = losses.get(identifier)
    assert {name: type(loss) for name, loss in found.items()} == {
        "masks": masks,
        "patches": losses.PatchLoss,
    }


def test_a_loss_of_masks_is_kept():
    loss = losses.FocalLoss(gamma=1.0)
    assert losses.get(loss)["masks"] is loss


# A loss of something else, one that takes no logits by default, and what is no name.
@pytest.mark.parametrize("identifier", ["PatchLoss", "EmbeddingMSE", "binary_crossentropy", 3])
def test_anything_else_is_refused(identifier):
    with pytest.raises(InputError, match="expected one of standard, published, DiceFocalLoss"):
        losses.get(identifier)
