"""Add targets to a modality of a trained segmenter, and name those that it has."""

import dataclasses

from keras_espmedsam._shown import shown_value
from keras_espmedsam.data.targets import UNNAMED, Targets
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.models.esp_medsam.modality_extension import start_target
from keras_espmedsam.models.esp_medsam.specialization import (
    copy_modality,
    further_targets,
    rebuilt,
)


def add_targets(segmenter, modality, names, init_from=None, adapter_dim=0, **declared):
    """Return a copy of a segmenter with further targets of one modality.

    Args:
        segmenter: `ESPMedSAMImageSegmenter`.
        modality: int.
        names: tuple of str.
        init_from: str or None. The target of the same modality that they begin as. `None`: random
            weights. Or a dict of new target to these.
        adapter_dim: int. See `TargetQuery`. Or a dict of new target to int.
        **declared: `exclusive`, `nested` and `instances` of the new targets, as for one modality.

    Returns:
        Tuple of the new segmenter and the channels that are new, including hidden ones.

    Raises:
        InputError: for names that are taken or not allowed, an unknown `init_from`, and
            declarations that would change the masks of the old targets.
    """
    old = segmenter.backbone
    name = old.modalities[modality]
    current = old.target_set
    _check_names(name, names, current.of(name))
    _check_declared(name, names, declared)
    _check_keys("adapter_dim", adapter_dim, name, names)
    _check_init_from(init_from, name, names, current.of(name))
    targets = dataclasses.replace(
        current,
        names={**current.names, name: (*current.of(name), *names)},
        **{key: _joined(getattr(current, key), name, value) for key, value in declared.items()},
    )
    return _extended(segmenter, modality, targets, init_from, adapter_dim)


def add_instances(segmenter, modality, target, kind, init_from=None, adapter_dim=0):
    """Return a copy of a segmenter that tells the objects of an old target apart.

    Args, returns and raises as `add_targets`; `target` is the old target, `kind` as in `Targets`.
    """
    current = segmenter.backbone.target_set
    name = segmenter.backbone.modalities[modality]
    kinds = {**current.instances.get(name, {}), target: kind}
    targets = dataclasses.replace(current, instances={**current.instances, name: kinds})
    start = init_from or target
    _check_init_from(start, name, (target,), current.of(name))
    return _extended(segmenter, modality, targets, start, adapter_dim)


def named(targets, names):
    """Return targets in which unnamed ones have names.

    Args:
        targets: `Targets`.
        names: dict of modality to str.

    Returns:
        Tuple of a function from a modality and a channel's old name to its new one, and the
        targets.

    Raises:
        InputError: for a modality whose targets have names already.
    """
    for modality in names:
        if targets.of(modality) != (UNNAMED,) and targets.of(modality)[0] != names[modality]:
            raise InputError(
                f"Received {shown_value(names[modality])} as the name of the target of {modality}, "
                f"whose targets have names already: {', '.join(targets.of(modality))}."
            )
    renamed = {modality: {targets.of(modality)[0]: name} for modality, name in names.items()}

    def new(modality, name):
        target, *kind = name.split(":")
        return ":".join([renamed.get(modality, {}).get(target, target), *kind])

    return new, Targets(
        {key: tuple(new(key, name) for name in of) for key, of in targets.names.items()},
        {
            key: tuple(tuple(new(key, name) for name in group) for group in groups)
            for key, groups in targets.exclusive.items()
        },
        {
            key: {new(key, inner): new(key, outer) for inner, outer in pairs.items()}
            for key, pairs in targets.nested.items()
        },
        {
            key: {new(key, name): kind for name, kind in kinds.items()}
            for key, kinds in targets.instances.items()
        },
    )


def _extended(segmenter, modality, targets, init_from, adapter_dim):
    old = segmenter.backbone
    name = old.modalities[modality]
    new_channels = set(targets.channels(name)) - set(old.target_set.channels(name))
    adapters = {key: dict(dims) for key, dims in old.target_adapters.items()}
    adapters[name] = {
        **adapters.get(name, {}),
        **{channel: _of(adapter_dim, channel, 0) for channel in new_channels},
    }
    extended = rebuilt(segmenter, targets, target_adapters=adapters)
    new = extended.backbone
    for index in range(len(old.modalities)):
        copy_modality(old, index, new, index)
    layers = further_targets(new, modality)
    for channel in new_channels:
        start = _of(init_from, channel)
        if start is not None:
            start_target(layers[channel], new.mask_decoder, modality, layers.get(start))
    return extended, sorted(targets.channels(name).index(channel) for channel in new_channels)


def _of(value, channel, default=None):
    """Return what is given for the target of a channel: of all, or in a dict of each."""
    target, _, _ = channel.partition(":")
    return value.get(target, default) if isinstance(value, dict) else value


def _joined(current, modality, new):
    """Return declarations with those of one modality's new targets added."""
    old = current.get(modality)
    if isinstance(new, dict):
        new = {**(old or {}), **new}
    else:
        new = (*(old or ()), *new)
    return {**current, modality: new}


def _check_names(modality, names, known):
    taken = [name for name in names if name in known]
    if taken:
        raise InputError(
            f"Received {shown_value(taken[0])} as a new target of {modality}, which this model has "
            f"already (its targets are {', '.join(known)}); give another name."
        )
    if not names:
        raise InputError(f"Received no name of a new target of {modality}; give at least one.")


def _check_init_from(init_from, modality, names, known):
    """Check the targets that new ones begin as, before a model is built."""
    _check_keys("init_from", init_from, modality, names)
    starts = init_from.values() if isinstance(init_from, dict) else [init_from]
    for start in starts:
        if start is None or start in known:
            continue
        listed = (
            "has one target, without a name; give 'mask' for it, or name it first (name_targets, "
            "on the command line --first)"
            if known == (UNNAMED,)
            else f"has {', '.join(known)}"
        )
        raise InputError(
            f"Received init_from={shown_value(start)} for {', '.join(names)} of {modality}"
            f"{did_you_mean(start, known)} The model {listed}."
        )


def _check_keys(argument, value, modality, names):
    unknown = [name for name in value if name not in names] if isinstance(value, dict) else []
    if unknown:
        raise InputError(
            f"Received {argument} for {shown_value(unknown[0])}{did_you_mean(unknown[0], names)} "
            f"The new targets of {modality} are {', '.join(names)}."
        )


def _check_declared(modality, names, declared):
    changed = [
        *(name for group in declared.get("exclusive", ()) for name in group),
        *declared.get("nested", {}),
        *declared.get("instances", {}),
    ]
    old = [name for name in changed if name not in names]
    if old:
        raise InputError(
            f"Received a declaration of {shown_value(old[0])} of {modality}, which is not one of "
            f"the new targets ({', '.join(names)}); it would change the masks of an old target."
        )
