"""Counterfactual measures on methods made by hand, whose answers are known."""

import itertools
import math

import pytest
import torch
from support.measures import counterfactual
from torch.distributions import Normal
from torchmetrics.image.kid import poly_mmd

import mccvae_core as core

SIDE = 60


def flat(*values):
    """One grey picture (1, 60, 60) of each value."""
    return torch.tensor(values).reshape(-1, 1, 1, 1).expand(-1, 1, SIDE, SIDE).clone()


def perfect():
    """Label i is written in pixel i of the first row, all else stays."""

    def intervene(images, towards):
        made = images.clone()
        for label, value in towards.items():
            made[:, 0, 0, label] = value
        return made

    return counterfactual.Method(lambda images: images.clone(), intervene)


def reading(count):
    return lambda images: images[:, 0, 0, :count]


def labelled(labels, grey=0.3):
    images = flat(*[grey] * len(labels))
    images[:, 0, 0, : labels.shape[1]] = labels.float()
    return images


def test_composition_adds_up_over_cycles():
    images = flat(0.2, 0.4)
    assert counterfactual.composition(lambda x: x, images) == {1: 0, 10: 0}
    darker = counterfactual.composition(lambda x: x - 0.01, images, cycles=(1, 2, 10))
    assert darker == pytest.approx({1: 0.01, 2: 0.02, 10: 0.1}, abs=1e-6)
    halved = counterfactual.composition(lambda x: x / 2, images)
    assert halved == pytest.approx({1: 0.3 / 2, 10: 0.3 * (1 - 2**-10)}, abs=1e-6)
    there_and_back = counterfactual.composition(lambda x: 1 - x, flat(0.2), cycles=(1, 10))
    assert there_and_back == pytest.approx({1: 0.6, 10: 0}, abs=1e-6)


