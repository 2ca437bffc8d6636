"""Distillation of several targets: what is taught, what is labelled, and what is neither."""

import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam import losses
from keras_espmedsam.distillation import DecoupledDistiller, FeatureLoss, MaskLoss, Teacher
from keras_espmedsam.errors import InputError

MODALITIES = ("lung", "eye")
TARGETS = {"eye": ("vessels", "disc", "cup", "lesion"), "lung": ("lungs", "heart")}
# Fewer targets, in another order, of modalities in another order; and of one more modality.
TEACHER = {"skin": ("mole",), "eye": ("disc", "vessels"), "lung": ("heart",)}


def convolution(tiny):
    """Without controllers, whose compilation and tracing take time."""
    return tiny.convolution()


def make_student(tiny, modalities=MODALITIES, targets=TARGETS, seed=1, **options):
    backbone = tiny.backbone(modalities, encoder=convolution(tiny), targets=targets, **options)
    return tiny.randomize(kem.models.ESPMedSAMImageSegmenter(backbone), seed)


def make_teacher(tiny, targets=TEACHER, seed=3, **options):
    return make_student(tiny, tuple(targets), targets, seed, **options)


def compiled(distiller):
    eagerly = keras.backend.backend() == "tensorflow"
    distiller.compile(keras.optimizers.AdamW(1e-2, weight_decay=0.05), run_eagerly=eagerly)
    return distiller


