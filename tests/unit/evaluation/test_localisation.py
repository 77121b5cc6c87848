"""FROC and the pointing game: by hand, against a plain loop, its neighbours, and what is refused."""

import json
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from mammoscope.errors import TableError
from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.localisation import (
    BAND_RATES,
    Denominator,
    JudgedMarks,
    Localisation,
    judge_marks,
    measure_localisation,
)
from mammoscope.evaluation.marks import HitRule, Lesion, Mark, PixelBox

SETTINGS = BootstrapSettings(n_replicates=200)
BOX = PixelBox(10, 10, 20, 20)
IN, OUT = (15.0, 15.0), (50.0, 50.0)


def images_of(*rows: tuple[str, str, str, bool]) -> pl.DataFrame:
    """Image, patient, side and outcome."""
    columns = ["image_id", "patient_id", "laterality", "cancer"]
    return pl.DataFrame(list(rows), schema=columns, orient="row").with_columns(exam_id=pl.col("patient_id"))


def mark(image_id: str, place: tuple[float, float], score: float) -> Mark:
    return Mark(image_id, *place, score)


IMAGES = images_of(
    ("a1", "anna", "L", True),
    ("a2", "anna", "L", True),
    ("b1", "berta", "R", True),
    ("c1", "carla", "L", False),
    ("d1", "doris", "L", False),
)
LESIONS = (Lesion("a1", BOX), Lesion("a2", BOX), Lesion("b1", BOX))
# false at 0.8, 0.6, 0.6 and 0.1; lesions hit at 0.9, 0.6 and never
MARKS = (
    mark("a1", IN, 0.9),
    mark("a1", IN, 0.3),
    mark("a2", IN, 0.6),
    mark("b1", OUT, 0.8),
    mark("c1", OUT, 0.6),
    mark("c1", IN, 0.6),
    mark("d1", OUT, 0.1),
)


def measure(judged: JudgedMarks, rates: Sequence[float] = (0.1, 0.2, 0.5, 0.6, 0.8, 4)) -> Localisation:
    return measure_localisation(judged, settings=SETTINGS, rates=rates)


def sensitivities(found: Localisation) -> list[float | None]:
    return [point.sensitivity.value for point in found.points]


def test_five_images_by_hand() -> None:
    # one false mark is 0.2 of an image; the two at 0.6 come together, and the lesion at 0.6 with them
    found = measure(judge_marks(MARKS, LESIONS, IMAGES))
    assert sensitivities(found) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3])
    assert [point.threshold for point in found.points] == [0.9, 0.8, 0.8, 0.6, 0.1, 0.1]
    assert (found.n_images, found.n_lesions, found.n_false_marks) == (5, 3, 4)
    assert found.curve is not None
    assert found.curve.ends_at == 0.8
    # anna's highest mark is in a lesion, berta's is not
    assert found.pointing_game.value == 0.5
    assert json.dumps(found.to_json(), allow_nan=False)


def test_false_marks_of_controls_only() -> None:
    # 3 false marks in 2 images; that of berta does not count
    found = measure(judge_marks(MARKS, LESIONS, IMAGES, false_marks_of="controls"), rates=(0.5, 0.9, 1, 1.5))
    assert sensitivities(found) == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert (found.n_images, found.n_false_marks) == (2, 3)


def test_a_lesion_seen_in_two_views_is_one() -> None:
    lesions = (Lesion("a1", BOX, "mass"), Lesion("a2", BOX, "mass"), Lesion("b1", BOX, "mass"))
    found = measure(judge_marks(MARKS, lesions, IMAGES))
    assert found.n_lesions == 2
    assert sensitivities(found) == [0.5] * 6


def test_a_mark_in_two_lesions_finds_both() -> None:
    lesions = (Lesion("a1", BOX), Lesion("a1", PixelBox(14, 14, 40, 40)), Lesion("b1", BOX))
    judged = judge_marks(MARKS, lesions, IMAGES)
    assert sorted(judged.lesion_scores) == [-np.inf, 0.9, 0.9]
    assert judged.n_without_place == 1


