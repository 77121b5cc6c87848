"""The way of the images: found, indexed, prepared, used; how many were left at each step, and why the others went.

It is what a flow diagram shows (STARD 2015, doi:10.1136/bmj.h5527). Numbers come from the tables of a cohort and of a
prepared store where they are at hand; a step whose table is not there says so, and no number is guessed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from mammoscope.cohort.manifest import manifest_hash, manifest_path, read_manifest
from mammoscope.exam import BREAST
from mammoscope.imaging.store import PreparedStore, open_store

NOT_SCORED = "not_scored"
NOT_PREPARED = "not_prepared"
UNDETERMINED = "undetermined"
_SENTENCE_BY_CODE = {
    NOT_SCORED: "prepared, but not scored",
    NOT_PREPARED: "not in the store, nor refused by it",
    UNDETERMINED: "without a known outcome",
}


@dataclass(frozen=True, slots=True)
class Loss:
    """Images that went no further: how many, and the reason code."""

    code: str
    n_images: int

    @property
    def reason(self) -> str:
        """The reason, for people."""
        return _SENTENCE_BY_CODE.get(self.code, self.code.replace("_", " "))


@dataclass(frozen=True, slots=True)
class Step:
    """What is left at a step, None where it is not known, and what was lost on the way to it."""

    name: str
    n_images: int | None
    n_breasts: int | None
    n_cases: int | None
    n_patients: int | None
    lost: tuple[Loss, ...]
    note: str | None


@dataclass(frozen=True, slots=True)
class DataFlow:
    """The steps in their order, and what is to be known about them."""

    steps: tuple[Step, ...]
    remarks: tuple[str, ...]

    def named(self, name: str) -> Step:
        """The step of a name: found, indexed, prepared or used."""
        return next(step for step in self.steps if step.name == name)

    def to_json(self) -> dict[str, object]:
        """The steps and remarks, for `evaluation.json`."""
        return asdict(self)


def trace_data(
    scores: pl.DataFrame,
    *,
    manifest: pl.DataFrame | None = None,
    excluded: pl.DataFrame | None = None,
    store: PreparedStore | None = None,
    environment: Mapping[str, Any] | None = None,
) -> DataFlow:
    """The flow of a run from its tables.

    Args:
        scores: of the run; its images, or its breasts where it has no images, are what was used.
        manifest: of the cohort, where it is at hand.
        excluded: what indexing left out, `rejected.parquet` beside the manifest; None where nothing was left out.
        store: the prepared store, where it is at hand.
        environment: of the run, whose hashes say whether manifest and store are the same as then.
    """
    prepared = None if store is None else store.prepared.select("image_id")
    if prepared is not None and manifest is not None:
        prepared = manifest.join(prepared, on="image_id", how="semi")
    return DataFlow(
        steps=(
            _found(manifest, excluded),
            _step("indexed", manifest, lost=_by_code(excluded) if manifest is not None else (), note="no manifest"),
            _step("prepared", prepared, lost=tuple(_refused(manifest, prepared, store)), note="no prepared store"),
            _used(scores, prepared),
        ),
        remarks=tuple(_remarks(manifest, store, environment or {})),
    )


def read_data_flow(
    scores: pl.DataFrame, *, cohort: Path | None, store: Path | None, environment: Mapping[str, Any] | None = None
) -> DataFlow:
    """The flow of a run from the folders of its cohort and its store, as far as they are given.

    Raises:
        TableError: the manifest cannot be read.
        LeakageError: a patient stands in two folds.
        StoreError: the store cannot be read.
        ConfigError: the settings of the store break their schema.
    """
    excluded = None
    if cohort is not None:
        path = manifest_path(cohort)
        beside = path.with_name("rejected.parquet" if path != cohort else f"{path.stem}.rejected.parquet")
        excluded = pl.read_parquet(beside) if beside.is_file() else None
    return trace_data(
        scores,
        manifest=None if cohort is None else read_manifest(cohort),
        excluded=excluded,
        store=None if store is None else open_store(store),
        environment=environment,
    )


def _found(manifest: pl.DataFrame | None, excluded: pl.DataFrame | None) -> Step:
    """What indexing looked at; of the excluded files only the number is known."""
    if manifest is None:
        return Step("found", None, None, None, None, (), "not known: no manifest at hand")
    return Step("found", manifest.height + (0 if excluded is None else excluded.height), None, None, None, (), None)


def _step(name: str, rows: pl.DataFrame | None, *, lost: tuple[Loss, ...], note: str) -> Step:
    if rows is None:
        return Step(name, None, None, None, None, (), f"not known: {note} at hand")
    if "patient_id" not in rows.columns:
        return Step(name, rows.height, None, None, None, lost, None)
    breasts = rows.unique(BREAST)
    return Step(
        name=name,
        n_images=rows.height,
        n_breasts=breasts.height,
        n_cases=int(breasts["cancer"].sum()),
        n_patients=rows["patient_id"].n_unique(),
        lost=lost,
        note=None,
    )


def _used(scores: pl.DataFrame, prepared: pl.DataFrame | None) -> Step:
    images = scores.filter(pl.col("level") == "image")
    rows = images if images.height else scores.filter(pl.col("level") == "breast")
    known = rows.filter(pl.col("cancer").is_not_null())
    lost = []
    if prepared is not None and images.height:
        n_not_scored = prepared.join(images, on="image_id", how="anti").height
        lost += [Loss(NOT_SCORED, n_not_scored)] if n_not_scored else []
    n_images = int(known["n_images"].sum())
    n_undetermined = int(rows["n_images"].sum()) - n_images
    lost += [Loss(UNDETERMINED, n_undetermined)] if n_undetermined else []
    breasts = known.unique(BREAST)
    return Step(
        name="used",
        n_images=n_images,
        n_breasts=breasts.height,
        n_cases=int(breasts["cancer"].sum()),
        n_patients=known["patient_id"].n_unique(),
        lost=tuple(lost),
        note=None,
    )


def _refused(
    manifest: pl.DataFrame | None, prepared: pl.DataFrame | None, store: PreparedStore | None
) -> Iterator[Loss]:
    if store is None or prepared is None:
        return
    rejected = store.rejected if manifest is None else store.rejected.join(manifest, on="image_id", how="semi")
    yield from _by_code(rejected)
    if manifest is not None:
        n_missing = manifest.height - prepared.height - rejected.height
        if n_missing:
            yield Loss(NOT_PREPARED, n_missing)


def _by_code(rejected: pl.DataFrame | None) -> tuple[Loss, ...]:
    """The number of each reason, the most frequent first."""
    if rejected is None:
        return ()
    counts = rejected.group_by("code").len().sort(["len", "code"], descending=[True, False])
    return tuple(Loss(code, n_images) for code, n_images in counts.iter_rows())


def _remarks(
    manifest: pl.DataFrame | None, store: PreparedStore | None, environment: Mapping[str, Any]
) -> Iterator[str]:
    hashes = {
        "manifest": None if manifest is None else manifest_hash(manifest),
        "store": None if store is None else store.content_hash,
    }
    for name, found in hashes.items():
        recorded = environment.get(f"{name}_hash")
        if found is not None and recorded is not None and found != recorded:
            yield f"The {name} is not the one that the run was made from: its hash is another, and its numbers may be."