def batch(modalities, labelled=(), seed=0, channels=4):
    """A prepared batch; only these channels are labelled."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(len(modalities), 32, 32, 3)).astype("float32")
    masks = np.full((len(modalities), 32, 32, channels), -1.0, "float32")
    for channel in labelled:
        masks[..., channel] = rng.integers(0, 2, size=masks.shape[:3])
    patches = np.ones((len(modalities), 1, 1, 1), "float32")
    x = {"domain": {"images": images, "modalities": np.array(modalities, "int32")}}
    return x, {"masks": masks, "patches": patches}


def cross_entropy(truth, logits):
    return (np.logaddexp(0, logits) - truth * logits).mean(axis=(1, 2))


@pytest.fixture(scope="module")
def joint(tiny):
    """A distiller of the whole student, compiled once; its steps change it."""
    distiller = DecoupledDistiller(
        make_student(tiny),
        domain_teachers=make_teacher(tiny),
        phase="joint",
        losses=[MaskLoss(weight=2.0)],
    )
    return compiled(distiller)


def test_the_loss_is_that_of_numpy_between_targets_of_one_name(joint, tiny):
    tiny.randomize(joint.student, 1)
    x, y = batch((1, 0), labelled=(0,))
    logs = joint.test_on_batch(x, y, return_dict=True)
    teacher = joint.domain_teachers["domain"].model
    given = keras.Model.predict_on_batch(
        teacher, {"images": x["domain"]["images"], "modalities": np.array([1, 2], "int32")}
    )["masks"]
    found = keras.Model.predict_on_batch(joint.student, x["domain"])["masks"]
    truth = 1 / (1 + np.exp(-given.astype("float64")))
    # Channels: (student, teacher) of vessels and disc, and of the heart.
    eye = [cross_entropy(truth[:1, ..., t], found[:1, ..., s]) for s, t in ((0, 1), (1, 0))]
    heart = cross_entropy(truth[1:, ..., 0], found[1:, ..., 1])
    expected = 2 * (np.mean(eye) + heart[0]) / 2
    assert logs["domain_masks_cross_entropy"] == pytest.approx(expected, rel=1e-4)
    # Labels: the first channel of both images alone.
    only = losses.get("standard")["masks"](y["masks"][..., :1], found[..., :1])
    assert logs["label_masks"] == pytest.approx(float(only), rel=1e-4)
    assert logs["loss"] == pytest.approx(
        sum(value for name, value in logs.items() if name != "loss"), rel=1e-5
    )


def same(before, weights, tiny):
    """Whether each weight is what it was."""
    return [np.array_equal(a, b) for a, b in zip(before, tiny.values(weights), strict=True)]


def own_weights(student):
    """The weights of each target alone, by modality and channel."""
    found = {}
    for weight in student.trainable_variables:
        if hasattr(weight, "target"):
            found.setdefault((weight.modality, weight.target), []).append(weight)
    return found


def test_what_is_neither_labelled_nor_taught_stays_bit_for_bit(joint, tiny):
    own = own_weights(joint.student)
    assert set(own) == {(1, 1), (1, 2), (1, 3), (0, 1)}
    # Momentum of all first, on which an idle one would drift.
    joint.train_on_batch(*batch((1, 0), labelled=(0, 1, 2, 3)))
    for modalities, labelled, moved in (
        ((1, 1), (2,), {(1, 1), (1, 2)}),  # The disc is taught, the cup labelled.
        ((1, 1), (), {(1, 1)}),
        ((0, 0), (), {(0, 1)}),
        ((0, 1), (1, 3), {(0, 1), (1, 1), (1, 3)}),
    ):
        states = [
            variable
            for copy in joint.optimizer.copies
            for variable in copy.variables
            if "learning_rate" not in variable.path
        ]
        before = {key: tiny.values(weights) for key, weights in own.items()}
        slots = tiny.values(states)
        joint.train_on_batch(*batch(modalities, labelled, seed=len(labelled)))
        for key, weights in own.items():
            stayed = same(before[key], weights, tiny)
            # Of those that move, a unit that is 0 may keep a row; the query, which is first, not.
            assert all(stayed) if key not in moved else not stayed[0], (key, modalities)
        changed = [not stayed for stayed in same(slots, states, tiny)]
        idle = {f"modality_{m}_target_{t}" for m, t in set(own) - moved}
        for variable, other in zip(states, changed, strict=True):
            if any(name in variable.path for name in idle):
                assert not other, variable.path
    assert all(np.isfinite(value).all() for value in tiny.values(joint.student.weights))


def test_given_masks_that_are_absent_have_no_value_and_no_gradient(joint, tiny):
    """As from a cache: -inf in whole channels, here of all, so that only labels count."""
    x, y = batch((1, 1), labelled=(0,))
    masks = np.full((2, 32, 32, 2), -np.inf, "float16")
    x["domain"]["targets"] = {"domain": {"masks": masks}}
    own = own_weights(joint.student)
    before = {key: tiny.values(weights) for key, weights in own.items()}
    logs = joint.train_on_batch(x, y, return_dict=True)
    assert logs["domain_masks_cross_entropy"] == 0 and np.isfinite(logs["loss"])
    for key, weights in own.items():
        assert all(same(before[key], weights, tiny))


@pytest.mark.slow_on("tensorflow", "jax")
def test_teachers_by_modality_give_their_own_channels(tiny):
    """Each numbers its modalities and channels in its own way."""
    teachers = {
        "eye": make_teacher(tiny, {"eye": ("cup", "disc", "vessels")}, seed=4),
        "lung": make_teacher(tiny, {"skin": ("mole",), "lung": ("lungs",)}, seed=5),
    }
    distiller = DecoupledDistiller(
        make_student(tiny), domain_teachers=teachers, phase="joint", losses=MaskLoss()
    )
    x, _ = batch((1, 0))
    found = distiller.teacher_targets(x)["domain"]["domain"]["masks"]
    assert tuple(found.shape) == (2, 32, 32, 3)
    truth = distiller.matched_targets(found, x["domain"]["modalities"])
    truth = keras.ops.convert_to_numpy(truth)
    images = x["domain"]["images"]
    eye = keras.Model.predict_on_batch(teachers["eye"], {"images": images})["masks"][0]
    lung = keras.Model.predict_on_batch(
        teachers["lung"], {"images": images, "modalities": np.array([1, 1], "int32")}
    )["masks"][1]
    eye, lung = (1 / (1 + np.exp(-one)) for one in (eye, lung))
    np.testing.assert_allclose(truth[0, ..., :3], eye[..., [2, 1, 0]], atol=1e-5)
    np.testing.assert_allclose(truth[1, ..., 0], lung[..., 0], atol=1e-5)
    assert (truth[0, ..., 3] == -1).all() and (truth[1, ..., 1:] == -1).all()


@pytest.mark.slow_on("tensorflow", "jax")
def test_a_teacher_numbers_its_modalities_in_its_own_order(tiny):
    """Controllers are of modalities by name, too, not by the student's number."""
    teacher = tiny.randomize(tiny.backbone(("eye", "skin", "lung")), 3)
    student = tiny.randomize(tiny.encoder(num_modalities=2), 1)
    backbone = tiny.backbone(MODALITIES, encoder=student)
    distiller = DecoupledDistiller(backbone, domain_teachers=teacher)
    x, _ = batch((1, 0))
    found = distiller.teacher_targets(x)["domain"]["domain"]["embedding"]
    expected = teacher.image_encoder.features(x["domain"]["images"], np.array([0, 2], "int32"))
    found, expected = map(keras.ops.convert_to_numpy, (found, expected["embedding"]))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # A student of one modality has no `modalities`; its teacher uses that one's controller.
    single = tiny.backbone(("lung",), encoder=tiny.encoder(num_modalities=1))
    distiller = DecoupledDistiller(single, domain_teachers=teacher)
    found = distiller.teacher_targets({"domain": {"images": x["domain"]["images"][1:]}})
    found = keras.ops.convert_to_numpy(found["domain"]["domain"]["embedding"])
    np.testing.assert_allclose(found, expected[1:], atol=1e-5)


