"""The masks and label images that an artefact for images gives if it has several targets.

Masks are one plane per target. Of an exclusive group there is a label image too: 0 is background,
then the targets count from 1 in the group's order. Both are of a threshold of 0.5.
"""

import numpy as np

from keras_espmedsam.data.targets import Targets


def num_planes(targets: Targets) -> int:
    """Return the number of masks: the most targets that a modality has, without hidden channels.

    Example:
        >>> targets = Targets({"slide": ("nuclei",)}, instances={"slide": {"nuclei": "core"}})
        >>> num_planes(targets), targets.num_channels
        (1, 2)
    """
    return max(map(len, targets.names.values()))


def labels_by_group(targets: Targets) -> np.ndarray:
    """Return what each target is called in the label image of each exclusive group.

    Returns:
        int32 `(groups, masks, modalities)`: from 1, or 0 for a target that is not of the group.

    Example:
        >>> targets = Targets({"eye": ("disc", "a", "v")}, exclusive={"eye": [("v", "a")]})
        >>> labels_by_group(targets)[..., 0].tolist()
        [[0, 2, 1]]
    """
    groups = [targets.exclusive.get(modality, ()) for modality in targets.modalities]
    shape = max(map(len, groups)), num_planes(targets), len(groups)
    found = np.zeros(shape, "int32")
    for modality, names in enumerate(targets.names.values()):
        for number, group in enumerate(groups[modality]):
            for label, name in enumerate(group, start=1):
                found[number, names.index(name), modality] = label
    return found


def draw_planes(
    values: np.ndarray, threshold: float, targets: Targets, modalities: np.ndarray
) -> dict[str, np.ndarray]:
    """Draw masks and label images.

    Where several targets of a group reach the threshold, the largest value keeps the pixel; of
    equal ones, the first of the group.

    Args:
        values: logits or probabilities, `(batch, height, width, channels)`.
        threshold: values of at least this are foreground.
        targets: the model's, of several channels.
        modalities: `(batch,)` int, the modality of each image.

    Returns:
        dict of `masks`, uint8 `(batch, height, width, masks)`, and if a modality has exclusive
        groups `labels`, uint8 `(batch, height, width)`, or `(batch, height, width, groups)` if one
        has several.

    Example:
        >>> targets = Targets({"eye": ("a", "v")}, exclusive={"eye": [("a", "v")]})
        >>> drawn = draw_planes(np.array([[[[0.5, 0.1], [0.1, 0.7]]]]), 0.5, targets, np.array([0]))
        >>> drawn["masks"].tolist(), drawn["labels"].tolist()
        ([[[[1, 0], [0, 1]]]], [[[1, 2]]])
    """
    masks = values[..., : num_planes(targets)] >= threshold
    tables = labels_by_group(targets)
    labels = np.zeros((*masks.shape[:3], len(tables)), "uint8")
    for i, modality in enumerate(modalities):
        for number, table in enumerate(tables[..., modality]):
            members = np.flatnonzero(table)
            if not members.size:
                continue
            order = members[np.argsort(table[members])]
            best = order[np.argmax(values[i][..., order], axis=-1)]
            inside = masks[i][..., order].any(axis=-1)
            labels[i, ..., number] = np.where(inside, table[best], 0)
            for channel in order:
                masks[i, ..., channel] = inside & (best == channel)
    found = {"masks": masks.astype("uint8")}
    if len(tables):
        found["labels"] = labels[..., 0] if len(tables) == 1 else labels
    return found
