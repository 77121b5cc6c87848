"""Several cohorts in one: ids, sites and machines are kept apart by source, folds are left behind."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from mammoscope.cohort.manifest import SCHEMA, manifest_path, read_manifest
from mammoscope.errors import TableError, UserInputError
from mammoscope.exam import BREAST

_LEAST: Final = 2
_NAMED_AT_MOST: Final = 3
_IDS: Final = ("image_id", "patient_id", "exam_id")
_PLACES: Final = ("site", "machine")
_WORDS: Final = {
    "patient_id": "patients",
    "exam_id": "exams",
    "image_id": "images",
    "site": "sites",
    "machine": "machines",
}


@dataclass(frozen=True, slots=True)
class JoinedCohort:
    """The manifest of all rows, and sentences for the user."""

    manifest: pl.DataFrame
    warnings: tuple[str, ...]


def join_cohorts(cohorts: Sequence[Path], output: Path) -> JoinedCohort:
    """The rows of several cohorts, every id, site and machine with its source before it: `rsna-10006`.

    What was joined before stays. Machine 49 of two sources is two machines: a number means nothing to another archive.

    Cohorts of one source share its ids: the same patient in two of them is one patient. Folds are left behind, because
    they were dealt for each cohort alone.

    Args:
        cohorts: two or more.
        output: where the joined cohort is going to stand, which is none of them.

    Raises:
        UserInputError: fewer than two cohorts, one twice, or the output among them.
        TableError: a manifest that cannot be read, an image or exam that clashes, two patients who would get one id, or
            files in some cohorts only.
    """
    _check_places(cohorts, output)
    manifests = [read_manifest(cohort) for cohort in cohorts]
    _check_paths(cohorts, manifests)
    joined = pl.concat([_with_prefixes(manifest) for manifest in manifests])
    _check_identities(joined, manifests)
    of_cohort = pl.Series("cohort", [place for place, each in enumerate(manifests) for _ in range(each.height)])
    owned = joined.with_columns(of_cohort)
    _check_clashes(owned, cohorts)
    return JoinedCohort(joined.with_columns(fold=pl.lit(None, SCHEMA["fold"])), _warn(owned))


def check_replaced(earlier: pl.DataFrame | None, joined: pl.DataFrame, output: Path) -> None:
    """Refuse to write over a cohort that is no earlier join of these.

    Raises:
        UserInputError: it has images that the joined one has not.
    """
    if earlier is None:
        return
    n_lost = earlier.join(joined, on="image_id", how="anti").height
    if n_lost:
        raise UserInputError(
            f"{output}: found another cohort, with images that the joined one has not: {n_lost}; expected a new folder "
            "or an earlier join of these cohorts; choose another, or remove it"
        )


def _check_places(cohorts: Sequence[Path], output: Path) -> None:
    places = [manifest_path(cohort).resolve() for cohort in cohorts]
    if len(places) < _LEAST:
        raise UserInputError(f"join: found {len(places)} cohort, expected two or more; name the others too")
    if len(set(places)) < len(places):
        raise UserInputError("join: found a cohort twice, expected each once; name another")
    if manifest_path(output).resolve() in places:
        raise UserInputError(f"{output}: found one of the cohorts to join, expected another folder; choose a new one")


def _check_paths(cohorts: Sequence[Path], manifests: Sequence[pl.DataFrame]) -> None:
    without = [str(cohort) for cohort, rows in zip(cohorts, manifests, strict=True) if rows["path"].null_count()]
    if without and len(without) < len(cohorts):
        raise TableError(
            f"join: {', '.join(without)}: found a table-only cohort, expected files for all cohorts or for none; "
            "index it again together with its images"
        )


def _with_prefixes(manifest: pl.DataFrame) -> pl.DataFrame:
    """The rows with the source before every id and place; where all of a source have it, they were joined before."""
    prefix = pl.col("source") + "-"
    named = (*_IDS, *_PLACES)
    has_prefix = pl.all_horizontal(pl.col(name).str.starts_with(prefix).fill_null(value=True) for name in named)
    is_joined = has_prefix.all().over("source")
    return manifest.with_columns(
        pl.when(is_joined).then(name).otherwise(prefix + pl.col(name)).alias(name) for name in named
    )


def _check_identities(joined: pl.DataFrame, manifests: Sequence[pl.DataFrame]) -> None:
    """Refuse ids that stand for several: `hospital` and `2-0`, `hospital-2` and `0`.

    Raises:
        TableError: with their number and the sources.
    """
    before = pl.concat(manifests).select(pl.struct("source", name).alias(f"own_{name}") for name in _WORDS)
    rows = joined.select(*_WORDS, "source").hstack(before)
    for name, word in _WORDS.items():
        counts = rows.drop_nulls(name).group_by(name).agg(pl.col(f"own_{name}").n_unique(), "source")
        counts = counts.filter(pl.col(f"own_{name}") > 1)
        if counts.height:
            sources = " and ".join(sorted(set(counts["source"].explode())))
            what = "a name" if name in _PLACES else "an id"
            raise TableError(
                f"join: {word} of {sources} that would share {what}: {counts.height}, expected one for each; index one "
                "cohort under another name of its source, or join all cohorts at once if one was joined before"
            )


def _check_clashes(owned: pl.DataFrame, cohorts: Sequence[Path]) -> None:
    """Refuse images that stand in two cohorts, and exams of two patients.

    Raises:
        TableError: with the first of them and the cohorts.
    """
    images = owned.group_by("image_id", maintain_order=True).agg("cohort")
    clashing = images.filter(pl.col("cohort").list.len() > 1)
    if clashing.height:
        names = ", ".join(clashing["image_id"].head(_NAMED_AT_MOST)) + (
            ", …" if clashing.height > _NAMED_AT_MOST else ""
        )
        where = " and ".join(str(cohorts[place]) for place in clashing["cohort"][0])
        raise TableError(
            f"join: images in several cohorts: {clashing.height} ({names}, in {where}), expected each once; "
            "leave one cohort out, or index it under another name of its source"
        )
    exams = owned.group_by("exam_id", maintain_order=True).agg(pl.col("patient_id").n_unique(), "image_id")
    exams = exams.filter(pl.col("patient_id") > 1)
    if exams.height:
        raise TableError(
            f"join: exams with another patient in another cohort: {exams.height} (with image "
            f"{exams['image_id'][0][0]}), expected one patient for each; index one cohort under another name of its "
            "source"
        )
    breasts = owned.group_by(BREAST, maintain_order=True).agg(pl.col("cancer").n_unique(), pl.col("image_id").first())
    breasts = breasts.filter(pl.col("cancer") > 1)
    if breasts.height:
        raise TableError(
            f"join: breasts with another outcome in another cohort: {breasts.height} (with image "
            f"{breasts['image_id'][0]}), expected one outcome; "
            "index the tables of one source together"
        )


def _warn(owned: pl.DataFrame) -> tuple[str, ...]:
    patients = owned.group_by("source", "patient_id").agg(pl.col("cohort").n_unique())
    n_shared = patients.filter(pl.col("cohort") > 1).height
    n_split = owned["fold"].is_not_null().sum()
    sentences = {
        f"patients in several cohorts of one source, who are taken as the same: {n_shared}": n_shared,
        "folds are left behind; split the joined cohort": n_split,
    }
    return tuple(sentence for sentence, count in sentences.items() if count)
