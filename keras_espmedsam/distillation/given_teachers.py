"""The teachers and terms of a loss, in each form in which a distiller takes them."""

from keras_espmedsam.distillation.feature_loss import FeatureLoss
from keras_espmedsam.distillation.mask_loss import MASKS, MaskLoss
from keras_espmedsam.distillation.teacher import Teacher
from keras_espmedsam.errors import InputError


def common_by_name(teachers):
    """dict of name to `Teacher`."""
    if not teachers:
        return {}
    if isinstance(teachers, dict):
        return {name: _teacher(model, name) for name, model in teachers.items()}
    listed = teachers if isinstance(teachers, list | tuple) else [teachers]
    made = [_teacher(model, f"teacher_{i}") for i, model in enumerate(listed)]
    if len({teacher.name for teacher in made}) < len(made):
        raise InputError(
            f"Received teachers of one name: {', '.join(t.name for t in made)}; give a dict."
        )
    return {teacher.name: teacher for teacher in made}


def by_modality(teachers, modalities, features):
    """Return one `Teacher` for all, or one per modality in the order of the modalities."""
    if not teachers:
        return {}
    if not isinstance(teachers, dict):
        return {"domain": _teacher(teachers, "domain", features)}
    if set(teachers) == {"domain"}:
        return {"domain": _teacher(teachers["domain"], "domain", features)}
    if set(teachers) != set(modalities):
        raise InputError(
            f"Received teachers for {', '.join(map(str, teachers))}; expected one for all, or one "
            f"for each of {', '.join(map(str, modalities))}."
        )
    return {name: _teacher(teachers[name], str(name), features) for name in modalities}


def _teacher(model, name, features=("embedding",)):
    return model if isinstance(model, Teacher) else Teacher(model, name=name, features=features)


def terms_of(losses, teacher):
    """Return the list of a teacher's terms."""
    if losses is None:
        return [FeatureLoss()]
    own = losses.get(teacher, [FeatureLoss()]) if isinstance(losses, dict) else losses
    return [own] if isinstance(own, FeatureLoss | MaskLoss) else list(own)


def features_asked(terms):
    """Return the features of a teacher that is given as a model: its embedding, masks, or both."""
    masks = [isinstance(term, MaskLoss) for term in terms]
    return ("embedding",) * (not masks or not all(masks)) + (MASKS,) * any(masks)


def terms_by_teacher(losses, common_teachers, domain_teachers):
    """Return the terms of all teachers.

    Args:
        losses: as `DecoupledDistiller` takes them.
        common_teachers, domain_teachers: dicts of `Teacher`.

    Returns:
        dict of stream to dict of teacher to its list of terms; the teachers of the domain are one.

    Raises:
        InputError: for losses of a teacher that is not there, or masks of a common teacher.
    """
    names = {*common_teachers, "domain"}
    if isinstance(losses, dict) and set(losses) - names:
        raise InputError(
            f"Received losses for {', '.join(sorted(set(losses) - names))}; the teachers are "
            f"{', '.join(sorted(names))}."
        )
    return {
        "common": {name: _terms_without_masks(losses, name) for name in common_teachers},
        "domain": {"domain": terms_of(losses, "domain")} if domain_teachers else {},
    }


def _terms_without_masks(losses, teacher):
    terms = terms_of(losses, teacher)
    kept = [term for term in terms if not isinstance(term, MaskLoss)]
    if len(kept) < len(terms) and (isinstance(losses, dict) or not kept):
        raise InputError(
            f"Received a MaskLoss for the common teacher {teacher!r}, which has no masks; "
            "give it a FeatureLoss, and a MaskLoss to teachers of the domain alone."
        )
    return kept