def test_composition_does_not_depend_on_how_images_are_cut():
    images = torch.rand(counterfactual.BATCH + 7, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = (images**4 - images).abs().mean().item()  # two cycles
    assert counterfactual.composition(lambda x: x**2, images, cycles=(2,))[2] == pytest.approx(expected, rel=1e-5)


def test_each_image_gets_its_own_change():
    labels = torch.tensor(list(itertools.product((0, 1), repeat=3)) * 2)
    targets = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    assert (labels == targets).all(1).any()
    made = counterfactual.counterfactuals(perfect(), labelled(labels), labels, targets)
    assert torch.equal(made, labelled(targets))


def test_uint8_labels_can_be_turned_off():
    labels = torch.tensor([[1], [0]], dtype=torch.uint8)
    targets = counterfactual.flipped(labels, 0)
    assert targets.tolist() == [[0], [1]]
    made = counterfactual.counterfactuals(perfect(), labelled(labels), labels, targets)
    assert made[:, 0, 0, 0].tolist() == [0, 1]


def test_another_class_is_another_and_each_other_is_as_likely():
    labels = torch.eye(4, dtype=torch.uint8).repeat(600, 1)
    targets = counterfactual.another_class(labels)
    assert (targets.sum(1) == 1).all() and not (targets & labels).any()
    step = (targets.argmax(1) - labels.argmax(1)) % 4
    assert torch.bincount(step, minlength=4)[1:].tolist() == pytest.approx([800] * 3, abs=90)  # 4 standard deviations
    with pytest.raises(ValueError, match="don't exclude one another"):
        counterfactual.another_class(torch.ones(2, 2))


def test_effectiveness_by_hand():
    labels = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    targets = counterfactual.flipped(labels, 0)
    perfect = counterfactual.effectiveness(targets.float(), labels, targets)
    assert perfect == {"f1": 1, "accuracy": 1, "kept": 1}
    nothing = counterfactual.effectiveness(labels.float(), labels, targets)
    assert nothing == {"f1": 0, "accuracy": 0, "kept": 1}
    always = torch.tensor([[1.0, 0.0]]).expand(4, 2)  # two of two turned on are found, two of four reads are right
    expected = {"f1": 2 * 0.5 * 1 / 1.5, "accuracy": 0.5, "kept": 0.5}
    assert counterfactual.effectiveness(always, labels, targets) == pytest.approx(expected)


def test_effectiveness_counts_a_label_only_where_it_was_intervened_on():
    labels, targets = torch.tensor([[1, 0, 0], [0, 1, 0]]), torch.tensor([[0, 1, 0], [0, 0, 1]])
    read = torch.tensor([[0.1, 0.9, 0.9], [0.9, 0.1, 0.2]])  # label 1 both times right, 2 not turned on, 0 turned off
    scores = counterfactual.effectiveness(read, labels, targets)
    assert scores == pytest.approx({"f1": (1 + 0) / 2, "accuracy": 3 / 4, "kept": 0})


def points(*values):
    loc = torch.tensor(values, dtype=torch.float64).reshape(-1, 1)
    return Normal(loc, torch.ones_like(loc))


def test_minimality_by_hand():
    reference = points(1.0, 3.0, 5.0, -2.0, -4.0), torch.tensor([[0], [0], [0], [1], [1]])
    labels, targets = torch.tensor([[0]]), torch.tensor([[1]])

    def scores(moved):
        return counterfactual.minimality(points(0.0), points(moved), labels, targets, reference)

    def cld(nearer, further):
        return math.log(0.8 * math.exp(nearer) + 0.2 * math.exp(further))

    still, some, far = scores(0.0), scores(-2.5), scores(9.0)
    assert still == pytest.approx({"cld": cld(0, 1), "nearer": 0, "further": 1, "n": 1})
    assert some == pytest.approx({"cld": cld(1 / 2, 2 / 3), "nearer": 1 / 2, "further": 2 / 3, "n": 1})
    assert far == pytest.approx({"cld": cld(1, 0), "nearer": 1, "further": 0, "n": 1})


def test_minimality_compares_with_the_labels_that_were_intervened_on():
    codes = points(1.0, -1.0)
    known = torch.tensor([[0, 1], [1, 1]])  # the second label is another than the images'
    labels, targets = torch.tensor([[0, 0]]), torch.tensor([[1, 0]])
    scores = counterfactual.minimality(points(0.0), points(-2.0), labels, targets, (codes, known))
    assert scores["nearer"] == 1 and scores["n"] == 1
    with pytest.raises(ValueError, match="give more reference images"):
        counterfactual.minimality(points(0.0), points(-2.0), labels, targets, (points(1.0), known[:1]))


def test_minimality_takes_the_divergence_of_whole_posteriors():
    narrow, wide = (Normal(torch.zeros(1, 2), torch.full((1, 2), sd)) for sd in (0.5, 2.0))
    reference = Normal(torch.zeros(2, 2), torch.tensor([[1.0, 1.0], [0.5, 0.5]])), torch.tensor([[1], [0]])
    labels, targets = torch.tensor([[0]]), torch.tensor([[1]])
    scores = counterfactual.minimality(narrow, wide, labels, targets, reference)
    assert scores["nearer"] == 1 and scores["further"] == 0  # the means alone would find no change


def test_realism_is_the_mean_over_pairs():
    rng = torch.Generator().manual_seed(0)
    real, made = torch.randn(12, 5, generator=rng), 0.5 + torch.randn(9, 5, generator=rng)
    scale = real.double().std()
    x, y = real.double() / scale, made.double() / scale

    def mean_kernel(pairs):
        return sum((a @ b / 5 + 1) ** 3 for a, b in pairs).item() / len(pairs)

    within = sum(mean_kernel(list(itertools.permutations(set_, 2))) for set_ in (x, y))
    between = mean_kernel(list(itertools.product(x, y)))
    assert counterfactual.realism(real, made) == pytest.approx(within - 2 * between, rel=1e-9)
    as_many = counterfactual.realism(real[:9], made)
    scale = real[:9].double().std()
    assert as_many == pytest.approx(poly_mmd(real[:9].double() / scale, made.double() / scale).item(), rel=1e-9)


def test_realism_is_unbiased_and_sees_a_shift():
    rng = torch.Generator().manual_seed(0)
    draw = lambda: torch.randn(60, 4, generator=rng)  # noqa: E731
    values = torch.tensor([counterfactual.realism(draw(), draw()) for _ in range(200)])
    assert values.mean().abs() < 3 * values.std() / math.sqrt(200)
    shifted = counterfactual.realism(draw(), 1 + draw())
    assert shifted > 10 * values.std()


def test_all_four_of_a_perfect_method():
    labels = torch.tensor(list(itertools.product((0, 1), repeat=2)) * 5)
    targets = counterfactual.flipped(labels, 1)
    images, noise = labelled(labels), torch.Generator().manual_seed(0)
    real = labelled(labels, grey=0.3) + 0.01 * torch.randn(20, 1, SIDE, SIDE, generator=noise)
    scores = counterfactual.counterfactual_scores(
        perfect(),
        images,
        labels,
        targets,
        reader=reading(2),
        features=lambda x: x[:, 0, 0, :2],
        encode=lambda x: Normal(x[:, 0, 0, :3], 1.0),
        reference=(real, labels),
    )
    assert (scores["f1"], scores["accuracy"], scores["kept"]) == (1, 1, 1)
    assert scores["composition_1"] == scores["composition_10"] == 0
    assert scores["minimality_n"] == scores["n"] == 20
    # half of the target images differ in label 0 too and are further; noise puts half of the others a little nearer
    assert scores["nearer"] == pytest.approx(1 / 4, abs=0.1)
    assert scores["kid"] < 0  # the same pictures as the real ones: nearer than another draw would be


def test_a_model_is_a_method(small_config):
    model = core.build_model("MCCVAE", small_config, seed=0).eval()
    images = torch.rand(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    method, means = counterfactual.walk_method(model), counterfactual.posterior_means(model, images)
    assert torch.allclose(method.reconstruct(images), model.decode(means.loc), atol=1e-5)
    moved = method.intervene(images, {1: 0})
    z = means.loc.clone()
    for latent in core.block_of(model, 1):
        z[:, latent] = core.characteristic_range(model, latent)[0]
    assert torch.allclose(moved, model.decode(z), atol=1e-5) and not moved.requires_grad
    assert (means.scale == 1).all()
