"""What model card and CLAIM checklist are filled from: the evidence of a run or of scores; Markdown templates."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from mammoscope.evaluation.bootstrap import Estimate
from mammoscope.evaluation.data_flow import DataFlow
from mammoscope.evaluation.evaluation import Evaluation
from mammoscope.evaluation.readers_on_roc import ReadersOnRoc
from mammoscope.evaluation.report import NamedComparison
from mammoscope.evaluation.scores import list_breasts
from mammoscope.exam import BREAST
from mammoscope.pages.page import format_decimal, format_share

GAP: Final = "*to be filled by the authors*"
_NAMED_AT_MOST = 12
_DESCRIBED = ("age_years", "density", "birads", "implant", "invasive", "site", "machine", "manufacturer")
_OF_CASES = ("invasive",)  # what only a breast with cancer can be


@dataclass(frozen=True, slots=True)
class CohortFacts:
    """Who is in a cohort: counts, and what is known of them; a value for each breast, by its name.

    Whether it is invasive is counted, and missing, of the breasts with cancer alone.
    """

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
    """All that is at hand of a run, or of anybody's scores; what is None, a card calls a gap.

    Attributes:
        evaluation: of its scores.
        environment: the content of `environment.json`.
        recipe: that of `recipe.toml`, as text.
        preparation: that of `prepare.toml`, as text.
        cohort: of the manifest.
        folds: that were scored, each by a network that was trained on none of its patients.
        flow: from found to used.
        comparisons: with other scores.
        readers: beside the scores.
        has_pictures: whether the report shows the most telling calls.
        has_heat_maps: whether it shows heat maps beside them.
    """

    evaluation: Evaluation
    environment: Mapping[str, Any] | None = None
    recipe: str | None = None
    preparation: str | None = None
    cohort: CohortFacts | None = None
    folds: tuple[FoldFacts, ...] = ()
    flow: DataFlow | None = None
    comparisons: tuple[NamedComparison, ...] = ()
    readers: ReadersOnRoc | None = None
    has_pictures: bool = False
    has_heat_maps: bool = False

    @property
    def is_of_run(self) -> bool:
        """Whether anything of a run is at hand; a cohort is known of a table of scores too."""
        left = (self.environment, self.recipe, self.preparation, self.flow)
        return bool(self.folds) or any(each is not None for each in left)

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
    described = {
        name: breasts.filter(pl.col("cancer"))[name] if name in _OF_CASES else breasts[name] for name in _DESCRIBED
    }
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
            **{name: _count(described[name]) for name in _DESCRIBED[1:] if not described[name].is_null().all()},
            "view": _count(manifest["view"]),
        },
        n_missing={name: column.null_count() for name, column in described.items()},
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


def name_missing(cohort: CohortFacts) -> str:
    """How often what is not recorded is missing, and of how many; empty where nothing is."""
    parts = []
    for n, whose, of_cases in ((cohort.n_breasts, "breasts", False), (cohort.n_cases, "with cancer", True)):
        missing = {name: count for name, count in cohort.n_missing.items() if count and (name in _OF_CASES) is of_cases}
        named = ", ".join(f"{name.replace('_', ' ')} of {count:,}" for name, count in missing.items())
        parts += [f"of {n:,} {whose}: {named}"] if named else []
    return "; ".join(parts)


def name_who_is_counted(column: str) -> str:
    """Of what a column of a manifest is counted."""
    return "images" if column == "view" else "breasts with cancer" if column in _OF_CASES else "breasts"


def tell_estimate(figure: Estimate) -> str:
    """A figure with its interval, and why one of them is missing."""
    if figure.value is None:
        return figure.reason or "undefined"
    value, interval = format_decimal(figure.value), figure.interval
    if interval is None:
        return f"{value} ({figure.reason})"
    return f"{value} ({format_decimal(interval.low)} to {format_decimal(interval.high)})"


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
        counted=name_who_is_counted,
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
