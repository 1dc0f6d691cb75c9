"""The scores of what latents hold, on codes made by hand whose answer is known."""

import math

import numpy as np
import pytest
import torch
from support import weights
from support.measures import allocation, latents
from support.measures import judge as judging
from torch import nn

import mccvae_core as core

N, HALF = 1600, 800
OWNER = np.array([0, 0, 1, 1, latents.STYLE])  # two labels with two latents each, one style latent


def made(kind, seed=0):
    """Codes (N, 5) and parts (N, 4): two parts of each label, uniform and independent."""
    rng = np.random.default_rng(seed)
    parts, style = rng.uniform(0, 1, (N, 4)), rng.normal(size=N)
    blocks = (parts - 0.5) / parts.std(0)
    if kind == "duplicated":
        blocks = blocks[:, [0, 0, 2, 2]]
    elif kind == "rotated within":
        blocks = np.concatenate([blocks[:, :2] @ rotation(45), blocks[:, 2:] @ rotation(45)], axis=1)
    elif kind == "rotated across":
        blocks[:, [1, 2]] = blocks[:, [1, 2]] @ rotation(45)
    elif kind == "swapped across":
        blocks[:, [1, 2]] = blocks[:, [2, 1]]
    elif kind == "leaked":
        style = blocks[:, 0]
    elif kind == "constant":
        blocks = np.zeros_like(blocks)
    return np.column_stack([blocks, style]), parts


def rotation(degrees):
    a = math.radians(degrees)
    return np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])


def halves(codes, targets):
    return (codes[:HALF], targets[:HALF]), (codes[HALF:], targets[HALF:])