def test_cases_whose_lesion_is_not_known_are_left_out() -> None:
    found = measure(judge_marks(MARKS, LESIONS[:2], IMAGES))
    assert (found.n_without_place, found.n_images, found.n_false_marks) == (1, 4, 3)
    assert found.n_breasts_with_lesion == 1


def test_equal_highest_marks_share_the_pointing_game() -> None:
    marks = (mark("a1", IN, 0.7), mark("a2", OUT, 0.7), mark("a2", OUT, 0.2))
    judged = judge_marks(marks, LESIONS, IMAGES)
    assert judged.pointed.tolist() == [0.5, 0.0]  # berta has no mark


def random_study(seed: int) -> tuple[list[Mark], list[Lesion], pl.DataFrame]:
    rng = np.random.default_rng(seed)
    rows, marks, lesions = [], [], []
    for number in range(40):
        is_case = number % 3 == 0
        for view in range(2):
            name = f"{number}-{view}"
            rows.append((name, f"patient {number // 2}", "LR"[number % 2], is_case))
            if is_case:
                lesions.append(Lesion(name, BOX, None if number % 2 else "mass"))
            for _ in range(rng.poisson(1.5)):
                place = IN if is_case and rng.random() < 0.5 else OUT
                marks.append(mark(name, place, float(rng.integers(1, 30)) / 30))
    return marks, lesions, images_of(*rows)


def loop(  # noqa: PLR0913  # one replicate as a plain loop over thresholds, and what it is of
    marks: list[Mark],
    lesions: list[Lesion],
    images: pl.DataFrame,
    *,
    weights: dict[str, int],
    rates: Sequence[float],
    controls_only: bool,
) -> list[float]:
    rows = {row["image_id"]: row for row in images.to_dicts()}
    weight = {name: weights.get(row["patient_id"], 0) for name, row in rows.items()}
    keys: dict[object, list[str]] = {}
    for number, lesion in enumerate(lesions):
        row = rows[lesion.image_id]
        key = (row["exam_id"], row["laterality"], lesion.name) if lesion.name else (number,)
        keys.setdefault(key, []).append(lesion.image_id)
    inside = {lesion.image_id for lesion in lesions}
    counted = [name for name, row in rows.items() if not (controls_only and row["cancer"])]
    results = []
    for rate in rates:
        reached = 0.0
        for threshold in sorted({each.score for each in marks}):
            n_false = sum(
                weight[each.image_id]
                for each in marks
                if each.score >= threshold
                and each.image_id in counted
                and not (each.image_id in inside and (each.x, each.y) == IN)
            )
            if n_false <= rate * sum(weight[name] for name in counted) + 1e-9:
                n_found = sum(
                    weight[names[0]]
                    for names in keys.values()
                    if any(
                        each.image_id in names and (each.x, each.y) == IN and each.score >= threshold for each in marks
                    )
                )
                reached = n_found / sum(weight[names[0]] for names in keys.values())
                break
        results.append(reached)
    return results


@pytest.mark.parametrize("false_marks_of", ["all images", "controls"])
def test_each_replicate_is_that_of_a_plain_loop(false_marks_of: Denominator) -> None:
    marks, lesions, images = random_study(5)
    rates = (0.1, 0.3, 1, 4)
    judged = judge_marks(marks, lesions, images, false_marks_of=false_marks_of)
    settings = BootstrapSettings(n_replicates=25)
    found = measure_localisation(judged, settings=settings, rates=rates)
    names = sorted(images["patient_id"].unique())
    drawn = settings.generator().integers(0, len(names), size=(25, len(names)))
    by_loop = []
    for replicate in drawn:
        weights = {name: int((replicate == number).sum()) for number, name in enumerate(names)}
        by_loop.append(
            loop(marks, lesions, images, weights=weights, rates=rates, controls_only=false_marks_of == "controls")
        )
    everyone = dict.fromkeys(names, 1)
    own = loop(marks, lesions, images, weights=everyone, rates=rates, controls_only=false_marks_of == "controls")
    assert sensitivities(found) == pytest.approx(own)
    low, high = np.quantile(by_loop, [0.025, 0.975], axis=0)
    intervals = [point.sensitivity.interval for point in found.points]
    assert [each.low for each in intervals if each] == pytest.approx(low)
    assert [each.high for each in intervals if each] == pytest.approx(high)


