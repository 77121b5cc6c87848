"""What every source does with its rows: settle what is wrong, find the files, compare with the published counts."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

import polars as pl

from mammoscope.cohort.manifest import (
    ALLOWED_VALUES,
    Problem,
    locate_problems,
    manifest_path,
    name_rows,
    raise_problems,
    sort_by_row,
)
from mammoscope.errors import TableError, UserInputError
from mammoscope.exam import BREAST
from mammoscope.files import replacing

OnConflict = Literal["refuse", "exclude"]

REJECTED_SCHEMA: Final[dict[str, pl.DataType]] = {
    "image_id": pl.String(),
    "path": pl.String(),
    "code": pl.String(),
    "sentence": pl.String(),
}
IMAGE_SUFFIXES: Final = frozenset({".dcm", ".dicom", ".png", ".pgm"})
NOTHING_ELSE: Final[Mapping[str, int]] = MappingProxyType({})
_SIDES: Final = ALLOWED_VALUES["laterality"]
_OF_THE_EXAM: Final = {"mixed_patients", "side_conflict"}  # which of its breasts is meant is not known
_NAMED_AT_MOST = 5
_SAME_FROM_ROWS = 3  # so many lines are as long as the one that stands for them
_COMPLETE_SHARE = 0.9  # with so much of what is published, a difference is a loss and not a choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Handling:
    """How bad input is met.

    Attributes:
        on_conflict: refuse the whole, or leave out the breasts that are concerned.
        allow_missing: leave out rows whose image is not there.
        check_sides: the problems of rows whose files say another side; None where headers are not read.
    """

    on_conflict: OnConflict = "refuse"
    allow_missing: bool = False
    check_sides: Callable[[pl.DataFrame], list[Problem]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedCohort:
    """What came of the files of a source.

    Attributes:
        manifest: its rows.
        rejected: image, path, code and sentence of what was left out for what is wrong with it.
        missing_image_ids: images of the table without a file, left out.
        warnings: sentences for the user.
    """

    manifest: pl.DataFrame
    rejected: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=REJECTED_SCHEMA))
    missing_image_ids: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """The folder of a data set's images, and how they lie in it, for sentences."""

    folder: Path
    layout: str


@dataclass(frozen=True, slots=True)
class PublishedCounts:
    """What the publishers of a data set say it holds; None where they do not.

    Attributes:
        images: all of them.
        patients: all of them.
        images_of_cases: those of breasts with cancer.
        others: counts of what the manifest does not tell, by their names.
    """

    images: int
    patients: int | None = None
    images_of_cases: int | None = None
    others: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where rows were read, for sentences.

    Attributes:
        where: the table.
        labels: what its rows are called, where that is not their number.
        columns: what it calls the fields of the manifest, where that is not their name.
    """

    where: str
    labels: Sequence[str] = ()
    columns: Mapping[str, str] = field(default_factory=dict)


def settle(
    rows: pl.DataFrame,
    problems: Sequence[Problem],
    *,
    origin: Origin,
    handling: Handling,
    repeats_images: bool = False,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that are left when all that is wrong is refused or excluded, and the rejected ones.

    Args:
        rows: in the manifest's schema, a row for each row of the table; a path may be null where a file is missing.
        problems: those that were found while reading; those of the schema are found here.
        origin: the table, for sentences.
        handling: whether to refuse or to exclude. Exclusion takes whole breasts: half of the views, or of the lesions,
            would be judged on half of the evidence. It takes the exam where its sides or its patient are in question.
        repeats_images: whether an image may stand in several rows, one for each lesion.

    Raises:
        TableError: something is wrong and is to be refused, or nothing is left.
    """
    of_schema = locate_problems(rows.with_columns(path=pl.lit(None, pl.String)))
    of_files = handling.check_sides(rows) if handling.check_sides else []
    nameless = {row + 1 for row in rows["patient_id"].is_null().arg_true()}
    told = [problem for problem in (*of_schema, *of_files) if not _follows(problem, nameless)]
    found = sort_by_row([*problems, *(_relabel(problem, origin) for problem in told)])
    found = [problem for problem in found if not (repeats_images and problem.code == "duplicate")]
    found = _unite_same(found, origin, n_rows=rows.height)
    is_refused = handling.on_conflict == "refuse"
    raise_problems([problem.sentence for problem in found if is_refused or not problem.rows], where=origin.where)
    if not found:
        return rows, pl.DataFrame(schema=REJECTED_SCHEMA)
    kept, rejected = exclude(rows, found, where=origin.where)
    return kept, _name_images_once(rejected) if repeats_images else rejected


