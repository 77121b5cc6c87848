from collections.abc import Callable
from pathlib import Path

import pytest

from mammoscope.cohort.manifest import check_manifest
from mammoscope.cohort.sources.indexing import Handling, IndexedCohort
from mammoscope.cohort.sources.mini_mias import read_mini_mias
from mammoscope.cohort.sources.outcomes import OutcomeRule
from mammoscope.errors import TableError, UserInputError

WriteTable = Callable[..., Path]

# as published: explanations, then films; lesions without a place, films with several lesions
LINES = (
    "The list is arranged in pairs of films.",
    "REFNUM BG CLASS SEVERITY X Y RADIUS",
    "",
    "mdb001 G CIRC B 535 425 197",
    "mdb002 G CIRC M 522 280 69",
    "mdb003 D NORM ",
    "mdb004 D NORM",
    "mdb005 F CIRC B 477 133 30",
    "mdb005 F CIRC M 500 168 26",
    "mdb006 F NORM",
    "mdb007 G CALC B *NOTE 3*",
    "mdb008 F CIRC B",
)


def read(table: Path, images: Path | None = None, rule: OutcomeRule | None = None, **changes: object) -> IndexedCohort:
    handling = Handling(**changes)  # type: ignore[arg-type]  # of several kinds
    return read_mini_mias(table, images, rule=rule or OutcomeRule(), handling=handling)


def test_the_list_becomes_a_manifest(write_lines: WriteTable) -> None:
    manifest = read(write_lines("Info.txt", *LINES)).manifest
    check_manifest(manifest, where="test")
    assert manifest.select("image_id", "patient_id", "laterality", "cancer").rows() == [
        ("mdb001", "pair001", "R", False),
        ("mdb002", "pair001", "L", True),
        ("mdb003", "pair002", "R", False),
        ("mdb004", "pair002", "L", False),
        ("mdb005", "pair003", "R", True),
        ("mdb006", "pair003", "L", False),
        ("mdb007", "pair004", "R", False),
        ("mdb008", "pair004", "L", False),
    ]
    assert set(manifest["view"]) == {"MLO"}
    assert manifest["density"].null_count() == 8


def test_the_rule_decides_of_benign_and_of_the_other_side(write_lines: WriteTable) -> None:
    rule = OutcomeRule(benign="undetermined", normal_side="undetermined")
    manifest = read(write_lines("Info.txt", *LINES), rule=rule).manifest
    assert manifest["cancer"].to_list() == [None, True, False, False, True, None, None, None]


def test_films_are_found(write_lines: WriteTable, tmp_path: Path) -> None:
    table = write_lines("Info.txt", *LINES[:5])
    write_lines("films/mdb001.pgm", "")
    with pytest.raises(UserInputError, match=r"images of the table that are missing: 1 \(mdb002\)"):
        read(table, tmp_path / "films")
    write_lines("films/mdb002.png", "")
    paths = read(table, tmp_path / "films").manifest["path"]
    assert paths.to_list() == [str(tmp_path / "films" / name) for name in ("mdb001.pgm", "mdb002.png")]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("mdb1 G NORM", "line 4, film: found 'mdb1', expected a name from mdb001 to mdb322"),
        ("mdb000 G NORM", "line 4, film: found 'mdb000', expected a name from mdb001 to mdb322"),
        ("mdb323 G NORM", "line 4, film: found 'mdb323', expected a name from mdb001 to mdb322"),
        ("mdb001 G NORM M", "line 4, NORM: found 'M', expected nothing behind it: a normal film has no severity"),
        ("mdb001 G NORM B 1 2 3", "line 4, NORM: found 'B 1 2 3', expected nothing behind it"),
        ("mdb001 G NORM and more", "line 4, NORM: found 'and more', expected nothing behind it"),
        ("mdb001 G CIRC B 5", "line 4, place: found '5', expected x, y and radius, or nothing; is it cut off"),
        ("mdb001 G CIRC B 5 6 7 8", "line 4, place: found '5 6 7 8', expected x, y and radius"),
        ("mdb001 X NORM", "line 4, tissue: found 'X', expected F, G, D"),
        ("mdb001 G LUMP B 1 2 3", "line 4, abnormality: found 'LUMP', expected CALC, CIRC, SPIC"),
        ("mdb001 G CIRC X 1 2 3", "line 4, severity: found 'X', expected B, M"),
        ("mdb001 G CIRC", "line 4, severity: found '', expected B, M"),
        ("mdb001", "line 4, tissue: found '', expected F, G, D"),
    ],
)
def test_what_is_wrong_is_refused_or_left_out(write_lines: WriteTable, line: str, sentence: str) -> None:
    table = write_lines("Info.txt", *LINES[:3], line, *LINES[4:])
    with pytest.raises(TableError, match=f"1 problem\n  {sentence}"):
        read(table)
    cohort = read(table, on_conflict="exclude")
    assert cohort.manifest.height == 7
    assert sentence in cohort.rejected["sentence"][0]


