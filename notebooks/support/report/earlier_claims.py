"""The paper's claims, each with its test, its margin and its verdict on every task: written down before the runs that
decide them, but for those marked `late`, which came or changed when some of these runs were known.

A comparison is a mean difference, paired over seeds, with its 95 % interval (Student); a level is a mean with such an
interval. `better`: holds if the interval lies above 0; does not hold if it lies below the margin, the least difference
that would matter. `alike`: holds if the interval lies within ± margin; does not hold if it lies outside. `differs`:
the other way round. `reaches`: holds if the interval lies above -margin; does not hold if it lies below. `level`:
holds if the interval lies beyond the bound, on the claim's side; does not hold if it lies on the other. Else it is
open. All scores are turned so that more is what the claim says."""

import dataclasses

from data import TASKS

STYLE = "as many in style"

VERDICTS = ("holds", "does not hold", "open")

NOT_TRIED, NOT_MEANT = "not tried", "not meant"

LATE = " †"

ACCURACY, LOSS, SHARE = 0.01, 0.001, 0.05  # a point; a thousandth of the second model's loss; of all effects


@dataclasses.dataclass(frozen=True)
class Claim:
    """number: of the claim; some have several tests. says: it, in our words. kind: see above. score: a column of
    `run_scores`, with - before it where less is what the claim says. first, second: models; -e4x: with four times the
    task's epochs, *: any number;
    second None: none, STYLE: the one with as many latents, put into style. margin: or a level's bound; of RELATIVE
    scores as a share of the second model's.
    tasks: those that the claim is about; none named: all. late: the test came or changed when some results were
    known."""

    number: int
    says: str
    section: str
    kind: str
    score: str
    first: str
    second: str | None
    margin: float
    tasks: tuple[str, ...] = ()
    late: bool = False


PARTS = ("celeba", "chest_xray", "stick_figures")  # whose drawn images have parts

