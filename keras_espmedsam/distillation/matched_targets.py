"""Which channel of a teacher's masks teaches which of the student's."""

from keras import ops

from keras_espmedsam.data.targets import UNLABELLED, UNNAMED
from keras_espmedsam.distillation.mask_loss import MASKS
from keras_espmedsam.errors import InputError
from keras_espmedsam.layers.modality_variables import select_flags
from keras_espmedsam.losses.exclusive_groups import owners_of_groups
from keras_espmedsam.ops.device_constant import device_number


class MatchedTargets:
    """Give the masks of teachers the student's channels, by the names of modality and target.

    Hidden channels, such as `"nuclei:boundary"`, have names too. A teacher's only target, if it is
    unnamed, is the modality's first, as a mask without a name is in training. What the teacher
    lacks is unknown: no loss depends on it.

    Args:
        student: `Targets`.
        teachers: dict of each modality of the student to the `Targets` of its teacher.

    Raises:
        InputError: if the student's only target of a modality is unnamed and the teacher has
            several, or if the teachers have none of the student's targets.

    Example:
        >>> from keras_espmedsam.data import Targets
        >>> student = Targets({"eye": ("disc", "cup"), "chest": ("lungs",)})
        >>> teacher = Targets({"chest": ("mask",), "eye": ("vessels", "disc")})
        >>> matched = MatchedTargets(student, {"eye": teacher, "chest": teacher})
        >>> matched.table, matched.taught
        (((1, -1), (0, -1)), {'eye': ('disc',), 'chest': ('lungs',)})
    """

    def __init__(self, student, teachers):
        self.student = student
        self.num_channels = max(targets.num_channels for targets in teachers.values())
        rows = {
            name: matched_channels(student, teachers[name], name) for name in student.modalities
        }
        width = student.num_channels
        self.table = tuple((*row, *[-1] * (width - len(row))) for row in rows.values())
        self._groups = student.group_numbers()
        if not any(self.taught.values()):
            raise InputError(
                f"The student has the targets {_said(student)}, and its teacher "
                f"{' and '.join(dict.fromkeys(map(_said, teachers.values())))}; masks are learnt "
                "by the names of modality and target, so give the same names "
                "(segmenter.name_targets), or another teacher."
            )

    @property
    def taught(self):
        """dict of modality to tuple of the student's channels that have a teacher, by name."""
        return {
            modality: tuple(
                name
                for name, channel in zip(self.student.channels(modality), row, strict=False)
                if channel >= 0
            )
            for modality, row in zip(self.student.modalities, self.table, strict=True)
        }

    @property
    def untaught(self):
        """dict of modality to tuple of the student's channels that have none."""
        return {
            modality: tuple(n for n in self.student.channels(modality) if n not in names)
            for modality, names in self.taught.items()
        }

    def said(self):
        """Return a sentence on which targets are taught and which are not.

        Example:
            >>> from keras_espmedsam.data import Targets
            >>> student, teacher = Targets({"eye": ("disc", "cup")}), Targets({"eye": ("cup",)})
            >>> MatchedTargets(student, {"eye": teacher}).said()
            'Teachers have masks of eye: cup, and none of eye: disc.'
        """
        taught, untaught = (_listed(names) for names in (self.taught, self.untaught))
        return f"Teachers have masks of {taught}" + (
            f", and none of {untaught}." if untaught else "."
        )

    def __call__(self, logits, modalities=None):
        """Return the truth that the student's masks learn.

        Args:
            logits: `(batch, h, w, channels)`, the teacher's; -inf in whole channels is unknown.
            modalities: int tensor `(batch,)`, indices into the student's; not needed with one.

        Returns:
            float32 `(batch, h, w, channels of the student)`: probabilities, or -1 in whole
            channels that are unknown. Those of an exclusive group add up to 1 at most.

        Raises:
            InputError: for masks of another number of channels than the teacher's.

        Example:
            >>> from keras_espmedsam.data import Targets
            >>> student, teacher = Targets({"eye": ("disc", "cup")}), Targets({"eye": ("cup",)})
            >>> matched = MatchedTargets(student, {"eye": teacher})
            >>> keras.ops.convert_to_numpy(matched(np.zeros((1, 1, 1, 1)))).tolist()
            [[[[-1.0, 0.5]]]]
        """
        if logits.shape[-1] != self.num_channels:
            raise InputError(
                f"Received a teacher's masks of shape {tuple(logits.shape)}; expected "
                f"(batch, height, width, {self.num_channels}), the channels of the teacher."
            )
        logits = self._chosen(ops.cast(logits, "float32"), modalities)
        zero, lowest = (device_number(value, like=logits) for value in (0, float("-inf")))
        known = ops.max(logits, axis=(1, 2), keepdims=True) > lowest
        masks = ops.where(known, ops.sigmoid(ops.where(known, logits, zero)), zero)
        for members, own in self._exclusive(modalities):
            masks = _at_most_one(masks, members, own)
        return ops.where(known, masks, device_number(UNLABELLED, like=masks))

    def _chosen(self, logits, modalities):
        """Bring the teacher's channels into the student's order; -inf for what it lacks."""
        nothing = ops.full_like(logits[..., :1], float("-inf"))
        channels = []
        for column in zip(*self.table, strict=True):
            sources = sorted(set(column))
            chosen = nothing if sources[0] < 0 else logits[..., sources[0] : sources[0] + 1]
            for source in sources[1:]:
                own = select_flags([[number == source] for number in column], modalities)
                chosen = ops.where(own, logits[..., source : source + 1], chosen)
            channels.append(chosen)
        return channels[0] if len(channels) == 1 else ops.concatenate(channels, axis=-1)

    def _exclusive(self, modalities):
        """Yield the channels of each exclusive group, and which images have it, or `None`."""
        for members, owners in owners_of_groups(self._groups).items():
            rows = [[index in owners] for index in range(len(self._groups))]
            yield members, select_flags(rows, modalities)


