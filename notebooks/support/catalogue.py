"""The tables and figures of each experiment, stated once: the notebook of its name writes them, the graph asks for
them."""

import dataclasses

from data.tasks import TASKS

from .settings import Profile


@dataclasses.dataclass(frozen=True)
class Files:
    """What an experiment leaves. tables: names of files in tables/; figures: in figures/, without their endings."""

    tables: list[str]
    figures: list[str]


def files(profile: Profile, own_labels: int = 0) -> dict[str, Files]:
    """The files of every experiment by its name. own_labels: how many labels own images have."""
    own = profile.source == "own"
    several = [
        name for name, task in TASKS.items() if any(model.startswith("mccvae") for model, _ in profile.runs(task))
    ]
    drawn = [name for name in several if is_drawn(name, profile.source)]
    walks = range(1, own_labels + 1) if own else range(9, 13)
    return {
        "classification": Files(["table_1.csv", "table_2.csv"], ["accuracy"]),
        "reconstruction": Files(
            ["table_3.csv"],
            ["loss_terms", *(["figure_own"] if own else [f"figure_{number}" for number in (3, 6, 7, 8)])],
        ),
        "intervention": Files(["interventions.csv"], [f"figure_{number}" for number in walks]),
        "objective": Files(
            [
                *("objective.csv", "weights.csv", "floors.csv", "floor_variants.csv"),
                *("encoder.csv", "label_weight.csv", "forensics.csv"),
            ],
            ["gradients", "terms_over_training", "encoder", "trade_off"],
        ),
        "characteristics": Files(
            [
                *("judge.csv", "found.csv", "blocks.csv", "effects.csv", "exchange.csv"),
                *("characteristics.csv", "comparison.csv", "conditional.csv", "lungs.csv"),
            ],
            [f"effects_{task}" for task in several]
            + [f"latents_{task}" for task in several]
            + [f"parts_{task}" for task in drawn]
            + (["lungs"] if "chest_xray" in several else []),
        ),
        "allocation": Files(["allocation.csv", "allocation_comparison.csv"], []),
    }


def is_drawn(task: str, source: str) -> bool:
    """Whether a task's images are drawn, so that the factors they were made from are known."""
    return task == "stick_figures" or (source == "embedded" and task != "mnist")