CLAIMS = (
    Claim(1, "CCVAE classifies training images better than MCCVAE", "4.5", "better", "train_accuracy", "ccvae",
          "mccvae", ACCURACY),
    Claim(1, "CCVAE classifies test images better than MCCVAE", "4.5", "better", "test_accuracy", "ccvae", "mccvae",
          ACCURACY),
    Claim(2, "Reconstruction moves MCCVAE's encoder more than CCVAE's", "4.5", "better", "share_reconstruction",
          "mccvae", "ccvae", 0.01),
    Claim(2, "After four times the epochs MCCVAE classifies as well", "4.5", "reaches", "test_accuracy", "mccvae-e4x",
          "ccvae-e4x", ACCURACY),
    Claim(3, "More style latents lower CCVAE's training loss", "4.6", "better", "-train_loss", "ccvae_more_style",
          "ccvae", LOSS),
    Claim(3, "… and it reconstructs better", "4.6", "better", "-train_reconstruction", "ccvae_more_style", "ccvae",
          LOSS, late=True),
    Claim(3, "More style latents make no difference to interventions", "4.7", "alike", "label_alone",
          "ccvae_more_style", "ccvae", SHARE, late=True),
    Claim(3, "… nor to swapped latents", "4.7", "alike", "swap_taken", "ccvae_more_style", "ccvae", SHARE, late=True),
    Claim(4, "MCCVAE's training loss is lower than CCVAE's", "4.6", "better", "-train_loss", "mccvae", "ccvae", LOSS),
    Claim(4, "… also than CCVAE's with more style", "4.6", "better", "-train_loss", "mccvae", "ccvae_more_style",
          LOSS, late=True),
    Claim(4, "… also by the unbiased loss", "4.6", "better", "-train_bound", "mccvae", "ccvae", LOSS),
    Claim(4, "… also than with as many latents in style", "4.6", "better", "-train_bound", "mccvae", STYLE, LOSS),
    Claim(4, "… and it comes from reconstruction", "4.6", "better", "-train_reconstruction", "mccvae", "ccvae", LOSS),
    Claim(5, "MCCVAE reconstructs test images better than CCVAE", "4.6", "better", "-test_reconstruction", "mccvae",
          "ccvae", LOSS),
    Claim(5, "… and than CCVAE with more style", "4.6", "better", "-test_reconstruction", "mccvae",
          "ccvae_more_style", LOSS, late=True),
    Claim(5, "… than CCVAE by PSNR, dB", "4.6", "better", "test_psnr", "mccvae", "ccvae", 0.1),
    Claim(5, "… by SSIM", "4.6", "better", "test_ssim", "mccvae", "ccvae", 0.005),
    Claim(5, "… by KID, in a judge's features", "4.6", "better", "-reconstruction_kid", "mccvae", "ccvae", 0.1),
    Claim(6, "A label's latents change that label alone (CCVAE)", "4.7", "level", "label_alone", "ccvae", None, 0.8,
          late=True),
    Claim(6, "A label's latents change that label alone (MCCVAE)", "4.7", "level", "label_alone", "mccvae", None, 0.8,
          late=True),
    Claim(6, "A walk over a label's latents changes it easily (CCVAE)", "4.7", "level", "moved", "ccvae", None, 0.5,
          late=True),
    Claim(6, "A walk over a label's latents changes it easily (MCCVAE)", "4.7", "level", "moved", "mccvae", None, 0.5,
          late=True),
    Claim(6, "… so do latents swapped in from another image (MCCVAE)", "4.7", "level", "swap_taken", "mccvae", None,
          0.8),
    Claim(6, "MCCVAE and CCVAE don't differ much in that", "4.7", "alike", "swap_taken", "mccvae", "ccvae", SHARE,
          late=True),
    Claim(7, "Each of a label's two latents takes a part of its own", "3, 4.7", "level", "parts_apart", "mccvae",
          None, 0.5, PARTS, late=True),
    Claim(8, "One of the two does almost all the work, 95 % of it", "4.7", "level", "-effective_latents", "mccvae",
          None, -1.2),
    Claim(9, "The prior p(y) matters where classes are uneven", "4.3", "differs", "test_accuracy", "mccvae-rb*-x3",
          "mccvae-rb*-x3-y0.5", ACCURACY, ("chest_xray",)),
    Claim(9, "… and not on MNIST", "4.2", "alike", "test_accuracy", "mccvae-rb*-x3", "mccvae-rb*-x3-y0.5", ACCURACY,
          ("mnist",)),
    Claim(10, "Latents where a trained model confuses chests, 1 3 2, help", "5", "better", "test_accuracy",
          "mccvae-k1.3.2", "mccvae", ACCURACY, ("chest_xray",)),
    Claim(10, "… and improve these chests' reconstruction", "5", "better", "-test_reconstruction", "mccvae-k1.3.2",
          "mccvae", LOSS, ("chest_xray",)),
    Claim(11, "What a conditional VAE encodes still holds the labels", "1", "level", "z_auc", "cvae", None, 0.6),
    Claim(11, "… more than CCVAE's style does", "1, 2.1", "better", "z_auc", "cvae", "ccvae", 0.02),
    Claim(11, "CCVAE's style has nothing to do with the labels", "2.1", "level", "-z_auc", "ccvae", None, -0.6,
          late=True),
    Claim(11, "CCVAE's walk is more gradual than a conditional VAE's", "1", "better", "steps", "ccvae", "cvae", 0.5),
    Claim(12, "A walk to a disease changes the lungs", "1", "level", "lungs", "mccvae", None, 1.2, ("chest_xray",)),
    Claim(12, "… in MCCVAE by the unbiased estimator", "1", "level", "lungs", "mccvae-rb*-x3", None, 1.2,
          ("chest_xray",), late=True),
)  # fmt: skip

NEEDED = (
    Claim(
        10, "Latents help where labels are confused", "5", "better", "test_accuracy", "where needed", "k = 2", ACCURACY
    ),
    Claim(
        10,
        "… and improve the reconstruction",
        "5",
        "better",
        "-test_reconstruction",
        "where needed",
        "k = 2",
        LOSS,
        late=True,
    ),
)

LOSSES = ("train_loss", "train_bound", "train_reconstruction", "test_reconstruction")

DRAWN_SCORES = ("label_alone", "swap_taken", "parts_apart", "effective_latents")

DRAWN = {
    TASKS[task].title: title
    for task, title in (("celeba", "drawn faces"), ("mnist", "embedded digits"), ("chest_xray", "drawn chests"))
}

DRAWN |= {TASKS["stick_figures"].title: "stick figures"}

RELATIVE = (*LOSSES, "reconstruction_kid")  # whose margin is a share of the second model's