def match_targets(student, modalities, teachers):
    """Match the targets of a student with those of its teachers of the domain.

    Args:
        student: `ESPMedSAMImageSegmenter` or `ESPMedSAMBackbone`.
        modalities: tuple of str, the student's.
        teachers: dict of `Teacher`, for `"domain"` or by modality.

    Returns:
        `MatchedTargets`.

    Raises:
        InputError: for a student or a teacher without masks, and as `MatchedTargets`.
    """
    own = getattr(getattr(student, "backbone", student), "target_set", None)
    if own is None:
        raise InputError(
            f"Received a MaskLoss for a student of type {type(student).__name__}, which "
            "has no masks; expected an ESPMedSAMImageSegmenter or ESPMedSAMBackbone."
        )
    for teacher in teachers.values():
        if not teacher.decodes:
            raise InputError(
                f"The teacher {teacher.name!r} gives no masks; build it as Teacher(segmenter, "
                f"features={(*teacher.features, MASKS)})."
            )
    one = teachers.get("domain")
    return MatchedTargets(own, {name: (one or teachers[name]).target_set for name in modalities})


def matched_channels(student, teacher, modality):
    """Return the teacher's channel of each of the student's channels of a modality, or -1.

    Args:
        student, teacher: `Targets`.
        modality: str, one of the student's.

    Raises:
        InputError: see `MatchedTargets`.

    Example:
        >>> from keras_espmedsam.data import Targets
        >>> student = Targets({"eye": ("disc", "cup")})
        >>> matched_channels(student, Targets({"eye": ("vessels", "disc")}), "eye")
        [1, -1]
    """
    own = student.channels(modality)
    if modality not in teacher.names:
        return [-1] * len(own)
    names = teacher.channels(modality)
    first, theirs = student.of(modality)[0], teacher.of(modality)[0]
    if UNNAMED in (first, theirs) and first != theirs:
        known = student.of(modality)
        others = [name for name in teacher.of(modality) if name not in known]
        if first == UNNAMED and len(others) > 1:
            raise InputError(
                f"The teacher has the targets {', '.join(others)} of {modality}, and the student "
                "one without a name; name it, such as "
                f"segmenter.name_targets({{{modality!r}: {others[0]!r}}})."
            )
        # As in training, a mask without a name shows the modality's first target.
        if theirs not in known and first not in teacher.of(modality):
            names = tuple(_renamed(name, theirs, first) for name in names)
    return [names.index(name) if name in names else -1 for name in own]


def _renamed(channel, old, new):
    """Rename a target in the name of its channel, which may be hidden: `"mask:boundary"`."""
    target, colon, kind = channel.partition(":")
    return f"{new if target == old else target}{colon}{kind}"


def _at_most_one(masks, members, own):
    """Divide the masks of a group by their sum where that exceeds 1, as in a teacher without it."""
    columns = [masks[..., channel : channel + 1] for channel in range(masks.shape[-1])]
    total = sum(columns[channel] for channel in members)
    total = ops.maximum(total, device_number(1, like=total))
    if own is not None:
        total = ops.where(own, total, device_number(1, like=total))
    columns = [
        column / total if channel in members else column for channel, column in enumerate(columns)
    ]
    return ops.concatenate(columns, axis=-1)


def _said(targets):
    return _listed(targets.names)


def _listed(names):
    return "; ".join(f"{modality}: {', '.join(own)}" for modality, own in names.items() if own)
