"""How often images are drawn: groups of records and their probabilities."""

import itertools

import numpy as np

from keras_espmedsam._shown import shown
from keras_espmedsam.data.targets import UNNAMED
from keras_espmedsam.errors import InputError

BALANCES = ("dataset", "modality", "target")
_NESTED = ("modality", "dataset", "target")
_KINDS = {"dataset": "data sets", "modality": "modalities", "target": "targets"}


def levels_of(balance):
    """Return what is drawn in shares, from the outside in.

    Args:
        balance: one of `BALANCES`, a list of some of them, or None.

    Returns:
        Tuple of some of `BALANCES`.

    Raises:
        InputError: for anything else, and a list in another order than modality, dataset, target.

    Example:
        >>> levels_of("dataset"), levels_of(["modality", "dataset"]), levels_of(None)
        (('dataset',), ('modality', 'dataset'), ())
    """
    if balance is None:
        return ()
    levels = (balance,) if isinstance(balance, str) else balance
    if not isinstance(levels, list | tuple) or any(one not in BALANCES for one in levels):
        raise InputError(
            f"Received balance={balance!r}; expected one of {', '.join(BALANCES)}, a list of "
            "several, or None."
        )
    if not levels or list(levels) != [one for one in _NESTED if one in levels]:
        raise InputError(
            f"Received balance={list(levels)}; expected each once, in the order "
            f"{', '.join(_NESTED)}, such as [modality, dataset]."
        )
    return tuple(levels)


def check_weights(weights, steps):
    """Raise for weights without random drawing: one pass shows every image once.

    Raises:
        InputError: for weights without steps.
    """
    if weights and not steps:
        raise InputError(
            f"Received weights={weights} without steps; one pass shows every image once, "
            "whatever its weight. Give steps, or leave the weights out."
        )


def group_names(record, balance, targets=None):
    """Return the groups of a record; of several targets it is in several.

    Args:
        record: `Record`.
        balance: one of `BALANCES`.
        targets: the model's `Targets`, whose first target a mask without a name shows; or None.

    Returns:
        List of str; with `"target"` such as `"fundus/vessels"`.

    Example:
        >>> group_names(kem.data.Record("train", "xray", "a", "1.png", "2.png"), "target")
        ['xray/mask']
    """
    if balance != "target":
        return [getattr(record, balance)]
    first = UNNAMED if targets is None else targets.of(record.modality)[0]
    names = [one.target or first for one in record.target_masks] or [UNNAMED]
    return [f"{record.modality}/{name}" if record.modality else name for name in names]


def sampling_weights(records, balance="dataset", weights=None, targets=None):
    """Group records and compute how often each group is drawn.

    Args:
        records: list of `Record`.
        balance: `"dataset"`, `"modality"` or `"target"` (of a modality; an image in which several
            are labelled is in several groups): how to group. A list divides the share of each
            group again: `["modality", "dataset"]` draws modalities equally often, and then the
            data sets of the modality. `None` is one group of all records, so that all images are
            drawn equally often.
        weights: dict of a group's name to float, 1 for other groups; None for equal shares. The
            name of a target's group is such as `fundus/vessels`. In a list of balances, the weight
            of a data set is that among the data sets of its modality.
        targets: see `group_names`.

    Returns:
        Tuple of the groups, a list of integer arrays of rows, and their probabilities, an array
        that sums to 1.

    Raises:
        InputError: for another `balance`, and weights that name unknown groups, are negative or
            all zero.

    Example:
        >>> records = [kem.data.Record("train", "xray", name, "a.png") for name in "aab"]
        >>> groups, probabilities = sampling_weights(records, "dataset", {"b": 3})
        >>> [group.tolist() for group in groups], probabilities.tolist()
        ([[0, 1], [2]], [0.25, 0.75])
        >>> records.append(kem.data.Record("train", "fundus", "c", "a.png"))
        >>> sampling_weights(records, ["modality", "dataset"])[1].tolist()
        [0.5, 0.25, 0.25]
    """
    levels = levels_of(balance)
    weights = dict(weights or {})
    if not levels:
        if weights:
            raise InputError(
                f"Received weights={weights} with balance=None, which has no names; give balance "
                f"as one of {', '.join(BALANCES)}."
            )
        return [np.arange(len(records))], np.ones(1)
    rows: dict[tuple[str, ...], list[int]] = {}
    for row, record in enumerate(records):
        of = [group_names(record, level, targets) for level in levels]
        for path in dict.fromkeys(itertools.product(*of)):
            rows.setdefault(path, []).append(row)
    paths = sorted(rows)
    _check_weights(paths, levels, weights)
    # The share of a path is that of its first name, times that of the second among those that
    # follow the first, and so on.
    probabilities = np.ones(len(paths))
    for depth, level in enumerate(levels):
        shares = _shares_of_level(paths, depth, level, weights)
        probabilities *= [shares[path[: depth + 1]] for path in paths]
    return [np.array(rows[path]) for path in paths], probabilities


def _shares_of_level(paths, depth, level, weights):
    """Return the share of each name at a depth, among those with the same names before it."""
    siblings: dict[tuple[str, ...], list[str]] = {}
    for path in dict.fromkeys(path[: depth + 1] for path in paths):
        siblings.setdefault(path[:-1], []).append(path[-1])
    shares = {}
    for before, names in siblings.items():
        values = np.array([weights.get(name, 1.0) for name in names], "float64")
        if not (values >= 0).all() or not values.any():
            of = f" of {'/'.join(before)}" if before else ""
            raise InputError(
                f"Received weights={weights} for the {_KINDS[level]} {', '.join(names)}{of}; "
                "expected numbers of at least 0, and one above 0."
            )
        for name, share in zip(names, values / values.sum(), strict=True):
            shares[*before, name] = share
    return shares


def _check_weights(paths, levels, weights):
    """Raise for weights of unknown names, or of names that stand for two things."""
    known = [list(dict.fromkeys(path[depth] for path in paths)) for depth in range(len(levels))]
    for name in weights:
        found = [level for level, names in zip(levels, known, strict=True) if name in names]
        if len(found) > 1:
            raise InputError(
                f"Received a weight of {shown(name)}, which is the name of a "
                f"{' and of a '.join(found)}; rename one of them, or leave one out of balance."
            )
    names = sorted({name for names in known for name in names})
    unknown = [str(name) for name in weights if name not in names]
    if unknown:
        raise InputError(
            f"Received weights of {', '.join(map(shown, unknown))}; the records are of the "
            f"{' and '.join(levels)} {', '.join(names)}. Use these names."
        )
