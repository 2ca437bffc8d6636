"""Several targets on two devices against one, each backend by its own means."""

import numpy as np
import pytest

# What one device gives on PyTorch, where it is computed each time.
ALONE = {
    "loss": [1.1510395, 1.1070141],
    "masks_loss": [0.9417982, 0.9416093],
    "patches_loss": [0.2092413, 0.1654048],
    "masks_iou": [0.0949290, 0.0948772],
    "val_loss": [1.7745737, 1.6638336],
}
# A process of its own, which compiles or traces training and evaluation for two devices.
pytestmark = pytest.mark.slow_on("jax", "tensorflow")


@pytest.fixture(scope="module")
def result(run_on_two_devices):
    return run_on_two_devices("targets")


def test_losses_are_those_of_one_device_with_the_whole_batch(result):
    """Of an exclusive group, a nested target, and images that label only the first."""
    for name, expected in ALONE.items():
        np.testing.assert_allclose(result["history"][name], expected, rtol=1e-5, err_msg=name)
        if "history_alone" in result:
            found = result["history_alone"][name]
            np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=name)
    for name, expected in result.get("after_alone", {}).items():
        np.testing.assert_allclose(result["after"][name], expected, atol=2e-5, err_msg=name)


def test_a_target_that_no_image_labels_stays_bit_for_bit(result):
    """And the others move, though a device may see one of them in no batch."""
    for owner, moves in (("target_0_1", True), ("target_1_1", True), ("target_1_2", False)):
        names = [name for name in result["after"] if f"/{owner}/" in name]
        assert len(names) == 7
        assert all((result["after"][one] != result["before"][one]) == moves for one in names)