def _unite_same(problems: Sequence[Problem], origin: Origin, *, n_rows: int) -> list[Problem]:
    """One problem for a column that is wrong in the same way in every row, in the place of the first; else as they are.

    The way is what is expected, after the last comma of a sentence; what is found may differ from row to row.
    """
    ways: dict[tuple[str, str, str], list[Problem]] = {}
    for problem in problems:
        column, _, finding = _without_label(problem, origin).partition(": ")
        ways.setdefault((column, finding.rpartition(", expected ")[2], problem.code), []).append(problem)
    united: list[Problem] = []
    for (column, *_), same in ways.items():
        if len(same) < n_rows or n_rows < _SAME_FROM_ROWS or not column:
            united += same
            continue
        sentences = [_without_label(problem, origin) for problem in same]
        label = "" if len(set(sentences)) == 1 else f" (in {same[0].sentence.partition(', ')[0]})"
        what, _, expected = sentences[0].rpartition(", expected ")
        rows = tuple(row for problem in same for row in problem.rows)
        sentence = f"all {n_rows} rows, {what}{label}, expected {expected}"
        united.append(Problem(sentence, rows, same[0].code, same[0].column))
    return sort_by_row(united)


def _without_label(problem: Problem, origin: Origin) -> str:
    """The sentence of a problem of one row without what its row is called; nothing for another."""
    if len(problem.rows) != 1 or ", expected " not in problem.sentence:
        return ""
    label = origin.labels[problem.rows[0] - 1] if origin.labels else f"row {problem.rows[0]}"
    return problem.sentence.removeprefix(f"{label}, ") if problem.sentence.startswith(f"{label}, ") else ""


def _name_images_once(rejected: pl.DataFrame) -> pl.DataFrame:
    """The rejected ones without further rows of an image; a row that names no image is not one of another."""
    is_further = pl.struct("image_id", "path").is_first_distinct().not_() & pl.col("image_id").is_not_null()
    return rejected.filter(~is_further)


def _follows(problem: Problem, nameless: Collection[int]) -> bool:
    """Whether it is said with its patient already that an exam has no name."""
    return problem.column == "exam_id" and set(problem.rows) <= set(nameless)


def _relabel(problem: Problem, origin: Origin) -> Problem:
    """The problem in the words of its table."""
    if not problem.column:
        return problem
    _, _, finding = problem.sentence.partition(f"{problem.column}: ")
    labels = (
        [origin.labels[row - 1] for row in problem.rows] if origin.labels else [f"row {row}" for row in problem.rows]
    )
    where = f"{labels[0]}, " if problem.sentence.startswith("row ") else ""
    if origin.labels:
        finding = finding.replace(name_rows(problem.rows), ", ".join(labels))
    return problem._replace(sentence=f"{where}{origin.columns.get(problem.column, problem.column)}: {finding}")


