"""The tasks: names, labels and sizes, as the paper sets them. It needs nothing but Python."""

import dataclasses

SOURCES = ("real", "embedded", "own")


@dataclasses.dataclass(frozen=True)
class Task:
    """A task as the paper sets it (sections 4.2 to 4.4), or, for the stick figures, in its manner.

    label_prior: p(y_i = 1) for every label; None: estimated from the training labels.
    exclusive: exactly one label of an image is 1.
    walks: figure number -> (title, {label: value to walk to}), the paper's interventions.
    reconstruction_figure: the paper's number of it; None: the paper has no such task.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    exclusive: bool
    image_shape: tuple[int, int, int]
    likelihood: str
    label_prior: float | None
    batch_size: int
    style_dim: int
    more_style_dim: int
    epochs: int
    reconstruction_figure: int | None
    walks: dict[int, tuple[str, dict[str, int]]]


ATTRIBUTES = (  # of section 4.4
    "Arched_Eyebrows", "Bags_Under_Eyes", "Bangs", "Black_Hair", "Blond_Hair", "Brown_Hair", "Bushy_Eyebrows",
    "Chubby", "Eyeglasses",
    "Heavy_Makeup", "Male", "No_Beard", "Pale_Skin", "Receding_Hairline", "Smiling", "Wavy_Hair", "Wearing_Necktie",
    "Young",
)  # fmt: skip
CELEBA = Task(
    name="celeba",
    title="CelebA",
    labels=ATTRIBUTES,
    exclusive=False,
    image_shape=(3, 64, 64),
    likelihood="laplace",
    label_prior=0.5,
    batch_size=256,
    style_dim=27,
    more_style_dim=45,
    epochs=20,
    reconstruction_figure=6,
    walks={9: ("Male", {"Male": 1}), 10: ("Eyeglasses", {"Eyeglasses": 1})},
)
MNIST = Task(
    name="mnist",
    title="MNIST",
    labels=tuple("0123456789"),
    exclusive=True,
    image_shape=(1, 60, 60),
    likelihood="bernoulli",
    label_prior=0.1,
    batch_size=128,
    style_dim=5,
    more_style_dim=15,
    epochs=50,
    reconstruction_figure=7,
    walks={11: ("5 to 1", {"5": 0, "1": 1})},
)
CHEST_XRAY = Task(
    name="chest_xray",
    title="Chest X-ray",
    labels=("normal", "bacteria", "virus"),
    exclusive=True,
    image_shape=(1, 60, 60),
    likelihood="bernoulli",
    label_prior=None,
    batch_size=128,
    style_dim=7,
    more_style_dim=27,
    epochs=50,
    reconstruction_figure=8,
    walks={12: ("bacteria to normal", {"bacteria": 0, "normal": 1})},
)
STICK_FIGURES = Task(
    name="stick_figures",
    title="Stick figures",
    labels=("tall", "broad", "open", "long_armed"),
    exclusive=False,
    image_shape=(1, 60, 60),
    likelihood="bernoulli",
    label_prior=0.5,
    batch_size=128,
    style_dim=6,
    more_style_dim=10,
    epochs=50,
    reconstruction_figure=None,
    walks={},
)
OWN = Task(
    name="own",
    title="Own images",
    labels=(),  # these and what follows from them: `own.read`
    exclusive=False,
    image_shape=(3, 64, 64),
    likelihood="laplace",
    label_prior=None,
    batch_size=32,
    style_dim=20,
    more_style_dim=40,
    epochs=20,
    reconstruction_figure=None,
    walks={},
)
# the paper's in the order of its tables
TASKS = {task.name: task for task in (CELEBA, MNIST, CHEST_XRAY, STICK_FIGURES, OWN)}
