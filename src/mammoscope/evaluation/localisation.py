"""Whether a detector looks where the lesion is: free-response ROC (FROC), and the pointing game.

The FROC curve shows the share of the lesions that are hit against the false marks per image, as the least score of a
mark falls (Bunch et al. 1977; reviewed by Chakraborty 2013, doi:10.1016/j.acra.2013.03.001). A lesion has the score of
the best mark that hits it; further marks in it neither count nor harm; a mark that hits no lesion is false. At a number
of false marks per image the curve has the sensitivity of the laxest threshold that gives no more.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from mammoscope.errors import TableError
from mammoscope.evaluation.bootstrap import (
    MIN_PATIENTS_FOR_INTERVAL,
    BootstrapSettings,
    Estimate,
    bootstrap_over_patients,
    estimate,
    number_patients,
    percentile_band,
)
from mammoscope.evaluation.marks import HitRule, Lesion, Mark

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Denominator = Literal["all images", "controls"]

FALSE_MARKS_PER_IMAGE = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
BAND_RATES = np.geomspace(1 / 32, 8, 65)  # eight to a doubling
_ROUNDING = 1e-9  # of an image: 0.1 of 30 images is 3.0000000000000004
_NO_LESION = "undefined: no lesion in any image, needs one"


@dataclass(frozen=True, slots=True)
class JudgedMarks:
    """What became of marks and lesions, in arrays; a patient is a number, 0 and up.

    Attributes:
        rule: when a mark hits, as a clause.
        false_marks_of: the images whose false marks are counted, and through whose number they are divided.
        lesion_scores: of the best mark that hits each lesion, minus infinity where none does.
        false_scores: of the marks that hit nothing, in the images whose false marks are counted.
        pointed: for each breast with a lesion the share of its highest marks that hit one, 0 where it has no mark.
        image_patients: of the images whose false marks are counted.
        n_without_place: images of cases that show no known lesion; they and their marks are left out.
    """

    rule: str
    false_marks_of: Denominator
    lesion_scores: Floats
    lesion_patients: Indices
    false_scores: Floats
    false_patients: Indices
    pointed: Floats
    pointed_patients: Indices
    image_patients: Indices
    n_patients: int
    n_without_place: int


@dataclass(frozen=True, slots=True)
class FrocPoint:
    """The share of lesions that are hit at so many false marks per image, and the least score of a mark that counts."""

    false_marks_per_image: float
    sensitivity: Estimate
    threshold: float | None


@dataclass(frozen=True, slots=True)
class FrocCurve:
    """The curve at given false marks per image, with its pointwise interval; None where there is none.

    Past `ends_at`, where all marks count, it is level.
    """

    false_marks_per_image: tuple[float, ...]
    sensitivity: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    ends_at: float


@dataclass(frozen=True, slots=True)
class Localisation:
    """How well marks and lesions agree; `pointing_game` is the share of breasts whose highest mark lies in a lesion."""

    rule: str
    false_marks_of: Denominator
    n_images: int
    n_lesions: int
    n_false_marks: int
    n_breasts_with_lesion: int
    n_without_place: int
    points: tuple[FrocPoint, ...]
    curve: FrocCurve | None
    pointing_game: Estimate

    def to_json(self) -> dict[str, object]:
        """The counts, points and curve, for `evaluation.json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Lesions between the distinct scores of false marks, the highest first, with a column for each patient.

    Attributes:
        levels: distinct scores of false marks, descending, (level,).
        false_marks: how many of each patient have that score, (level, patient).
        lesions: how many of each patient are hit by a mark above the first level, above the next, and so on, then above
            none, (level + 1, patient).
    """

    levels: Floats
    false_marks: sparse.csr_array
    lesions: sparse.csr_array
    n_lesions_of: Floats
    n_images_of: Floats
    pointed_of: Floats
    n_pointed_of: Floats

    def reached(self, counts: Floats, rates: Floats) -> tuple[Floats, Indices]:
        """The sensitivity at each rate, (replicate, rate), and the level that is too lax for it."""
        false_marks = np.cumsum(self.false_marks @ counts.T, axis=0).T  # (replicate, level)
        lesions = np.cumsum(self.lesions @ counts.T, axis=0).T  # (replicate, level + 1)
        limits = (counts @ self.n_images_of)[:, np.newaxis] * rates + _ROUNDING  # (replicate, rate)
        places = np.stack(
            [np.searchsorted(row, limit, side="right") for row, limit in zip(false_marks, limits, strict=True)]
        )
        n_lesions = (counts @ self.n_lesions_of)[:, np.newaxis]
        return _divide(np.take_along_axis(lesions, places, axis=1), n_lesions), places

    def values(self, counts: Floats, rates: Floats) -> Floats:
        """The sensitivity at each rate, then the share of the pointing game, (replicate, value)."""
        pointing = _divide(counts @ self.pointed_of, counts @ self.n_pointed_of)
        return np.column_stack([self.reached(counts, rates)[0], pointing])


def judge_marks(
    marks: Sequence[Mark],
    lesions: Sequence[Lesion],
    images: pl.DataFrame,
    *,
    rule: HitRule | None = None,
    false_marks_of: Denominator = "all images",
) -> JudgedMarks:
    """Which lesions are hit and which marks are false.

    Args:
        marks: of a detector or a reader.
        lesions: of the truth, in images of cases.
        images: all that were looked at, with `image_id`, `patient_id`, `exam_id`, `laterality` and a known `cancer`, as
            the rows of `sample_level(scores, "image")` are.
        rule: when a mark hits; its centre in the lesion, if none is given.
        false_marks_of: count the false marks of all images, or those of controls only.

    Raises:
        TableError: a mark or a lesion is in no image that was looked at, or a lesion is in one of a control.
        UserInputError: the rule is overlap, and a mark has no box.
    """
    rule = rule or HitRule()
    rows = {row["image_id"]: row for row in images.iter_rows(named=True)}
    _refuse_strays(marks, lesions, rows)
    by_image = _by_image(lesions)
    is_out = {name for name, row in rows.items() if row["cancer"] and name not in by_image}
    patients = dict(zip(rows, number_patients([row["patient_id"] for row in rows.values()]), strict=True))
    best = dict.fromkeys((_identify(number, each, rows) for number, each in enumerate(lesions)), -np.inf)
    false_marks: list[tuple[float, int]] = []
    peaks: dict[tuple[str, str], list[tuple[float, bool]]] = {}
    for mark in marks:
        if mark.image_id in is_out:
            continue
        hit = [(number, each) for number, each in by_image.get(mark.image_id, ()) if rule.is_hit(mark, each)]
        for number, each in hit:
            key = _identify(number, each, rows)
            best[key] = max(best[key], mark.score)
        row = rows[mark.image_id]
        peaks.setdefault((row["exam_id"], row["laterality"]), []).append((mark.score, bool(hit)))
        if not hit and (false_marks_of == "all images" or not row["cancer"]):
            false_marks.append((mark.score, int(patients[mark.image_id])))
    owners = {_identify(number, each, rows): patients[each.image_id] for number, each in enumerate(lesions)}
    with_lesion = {(rows[name]["exam_id"], rows[name]["laterality"]): patients[name] for name in by_image}
    counted = [name for name, row in rows.items() if name not in is_out and _counts(row, false_marks_of)]
    return JudgedMarks(
        rule=rule.state(),
        false_marks_of=false_marks_of,
        lesion_scores=np.array(list(best.values()), np.float64),
        lesion_patients=np.array([owners[key] for key in best], np.intp),
        false_scores=np.array([score for score, _ in false_marks], np.float64),
        false_patients=np.array([patient for _, patient in false_marks], np.intp),
        pointed=np.array([_point(peaks.get(breast, [])) for breast in with_lesion], np.float64),
        pointed_patients=np.array(list(with_lesion.values()), np.intp),
        image_patients=np.array([patients[name] for name in counted], np.intp),
        n_patients=len(set(patients.values())),
        n_without_place=len(is_out),
    )


def measure_localisation(
    judged: JudgedMarks,
    *,
    settings: BootstrapSettings,
    rates: Sequence[float] = FALSE_MARKS_PER_IMAGE,
    advance: Callable[[int], None] = lambda _: None,
) -> Localisation:
    """The FROC curve and the pointing game, with intervals over patients; without a lesion, the reason instead."""
    if not len(judged.lesion_scores) or not len(judged.image_patients):
        advance(settings.n_replicates)
        reason = _NO_LESION if not len(judged.lesion_scores) else "undefined: no image whose false marks are counted"
        nothing = Estimate(None, None, reason)
        return _assemble(judged, [FrocPoint(rate, nothing, None) for rate in rates], None, nothing)
    ordered = _sort(judged)
    all_rates = np.array([*rates, *BAND_RATES])
    everywhere = np.concatenate([judged.lesion_patients, judged.false_patients, judged.image_patients])
    replicates = bootstrap_over_patients(
        lambda counts: ordered.values(counts, all_rates),
        np.append(everywhere, judged.n_patients - 1),
        n_replicates=settings.n_replicates,
        rng=settings.generator(),
        advance=advance,
    )  # (replicate, value)
    everyone = np.ones((1, judged.n_patients))
    value = ordered.values(everyone, all_rates)[0]
    places = ordered.reached(everyone, all_rates)[1][0]
    without = _why_no_interval(judged)
    figures = [
        estimate(each, column, confidence=settings.confidence, if_undefined=_NO_LESION, if_no_interval=without)
        for each, column in zip(value, replicates.T, strict=True)
    ]
    n = len(rates)
    points = [
        FrocPoint(rate, figure, _threshold(judged, ordered.levels, place))
        for rate, figure, place in zip(rates, figures, places, strict=False)
    ]
    curve = _curve(value[n:-1], replicates[:, n:-1], judged, settings.confidence, has_interval=without is None)
    return _assemble(judged, points, curve, figures[-1])


def _by_image(lesions: Sequence[Lesion]) -> dict[str, list[tuple[int, Lesion]]]:
    by_image: dict[str, list[tuple[int, Lesion]]] = {}
    for number, lesion in enumerate(lesions):
        by_image.setdefault(lesion.image_id, []).append((number, lesion))
    return by_image


def _identify(number: int, lesion: Lesion, rows: Mapping[str, Mapping[str, object]]) -> tuple[object, ...]:
    """What makes boxes one lesion: the breast and the name; without a name each is one of its own."""
    row = rows[lesion.image_id]
    return (number,) if lesion.name is None else (row["exam_id"], row["laterality"], lesion.name)


def _refuse_strays(marks: Sequence[Mark], lesions: Sequence[Lesion], rows: Mapping[str, Mapping[str, object]]) -> None:
    for found, what in ((marks, "marks"), (lesions, "lesions")):
        n_astray = sum(each.image_id not in rows for each in found)
        if n_astray:
            raise TableError(
                f"{what}: {n_astray:,} of {len(found):,} are in images that are not among the {len(rows):,} looked at; "
                "are the ids spelled alike? Give scores of these images too, or take the marks out"
            )
    n_in_controls = sum(not rows[lesion.image_id]["cancer"] for lesion in lesions)
    if n_in_controls:
        raise TableError(
            f"lesions: {n_in_controls:,} of {len(lesions):,} are in images of controls; give those with cancer only"
        )


def _counts(row: Mapping[str, object], false_marks_of: Denominator) -> bool:
    return false_marks_of == "all images" or not row["cancer"]


def _point(peaks: Sequence[tuple[float, bool]]) -> float:
    """The share of the highest marks that hit, which is one or none where no two are equal."""
    if not peaks:
        return 0.0
    highest = max(score for score, _ in peaks)
    return float(np.mean([is_hit for score, is_hit in peaks if score == highest]))


def _sort(judged: JudgedMarks) -> _Sorted:
    n = judged.n_patients
    levels = np.unique(judged.false_scores)[::-1]
    at = len(levels) - np.searchsorted(levels[::-1], judged.false_scores, side="right")  # 0 for the highest
    passed = len(levels) - np.searchsorted(levels[::-1], judged.lesion_scores, side="left")  # levels at or above
    is_hit = np.isfinite(judged.lesion_scores)
    return _Sorted(
        levels=levels,
        false_marks=_place(at, judged.false_patients, (len(levels), n)),
        lesions=_place(passed[is_hit], judged.lesion_patients[is_hit], (len(levels) + 1, n)),
        n_lesions_of=_count(judged.lesion_patients, n),
        n_images_of=_count(judged.image_patients, n),
        pointed_of=np.bincount(judged.pointed_patients, judged.pointed, minlength=n).astype(np.float64),
        n_pointed_of=_count(judged.pointed_patients, n),
    )


def _place(rows: Indices, columns: Indices, shape: tuple[int, int]) -> sparse.csr_array:
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)


def _count(patients: Indices, n_patients: int) -> Floats:
    return np.bincount(patients, minlength=n_patients).astype(np.float64)


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    """The quotient, NaN where the denominator is 0."""
    result = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=result, where=np.broadcast_to(denominator > 0, result.shape))
    return result


def _threshold(judged: JudgedMarks, levels: Floats, place: int) -> float | None:
    """The lowest score of a mark above the level that is too lax; None where no mark is."""
    scores = np.concatenate([judged.lesion_scores[np.isfinite(judged.lesion_scores)], judged.false_scores])
    allowed = scores if place == len(levels) else scores[scores > levels[place]]
    return float(allowed.min()) if len(allowed) else None


def _why_no_interval(judged: JudgedMarks) -> str | None:
    n = len(np.unique(judged.lesion_patients))
    if n < MIN_PATIENTS_FOR_INTERVAL:
        return f"no interval: {n} patient with lesions, needs {MIN_PATIENTS_FOR_INTERVAL}"
    return None


def _curve(
    value: Floats, replicates: Floats, judged: JudgedMarks, confidence: float, *, has_interval: bool
) -> FrocCurve:
    ends = percentile_band(replicates, confidence) if has_interval else (np.full_like(value, np.nan),) * 2
    low, high = (tuple(None if np.isnan(each) else float(each) for each in end) for end in ends)
    return FrocCurve(
        false_marks_per_image=tuple(BAND_RATES.tolist()),
        sensitivity=tuple(value.tolist()),
        low=low,
        high=high,
        ends_at=len(judged.false_scores) / len(judged.image_patients),
    )


def _assemble(
    judged: JudgedMarks, points: Sequence[FrocPoint], curve: FrocCurve | None, pointing: Estimate
) -> Localisation:
    return Localisation(
        rule=judged.rule,
        false_marks_of=judged.false_marks_of,
        n_images=len(judged.image_patients),
        n_lesions=len(judged.lesion_scores),
        n_false_marks=len(judged.false_scores),
        n_breasts_with_lesion=len(judged.pointed),
        n_without_place=judged.n_without_place,
        points=tuple(points),
        curve=curve,
        pointing_game=pointing,
    )
