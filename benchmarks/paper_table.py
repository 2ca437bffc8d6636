"""A version's figures in the layout of ESP-MedSAM's own evaluation: a set of each modality at home
and one elsewhere."""

from preset_statistics import Means, rows_of
from report_pages import cell_of, table

# The paper's data sets and how many images of each it tests on: at home, and unseen (arXiv
# 2407.14153). Beside each: the name of ours that is the same one.
PAPER = (
    ("dermoscopy", "lesion", ("ISIC 2018", 100, "isic2018"), ("PH2", 200, None)),
    ("xray", "lungs", ("Shenzhen and Montgomery", 71, "shenzhen"), ("NIH", 100, None)),
    ("ultrasound", "lesion", ("UDIAT", 17, None), ("BUSI", 780, "busi")),
    ("fundus", "vessels", ("DRIVE", 20, "drive"), ("STARE", 20, "stare")),
    ("microscopy", "nuclei", ("DSB 2018", 67, "dsb2018"), ("TNBC", 50, None)),
    ("colonoscopy", "polyp",
     ("CVC-ClinicDB", 61, "cvc_clinicdb"), ("CVC-ColonDB", 380, "cvc_colondb")),
)  # fmt: skip


def paper_table(newest):
    """The table; a set that is not in the data, or that was trained on, says so.

    Args:
        newest: dict, what `preset_accuracy.py measure` wrote.
    """
    means = {
        split: [Means(rows_of(newest, split), measure) for measure in ("dice", "iou")]
        for split in ("test", "unseen")
    }
    lines = []
    for modality, target, *places in PAPER:
        for place, (title, images, dataset) in zip(("at home", "unseen"), places, strict=True):
            key = modality, target, dataset
            row = [modality, place, title, images]
            found = next((split for split, (dice, _) in means.items() if key in dice.counts), None)
            if found is None:
                lines.append([*row, "not in the data", "", "", ""])
                continue
            as_there = (found == "unseen") == (place == "unseen")
            dice, iou = means[found]
            lines.append(
                [
                    *row,
                    found if as_there else f"{found}; trained on",
                    dice.counts[key],
                    cell_of(dice, key),
                    cell_of(iou, key),
                ]
            )
    header = ["modality", "in the paper", "data set", "its images", "here", "images", "Dice", "IoU"]
    return table(header, lines)