def test_a_normal_film_that_is_malignant_is_a_contradiction(write_lines: WriteTable) -> None:
    cohort = read(write_lines("Info.txt", *LINES[:4], "mdb005 F NORM M"), on_conflict="exclude")
    assert cohort.rejected.select("image_id", "code").rows() == [("mdb005", "outcome_conflict")]


def test_a_bad_lesion_leaves_its_film_out_and_not_only_its_line(write_lines: WriteTable) -> None:
    lines = [line.replace("mdb005 F CIRC M", "mdb005 F CIRC ?") for line in LINES]
    cohort = read(write_lines("Info.txt", *lines), on_conflict="exclude")
    assert "mdb005" not in cohort.manifest["image_id"].to_list()
    assert cohort.rejected["image_id"].to_list() == ["mdb005"]


@pytest.mark.parametrize(
    ("line", "sentence", "code"),
    [
        (
            "mdb001 G NORM",
            "severity: one film that is normal and has a lesion in line 4, line 13, expected",
            "outcome_",
        ),
        ("mdb001 F CIRC B 1 2 3", "tissue: one film with different tissues in line 4, line 13, expected", "bad_value"),
    ],
)
def test_what_contradicts_itself_is_refused_or_left_out(
    write_lines: WriteTable, line: str, sentence: str, code: str
) -> None:
    table = write_lines("Info.txt", *LINES, line)
    with pytest.raises(TableError, match=f"1 problem\n  {sentence}"):
        read(table)
    cohort = read(table, on_conflict="exclude")
    assert "mdb001" not in cohort.manifest["image_id"].to_list()
    assert cohort.manifest.height == 7
    assert cohort.rejected["code"][0].startswith(code)


def test_what_is_no_list_is_refused(write_lines: WriteTable, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="found no line of a film, expected lines such as mdb001 G CIRC B 535 425 197"):
        read(write_lines("Info.txt", "hello"))
    with pytest.raises(TableError, match=r"no such file, expected Info\.txt of mini-MIAS"):
        read(tmp_path / "gone")
    (tmp_path / "binary").write_bytes(b"mdb001 \xff")
    with pytest.raises(TableError, match=r"not UTF-8 text \(byte 7\), expected Info\.txt of mini-MIAS"):
        read(tmp_path / "binary")


def test_the_whole_list_is_as_published(write_lines: WriteTable) -> None:
    whole = [f"mdb{number:03d} G {'NORM' if number <= 207 else 'CIRC B'}" for number in range(1, 323)]
    assert read(write_lines("Info.txt", *whole)).warnings == ()
    assert read(write_lines("Info.txt", *whole[:-1])).warnings == (
        "mini_mias: found 321 images, published are 322 images; check that the download is complete and unchanged",
    )
    doubled = [*whole, "mdb300 G CIRC B", "mdb001 G NORM"]  # a film is counted once
    assert read(write_lines("Info.txt", *doubled)).warnings == ()
    (warning,) = read(write_lines("Info.txt", *whole[:206], "mdb207 G CIRC B", *whole[207:])).warnings
    assert warning.startswith("mini_mias: found 206 normal films, published are 207 normal films; check that")