def test_masks_of_another_size_are_brought_to_the_students(tiny):
    """As probabilities: the mean of logits would be another one."""
    teacher = Teacher(make_teacher(tiny), image_size=(32, 32), features=("masks",), name="finer")
    distiller = DecoupledDistiller(
        make_student(tiny), domain_teachers=teacher, phase="joint", losses=MaskLoss()
    )
    x, _ = batch((1, 1))
    logits = np.random.default_rng(0).normal(size=(2, 64, 64, 2)).astype("float32") * 9
    x["domain"]["targets"] = {"domain": {"masks": logits}}
    logs = {}
    for name, given in (("large", logits), ("small", None)):
        if given is None:
            sure = 1 / (1 + np.exp(-logits.astype("float64")))
            sure = sure.reshape(2, 32, 2, 32, 2, 2).mean(axis=(2, 4))
            given = np.log(sure / (1 - sure)).astype("float32")
        x["domain"]["targets"] = {"domain": {"masks": given}}
        loss = distiller.stream_loss("domain", x, None, distiller.teacher_targets(x), False)
        logs[name] = float(keras.ops.convert_to_numpy(loss))
    assert logs["large"] == pytest.approx(logs["small"], rel=1e-4)


@pytest.mark.slow_on("tensorflow", "jax")
def test_exclusive_groups_of_one_modality_are_learnt_as_groups(tiny):
    exclusive = {"eye": [("vessels", "disc")]}
    student = make_student(tiny, exclusive=exclusive)
    teacher = make_teacher(tiny, exclusive=exclusive)
    distiller = DecoupledDistiller(
        student, domain_teachers=teacher, phase="joint", losses=MaskLoss()
    )
    x, y = batch((1, 0), labelled=(0, 1))
    y["masks"][..., 1] *= 1 - y["masks"][..., 0]
    loss = distiller.stream_loss("domain", x, None, distiller.teacher_targets(x), False)
    given = keras.ops.convert_to_numpy(distiller.teacher_targets(x)["domain"]["domain"]["masks"])
    found = keras.Model.predict_on_batch(student, x["domain"])["masks"].astype("float64")
    truth, sure = (1 / (1 + np.exp(-one)) for one in (given.astype("float64"), found))
    eye = [(truth[0, ..., t], sure[0, ..., s]) for s, t in ((0, 1), (1, 0))]
    eye.append(tuple(1 - one - other for one, other in zip(*eye, strict=True)))
    group = -sum(t * np.log(s) for t, s in eye).mean()
    heart = cross_entropy(truth[1:, ..., 0], found[1:, ..., 1])[0]
    found = float(keras.ops.convert_to_numpy(loss))
    assert found == pytest.approx((group + heart) / 2, rel=1e-4)
    labels = distiller.stream_loss("domain", x, y, {"domain": {}}, False)
    assert np.isfinite(keras.ops.convert_to_numpy(labels))


@pytest.mark.slow_on("tensorflow", "jax")
def test_a_teacher_with_one_target_and_one_of_all_its_modalities(tiny):
    """A specialist of 0.1.0 teaches its modality's first target, and the other modality nothing."""
    teacher = make_teacher(tiny, {"eye": ("mask",)})
    distiller = DecoupledDistiller(
        make_student(tiny), domain_teachers=teacher, phase="joint", losses=MaskLoss()
    )
    assert distiller.matched_targets.taught == {"lung": (), "eye": ("vessels",)}
    x, _ = batch((1, 0))
    loss = distiller.stream_loss("domain", x, None, distiller.teacher_targets(x), False)
    given = keras.Model.predict_on_batch(teacher, {"images": x["domain"]["images"]})["masks"]
    found = keras.Model.predict_on_batch(distiller.student, x["domain"])["masks"]
    truth = 1 / (1 + np.exp(-given.astype("float64")))
    expected = cross_entropy(truth[:1, ..., 0], found[:1, ..., 0])[0] / 2
    found = float(keras.ops.convert_to_numpy(loss))
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow_on("tensorflow", "jax")
def test_with_one_target_a_student_learns_masks_too(tiny):
    """In the phase of the controllers, which decodes with a frozen decoder."""
    student = tiny.randomize(tiny.student(), 1)
    distiller = compiled(
        DecoupledDistiller(
            student,
            domain_teachers=tiny.randomize(tiny.student(), 2),
            losses=[FeatureLoss(), MaskLoss()],
        )
    )
    x, _ = tiny.batch("domain", modalities=(1, 1))
    own = [w for w in student.weights if getattr(w, "modality", None) == 1]
    rest = [w for w in student.weights if getattr(w, "modality", None) != 1]
    before, kept = tiny.values(own), tiny.values(rest)
    logs = [distiller.train_on_batch(x, return_dict=True) for _ in range(8)]
    assert set(logs[0]) == {"loss", "domain_embedding_mse", "domain_masks_cross_entropy"}
    assert logs[-1]["loss"] < logs[0]["loss"]
    assert all(same(kept, rest, tiny)) and not any(same(before, own, tiny))


