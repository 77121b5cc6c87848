"""What model card and CLAIM checklist are filled from: the evidence of a run in one record, and Markdown templates."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from mammoscope.evaluation.bootstrap import Estimate
from mammoscope.evaluation.data_flow import DataFlow
from mammoscope.evaluation.evaluation import Evaluation
from mammoscope.evaluation.scores import list_breasts
from mammoscope.exam import BREAST
from mammoscope.pages.page import format_decimal, format_share

GAP: Final = "*to be filled by the authors*"
_NAMED_AT_MOST = 12
_DESCRIBED = ("age_years", "density", "birads", "implant", "invasive", "site", "machine", "manufacturer")


@dataclass(frozen=True, slots=True)
class CohortFacts:
    """Who is in a cohort: counts, and what is known of them; a value for each breast, by its name."""

    sources: tuple[str, ...]
    n_images: int
    n_breasts: int
    n_cases: int
    n_undetermined: int
    n_exams: int
    n_patients: int
    age_years: tuple[float, float, float] | None
    counts: Mapping[str, tuple[tuple[str, int], ...]]
    n_missing: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class FoldFacts:
    """A fold that was scored: its breasts of known outcome, and its cases."""

    name: str
    n_breasts: int
    n_cases: int


@dataclass(frozen=True, slots=True)
class RunEvidence:
    """All that is at hand of a run; what is None, a card calls a gap.

    Attributes:
        evaluation: of its scores.
        environment: the content of `environment.json`.
        recipe: that of `recipe.toml`, as text.
        preparation: that of `prepare.toml`, as text.
        cohort: of the manifest.
        folds: that were scored, each by a network that was trained on none of its patients.
        flow: from found to used.
    """

    evaluation: Evaluation
    environment: Mapping[str, Any] | None = None
    recipe: str | None = None
    preparation: str | None = None
    cohort: CohortFacts | None = None
    folds: tuple[FoldFacts, ...] = ()
    flow: DataFlow | None = None

    @property
    def settings(self) -> Mapping[str, str]:
        """The settings of the recipe by their dotted path; empty without one."""
        return dict(list_settings(self.recipe))

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the images came from, as the run or the manifest has it."""
        if self.cohort is not None:
            return self.cohort.sources
        return tuple((self.environment or {}).get("sources", ()))


def describe_cohort(manifest: pl.DataFrame) -> CohortFacts:
    """The facts of a manifest. Columns that hold nothing are missing for all, and are not counted."""
    breasts = manifest.group_by(BREAST, maintain_order=True).agg(pl.exclude(BREAST).drop_nulls().first())
    ages = breasts["age_years"].drop_nulls()
    quantiles = [ages.quantile(share, "linear") for share in (0.05, 0.5, 0.95)]
    low, middle, high = (0.0 if value is None else value for value in quantiles)
    return CohortFacts(
        sources=tuple(sorted(manifest["source"].unique().to_list())),
        n_images=manifest.height,
        n_breasts=breasts.height,
        n_cases=int(breasts["cancer"].sum()),
        n_undetermined=breasts["cancer"].null_count(),
        n_exams=manifest["exam_id"].n_unique(),
        n_patients=manifest["patient_id"].n_unique(),
        age_years=None if ages.is_empty() else (low, middle, high),
        counts={
            **{name: _count(breasts[name]) for name in _DESCRIBED[1:] if not breasts[name].is_null().all()},
            "view": _count(manifest["view"]),
        },
        n_missing={name: breasts[name].null_count() for name in _DESCRIBED},
    )


def describe_folds(scores: pl.DataFrame) -> tuple[FoldFacts, ...]:
    """The folds of a run's table of scores; none where it names none."""
    breasts = list_breasts(scores).drop_nulls(["fold", "cancer"])
    folds = breasts.group_by("fold").agg(pl.len(), pl.col("cancer").sum()).sort("fold")
    return tuple(FoldFacts(str(fold), n_breasts, n_cases) for fold, n_breasts, n_cases in folds.iter_rows())


def list_settings(toml: str | None) -> Iterator[tuple[str, str]]:
    """The settings of a TOML text, dotted path and value; what may be a place on somebody's machine is left out."""
    for path, value in _flatten(tomllib.loads(toml or ""), ""):
        text = _spell(value)
        if not any(mark in text for mark in "/\\@"):
            yield path, text


def name_counts(counts: tuple[tuple[str, int], ...]) -> str:
    """The values with their numbers, the most frequent first."""
    named = ", ".join(f"{name}: {count:,}" for name, count in counts[:_NAMED_AT_MOST])
    return named if len(counts) <= _NAMED_AT_MOST else f"{named} and {len(counts) - _NAMED_AT_MOST} more"


def tell_estimate(figure: Estimate) -> str:
    """A figure with its interval, and why one of them is missing."""
    if figure.value is None:
        return figure.reason or "undefined"
    value, interval = format_decimal(figure.value), figure.interval
    return f"{value} ({figure.reason})" if interval is None else f"{value} ({interval.low:.3f} to {interval.high:.3f})"


def markdown_template(name: str) -> Template:
    """A Markdown template of this package; what is filled in cannot become a table, a tag or a link of its own."""
    environment = Environment(
        loader=PackageLoader("mammoscope.evaluation", "."),
        autoescape=False,  # noqa: S701  # Markdown, not HTML: `finalize` takes the marks of both out of what is filled in
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_escape,
    )
    environment.filters.update(
        count=lambda number: f"{number:,}",
        share=format_share,
        estimate=tell_estimate,
        counts=name_counts,
        words=lambda name: name.replace("_", " "),
    )
    environment.globals["gap"] = Written(GAP)
    return environment.get_template(name)


class Written(str):
    """Text of ours, which may hold marks of Markdown."""

    __slots__ = ()


def _escape(value: object) -> object:
    if isinstance(value, Written) or not isinstance(value, str):
        return value
    text = " ".join(value.split()) if "\n" in value else value
    for mark, instead in (("<", "&lt;"), ("|", "\\|"), ("[", "\\["), ("`", "'")):
        text = text.replace(mark, instead)
    return text


def _count(column: pl.Series) -> tuple[tuple[str, int], ...]:
    counts = column.drop_nulls().value_counts(sort=True).sort("count", column.name, descending=[True, False])
    return tuple((_name(value), count) for value, count in counts.iter_rows())


def _name(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _spell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_spell(each) for each in value) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _flatten(content: Mapping[str, Any], path: str) -> Iterator[tuple[str, object]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value
