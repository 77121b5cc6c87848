from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from mammoscope.cohort.manifest import check_manifest
from mammoscope.cohort.sources import cbis_ddsm
from mammoscope.cohort.sources.cbis_ddsm import read_cbis_ddsm
from mammoscope.cohort.sources.indexing import Handling, IndexedCohort, PublishedCounts
from mammoscope.cohort.sources.outcomes import OutcomeRule
from mammoscope.errors import TableError, UserInputError

WriteTable = Callable[..., Path]
MASS = (
    "patient_id,breast_density,left or right breast,image view,abnormality id,abnormality type,mass shape,"
    "mass margins,assessment,pathology,subtlety,image file path,cropped image file path,ROI mask file path"
)
CALC = MASS.replace("breast_density", "breast density").replace(
    "mass shape,mass margins", "calc type,calc distribution"
)


def lesion(  # noqa: PLR0913, PLR0917  # the columns of a row
    patient: str, side: str, view: str, pathology: str, number: int = 1, kind: str = "Mass-Training", birads: str = "4"
) -> str:
    """A row as published: paths end in a line break inside of their quotes."""
    name = f"{kind}_{patient}_{side}_{view}"
    path = f'"{name}/1.3.6.1/1.3.7.1/000000.dcm\n"'
    cropped = f'"{name}_{number}/1.3.6.1/1.3.7.1/000000.dcm\n"'
    return (
        f"{patient},3,{side},{view},{number},x,IRREGULAR,SPICULATED,{birads},{pathology},4,{path},{cropped},{cropped}"
    )


MASSES = (
    lesion("P_00001", "LEFT", "CC", "MALIGNANT"),
    lesion("P_00001", "LEFT", "MLO", "MALIGNANT"),
    lesion("P_00002", "RIGHT", "CC", "BENIGN", 1, birads="2"),
    lesion("P_00002", "RIGHT", "CC", "BENIGN_WITHOUT_CALLBACK", 2, birads="3"),
)
CALCS = (
    lesion("P_00002", "RIGHT", "CC", "MALIGNANT", kind="Calc-Test"),
    lesion("P_00003", "LEFT", "MLO", "BENIGN", kind="Calc-Test"),
)


@pytest.fixture
def tables(write_lines: WriteTable) -> list[Path]:
    masses = write_lines("mass_case_description_train_set.csv", MASS, *MASSES)
    return [masses, write_lines("calc_case_description_test_set.csv", CALC, *CALCS)]


def read(tables: list[Path], images: Path | None = None, **changes: object) -> IndexedCohort:
    handling = Handling(**changes)  # type: ignore[arg-type]  # of several kinds
    return read_cbis_ddsm(tables, images, rule=OutcomeRule(), handling=handling)


def test_lesions_become_mammograms(tables: list[Path]) -> None:
    manifest = read(tables[:1]).manifest
    check_manifest(manifest, where="test")
    assert manifest.select("image_id", "patient_id", "laterality", "view", "cancer", "birads", "density").rows() == [
        ("Mass-Training_P_00001_LEFT_CC", "P_00001", "L", "CC", True, 4, "C"),
        ("Mass-Training_P_00001_LEFT_MLO", "P_00001", "L", "MLO", True, 4, "C"),
        ("Mass-Training_P_00002_RIGHT_CC", "P_00002", "R", "CC", False, 3, "C"),
    ]


def test_the_worst_lesion_of_all_tables_decides_for_the_breast(tables: list[Path]) -> None:
    manifest = read(tables).manifest
    assert dict(manifest.select("image_id", "cancer").iter_rows()) == {
        "Mass-Training_P_00001_LEFT_CC": True,
        "Mass-Training_P_00001_LEFT_MLO": True,
        "Mass-Training_P_00002_RIGHT_CC": True,
        "Calc-Test_P_00002_RIGHT_CC": True,
        "Calc-Test_P_00003_LEFT_MLO": False,
    }


def test_full_mammograms_are_found_and_cropped_lesions_are_not(
    tables: list[Path], write_lines: WriteTable, tmp_path: Path
) -> None:
    for name in (
        "CBIS/Mass-Training_P_00001_LEFT_CC/07-20-2016-DDSM-1/1.000000-full mammogram images-2/1-1.dcm",
        "CBIS/Mass-Training_P_00001_LEFT_CC_1/07-20-2016-DDSM-1/1.000000-ROI mask images-2/1-1.dcm",
        "CBIS/Mass-Training_P_00001_LEFT_MLO.png",
        "CBIS/notes.txt",
    ):
        write_lines(name, "")
    with pytest.raises(
        UserInputError, match=r"images of the table that are missing: 1 \(Mass-Training_P_00002_RIGHT_CC\)"
    ):
        read(tables[:1], tmp_path / "CBIS")
    paths = read(tables[:1], tmp_path / "CBIS", allow_missing=True).manifest["path"].to_list()
    assert [Path(path).name for path in paths] == ["1-1.dcm", "Mass-Training_P_00001_LEFT_MLO.png"]
    assert "LEFT_CC_1" not in paths[0]
    write_lines("CBIS/Mass-Training_P_00001_LEFT_CC/2.dcm", "")
    with pytest.raises(
        UserInputError, match="found two files for image Mass-Training_P_00001_LEFT_CC, expected one full"
    ):
        read(tables[:1], tmp_path / "CBIS")


