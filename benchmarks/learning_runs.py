"""The trainings of `learning.py`: which recipe, and what is changed in it."""

import re
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Change:
    """A recipe with `pictures_alone` for all that looks at pictures, and `changed` beyond that."""

    name: str
    recipe: str
    pictures_alone: tuple[str, ...]
    changed: tuple[str, ...] = field(default=())

    @property
    def folder(self) -> str:
        """The name of its run folder."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower())

    @property
    def settings(self) -> tuple[str, ...]:
        """All that is set."""
        return self.pictures_alone + self.changed


def _at_size(rows: int, columns: int) -> tuple[str, ...]:
    return tuple(
        f"picture.{name}_{side}={n_pixels}"
        for name in ("train", "held_out")
        for side, n_pixels in (("rows", rows), ("columns", columns))
    )


_COMPILED = ("compute.compile=true",)  # the same result, sooner
_PICTURES = (*_at_size(256, 160), *_COMPILED)
_AUXILIARY = ("auxiliary.view=0.1", "auxiliary.density=0.1", "auxiliary.birads=0.1", "auxiliary.difficult_negative=0.1")
_AGE_AND_DENSITY = 'table.columns=["age_years", "density"]'
# the baseline's backbone, head, optimizer and rate. All images are trained on, because few of these breasts have the
# other one beside them, and for as long as `small` takes
BASELINE = Change(
    "baseline",
    "baseline",
    (
        *_PICTURES,
        *("backbone.name=mobilenetv2_100", "store.rows=320", "store.columns=192"),
        *("sampling=all", "epochs=20"),
    ),
)
# these pictures hold more images of a breast with cancer than of another: spread and number of views tell that
_SECOND_STAGE = ('second_stage.scores=["logit"]', 'second_stage.columns=["age_years", "density"]')
SMALL = Change("small", "small", _PICTURES, _SECOND_STAGE)
# what is new to the network learns faster, so that it comes to use the age
TABLE = Change("small, table", "small", _PICTURES, (_AGE_AND_DENSITY, "fine_tuning.head_factor=10"))
# as large as they are stored: half as many pixels more, half as much time more
LARGER = Change("small, larger pictures", "small", (*_at_size(320, 192), *_COMPILED), _SECOND_STAGE)
FILM = Change("small, larger pictures", "small", LARGER.pictures_alone)
PHANTOMS = Change("small", "small", _PICTURES)
SHORT = Change("small, short", "small", (*_at_size(128, 80), "epochs=4"))
_CHANGES: dict[str, tuple[str, ...]] = {
    "1 imbalance: two controls for each case, cases in every batch": (
        "sampling=balanced-batch",
        "balance.controls_per_case=2",
    ),
    "2 schedule: constant": ("schedule.name=constant",),
    "4 accumulation: 64 in place of 16": ("batch.size=64", "batch.micro=16"),
    "5 pooling: generalised mean": ("head.pooling=gem",),
    "5 auxiliary heads: view, density, BI-RADS, difficult negative": _AUXILIARY,
    "6 fine-tuning: the head alone": ("fine_tuning.train=head",),
    "7 table: age and density": TABLE.changed,
    "8 level: breast": ("level=breast", "batch.size=12"),
    "9 augmentation: none": tuple(
        f"augment.{key}=0"
        for key in (
            *("flip_horizontal", "flip_vertical", "rotation_degrees", "shift", "zoom", "shear_degrees"),
            *("contrast", "gamma"),
        )
    ),
}
ABLATION = tuple(Change(name, "small", SHORT.settings, changed) for name, changed in _CHANGES.items())