def part_scores(kind, probe):
    codes, parts = made(kind)
    scores = [latents.found(*halves(codes, parts[:, p]), OWNER, p // 2, probe) for p in range(4)]
    return {source: [s[source] for s in scores] for source in ("own", "others", "style")}


@pytest.mark.parametrize("probe", latents.PROBES)
def test_parts_are_found_where_they_are(probe):
    good, none = 0.93, 0.1
    identity = part_scores("identity", probe)
    assert min(identity["own"]) > good and max(identity["others"]) < none and max(identity["style"]) < none
    within = part_scores("rotated within", probe)
    assert min(within["own"]) > good and max(within["others"]) < none
    doubled = part_scores("duplicated", probe)
    assert (
        doubled["own"][0] > good and doubled["own"][1] < none and doubled["own"][2] > good and doubled["own"][3] < none
    )
    across = part_scores("rotated across", probe)
    assert across["own"][0] > good and 0.3 < across["own"][1] < 0.7 and 0.3 < across["others"][1] < 0.7
    swapped = part_scores("swapped across", probe)
    assert swapped["own"][1] < none and swapped["others"][1] > good
    leaked = part_scores("leaked", probe)
    assert leaked["own"][0] > good and leaked["style"][0] > good and leaked["style"][1] < none
    assert max(part_scores("constant", probe)["own"]) < none


@pytest.mark.parametrize("probe", latents.PROBES)
def test_a_label_is_read_by_the_area_under_its_curve(probe):
    codes, parts = made("identity")
    label = (parts[:, 0] + parts[:, 1] > 1).astype(int)
    scores = latents.found(*halves(codes, label), OWNER, 0, probe)
    assert scores["own"] > 0.97 and abs(scores["others"] - 0.5) < 0.08 and abs(scores["style"] - 0.5) < 0.08
    assert math.isnan(latents.probe_score(*halves(codes, np.zeros(N)), probe))
    nothing = latents.found(*halves(codes[:, :4], label), OWNER[:4], 0, probe)
    assert nothing["style"] == 0.5
    assert latents.probe_score(*halves(codes[:, :0], parts[:, 0]), probe) == 0.0
    with pytest.raises(ValueError, match="probe must be one of"):
        latents.probe_score(*halves(codes, label), "forest")


@pytest.mark.parametrize(
    ("kind", "disentangled", "complete"),
    [("identity", (0.95, 1), (0.95, 1)), ("rotated within", (0, 0.2), (0, 0.2)), ("leaked", (0.95, 1), (0.95, 1))],
)
def test_within_a_block_a_part_sits_in_one_latent_or_in_several(kind, disentangled, complete):
    codes, parts = made(kind)
    importance = latents.block_importance(*halves(codes[:, :2], parts[:, :2]))
    d, c = latents.block_dci(importance)
    assert disentangled[0] <= d <= disentangled[1] and complete[0] <= c <= complete[1]
    if kind == "identity":
        assert importance[0, 0] > 0.9 and importance[0, 1] < 0.05 and importance.min() >= 0


def test_blocks_at_their_limits():
    codes, parts = made("constant")
    assert latents.block_importance(*halves(codes[:, :2], parts[:, :2])).max() < 1e-9
    assert all(math.isnan(v) for v in latents.block_dci(np.zeros((2, 2))))
    # one latent for two parts: complete, not disentangled
    assert latents.block_dci(np.array([[1.0, 1.0]])) == (0.0, 1.0)
    # two latents for one part
    assert latents.block_dci(np.array([[1.0], [1.0]])) == (1.0, pytest.approx(0.0, abs=1e-12))
    # a latent that carries nothing does not count
    assert latents.block_dci(np.array([[3.0, 0.0], [0.0, 0.0]])) == (1.0, 1.0)


def test_the_effective_number_of_latents():
    assert latents.effective_number([1, 0, 0]) == pytest.approx(1)
    assert latents.effective_number([2, 2, 2]) == pytest.approx(3)
    assert 1 < latents.effective_number([9, 1]) < 1.5
    assert math.isnan(latents.effective_number([0, 0]))


# --- judge --------------------------------------------------------------------------------------------------------


class Reading(judging.Judge):
    """A judge of pictures that are latents themselves: label i from latents 2i and 2i + 1, two factors from latents 0
    and 4."""

    def __init__(self):
        nn.Module.__init__(self)

    def forward(self, x):
        return 20 * torch.stack([x[:, 0] + x[:, 1], x[:, 2] + x[:, 3]], 1), x[:, [0, 4]]


@pytest.fixture
def open_model():
    """A model whose decoder shows the latents themselves, with conditional priors from -1 to 1 and narrow."""
    model = core.MCCVAE(core.ModelConfig((1, 60, 60), (2, 2), 1, "bernoulli", 0.5))
    with torch.no_grad():
        model.prior_loc.copy_(torch.tensor([[-1.0] * 4, [1.0] * 4]))
        model.prior_raw_scale.fill_(-30.0)
    model.decode = lambda z: z
    return model


def test_effects_are_what_the_judge_sees_and_fall_on_what_is_moved(open_model):
    z = torch.zeros(6, 5)
    labels, factors = judging.effect_matrix(open_model, z, [[0], [1], [2], [0, 1]], Reading())
    assert labels.shape == (4, 2) and factors.shape == (4, 2)
    assert labels[:, 0] == pytest.approx([1, 1, 0, 1], abs=1e-6) and labels[:, 1] == pytest.approx(
        [0, 0, 1, 0], abs=1e-6
    )
    assert factors[:, 0] == pytest.approx([2, 0, 0, 2], abs=1e-2) and factors[:, 1].max() == 0


def test_a_swap_takes_the_label_and_keeps_the_others(open_model):
    a, b = torch.tensor([[-1.0, -1, 1, 1, 0]] * 4), torch.tensor([[1.0, 1, -1, -1, 0]] * 4)
    assert judging.swap_scores(open_model, a, b, 0, Reading()) == {"pairs": 4, "taken": 1.0, "kept": 1.0}

    def entangled(z):  # label 1 follows label 0
        return torch.cat([z[:, :2], z[:, 2:4] - 2 * z[:, :2], z[:, 4:]], 1)

    open_model.decode = entangled
    assert judging.swap_scores(open_model, a, b, 0, Reading())["kept"] == 0.0
    open_model.decode = lambda z: z * torch.tensor([0.0, 0, 1, 1, 1]) - 1  # label 0 shows nowhere
    nothing = judging.swap_scores(open_model, a, b, 0, Reading())
    assert nothing["pairs"] == 0 and math.isnan(nothing["taken"]) and math.isnan(nothing["kept"])


@pytest.fixture(scope="module")
def judged():
    """Grey squares: label 0 is bright, label 1 lies right; factors: brightness and place."""
    rng = np.random.default_rng(0)
    bright, place = rng.uniform(0.2, 0.5, 700) + 0.5 * rng.integers(0, 2, 700), rng.integers(5, 50, 700)
    images = torch.zeros(700, 1, 60, 60)
    for i in range(700):
        images[i, 0, 20:40, place[i] : place[i] + 10] = float(bright[i])
    labels = torch.tensor(np.stack([bright > 0.6, place > 27], 1)).to(torch.uint8)
    factors = torch.tensor(np.stack([bright, place / 50], 1)).float()
    images = (images * 255).to(torch.uint8)
    judge = judging.fit_judge(images[:500], labels[:500], factors[:500], epochs=10)
    return judge, images[500:], labels[500:], factors[500:]


def test_a_judge_reads_labels_and_factors_of_pictures_it_has_not_seen(judged):
    judge, images, labels, factors = judged
    accuracy, r2 = judging.judge_scores(judge, images, labels, factors)
    assert accuracy.min() > 0.9 and r2.min() > 0.8
    wrong, _ = judging.judge_scores(judge, images, 1 - labels, factors)
    assert wrong.max() < 0.1


def test_a_judge_is_read_back_as_it_was_written_and_nothing_else_for_one(judged, tmp_path):
    judge, images, _, _ = judged
    judging.save_judge(tmp_path / "judge", judge)
    again = judging.load_judge(tmp_path / "judge")
    assert all(
        torch.equal(a, b)
        for a, b in zip(judge.read(core.to_images(images)), again.read(core.to_images(images)), strict=True)
    )
    weights.save_model(
        tmp_path / "model", core.build_model("VAE", core.ModelConfig((1, 60, 60), (1, 1), 1, "bernoulli", 0.5), 0)
    )
    with pytest.raises(weights.CheckpointError, match="holds no judge"):
        judging.load_judge(tmp_path / "model")


def test_a_judge_is_a_function_of_its_seed_alone(judged):
    _, images, labels, factors = judged
    first, second = (judging.fit_judge(images[:64], labels[:64], factors[:64], epochs=1, seed=3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_generation_is_scored_against_held_out_pictures(judged, monkeypatch):
    judge, images, labels, _ = judged
    model = core.MCCVAE(core.ModelConfig((1, 60, 60), (1, 1), 1, "bernoulli", 0.5))

    def scores(pictures):
        monkeypatch.setattr(core, "generate", lambda model, y, generator=None: pictures)
        return judging.generation_scores(model, images, labels, judge)

    real = core.to_images(images)
    same = scores(real)
    assert (
        same["accuracy"] > 0.85
        and same["diversity"] == pytest.approx(1)
        and abs(same["kid"]) < 3 * same["kid_sd"] + 1e-3
    )
    of_label = {tuple(y.tolist()): real[i] for i, y in enumerate(labels)}
    alike = scores(torch.stack([of_label[tuple(y.tolist())] for y in labels]))
    assert alike["accuracy"] > 0.85 and alike["diversity"] < 1e-9 and alike["kid"] > same["kid"]
    noise = scores(torch.rand(real.shape, generator=torch.Generator().manual_seed(0)))
    assert noise["accuracy"] < 0.8 and noise["kid"] > 10 * abs(same["kid"])


def test_kernel_distance_has_the_mean_of_its_closed_form_and_a_spread_that_falls_with_n():
    """Of N(0, 1) and N(m, 1), one feature: the cubic kernel (xy + 1)^3 has E k(x, x') = 1 + 3 ab + 3 a2 b2 + a3 b3 with
    their moments."""
    m = 0.5
    moments = {0: (0, 1, 0), m: (m, 1 + m**2, m**3 + 3 * m)}

    def kernel(a, b):  # the ones cancel
        return sum(c * p * q for c, p, q in zip((3, 3, 1), moments[a], moments[b], strict=True))

    expected = kernel(0, 0) + kernel(m, m) - 2 * kernel(0, m)
    rng, found = torch.Generator().manual_seed(0), {}
    for n in (100, 900):
        draws = [
            [
                judging.kernel_distance(
                    *(torch.randn(n, 1, generator=rng).double() + shift for shift in (0, d)), subsets=5
                )[0]
                for _ in range(40)
            ]
            for d in (0, m)
        ]
        found[n] = np.array(draws)
    for n, (same, apart) in found.items():
        assert abs(same.mean()) < 4 * same.std() / math.sqrt(40) and abs(
            apart.mean() - expected
        ) < 4 * apart.std() / math.sqrt(40), n
    assert 2 < found[100][1].std() / found[900][1].std() < 4.5  # sqrt(9) = 3


def test_reconstructions_are_nearer_to_their_images_the_better_they_are(judged, monkeypatch):
    judge, images, labels, _ = judged
    real, distance = core.to_images(images), {}
    for share in (0.0, 0.3, 0.6):
        monkeypatch.setattr(
            core, "reconstruct", lambda model, x, y, share=share: (1 - share) * real + share * real.mean(0)
        )
        distance[share] = judging.reconstruction_distance(None, images, labels, judge)
    assert distance[0.0] < 0 < distance[0.3] < distance[0.6]  # the same pictures: below 0, as the docstring says


# --- allocation ------------------------------------------------------------------------------------------------


def test_misreading_is_the_confusion_between_labels():
    y = torch.tensor([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    p = torch.tensor([[0.9, 0, 0], [0, 0.9, 0], [0, 0.9, 0], [0, 0, 0.9]])  # one 0 taken for 1
    expected = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0]]) / 4
    np.testing.assert_allclose(allocation.misreading(p, y), expected)


def test_latents_go_where_they_are_needed():
    assert allocation.allocate_characteristics(np.zeros((3, 3)), np.zeros(3), 6) == (2, 2, 2)
    assert allocation.allocate_characteristics(np.diag([0.3, 0.0, 0.0]), np.array([5.0, -2.0, 0.0]), 6) == (4, 1, 1)
    assert allocation.allocate_characteristics(np.diag([0.3, 0.0, 0.0]), np.array([-1.0, 0.0, 7.0]), 7) == (3, 1, 3)
    for total in range(4, 20):
        k = allocation.allocate_characteristics(np.diag([0.1, 0.2, 0.05, 0.0]), np.array([1.0, 0.0, 3.0, 0.1]), total)
        assert sum(k) == total and min(k) >= 1
    with pytest.raises(ValueError, match="at least 3 latents, not 2"):
        allocation.allocate_characteristics(np.zeros((3, 3)), np.zeros(3), 2)


def test_reconstruction_by_label_is_the_surplus_of_images_with_it(small_data):
    images, labels = small_data
    model = core.build_model("MCCVAE", core.ModelConfig((1, 60, 60), (1, 1), 1, "bernoulli", 0.5), seed=0).eval()
    nats = []
    with torch.no_grad():
        for x in core.to_images(images).split(1):
            nats.append(-model.log_px(x, model.encode(x).loc).item())
    nats, first = np.array(nats), labels[:, 0].bool().numpy()
    expected = nats[first].mean() - nats[~first].mean()
    np.testing.assert_allclose(
        allocation.reconstruction_by_label(model, images, labels, batch_size=7), [expected, -expected], rtol=1e-4
    )
