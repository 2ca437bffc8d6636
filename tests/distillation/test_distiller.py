import keras
import numpy as np
import pytest

from keras_espmedsam.distillation import DecoupledDistiller, FeatureLoss, Teacher
from keras_espmedsam.errors import InputError
from keras_espmedsam.optimizers import decoupled_optimizer

# Losses of ten steps of phase "both" from the weights of `make`: what every backend has to give.
TEN_LOSSES = [
    7.115919, 6.300153, 7.445100, 6.553304, 6.113887, 7.122715, 6.915210, 6.390655, 8.023746,
    6.680847,
]  # fmt: skip


def make(tiny, phase, graph=False, **kwargs):
    student = tiny.randomize(tiny.student(), 1)
    if "common" in phase or phase == "both":
        kwargs.setdefault("common_teachers", tiny.randomize(tiny.convolution(), 2))
    if phase != "common":
        kwargs.setdefault("domain_teachers", tiny.randomize(tiny.encoder(), 3))
    distiller = DecoupledDistiller(student, phase=phase, **kwargs)
    # TensorFlow traces a step for a minute; `test_fit_...` alone has it do so.
    eagerly = keras.backend.backend() == "tensorflow" and not graph
    distiller.compile(keras.optimizers.AdamW(1e-3, weight_decay=0.05), run_eagerly=eagerly)
    return student, distiller


def steps(distiller, *batches):
    return [distiller.train_on_batch(x, return_dict=True)["loss"] for x in batches]


def parts_of(student, modality):
    """The student's weights: one controller, the other controllers, all else."""
    own, others, shared = [], [], []
    for weight in student.weights:
        index = getattr(weight, "modality", None)
        (shared if index is None else own if index == modality else others).append(weight)
    return own, others, shared


def same(before, after):
    return [np.array_equal(a, b) for a, b in zip(before, after, strict=True)]


@pytest.fixture(scope="module")
def both(tiny):
    """A distiller of phase "both", compiled once; its steps change it."""
    return make(tiny, "both")


def test_ten_steps_give_the_same_losses_on_every_backend(both, tiny):
    student, distiller = both
    tiny.randomize(student, 1)
    modalities = [(0, 1), (1, 1), (2, 0), (1, 2), (0, 0)] * 2
    batches = [
        tiny.batch("common", "domain", modalities=m, seed=i)[0] for i, m in enumerate(modalities)
    ]
    np.testing.assert_allclose(steps(distiller, *batches), TEN_LOSSES, atol=1e-5)


@pytest.mark.parametrize("phase", ["controllers", "common", "both", "joint"])
@pytest.mark.parametrize("of_each", [False, True])
def test_a_step_asks_nothing_of_the_host(phase, of_each, tiny, transfers, monkeypatch):
    """An upload or a read makes a GPU wait; the teachers' constants and masks are no exception."""
    options = {}
    if of_each and phase != "common":
        options["domain_teachers"] = {
            name: Teacher(tiny.convolution(), "unit", name=name) for name in tiny.names
        }
    _, distiller = make(tiny, phase, **options)
    streams = {"both": ("common", "domain"), "common": ("common",)}.get(phase, ("domain",))
    batch = keras.tree.map_structure(keras.ops.convert_to_tensor, tiny.batch(*streams))
    distiller.make_train_function()
    # On a CPU, where nothing waits, the optimiser asks which modalities are present.
    monkeypatch.setattr(decoupled_optimizer, "_can_be_read", lambda tensor: False)
    places = transfers(lambda: distiller.train_function([batch]))
    assert places == {}


def test_controllers_phase_moves_the_controller_of_the_batch_and_nothing_else(tiny):
    student, distiller = make(tiny, "controllers")
    # Momentum of every controller first: an idle one must not drift on it.
    steps(distiller, tiny.batch("domain", modalities=(0, 2))[0])
    steps(distiller, tiny.batch("domain", modalities=(1, 0), seed=1)[0])
    own, others, shared = parts_of(student, 1)
    teacher = distiller.domain_teachers["domain"]
    kept = tiny.values([*others, *shared, *teacher.variables])
    before = tiny.values(own)
    steps(distiller, *(tiny.batch("domain", modalities=(1, 1), seed=s)[0] for s in (2, 3)))
    assert all(same(kept, tiny.values([*others, *shared, *teacher.variables])))
    assert not any(same(before, tiny.values(own)))


def test_both_moves_the_shared_encoder_and_the_batchs_controllers_alone(both, tiny):
    student, distiller = both
    encoder = student.backbone.image_encoder
    _, others, _ = parts_of(student, 1)
    inside = {id(weight) for weight in encoder.weights}
    decoder = [weight for weight in student.weights if id(weight) not in inside]
    teachers = [*distiller.common_teachers.values(), *distiller.domain_teachers.values()]
    frozen = [*others, *decoder, *(v for teacher in teachers for v in teacher.variables)]
    moving = [w for w in encoder.weights if getattr(w, "modality", 1) == 1]
    kept, before = tiny.values(frozen), tiny.values(moving)
    steps(distiller, tiny.batch("common", "domain", seed=4)[0])
    assert all(same(kept, tiny.values(frozen)))
    assert not any(same(before, tiny.values(moving)))  # BatchNorm statistics among them


