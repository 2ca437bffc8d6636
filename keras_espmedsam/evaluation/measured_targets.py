"""Which masks of the data are compared with which targets of a model."""

from collections.abc import Sequence

from keras_espmedsam._shown import shown
from keras_espmedsam.data.record import Record
from keras_espmedsam.data.targets import UNNAMED, Targets
from keras_espmedsam.errors import InputError, did_you_mean


class MeasuredTargets:
    """The targets of an evaluation: those that the data labels, under their names in the report.

    A mask without a target's name is that of the modality's first target. A model with one target
    without a name for a modality is compared with whatever the data calls it.

    Args:
        target_set: the model's targets.
        records: the records, with masks of modalities that the model has.

    The attributes are `named` (whether the report names the targets: the model or the data does)
    and `names` (the targets that may be named, first those that are labelled).

    Raises:
        InputError: for a target that the model does not have, several of a modality where it has
            one without a name, or two masks of one target in an image.

    Example:
        >>> from pathlib import Path
        >>> record = Record("test", "xray", "jsrt", Path("1.png"), Path("1_mask.png"))
        >>> found = MeasuredTargets(Targets({"xray": ("lungs", "heart")}), [record])
        >>> found.names, found.label("xray", "")
        (('lungs', 'heart'), 'lungs')
    """

    def __init__(self, target_set: Targets, records: Sequence[Record]):
        self.target_set = target_set
        labelled: dict[str, dict[str, None]] = {}
        for record in records:
            names = labelled.setdefault(record.modality, {})
            names.update(dict.fromkeys(one.target for one in record.target_masks))
        self._labels = {
            modality: self._resolved(modality, tuple(names), labelled)
            for modality, names in labelled.items()
        }
        for record in records:
            _check_once(record, self._labels[record.modality])
        own = [name for labels in self._labels.values() for name in labels.values()]
        known = [name for names in target_set.names.values() for name in names]
        self.named = any(name != UNNAMED for name in own)
        self.names = tuple(dict.fromkeys([*own, *known]))

    def label(self, modality: str, target: str) -> str:
        """Return a labelled target's name in the report; empty if the report does not name them.

        Args:
            modality: the record's modality.
            target: the target's name in the record; empty for the modality's first.
        """
        return self._labels[modality][target] if self.named else ""

    def channel(self, modality: str, target: str) -> int:
        """Return the number of a labelled target's mask among those of its modality."""
        return self.target_set.index(modality, target)

    def name(self, modality: str, target: str) -> str:
        """Return the model's name of a labelled target."""
        return self.target_set.of(modality)[self.channel(modality, target)]

    def _resolved(self, modality, names, labelled):
        """Return the report's name of each name in the data."""
        own = self.target_set.of(modality)
        said = [name for name in names if name]
        if own == (UNNAMED,):
            if len(said) > 1:
                raise InputError(
                    f"The data labels the targets {', '.join(map(shown, said))} of {modality}, of "
                    "which this preset draws one, without saying which; choose that one, by "
                    "--target or by the targets of read_index."
                )
            return dict.fromkeys(names, said[0] if said else UNNAMED)
        for name in said:
            if name not in own:
                others = [one for one, its in self.target_set.names.items() if name in its]
                elsewhere = f" {shown(name)} is a target of {', '.join(others)}." if others else ""
                raise InputError(
                    f"The data labels the target {shown(name)} of {modality}, which this preset "
                    f"does not have{did_you_mean(name, own)} It has {', '.join(own)}.{elsewhere} "
                    f"Choose targets that it has, by {self._choice(labelled)} or by the targets of "
                    "read_index."
                )
        return {name: name or own[0] for name in names}

    def _choice(self, labelled):
        """Return the options that choose what both the data and the model have."""
        common = []
        for modality, names in labelled.items():
            own = self.target_set.of(modality)
            common += [name for name in names if name in own or (name and own == (UNNAMED,))]
        return " ".join(f"--target {name}" for name in dict.fromkeys(common)) or "--target"


def _check_once(record, labels):
    names = [labels[one.target] for one in record.target_masks]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"{shown(record.image)} has a mask of the target {name} and one without a target's "
                "name, which stands for the same; leave one of them out."
            )