@pytest.mark.parametrize(
    ("old", "new", "sentence", "code"),
    [
        ("MALIGNANT", "UNPROVEN", "row 1, pathology: found 'UNPROVEN', expected one of MALIGNANT, BENIGN", "bad_value"),
        ("P_00001,3,", "P_00001,7,", "row 1, breast_density: found '7', expected one of 0, 1, 2, 3, 4", "bad_value"),
        (
            ",LEFT,",
            ",RIGHT,",
            "row 1, image file path: names L, but left or right breast says R; expected",
            "side_conflict",
        ),
        (
            ",CC,",
            ",MLO,",
            "row 1, image file path: names CC, but image view says MLO; expected the same",
            "view_conflict",
        ),
        (",CC,", ",AP,", "row 1, image view: found 'AP', expected one of CC, MLO", "bad_value"),
        (",CC,1,", ",CC,,", "row 1, abnormality id: empty, expected a value", "bad_value"),
        (
            "P_00001,3",
            "P_00009,3",
            "row 1, image file path: names another patient; expected the same",
            "mixed_patients",
        ),
        (
            "Mass-Training",
            "Masses",
            "row 1, image file path: found 'Masses_P_00001_LEFT_CC', expected a f",
            "bad_value",
        ),
    ],
)
def test_what_is_wrong_is_refused_or_left_out(tables: list[Path], old: str, new: str, sentence: str, code: str) -> None:
    first = MASSES[0].replace(old, new, 1)
    tables[0].write_text("\n".join([MASS, first, *MASSES[1:]]) + "\n")
    with pytest.raises(TableError, match=f"mass_case_description_train_set.csv {sentence}"):
        read(tables)
    cohort = read(tables, on_conflict="exclude")
    assert cohort.rejected["code"][0] == code
    assert cohort.rejected["image_id"][0].endswith("P_00001_LEFT_CC")
    assert "Calc-Test_P_00003_LEFT_MLO" in cohort.manifest["image_id"].to_list()


LESION = lesion("P_00001", "LEFT", "CC", "BENIGN")


@pytest.mark.parametrize(
    ("line", "sentence", "code"),
    [
        (
            LESION,
            "pathology: one lesion with different findings in masses row 1, masses row 3, expected one",
            "outcome_conflict",
        ),
        (
            lesion("P_00001", "LEFT", "CC", "MALIGNANT", 2).replace(",3,", ",1,", 1),
            "breast_density: one mammogram with different densities in masses row 1, masses row 3, expected one",
            "bad_value",
        ),
    ],
)
def test_what_contradicts_itself_is_never_decided_by_the_first_row(
    tables: list[Path], line: str, sentence: str, code: str
) -> None:
    tables[0].write_text("\n".join([MASS, *MASSES[:2], line, *MASSES[2:]]) + "\n")
    with pytest.raises(TableError, match="1 problem\n  " + sentence.replace("masses", tables[0].name)):
        read(tables)
    cohort = read(tables, on_conflict="exclude")
    assert set(cohort.rejected["code"]) == {code}
    assert "P_00001" not in cohort.manifest["patient_id"].to_list()


@pytest.mark.parametrize(
    "line",
    [
        LESION.replace("LEFT,CC,1,", "LEFT,CC,2,"),  # a benign lesion beside the malignant one
        lesion("P_00001", "LEFT", "CC", "MALIGNANT").replace(",3,", ",0,", 1),  # not rated in the second row
    ],
)
def test_lesions_and_unknown_values_are_no_contradiction(tables: list[Path], line: str) -> None:
    for lines in ([*MASSES, line], [line, *MASSES]):
        tables[0].write_text("\n".join([MASS, *lines]) + "\n")
        row = read(tables).manifest.row(by_predicate=pl.col("image_id") == "Mass-Training_P_00001_LEFT_CC", named=True)
        assert (row["cancer"], row["density"]) == (True, "C")


def test_a_bad_lesion_leaves_its_breast_out_of_all_tables(tables: list[Path]) -> None:
    tables[1].write_text("\n".join([CALC, CALCS[0].replace("MALIGNANT", "?"), CALCS[1]]) + "\n")
    manifest = read(tables, on_conflict="exclude").manifest
    assert "P_00002" not in manifest["patient_id"].to_list()


def test_a_density_of_zero_is_none(tables: list[Path]) -> None:
    tables[0].write_text("\n".join([MASS, *(line.replace(",3,", ",0,", 1) for line in MASSES)]) + "\n")
    assert read(tables[:1]).manifest["density"].null_count() == 3


def test_rows_of_a_single_table_are_named_without_it(tables: list[Path]) -> None:
    tables[0].write_text("\n".join([MASS, MASSES[0].replace("MALIGNANT", "?"), *MASSES[1:]]) + "\n")
    with pytest.raises(TableError, match="1 problem\n  row 1, pathology: found"):
        read(tables[:1])


def test_a_table_twice_is_refused(tables: list[Path]) -> None:
    with pytest.raises(UserInputError, match="--table: found a table twice, expected each once; leave one out"):
        read([*tables, tables[0].parent / "." / tables[0].name])


def test_another_table_is_refused(write_lines: WriteTable) -> None:
    with pytest.raises(TableError, match=r"columns missing: breast_density, .*; give the case description tables"):
        read([write_lines("t.csv", "patient_id,x", "a,b")])


def test_counts_that_are_not_as_published_are_warned_of(tables: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cbis_ddsm, "PUBLISHED", PublishedCounts(images=5, patients=4))
    assert len(read(tables).warnings) == 1
    assert read(tables[:1]).warnings == ()
