"""What each data set is, its terms as far as known, and what to cite, for the cards of presets."""

# Those of version 1 of the presets.
FIRST = (
    "isic2018",
    "shenzhen",
    "montgomery",
    "busi",
    "drive",
    "chase_db1",
    "dsb2018",
    "cvc_clinicdb",
    "etis_larib",
)
SOURCES = {
    "isic2018": (
        "skin lesions, dermoscopy; CC BY-NC 4.0, masks CC0",
        "Codella et al. 2018, arXiv 1902.03368; Tschandl et al. 2018, Sci. Data 5:180161",
    ),
    "shenzhen": (
        "lungs, X-ray; NLM, research use with citation; masks CC BY-NC-SA 4.0",
        "Jaeger et al. 2014, QIMS 4(6):475; Stirenko et al. 2018, arXiv 1803.01199",
    ),
    "montgomery": (
        "lungs, X-ray; NLM, research use with citation",
        "Jaeger et al. 2014, QIMS 4(6):475; Candemir et al. 2014, IEEE TMI 33(2):577",
    ),
    "busi": (
        "breast lesions, ultrasound; research use with citation",
        "Al-Dhabyani et al. 2020, Data in Brief 28:104863",
    ),
    "drive": (
        "vessels, fundus; research use with citation",
        "Staal et al. 2004, IEEE TMI 23(4):501",
    ),
    "chase_db1": (
        "vessels, fundus; CC BY 4.0 (not verified)",
        "Fraz et al. 2012, IEEE TBME 59(9):2538",
    ),
    "dsb2018": (
        "nuclei, microscopy; CC0 (BBBC038)",
        "Caicedo et al. 2019, Nature Methods 16:1247",
    ),
    "cvc_clinicdb": (
        "polyps, colonoscopy; research and education only",
        "Bernal et al. 2015, CMIG 43:99",
    ),
    "etis_larib": (
        "polyps, colonoscopy; research use with citation",
        "Silva et al. 2014, IJCARS 9(2):283",
    ),
    "kvasir_seg": (
        "polyps, colonoscopy; research and education, not commercial",
        "Jha et al. 2020, MMM, 451",
    ),
    "polypgen": (
        "polyps, colonoscopy; CC BY 4.0, in a challenge's copy CC BY-NC-SA: not commercial",
        "Ali et al. 2023, Sci. Data 10:75",
    ),
    "cvc_colondb": (
        "polyps, colonoscopy; research, not commercial",
        "Bernal et al. 2012, Pattern Recognition 45:3166",
    ),
    "ham10000": (
        "skin lesions, dermoscopy; CC BY-NC 4.0 or CC BY-NC-SA 4.0",
        "Tschandl et al. 2018, Sci. Data 5:180161; Tschandl et al. 2020, Nature Medicine 26:1229",
    ),
    "jsrt": (
        "lungs, heart and clavicles, X-ray; on registration, research, no redistribution",
        "Shiraishi et al. 2000, AJR 174:71; van Ginneken et al. 2006, MedIA 10:19",
    ),
    "bus_bra": (
        "breast lesions, ultrasound; CC BY 4.0",
        "Gomez-Flores et al. 2024, Medical Physics 51:3110",
    ),
    "stu_hospital": (
        "breast lesions, ultrasound; none stated, research",
        "Zhuang et al. 2019, PLoS ONE 14:e0221535",
    ),
    "hrf": ("vessels, fundus; CC BY 4.0", "Budai et al. 2013, IJBI 2013:154860"),
    "les_av": (
        "vessels, arteries and veins, fundus; scientific use, not commercial",
        "Orlando et al. 2018, MICCAI",
    ),
    "stare": ("vessels, fundus; none stated, research", "Hoover et al. 2000, IEEE TMI 19:203"),
    "drishti_gs": (
        "optic disc and cup, fundus; on registration, research",
        "Sivaswamy et al. 2014, ISBI",
    ),
    "gbm40": ("nuclei, histology; research", "Zhang et al. 2017, ISBI, 718"),
    "tcga_glioma": ("nuclei, histology; research", "Kong et al. 2016, ISBI, 1041"),
    "neuroblastoma": (
        "nuclei, fluorescence; CC0 (not verified)",
        "Kromp et al. 2020, Sci. Data 7:262",
    ),
    "monuseg_test": (
        "nuclei, histology; CC BY-NC-SA 4.0",
        "Kumar et al. 2020, IEEE TMI 39:1380",
    ),
    "miccai15_nuclei": ("nuclei, histology; data of a challenge, research", "MICCAI 2015"),
    "hc18": (
        "fetal heads, ultrasound; CC BY 4.0 (not verified)",
        "van den Heuvel et al. 2018, PLoS ONE 13(8):e0200412",
    ),
    "ufba425": (
        "teeth, X-ray; CC BY 4.0",
        "Budagam et al. 2024, arXiv 2406.03747; Silva et al. 2018, ESWA 107:15",
    ),
}
# Labels that others added.
_MORE = {"drive": "arteries and veins: Hu et al. 2013, MICCAI (RITE)"}


def source_table(names=FIRST):
    """A table of what was used, its terms and what to cite.

    Args:
        names: of the data sets, in their order; or a dict of them to what they were used for.
    """
    used = names if isinstance(names, dict) else {}
    column = " used for |" if used else ""
    lines = [f"| data set |{column} what, and terms | cite |", "|---" * (4 if used else 3) + "|"]
    for name in names:
        terms, cite = SOURCES[name]
        if used and name in _MORE:
            cite = f"{cite}; {_MORE[name]}"
        between = f" {used[name]} |" if used else ""
        lines.append(f"| {name} |{between} {terms} | {cite} |")
    return "\n".join(lines)
