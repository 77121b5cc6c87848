"""mini-MIAS: `Info.txt`, a line for each lesion or normal film, and `mdb001.pgm` to `mdb322.pgm`.

All films are MLO. Films come in pairs of one patient, the even number being the left side, the odd one the right.
Data card: docs/data-cards/mini-mias.md.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

import polars as pl

from mammoscope.anatomy import Laterality, View
from mammoscope.cohort.sources.columns import ColumnReader, fill_schema, find_disagreeing
from mammoscope.cohort.sources.indexing import (
    Handling,
    ImagePlace,
    IndexedCohort,
    Origin,
    PublishedCounts,
    compare_with_published,
    finish,
    index_by_name,
    settle,
    with_paths,
)
from mammoscope.cohort.sources.outcomes import Finding, OutcomeRule, decide_outcomes
from mammoscope.errors import TableError

SOURCE: Final = "mini_mias"
_NORMAL_FILMS: Final = "normal films"
# normal films: table B.1 of A. Oliver's thesis, http://eia.udg.edu/~aoliver/publications/tesi/node129.html
PUBLISHED: Final = PublishedCounts(images=322, patients=161, others={_NORMAL_FILMS: 207})
LAYOUT: Final = "mdb001.pgm to mdb322.pgm"
_FILM: Final = re.compile(r"mdb(?!000)([0-2][0-9]{2}|3[01][0-9]|32[0-2])")
_TISSUES: Final = ("F", "G", "D")
_NORMAL: Final = "NORM"
_ABNORMALITIES: Final = ("CALC", "CIRC", "SPIC", "MISC", "ARCH", "ASYM", _NORMAL)
_SEVERITIES: Final = {"B": Finding.BENIGN, "M": Finding.MALIGNANT}
_PLACE: Final = re.compile(r"([0-9]{1,4} [0-9]{1,4} [0-9]{1,4}|\*NOTE [0-9]\*)?")  # x, y, radius; or why there are none


def read_mini_mias(table: Path, images: Path | None, *, rule: OutcomeRule, handling: Handling) -> IndexedCohort:
    """The cohort of the films; without `images`, a table-only cohort.

    Raises:
        TableError: no lines of films, or bad ones that are refused.
        UserInputError: the folder lacks images and that is not allowed, or holds two files of one name.
    """
    lines = _read_lines(table)
    labels = [label for label, _ in lines]
    reader = ColumnReader(pl.DataFrame(), labels=labels)
    findings = [_find(number, words, reader) for number, (_, words) in enumerate(lines, start=1)]
    _find_conflicts([words for _, words in lines], findings, reader)
    rows = _to_rows([words[0] for _, words in lines])
    rows = rows.with_columns(decide_outcomes(rows, pl.Series(findings, dtype=pl.String), rule))
    place = None if images is None else ImagePlace(images, LAYOUT)
    if place is not None:
        rows = with_paths(rows, index_by_name(place))
    kept, rejected = settle(
        rows,
        reader.problems,
        origin=Origin(str(table), labels, {"image_id": "film"}),
        handling=handling,
        repeats_images=True,
    )
    films = kept.unique("image_id", maintain_order=True)
    found = finish(films, rejected, place=place, handling=handling, counts=None)
    normal = {words[0] for (_, words), finding in zip(lines, findings, strict=True) if finding == Finding.NORMAL}
    n_normal = len(normal & set(films["image_id"]))
    warnings = compare_with_published(films, PUBLISHED, name=SOURCE, others={_NORMAL_FILMS: n_normal})
    return replace(found, warnings=warnings)


def _read_lines(table: Path) -> list[tuple[str, list[str]]]:
    """Name and words of each line that is of a film; the explanations above and below are none."""
    if not table.is_file():
        raise TableError(f"{table}: no such file, expected Info.txt of mini-MIAS; check the path")
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableError(f"{table}: not UTF-8 text (byte {error.start}), expected Info.txt of mini-MIAS") from error
    numbered = [(f"line {number}", line.split()) for number, line in enumerate(text.splitlines(), start=1)]
    lines = [(label, words) for label, words in numbered if words and words[0].startswith("mdb")]
    if not lines:
        raise TableError(f"{table}: found no line of a film, expected lines such as mdb001 G CIRC B 535 425 197")
    return lines


def _find(row: int, words: list[str], reader: ColumnReader) -> str | None:
    """The finding of a line; what is wrong with it is noted."""
    film, tissue, abnormality, severity = (*words, "", "", "", "")[:4]
    place = " ".join(words[4:])
    checks = [
        ("film", film, _FILM.fullmatch(film) is not None, "a name from mdb001 to mdb322"),
        ("tissue", tissue, tissue in _TISSUES, ", ".join(_TISSUES)),
        ("abnormality", abnormality, abnormality in _ABNORMALITIES, ", ".join(_ABNORMALITIES)),
    ]
    if abnormality == _NORMAL:
        rest = " ".join(words[3:])
        checks.append((_NORMAL, rest, not rest, "nothing behind it: a normal film has no severity and no place"))
    else:
        checks.append(("severity", severity, severity in _SEVERITIES, ", ".join(_SEVERITIES)))
        checks.append(
            ("place", place, _PLACE.fullmatch(place) is not None, "x, y and radius, or nothing; is it cut off?")
        )
    for name, word, is_known, expected in checks:
        if not is_known:
            is_contradiction = name == _NORMAL and severity in _SEVERITIES
            code = "outcome_conflict" if is_contradiction else "bad_value"
            reader.note(row, name, f"found {word!r}, expected {expected}", code=code)
            return None
    return Finding.NORMAL if abnormality == _NORMAL else _SEVERITIES[severity]


def _find_conflicts(lines: list[list[str]], findings: list[str | None], reader: ColumnReader) -> None:
    """Note the films that are normal and have a lesion, and those with two tissues."""
    films = pl.DataFrame(
        {
            "film": [words[0] for words in lines],
            "tissue": [words[1] if len(words) > 1 else None for words in lines],
            "is_normal": [None if finding is None else finding == Finding.NORMAL for finding in findings],
        },
        schema={"film": pl.String, "tissue": pl.String, "is_normal": pl.Boolean},
    )
    for found in find_disagreeing(films, ["film"], "is_normal"):
        sentence = "severity: one film that is normal and has a lesion"
        reader.note_all(found, sentence, expected="either", code="outcome_conflict")
    for found in find_disagreeing(films, ["film"], "tissue"):
        sentence = "tissue: one film with different tissues"
        reader.note_all(found, sentence, expected="one", code="bad_value")


def _to_rows(films: list[str]) -> pl.DataFrame:
    numbers = [int(match[1]) if (match := _FILM.fullmatch(film)) else 0 for film in films]
    pairs = pl.Series([f"pair{(number + 1) // 2:03d}" for number in numbers])
    sides = pl.Series([str(Laterality.RIGHT if number % 2 else Laterality.LEFT) for number in numbers])
    return fill_schema(
        {
            "image_id": pl.Series(films),
            "patient_id": pairs,
            "exam_id": pairs,
            "laterality": sides,
            "view": str(View.MLO),
            "source": SOURCE,
        },
        len(films),
    )
