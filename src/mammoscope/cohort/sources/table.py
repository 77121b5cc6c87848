"""Any CSV, Parquet or Excel table with a row for each mammogram, read as a mapping says."""

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

import polars as pl

from mammoscope.cohort.manifest import SCHEMA
from mammoscope.cohort.sources.columns import ColumnReader, fill_schema, spell_sides, spell_views
from mammoscope.cohort.sources.csv_table import read_table, require_columns
from mammoscope.cohort.sources.indexing import Handling, ImagePlace, IndexedCohort, Origin, check_folder, finish, settle
from mammoscope.cohort.sources.mapping import STEM, Mapping, split_pattern
from mammoscope.cohort.sources.outcomes import Finding, OutcomeRule, decide_outcomes, findings_by_birads
from mammoscope.errors import UserInputError

_TEXTS: Final = ("image_id", "patient_id", "exam_id", "density", "site", "machine", "manufacturer")
_FLAGS: Final = ("cancer", "implant", "biopsy", "invasive", "difficult_negative")
_NO_OUTCOME: Final = (
    "the mapping has neither cancer nor pathology, and not outcome_from_birads: all breasts are undetermined; "
    "add one of them"
)
_FINDINGS: Final = {str(finding): str(finding) for finding in Finding}


def read_mapped_table(
    table: Path, images: Path | None, mapping: Mapping, *, rule: OutcomeRule, handling: Handling
) -> IndexedCohort:
    """The cohort of a table; without `images`, a table-only cohort.

    Args:
        table: CSV, Parquet or an Excel workbook.
        images: the folder below which the paths of the mapping lie.
        mapping: what its columns mean.
        rule: what pathology or BI-RADS come to; not asked where the table says `cancer`.
        handling: of bad rows.

    Raises:
        TableError: the table cannot be read, lacks columns, or has bad rows that are refused.
        UserInputError: the images are not there, or the mapping does not say where they are.
    """
    raw = read_table(table, separator=mapping.separator, sheet=mapping.sheet)
    require_columns(raw, mapping.columns, where=table, advice="correct the mapping")
    reader = ColumnReader(_apply_patterns(raw, mapping), columns=mapping.column_of)
    rows = _to_rows(reader, mapping, rule)
    if images is not None:
        rows = rows.with_columns(_locate(raw, mapping, images))
    rows, rejected = settle(
        rows, reader.problems, origin=Origin(str(table), columns=mapping.column_of), handling=handling
    )
    place = None if images is None else ImagePlace(images, str(mapping.path))
    found = finish(rows, rejected, place=place, handling=handling, counts=None)
    return found if mapping.has_outcome else replace(found, warnings=(_NO_OUTCOME,))


def _apply_patterns(raw: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    """A column for each field, as text in the spelling of the manifest where the mapping says it."""
    fields = {"exam_id": mapping.fields["patient_id"]} | mapping.fields
    text = raw.select(_fill(pattern).alias(name) for name, pattern in fields.items())
    renamed = [
        pl.col(name).replace({**mapping.values.get(name, {}), **dict.fromkeys(mapping.unknown.get(name, ()))})
        for name in text.columns
    ]
    return text.select(renamed)


def _fill(pattern: str) -> pl.Expr:
    """The pattern with the values of a row; null where one of them is."""
    parts = [_take(part) if is_column else pl.lit(part) for part, is_column in split_pattern(pattern)]
    return pl.concat_str(parts)


def _take(column: str) -> pl.Expr:
    """The text of a column, or of a path in it the name without folder and suffix."""
    if not column.endswith(STEM):
        return pl.col(column)
    name = pl.col(column.removesuffix(STEM)).str.replace_all("\\", "/", literal=True).str.split("/").list.last()
    return name.str.replace(r"(.)\.[^.]*$", "$1")


def _to_rows(reader: ColumnReader, mapping: Mapping, rule: OutcomeRule) -> pl.DataFrame:
    text = reader.text
    columns: dict[str, pl.Series | str] = {name: text[name] for name in _TEXTS if name in text}
    columns |= {name: reader.flags(name) for name in _FLAGS if name in text}
    columns |= {"laterality": spell_sides(text["laterality"]), "view": spell_views(text["view"])}
    columns["source"] = mapping.source
    if "age_years" in text:
        columns["age_years"] = reader.ages("age_years")
    if "birads" in text:
        columns["birads"] = reader.whole_numbers("birads")
    rows = fill_schema(columns, text.height)
    findings = _find(reader, rows, mapping=mapping, rule=rule)
    return rows if findings is None else rows.with_columns(decide_outcomes(rows, findings, rule))


def _find(reader: ColumnReader, rows: pl.DataFrame, *, mapping: Mapping, rule: OutcomeRule) -> pl.Series | None:
    if mapping.outcome_from_birads:
        return findings_by_birads(rows["birads"], rule)
    if "pathology" in reader.text:
        return reader.codes("pathology", _FINDINGS, pl.String())
    return None


def _locate(raw: pl.DataFrame, mapping: Mapping, images: Path) -> pl.Series:
    """The path of each row's image; null where no file is."""
    if mapping.path is None:
        raise UserInputError(
            f"{images}: found a mapping without a path, expected one that says where images lie; "
            'add path = "{column}" to it, or leave out --images'
        )
    check_folder(images, expected=mapping.path)
    folder = images.resolve()
    names = raw.select(_fill(mapping.path).alias("path")).to_series()
    paths = [None if name is None else folder.joinpath(*PurePosixPath(name.replace("\\", "/")).parts) for name in names]
    found = [str(path) if path is not None and path.is_file() else None for path in paths]
    return pl.Series("path", found, dtype=SCHEMA["path"])