def test_an_image_of_a_modality_does_not_move_the_shared_encoder(both, tiny):
    """The shared encoder takes the same step whatever the images of the domain are."""
    student, distiller = both
    found = []
    for seed in (5, 6):
        tiny.randomize(student, 1)
        for variable in distiller.optimizer.variables:
            if not variable.path.endswith("learning_rate"):
                variable.assign(np.zeros(variable.shape))
        x, _ = tiny.batch("common", "domain", seed=5)
        x["domain"] = tiny.batch("domain", seed=seed)[0]["domain"]
        steps(distiller, x)
        _, _, shared = parts_of(student, 1)
        found.append(tiny.values(shared))
    assert all(same(*found))


def test_common_phase_moves_the_shared_encoder_alone(tiny):
    student, distiller = make(tiny, "common", losses=FeatureLoss(loss="cosine"))
    encoder = student.backbone.image_encoder
    shared = [w for w in encoder.weights if not hasattr(w, "modality")]
    rest = [w for w in student.weights if id(w) not in {id(s) for s in shared}]
    kept, before = tiny.values(rest), tiny.values(shared)
    logs = distiller.train_on_batch(tiny.batch("common")[0], return_dict=True)
    assert all(same(kept, tiny.values(rest)))
    assert not any(same(before, tiny.values(shared)))
    assert set(logs) == {"loss", "common_embedding_cosine"}


@pytest.mark.slow_on("jax")
def test_joint_phase_learns_from_labels_and_teachers(tiny):
    student, distiller = make(tiny, "joint", label_weight=2.0)
    x, y = tiny.batch("domain")
    logs = distiller.test_on_batch(x, y, return_dict=True)
    terms = ("domain_embedding_mse", "label_masks", "label_patches")
    assert logs["loss"] == pytest.approx(sum(logs[name] for name in terms), rel=1e-5)
    outputs = keras.Model.predict_on_batch(student, x["domain"])
    for name, loss in distiller.label_losses.items():
        value = keras.ops.convert_to_numpy(loss(y[name], outputs[name]))
        assert logs[f"label_{name}"] == pytest.approx(2 * float(value), rel=1e-4)
    before = tiny.values(student.trainable_variables)
    distiller.train_on_batch(x, y)
    after = tiny.values(student.trainable_variables)
    moved = [not s for s in same(before, after)]
    # All but the controllers that the batch lacks, and the hidden part of a query's last norm.
    expected = [getattr(w, "modality", 1) == 1 for w in student.trainable_variables]
    assert [m for m, e in zip(moved, expected, strict=True) if not e] == [False] * (
        len(expected) - sum(expected)
    )
    assert sum(moved) > 0.9 * sum(expected)


def test_cached_targets_are_used_and_equal_the_teachers(both, tiny):
    _, distiller = both
    x, _ = tiny.batch("common", "domain")
    asked = distiller.test_on_batch(x, return_dict=True)
    targets = distiller.teacher_targets(x)
    cached = {
        stream: {
            **part,
            "targets": keras.tree.map_structure(keras.ops.convert_to_numpy, targets[stream]),
        }
        for stream, part in x.items()
    }
    found = distiller.test_on_batch(cached, return_dict=True)
    assert found == pytest.approx(asked, rel=1e-5)
    cached["domain"]["targets"]["domain"]["embedding"] += 1
    assert distiller.test_on_batch(cached, return_dict=True)["loss"] > asked["loss"] + 0.1


def test_one_teacher_per_modality(tiny):
    teachers = {n: tiny.randomize(tiny.convolution(), i) for i, n in enumerate(tiny.names)}
    _, distiller = make(tiny, "controllers", domain_teachers=teachers)
    x, _ = tiny.batch("domain", modalities=(2, 0, 1))
    found = distiller.teacher_targets(x)["domain"]["domain"]["embedding"]
    found = keras.ops.convert_to_numpy(found)
    for row, name in enumerate(("eye", "skin", "lung")):
        own = keras.Model.predict_on_batch(teachers[name], x["domain"]["images"])[row]
        np.testing.assert_allclose(found[row], own, atol=1e-5)


