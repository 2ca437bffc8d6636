"""A segmenter's calibrated probabilities, and what is guaranteed of its masks."""

from keras_espmedsam._upward import upward
from keras_espmedsam.errors import warn_of_input
from keras_espmedsam.imaging.probability_calibration import checked_calibration
from keras_espmedsam.inference.guarantees import checked_guarantees


class CalibratedSegmenter:
    """The properties and the methods. A subclass is an `ImageSegmenter` with `target_set`."""

    @property
    def probability_calibration(self):
        """dict of modality to dict of target to the temperature and bias of its probabilities."""
        return self._calibration()[0]

    @property
    def guarantees(self):
        """dict of modality to dict of target to what is guaranteed of its masks."""
        return self._calibration()[1]

    def _set_calibration(self, probability_calibration, guarantees):
        targets = self.target_set
        both = (
            checked_calibration(probability_calibration, targets),
            checked_guarantees(guarantees, targets),
        )
        # A function, since Keras would wrap a dict in an attribute.
        self._calibration = lambda: both

    def calibrate(
        self,
        data,
        recall=None,
        false_discovery_rate=None,
        dice=None,
        confidence=0.9,
        probabilities=True,
        bias=False,
        outputs=None,
        **options,
    ):
        """Calibrate the probabilities on labelled images, and guarantee masks.

        Give images that the model was not trained on, of the place where it is used: 9 of each
        target are enough to guarantee a recall of 0.9. What was calibrated before stays for targets
        that the images do not show. Training changes a model, and ends what is guaranteed: `fit`
        removes both of the targets that it trains, so calibrate last.

        Args:
            data: path of an index of images and masks, or a list of
                `keras_espmedsam.data.Record`.
            recall: float or None. The share of a target's true pixels that is inside of the mask,
                at least, as the mean over new images.
            false_discovery_rate: float or None. The share of the mask that is background, at most,
                as the mean over new images.
            dice: float or None. The mean Dice of new images, at least.
            confidence: float. How sure the last two are. Recall holds on average over the images
                that it is calibrated on.
            probabilities: bool. Whether to fit a temperature for the probabilities of each target.
                Masks at threshold 0.5 stay the same.
            bias: bool. Whether to fit a bias, too, which changes these masks; see
                `calibrate_targets`.
            outputs: `keras_espmedsam.evaluation.RememberedOutputs` of this model, or None: gives
                what the network computes, so that `fit_quality` need not compute it again.
            **options: see `keras_espmedsam.evaluation.calibrate_targets`.

        Returns:
            list of `keras_espmedsam.evaluation.CalibratedTarget`, one for each target.

        Raises:
            InputError: for images that cannot be used, and if nothing could be guaranteed that was
                asked for.

        Warns:
            InputWarning: for each target of which a guarantee could not be given, with the reason.

        Source: Angelopoulos et al., Conformal risk control (arXiv 2208.02814), for recall; Learn
            then test (arXiv 2110.01052), for the others; Guo et al. (arXiv 1706.04599), for the
            temperature.
        """
        found = upward("calibrate_targets")(
            outputs or self,
            data,
            recall=recall,
            false_discovery_rate=false_discovery_rate,
            dice=dice,
            confidence=confidence,
            probabilities=probabilities,
            bias=bias,
            **options,
        )
        calibration = {name: dict(of) for name, of in self.probability_calibration.items()}
        guarantees = {name: dict(of) for name, of in self.guarantees.items()}
        moved = [
            one.target
            for one in found
            if probabilities
            and one.target in self.quality.get(one.modality, ())
            and one.options.get("bias", 0)
            != calibration.get(one.modality, {}).get(one.target, {}).get("bias", 0)
        ]
        if moved:
            warn_of_input(
                f"The bias changes the masks of {', '.join(moved)}; their predicted quality was "
                "fitted to the masks before. Fit it again: fit_quality, or calibrate --quality.",
                stacklevel=3,
            )
        for one in found:
            if probabilities:
                calibration.setdefault(one.modality, {})[one.target] = one.options
            of = guarantees.setdefault(one.modality, {})
            of[one.target] = {**of.get(one.target, {}), **one.guarantees}
        self._set_calibration(calibration, guarantees)
        self._awaits_weights = False
        return found
