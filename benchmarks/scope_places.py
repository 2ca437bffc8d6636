"""What moving the threshold of the scope to images of a place does, for `scope_report.py`."""

import numpy as np
from report_pages import table

from keras_espmedsam.evaluation.fit_scope_threshold import FEWEST, shift_of

DRAWS, SEED = 100, 0


def moved_thresholds(logits, known):
    """Figures of each unseen data set, of which some images set the threshold and others test it.

    Args:
        logits: `(images,)` of the preset's score, above 0 for what is out of scope.
        known: dict of `split`, `dataset`, `of` and `said` of each image.

    Returns:
        dict of data set to means over draws of the images that set it.
    """
    of, said, split, datasets = (known[name] for name in ("of", "said", "split", "dataset"))
    rng, found = np.random.default_rng(SEED), {}
    for dataset in dict.fromkeys(datasets[split == "unseen"]):
        own = logits[(split == "unseen") & (datasets == dataset)]
        modality = said[datasets == dataset][0]
        count = min(49, len(own) // 2)
        if count < FEWEST:
            continue
        others = logits[(split == "test") & (said == modality) & (of != modality)]
        rows = []
        for _ in range(DRAWS):
            drawn = rng.permutation(own)
            shift = shift_of(drawn[:count])
            rows.append([(drawn[count:] > shift).mean(), (others > shift).mean()])
        after, others_after = np.mean(rows, axis=0)
        found[f"{dataset}, as {modality}"] = {
            "images": count,
            "before": float((own > 0).mean()),
            "after": float(after),
            "others_before": float((others > 0).mean()),
            "others_after": float(others_after),
        }
    return found


def places(found):
    """Lines of the page."""
    yield "## Moved to another place\n"
    yield "`fit_scope_threshold`, and `espmedsam calibrate --scope`, move the threshold of a"
    yield "modality to proper images of a place, if more of them are flagged than 2 % explain. Some"
    yield f"images of each unseen data set set it, drawn {DRAWS} times, and the rest tests it."
    yield "Others are test images of the other modalities, photographs and generated images that"
    yield "are given as this one.\n"
    rows = [
        [name, one["images"]]
        + [f"{one[key]:.1%}" for key in ("before", "after", "others_before", "others_after")]
        for name, one in found.items()
    ]
    header = ["data set", "images", "flagged", "moved", "others flagged", "moved"]
    yield table(header, rows) + "\n"
    yield f"Data sets of fewer than {2 * FEWEST} images are left out."
    yield ""