@pytest.mark.slow_on("jax")
def test_several_teachers_intermediate_features_and_projections(tiny):
    first = Teacher(tiny.convolution(12), name="wide", features=("embedding", "stem"))
    second = tiny.convolution(8, stride=8)
    _, distiller = make(
        tiny,
        "common",
        common_teachers={"wide": first, "fine": second},
        losses={
            "wide": [FeatureLoss(), FeatureLoss("stage_0", "stem", "normalized_mse", weight=0.5)],
            "fine": [FeatureLoss(loss="cosine")],
        },
    )
    assert list(distiller.projections) == ["common/wide/embedding_mse"]
    before = tiny.values(distiller.projections["common/wide/embedding_mse"].trainable_variables)
    x, _ = tiny.batch("common")
    logs = distiller.train_on_batch(x, return_dict=True)
    after = tiny.values(distiller.projections["common/wide/embedding_mse"].trainable_variables)
    assert not any(same(before, after))
    names = {"common_wide_embedding_mse", "common_wide_stage_0_normalized_mse"}
    names |= {"common_fine_embedding_cosine"}
    assert set(logs) == names | {"loss"}
    assert logs["loss"] == pytest.approx(sum(logs[name] for name in names), rel=1e-5)
    assert len(distiller.checkpoint_variables()) < len(distiller.variables) + len(
        distiller.optimizer.variables
    )


def test_an_intermediate_loss_is_the_numpy_mean(both, tiny):
    student, distiller = both
    tiny.randomize(student, 1)
    x, _ = tiny.batch("common", "domain")
    logs = distiller.test_on_batch(x, return_dict=True)
    target = keras.Model.predict_on_batch(
        distiller.common_teachers["teacher_0"].model, x["common"]["images"]
    )
    feature = distiller.predict_on_batch(x)["common"]
    expected = np.mean((target - feature) ** 2)
    assert logs["common_embedding_mse"] == pytest.approx(expected, rel=1e-4)


def test_fit_goes_through_arrays_validates_and_traces_a_step_once(tiny):
    _, distiller = make(tiny, "controllers", graph=True)
    traced = []

    class Counted(DecoupledDistiller):
        def train_step(self, *args):
            traced.append("train")
            return super().train_step(*args)

        def test_step(self, *args):
            traced.append("test")
            return super().test_step(*args)

    distiller.__class__ = Counted
    # It makes variables of its own, and without them does not know its scale.
    adam = keras.optimizers.AdamW(1e-3, weight_decay=0.05)
    distiller.compile(keras.optimizers.LossScaleOptimizer(adam, initial_scale=4.0))
    x, _ = tiny.batch("domain")
    history = distiller.fit(x, batch_size=2, epochs=3, validation_data=(x,), verbose=0).history
    assert history["loss"][2] < history["loss"][0]
    assert len(history["val_loss"]) == 3
    if keras.backend.backend() == "tensorflow":
        assert traced == ["train", "test"]


def test_round_trip_through_its_config(both):
    _, distiller = both
    twin = DecoupledDistiller.from_config(distiller.get_config())
    assert twin.phase == "both" and twin.modalities == distiller.modalities
    assert list(twin.trackers) == list(distiller.trackers)
    assert len(twin.trainable_variables) == len(distiller.trainable_variables)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(phase="third"), "expected one of common, controllers, both, joint"),
        (dict(phase="common", common_teachers=None), "needs common_teachers; received none"),
        (dict(phase="controllers", domain_teachers=None), "needs domain_teachers; received none"),
        (dict(phase="controllers", losses={"sam": []}), "losses for sam; the teachers are domain"),
        (
            dict(phase="controllers", losses=FeatureLoss("stage_9", "embedding")),
            "The student has no feature 'stage_9'",
        ),
        (
            dict(phase="controllers", losses=FeatureLoss("embedding", "stage_1")),
            r"gives no feature 'stage_1'; build it as Teacher\(model, features=",
        ),
        (
            dict(phase="controllers", losses=[FeatureLoss(), FeatureLoss()]),
            "terms of one name",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(tiny, kwargs, message):
    with pytest.raises(InputError, match=message):
        make(tiny, **kwargs)


def test_a_student_without_controllers_and_a_wrong_batch_are_refused(both, tiny):
    with pytest.raises(InputError, match="without modality controllers"):
        DecoupledDistiller(tiny.encoder(), domain_teachers=tiny.encoder(), phase="controllers")
    _, distiller = both
    with pytest.raises(InputError, match="received a batch of common; expected a dict with"):
        distiller.teacher_targets(tiny.batch("common")[0])
    x, _ = tiny.batch("common", "domain")
    x["domain"]["targets"] = {"medical": {"embedding": np.zeros((2, 2, 2, 8), "float32")}}
    with pytest.raises(InputError, match=r"targets of medical .* expected those of domain"):
        distiller.teacher_targets(x)
    x["domain"]["targets"] = {"domain": {"stage_1": np.zeros((2, 2, 2, 8), "float32")}}
    with pytest.raises(InputError, match="lack embedding; they hold stage_1"):
        distiller.teacher_targets(x)
