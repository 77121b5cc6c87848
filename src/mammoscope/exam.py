"""Mammogram, breast and exam: frozen records that refuse a wrong side, a duplicate image, a mixed patient."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mammoscope.anatomy import Laterality, View
from mammoscope.errors import UserInputError

BREAST: Final = ("exam_id", "laterality")
"""The columns that a breast is known by, in every table with a row for each image."""
OLDEST_YEARS: Final = 130
"""No age above this is believed; the oldest woman on record came to 122 years."""


@dataclass(frozen=True, slots=True)
class Mammogram:
    """One image of one breast; ids are never empty, the view is None where nobody says it."""

    image_id: str
    patient_id: str
    exam_id: str
    laterality: Laterality
    view: View | None

    def __post_init__(self) -> None:
        for name in ("image_id", "patient_id", "exam_id"):
            if not getattr(self, name).strip():
                raise UserInputError(f"image {self.image_id!r}: {name} is empty, expected an identifier")


@dataclass(frozen=True, slots=True)
class Breast:
    """All images of one side of one exam, at least one."""

    exam_id: str
    laterality: Laterality
    mammograms: tuple[Mammogram, ...]

    def __post_init__(self) -> None:
        if not self.mammograms:
            raise UserInputError(f"breast {self.laterality}: found no image, expected one or more")
        for mammogram in self.mammograms:
            where = f"image {mammogram.image_id}"
            if mammogram.laterality is not self.laterality:
                raise UserInputError(
                    f"{where}: found side {mammogram.laterality} in a breast of side {self.laterality}; "
                    "correct its laterality"
                )
            if mammogram.exam_id != self.exam_id:
                raise UserInputError(f"{where}: found in a breast of another exam; correct its exam_id")


@dataclass(frozen=True, slots=True)
class Exam:
    """One screening visit of one patient: one or two breasts, no image twice."""

    exam_id: str
    patient_id: str
    breasts: tuple[Breast, ...]

    def __post_init__(self) -> None:
        sides = [breast.laterality for breast in self.breasts]
        if not sides or len(set(sides)) != len(sides):
            found = ", ".join(sides) or "none"
            raise UserInputError(f"{self._where}: found sides {found}; expected L, R or both, each once")
        image_counts = Counter(mammogram.image_id for mammogram in self.mammograms)
        twice = sorted(image_id for image_id, count in image_counts.items() if count > 1)
        if twice:
            raise UserInputError(f"image {twice[0]}: stands twice in one exam; remove one")
        if any(breast.exam_id != self.exam_id for breast in self.breasts):
            raise UserInputError(f"{self._where}: found breasts of two exams, expected one")
        patients = {mammogram.patient_id for mammogram in self.mammograms} | {self.patient_id}
        if len(patients) > 1:
            raise UserInputError(f"{self._where}: found images of {len(patients)} patients, expected one")

    @property
    def _where(self) -> str:
        """Names the exam by its first image: exam ids may identify a patient."""
        return f"exam with image {self.mammograms[0].image_id}" if self.breasts else "exam"

    @property
    def mammograms(self) -> tuple[Mammogram, ...]:
        """All images, in the order of the breasts."""
        return tuple(mammogram for breast in self.breasts for mammogram in breast.mammograms)


def group_into_exams(mammograms: Iterable[Mammogram]) -> tuple[Exam, ...]:
    """The exams that the images form, in the order of their first image.

    Raises:
        UserInputError: an exam of two patients, or an image twice in an exam.
    """
    by_exam: dict[str, dict[Laterality, list[Mammogram]]] = {}
    for mammogram in mammograms:
        by_exam.setdefault(mammogram.exam_id, {}).setdefault(mammogram.laterality, []).append(mammogram)
    return tuple(
        Exam(
            exam_id=exam_id,
            patient_id=next(iter(by_side.values()))[0].patient_id,
            breasts=tuple(Breast(exam_id, side, tuple(images)) for side, images in sorted(by_side.items())),
        )
        for exam_id, by_side in by_exam.items()
    )
