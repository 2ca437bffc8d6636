"""A segmenter's methods that make one of other modalities or targets, and train what is new."""

from keras_espmedsam.errors import InputError
from keras_espmedsam.models.esp_medsam import (
    modality_extension,
    specialization,
    target_extension,
)
from keras_espmedsam.models.quantization import refuse_quantized


class ExtendableSegmenter:
    """The methods. A subclass is an `ImageSegmenter` with `target_set` and `postprocessing`.

    Example:
        >>> encoder = TinyViTBackbone(
        ...     hidden_dims=(16, 16, 32, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 2),
        ...     window_sizes=(4, 4, 4), neck_dim=32, num_modalities=6)
        >>> backbone = ESPMedSAMBackbone(encoder, transformer_num_heads=2, transformer_mlp_dim=64)
        >>> converter = ESPMedSAMImageConverter(image_size=(64, 64))
        >>> segmenter = ESPMedSAMImageSegmenter(
        ...     backbone, ESPMedSAMImageSegmenterPreprocessor(converter))
    """

    def specialize(self, modality):
        """Return a model of one modality: its controller, all queries, no `modalities` input.

        Args:
            modality: str or int. Name or index.

        Returns:
            `ESPMedSAMImageSegmenter` with its own copy of the weights. Its masks equal this
            model's masks for this modality.

        Raises:
            InputError: for an unknown modality.

        Example:
            >>> fundus = segmenter.specialize("fundus")
            >>> fundus.modalities, fundus.count_params() < segmenter.count_params()
            (('fundus',), True)

        Source: the released checkpoints, which hold one modality each.
        """
        (index,) = self.modality_indices(modality, 1)
        return specialization.specialize(self, int(index))

    def add_modality(
        self,
        name,
        init_from=None,
        freeze=True,
        targets=None,
        exclusive=(),
        nested=None,
        instances=None,
    ):
        """Return a copy of this model with one more modality: a new controller and a new query.

        Only samples of the new modality see its query, so training it while everything else is
        frozen leaves the masks of all other modalities unchanged. This model stays unchanged too.

        Args:
            name: str, or a list of str for several. Letters, digits, `-` and `_`.
            init_from: str, int or None. The modality whose controller and query the new ones are
                copied from. `None` starts with a controller that changes nothing and a random
                query.
            freeze: bool. Call `train_only_modality` on the result, ready for training.
            targets: names of the new modality's targets, or one name, or with several modalities
                a dict of modality to these. By default one unnamed target.
            exclusive, nested, instances: what holds between the new targets of each new modality,
                as for `add_target`.

        Returns:
            `ESPMedSAMImageSegmenter` with its own weights; `name` is its last modality.

        Raises:
            InputError: for a name that is taken or not allowed, an unknown `init_from`, or a
                quantised model.

        Example:
            >>> extended = segmenter.add_modality("fetal_ultrasound", init_from="ultrasound")
            >>> extended.modalities[6:], len(segmenter.modalities)
            (('fetal_ultrasound',), 6)

        Source: ESP-MedSAM (arXiv 2407.14153), modality transfer. Departs from the paper: other
        modalities do not see the new query.
        """
        refuse_quantized(self, "add_modality()", "add it there, and quantize the result")
        source = None if init_from is None else int(self.modality_indices(init_from, 1)[0])
        names = list(name) if isinstance(name, list | tuple) else [name]
        by_name = targets if isinstance(targets, dict) else dict.fromkeys(map(str, names), targets)
        declared = {"exclusive": exclusive, "nested": nested, "instances": instances}
        extended = self
        for one in names:
            own = by_name.get(one) if isinstance(one, str) else None
            extended = modality_extension.extend(extended, one, source, own, **declared)
        if freeze:
            extended.train_only_modality(names)
        return extended

    def train_only_modality(self, modality):
        """Freeze everything except one modality's own weights; call it before `compile`.

        Trained: the modality's controller, the queries and hyper-networks of its targets after
        the first and, for an added modality, those of the first (the first queries of the other
        modalities are rows of a shared weight). Frozen: the encoder with its BatchNorm statistics,
        the self-prompts, the decoder and the other modalities. Saved files do not store this: call
        it again after loading.

        Args:
            modality: str, int, a list of these, or None. Name or index; `None` unfreezes
                everything.

        Raises:
            InputError: for an unknown modality.

        Example:
            >>> segmenter.train_only_modality("fundus")
            >>> {variable.modality for variable in segmenter.trainable_variables}
            {3}
            >>> segmenter.train_only_modality(None)

        Source: ESP-MedSAM (arXiv 2407.14153), which weights each phase trains.
        """
        if modality is None:
            modality_extension.train_only(self.backbone, None)
            return
        modalities = list(modality) if isinstance(modality, list | tuple) else [modality]
        indices = self.modality_indices(modalities, len(modalities))
        modality_extension.train_only(self.backbone, {int(i): None for i in indices})

    def add_target(
        self,
        modality,
        name,
        init_from=None,
        adapter_dim=0,
        freeze=True,
        exclusive=(),
        nested=None,
        instances=None,
    ):
        """Return a copy of this model that also segments a further target of a modality.

        The new target has a query and a hyper-network of its own, which read what the model
        computes but are never read. So the masks of all other targets are computed as before, and
        training the new one while everything else is frozen leaves them the same, bit for bit.
        This model stays unchanged too.

        Args:
            modality: str or int. Name or index.
            name: str, or a list of str for several. Letters, digits, `-` and `_`.
            init_from: str or None. The modality's target that the new ones begin as. `None` starts
                with random weights. Or a dict of new target to these.
            adapter_dim: int. Hidden width of an adapter of the image features for each new target;
                0 for none. It helps a target that looks unlike the others. Or a dict of new target
                to int.
            freeze: bool. Call `train_only_target` on the result, ready for training.
            exclusive: groups of new targets that never overlap, such as `[("arteries", "veins")]`.
            nested: dict of a new target to the target that contains it.
            instances: dict of a new target to how its objects are told apart, see `Targets`;
                `add_instances` is for an old one.

        Returns:
            `ESPMedSAMImageSegmenter` with its own weights; the new targets are the modality's last.

        Raises:
            InputError: for a name that is taken or not allowed, unknown targets, a declaration
                that would change the masks of an old target, or a quantised model.

        Example:
            >>> extended = segmenter.add_target("fundus", ["optic_disc", "optic_cup"],
            ...     nested={"optic_cup": "optic_disc"})
            >>> extended.targets["fundus"]
            ('mask', 'optic_disc', 'optic_cup')
            >>> {variable.target for variable in extended.trainable_variables}
            {1, 2}
        """
        refuse_quantized(self, "add_target()", "add it there, and quantize the result")
        if self.backbone.self_prompt_targets == "each":
            raise InputError(
                "Received a model with a map of self-prompts for each target, which has none for "
                "a new target; add it to a model with self_prompt_targets='union'."
            )
        index = int(self.modality_indices(modality, 1)[0])
        names = tuple(name) if isinstance(name, list | tuple) else (name,)
        declared = {"exclusive": exclusive, "nested": nested, "instances": instances}
        declared = {key: value for key, value in declared.items() if value}
        extended, channels = target_extension.add_targets(
            self, index, names, init_from, adapter_dim, **declared
        )
        if freeze:
            modality_extension.train_only(extended.backbone, {index: channels})
        return extended

    def add_instances(
        self, modality, target, kind="core", init_from=None, adapter_dim=0, freeze=True
    ):
        """Return a copy of this model that also tells the objects of a target apart.

        Args:
            modality: str or int. Name or index.
            target: str. A target of the modality.
            kind: `"core"`, `"boundary"` or `"components"`, see `Targets`. The first two add a
                hidden channel, which must be trained; all masks stay the same.
            init_from: str or None. The target that the hidden channel begins as; `None` is
                `target`.
            adapter_dim, freeze: as for `add_target`.

        Returns:
            `ESPMedSAMImageSegmenter` with its own weights.

        Raises:
            InputError: for an unknown target or kind, or a quantised model.

        Example:
            >>> extended = segmenter.add_instances("microscopy", "mask")
            >>> extended.target_set.channels("microscopy")
            ('mask', 'mask:core')
        """
        refuse_quantized(self, "add_instances()", "add them there, and quantize the result")
        index = int(self.modality_indices(modality, 1)[0])
        extended, channels = target_extension.add_instances(
            self, index, target, kind, init_from, adapter_dim
        )
        if freeze and channels:
            modality_extension.train_only(extended.backbone, {index: channels})
        return extended

    def train_only_target(self, modality, target):
        """Freeze everything except the weights of one target alone; call it before `compile`.

        Args:
            modality: str or int. Name or index.
            target: str, or a list of str. Targets of the modality after its first, or hidden
                channels.

        Raises:
            InputError: for an unknown target, and for a modality's first, whose query the others
                read.

        Example:
            >>> extended = segmenter.add_target("fundus", ["optic_disc", "optic_cup"])
            >>> extended.train_only_target("fundus", "optic_cup")
            >>> {variable.target for variable in extended.trainable_variables}
            {2}
        """
        index = int(self.modality_indices(modality, 1)[0])
        name = self.modalities[index]
        channels = self.target_set.channels(name)
        numbers = []
        for one in [target] if isinstance(target, str) else target:
            number = channels.index(one) if one in channels else self.target_set.index(name, one)
            if not number:
                raise InputError(
                    f"Received {one!r}, the first target of {name}, which shares its weights with "
                    f"other targets; expected one of {', '.join(channels[1:]) or 'none: add one'}."
                )
            numbers.append(number)
        modality_extension.train_only(self.backbone, {index: numbers})

    def name_targets(self, names):
        """Give the unnamed target of some modalities a name. No weight changes.

        Args:
            names: dict of modality to str.

        Raises:
            InputError: for an unknown modality, one whose targets have names, and a bad name.

        Example:
            >>> named = segmenter.specialize("fundus")
            >>> named.name_targets({"fundus": "vessels"})
            >>> named.targets
            {'fundus': ('vessels',)}
        """
        new, targets = target_extension.named(self.target_set, names)
        backbone = self.backbone
        backbone.target_set = targets
        backbone.target_adapters = {
            modality: {new(modality, name): dim for name, dim in dims.items()}
            for modality, dims in backbone.target_adapters.items()
        }

        def renamed(given):
            return {
                modality: {new(modality, name): one for name, one in of.items()}
                for modality, of in given.items()
            }

        rules = renamed(self.postprocessing)
        self._postprocessing = lambda: rules
        self._set_calibration(renamed(self.probability_calibration), renamed(self.guarantees))
        self._set_quality(renamed(self.quality))
