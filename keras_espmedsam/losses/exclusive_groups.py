"""The exclusive groups of targets, each with the modalities that have it."""


def owners_of_groups(groups):
    """Return which modalities have each exclusive group.

    Args:
        groups: for each modality, its channels' groups; see `Targets.group_numbers`.

    Returns:
        dict of a group's channels, a tuple of int, to the list of indices of its modalities.

    Example:
        >>> owners_of_groups([[1, 1, 0], [0, 0, 0], [1, 1, 0]])
        {(0, 1): [0, 2]}
    """
    owners = {}
    for modality, row in enumerate(groups):
        for number in sorted(set(row) - {0}):
            members = tuple(channel for channel, one in enumerate(row) if one == number)
            owners.setdefault(members, []).append(modality)
    return owners