def test_the_curve_rises_and_a_monotone_map_of_scores_changes_nothing() -> None:
    marks, lesions, images = random_study(6)
    found = measure(judge_marks(marks, lesions, images))
    squared = [Mark(each.image_id, each.x, each.y, each.score**2 - 7) for each in marks]
    again = measure(judge_marks(squared, lesions, images))
    assert found.curve is not None
    assert again.curve == found.curve
    assert (np.diff(found.curve.sensitivity) >= 0).all()
    assert found.curve.false_marks_per_image == tuple(BAND_RATES)
    assert all(
        low is not None and high is not None and low <= value <= high
        for low, value, high in zip(found.curve.low, found.curve.sensitivity, found.curve.high, strict=True)
    )


def test_without_marks_nothing_is_found() -> None:
    found = measure(judge_marks([], LESIONS, IMAGES))
    assert sensitivities(found) == [0.0] * 6
    assert [point.threshold for point in found.points] == [None] * 6
    assert found.pointing_game.value == 0


def test_without_false_marks_all_marks_count() -> None:
    found = measure(judge_marks(MARKS[:3], LESIONS, IMAGES))
    assert sensitivities(found) == pytest.approx([2 / 3] * 6)
    assert found.points[0].threshold == 0.6  # the second mark in a lesion does not count


def test_without_a_lesion_or_an_image_the_reason_is_given() -> None:
    controls = IMAGES.filter(~pl.col("cancer"))
    marks = [each for each in MARKS if each.image_id in {"c1", "d1"}]
    found = measure(judge_marks(marks, [], controls))
    assert found.points[0].sensitivity.reason == "undefined: no lesion in any image, needs one"
    assert found.curve is None
    cases = IMAGES.filter(pl.col("cancer"))
    marks = [each for each in MARKS if each.image_id in {"a1", "a2", "b1"}]
    found = measure(judge_marks(marks, LESIONS, cases, false_marks_of="controls"))
    assert found.pointing_game.reason == "undefined: no image whose false marks are counted"
    assert json.dumps(found.to_json(), allow_nan=False)


def test_lesions_of_one_patient_have_no_interval() -> None:
    found = measure(judge_marks(MARKS, LESIONS[:2], IMAGES))
    assert found.points[0].sensitivity.interval is None
    assert found.points[0].sensitivity.reason == "no interval: 1 patient with lesions, needs 2"
    assert found.curve is not None
    assert set(found.curve.low) == {None}


def test_marks_and_lesions_that_are_nowhere_are_refused() -> None:
    with pytest.raises(TableError, match=r"marks: 1 of 1 are in images that are not among the 5 looked at"):
        judge_marks([mark("x", IN, 0.1)], LESIONS, IMAGES)
    with pytest.raises(TableError, match=r"lesions: 1 of 4 are in images that are not among the 5"):
        judge_marks([], [*LESIONS, Lesion("x", BOX)], IMAGES)
    with pytest.raises(TableError, match=r"lesions: 1 of 4 are in images of controls; give those with cancer only"):
        judge_marks([], [*LESIONS, Lesion("c1", BOX)], IMAGES)


def test_the_rule_is_told() -> None:
    found = measure(judge_marks(MARKS, LESIONS, IMAGES))
    assert found.rule == "the centre of the mark lies in the lesion"
    boxed = [Mark("a1", 15, 15, 0.9, PixelBox(10, 10, 20, 15)), Mark("a2", 15, 15, 0.9, PixelBox(0, 0, 100, 100))]
    judged = judge_marks(boxed, LESIONS, IMAGES, rule=HitRule("overlap", least_iou=0.5))
    assert judged.rule == "the box of the mark and the lesion have an IoU of 0.5 or more"
    assert judged.lesion_scores.tolist() == [0.9, -np.inf, -np.inf]