def exclude(rows: pl.DataFrame, problems: Sequence[Problem], *, where: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows without the breasts (or exams) that problems are about, and the rejected ones, each row one.

    What is wrong with a row itself goes before what is wrong with others of its breast.

    Raises:
        TableError: nothing is left.
    """
    numbered = rows.with_row_index("row", offset=1).with_columns(
        (pl.col("exam_id") + "\n" + pl.col("laterality")).alias("breast")
    )
    reasons: dict[int, Problem] = {}
    for problem in problems:
        for row in problem.rows:
            reasons.setdefault(row, problem)
    for problem in problems:
        touched = numbered.filter(pl.col("row").is_in(list(problem.rows)))
        has_side = touched["laterality"].is_in(_SIDES).fill_null(value=False).all()
        is_of_exam = problem.code in _OF_THE_EXAM or not has_side
        key = "exam_id" if is_of_exam else "breast"
        beside = numbered.filter(pl.col(key).is_in(touched[key].drop_nulls().to_list()))
        for row in beside["row"]:
            reasons.setdefault(row, problem)
    rejected = [
        {"image_id": image_id, "path": path, "code": reasons[row].code, "sentence": reasons[row].sentence}
        for row, image_id, path in numbered.select("row", "image_id", "path").iter_rows()
        if row in reasons
    ]
    kept = numbered.filter(~pl.col("row").is_in(list(reasons))).drop("row", "breast")
    if kept.is_empty():
        raise TableError(f"{where}: found a problem in every breast, expected one without; {problems[0].sentence}")
    return kept, pl.DataFrame(rejected, schema=REJECTED_SCHEMA)


def with_paths(rows: pl.DataFrame, path_by_image: Mapping[str, str]) -> pl.DataFrame:
    """The rows with the path of each image, null where there is none."""
    paths = [path_by_image.get(image_id) for image_id in rows["image_id"]]
    return rows.with_columns(pl.Series("path", paths, dtype=pl.String))


def drop_missing(rows: pl.DataFrame, *, images: Path, expected: str, allow_missing: bool) -> IndexedCohort:
    """The rows whose files were found, and the images of the others.

    Args:
        rows: with a path, or null.
        images: the folder that was searched.
        expected: the layout, for sentences.
        allow_missing: whether files may be missing.

    Raises:
        UserInputError: no file was found, or some were not and that is not allowed.
    """
    found = rows.filter(pl.col("path").is_not_null())
    missing = tuple(rows.filter(pl.col("path").is_null())["image_id"].unique(maintain_order=True))
    if found.is_empty():
        raise UserInputError(f"{images}: found none of the table's {len(missing)} images, expected {expected} below it")
    if missing and not allow_missing:
        named = ", ".join(missing[:_NAMED_AT_MOST]) + (", …" if len(missing) > _NAMED_AT_MOST else "")
        raise UserInputError(
            f"{images}: images of the table that are missing: {len(missing)} ({named}), that were found: "
            f"{found.height}; add the files, or leave these rows out with --allow-missing"
        )
    return IndexedCohort(manifest=found, missing_image_ids=missing)


def finish(
    rows: pl.DataFrame,
    rejected: pl.DataFrame,
    *,
    place: ImagePlace | None,
    handling: Handling,
    counts: PublishedCounts | None,
) -> IndexedCohort:
    """The cohort of settled rows: those with a file, where there are images; warned of where counts differ.

    Raises:
        UserInputError: no file was found, or some were not and that is not allowed.
    """
    found = IndexedCohort(manifest=rows)
    if place is not None:
        found = drop_missing(rows, images=place.folder, expected=place.layout, allow_missing=handling.allow_missing)
    warnings = () if counts is None else compare_with_published(rows, counts, name=rows["source"][0])
    return replace(found, rejected=rejected, warnings=warnings)


def index_by_name(place: ImagePlace) -> dict[str, str]:
    """The path of each image file below the folder, by its name without the suffix.

    Raises:
        UserInputError: no such folder, or two files of one name.
    """
    check_folder(place.folder, expected=place.layout)
    path_by_name: dict[str, str] = {}
    for path in sorted(place.folder.resolve().rglob("*")):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        if path.stem in path_by_name:
            raise UserInputError(
                f"{place.folder}: found two files for image {path.stem}, expected one; remove or move one of them"
            )
        path_by_name[path.stem] = str(path)
    return path_by_name


def check_folder(images: Path, *, expected: str) -> None:
    """Refuse what is no folder.

    Raises:
        UserInputError: with the layout that is expected below it.
    """
    if not images.is_dir():
        raise UserInputError(f"{images}: no such folder, expected {expected} below it")


def compare_with_published(
    manifest: pl.DataFrame, counts: PublishedCounts, *, name: str, others: Mapping[str, int] = NOTHING_ELSE
) -> tuple[str, ...]:
    """A warning where what looks like the whole data set has other counts than published; none for a part of it.

    Args:
        manifest: what was found.
        counts: what is published.
        name: of the data set.
        others: what was found of `counts.others`; what is not among them was not counted.
    """
    if manifest.height < _COMPLETE_SHARE * counts.images:
        return ()
    cases = manifest.filter(pl.col("cancer"))
    found = {"images": manifest.height, "patients": manifest["patient_id"].n_unique(), "images of cases": cases.height}
    found |= others
    published = {
        "images": counts.images,
        "patients": counts.patients,
        "images of cases": counts.images_of_cases,
        **counts.others,
    }
    differing = {key: count for key, count in published.items() if count is not None and found.get(key, count) != count}
    if not differing:
        return ()
    ours = ", ".join(f"{found[key]} {key}" for key in differing)
    theirs = ", ".join(f"{count} {key}" for key, count in differing.items())
    return (f"{name}: found {ours}, published are {theirs}; check that the download is complete and unchanged",)


def write_rejected(rejected: pl.DataFrame, cohort: Path) -> Path | None:
    """Write what was left out beside the manifest, or remove what an earlier indexing left there; the path, if any.

    Raises:
        OSError: the system refused to write.
    """
    manifest = manifest_path(cohort)
    name = "rejected.parquet" if manifest != cohort else f"{manifest.stem}.rejected.parquet"
    path = manifest.with_name(name)
    if rejected.is_empty():
        path.unlink(missing_ok=True)
        return None
    with replacing(path) as beside:
        rejected.write_parquet(beside)
    return path


def count_facts(found: IndexedCohort) -> dict[str, object]:
    """What a summary says of a cohort; of the rejected, the number for each reason."""
    breasts = found.manifest.unique(BREAST)
    reasons = found.rejected["code"].value_counts(sort=True).sort("code")
    return {
        "images": found.manifest.height,
        "images_missing": len(found.missing_image_ids),
        "patients": found.manifest["patient_id"].n_unique(),
        "breasts": breasts.height,
        "breasts_with_cancer": breasts.filter(pl.col("cancer")).height,
        "breasts_undetermined": breasts["cancer"].null_count(),
        **{f"rejected_{code}": count for code, count in reasons.iter_rows()},
    }