def test_round_trip_through_its_config(joint):
    twin = DecoupledDistiller.from_config(joint.get_config())
    assert list(twin.trackers) == list(joint.trackers)
    assert twin.matched_targets.table == joint.matched_targets.table
    assert twin.domain_teachers["domain"].modalities == ("skin", "eye", "lung")
    assert type(twin.label_losses["masks"]).__name__ == "PerTargetLoss"


@pytest.mark.slow_on("jax", "tensorflow")
def test_a_student_learns_what_is_labelled_and_what_is_only_taught(tiny):
    """Labels name the side alone; the top is known to the teacher."""
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).normal(scale=0.2, size=(4, 64, 64, 3)).astype("float32")
    places = ((16, 48), (32, 16), (48, 32), (32, 64))
    for image, (width, height) in zip(images, places, strict=True):
        image[:, :width, 0] += 2
        image[:height, :, 1] += 2
    truth = np.stack([images[..., 0] > 1, images[..., 1] > 1], axis=-1).astype("float32")
    patches = np.ones((4, 2, 2, 1), "float32")

    def segmenter():
        image = keras.Input((64, 64, 3))
        encoder = keras.Model(image, keras.layers.Conv2D(32, 16, strides=16)(image))
        backbone = tiny.backbone(("eye",), encoder=encoder, targets={"eye": ("side", "top")})
        return kem.models.ESPMedSAMImageSegmenter(backbone)

    def fit(model, x, masks, epochs=20):
        model.compile(keras.optimizers.Adam(1e-2))
        model.fit(x, {"masks": masks, "patches": patches}, batch_size=4, epochs=epochs, verbose=0)

    def dice(model):
        masks = keras.Model.predict_on_batch(model, {"images": images})["masks"] > 0
        both = (masks * truth).sum(axis=(0, 1, 2))
        return 2 * both / (masks.sum(axis=(0, 1, 2)) + truth.sum(axis=(0, 1, 2)))

    teacher, student, alone = (segmenter() for _ in range(3))
    fit(teacher, {"images": images}, truth)
    labels = truth.copy()
    labels[..., 1] = -1
    options = dict(domain_teachers=teacher, phase="joint", losses=MaskLoss())
    fit(DecoupledDistiller(student, **options), {"domain": {"images": images}}, labels)
    assert dice(teacher).min() > 0.95 and dice(student).min() > 0.95
    # Without the teacher, nothing is learnt about what is not labelled.
    (top,) = alone.backbone.mask_decoder.target_layers(0)
    before = tiny.values(top.weights)
    fit(DecoupledDistiller(alone, phase="joint"), {"domain": {"images": images}}, labels, 1)
    assert same(before, top.weights, tiny) == [True] * len(before)


def test_what_cannot_be_done_is_refused(tiny):
    student, teacher = make_student(tiny), make_teacher(tiny)

    def make(student=student, teacher=teacher, phase="joint", losses=None, **options):
        losses = losses or MaskLoss()
        return DecoupledDistiller(
            student, domain_teachers=teacher, phase=phase, losses=losses, **options
        )

    with pytest.raises(InputError, match=r"student of type .* which has no masks"):
        make(tiny.encoder(num_modalities=2), phase="controllers")
    with pytest.raises(InputError, match=r"gives no masks; build it as Teacher\(segmenter, feat"):
        make(teacher=Teacher(teacher))
    with pytest.raises(InputError, match=r"no feature 'masks'; .*Segmenter; give it whole"):
        make(teacher=convolution(tiny))
    with pytest.raises(InputError, match="masks are learnt by the names"):
        make(teacher=make_teacher(tiny, {"eye": ("iris",)}))
    with pytest.raises(InputError, match="common teacher 'teacher_0', which has no masks"):
        make(phase="common", common_teachers=convolution(tiny))
    with pytest.raises(InputError, match="common teacher 'sam', which has no masks"):
        make(
            phase="common",
            common_teachers={"sam": convolution(tiny)},
            losses={"sam": [FeatureLoss(), MaskLoss()]},
        )
    with pytest.raises(InputError, match="terms of one name"):
        make(losses=[MaskLoss(), MaskLoss()])
    with pytest.raises(InputError, match="one value for the whole batch"):
        make(label_losses=losses.get("published"))
    with pytest.raises(InputError, match="controllers of skin, lung, and the student also has eye"):
        own = tiny.backbone(("skin", "lung"))
        make(teacher=own, losses=FeatureLoss())
