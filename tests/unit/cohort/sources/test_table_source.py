from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import xlsxwriter

from mammoscope.cohort.manifest import check_manifest
from mammoscope.cohort.sources.indexing import Handling, IndexedCohort
from mammoscope.cohort.sources.mapping import Mapping, read_mapping
from mammoscope.cohort.sources.outcomes import OutcomeRule
from mammoscope.cohort.sources.table import read_mapped_table
from mammoscope.errors import TableError, UserInputError

WriteTable = Callable[..., Path]
HEADER = "picture;woman;Breast side;age;dense;truth;visit"
LINES = (
    "1;a;left;61;2;sick;v1",
    "2;a;left;61;2;sick;v1",
    "3;a;right;61;?;well;v1",
    "4;b;left;;3;not read;v2",
)


def build_mapping(**changes: object) -> Mapping:
    usual: dict[str, object] = {
        "source": "ours",
        "separator": ";",
        "path": "{woman}/{picture}.png",
        "fields": {
            "image_id": "ours_{picture}",
            "patient_id": "{woman}",
            "exam_id": "{woman}-{visit}",
            "laterality": "{Breast side}",
            "view": "MLO",
            "age_years": "{age}",
            "density": "{dense}",
            "cancer": "{truth}",
        },
        "values": {"density": {"2": "B", "3": "C"}, "cancer": {"sick": "1", "well": "0"}},
        "unknown": {"density": ("?",), "cancer": ("not read",)},
    }
    return Mapping.model_validate(usual | changes)


def index(
    table: Path, images: Path | None = None, mapping: Mapping | None = None, handling: Handling | None = None
) -> IndexedCohort:
    chosen, met = mapping or build_mapping(), handling or Handling()
    return read_mapped_table(table, images, chosen, rule=OutcomeRule(), handling=met)


def test_columns_become_fields(write_lines: WriteTable) -> None:
    manifest = index(write_lines("t.csv", HEADER, *LINES)).manifest
    check_manifest(manifest, where="test")
    columns = ("image_id", "patient_id", "exam_id", "laterality", "view", "source", "age_years", "density", "cancer")
    assert manifest.select(columns).rows() == [
        ("ours_1", "a", "a-v1", "L", "MLO", "ours", 61.0, "B", True),
        ("ours_2", "a", "a-v1", "L", "MLO", "ours", 61.0, "B", True),
        ("ours_3", "a", "a-v1", "R", "MLO", "ours", 61.0, None, False),
        ("ours_4", "b", "b-v2", "L", "MLO", "ours", None, "C", None),
    ]


def test_a_mapping_without_an_outcome_is_warned_of(write_lines: WriteTable) -> None:
    usual = build_mapping()
    fields = {name: pattern for name, pattern in usual.fields.items() if name != "cancer"}
    mapping = build_mapping(fields=fields, values={}, unknown={"density": ("?", "2", "3")})
    cohort = index(write_lines("t.csv", HEADER, *LINES), mapping=mapping)
    assert cohort.manifest["cancer"].null_count() == 4
    (warning,) = cohort.warnings
    assert warning.startswith("the mapping has neither cancer nor pathology, and not outcome_from_birads: all breasts")
    assert index(write_lines("t.csv", HEADER, *LINES)).warnings == ()


def test_a_parquet_table_is_read_alike(write_lines: WriteTable, tmp_path: Path) -> None:
    path = write_lines("t.csv", HEADER, *LINES)
    pl.read_csv(path, separator=";").write_parquet(tmp_path / "t.parquet")
    assert index(tmp_path / "t.parquet").manifest.equals(index(path).manifest)


def test_a_workbook_is_read_alike(write_lines: WriteTable, tmp_path: Path) -> None:
    path = write_lines("t.csv", HEADER, *LINES)
    workbook = xlsxwriter.Workbook(tmp_path / "t.xlsx", {"strings_to_numbers": True})
    workbook.add_worksheet("notes").write(0, 0, "of no use")
    sheet = workbook.add_worksheet("women")
    for number, line in enumerate((HEADER, *LINES)):
        sheet.write_row(number, 0, line.split(";"))
    workbook.close()
    assert index(tmp_path / "t.xlsx", mapping=build_mapping(sheet="women")).manifest.equals(index(path).manifest)
    with pytest.raises(TableError, match=r"found several sheets \(notes, women\)"):
        index(tmp_path / "t.xlsx")


def test_an_exam_is_the_patients_where_nobody_tells_them_apart(write_lines: WriteTable) -> None:
    fields = build_mapping().fields
    without = build_mapping(fields={name: pattern for name, pattern in fields.items() if name != "exam_id"})
    manifest = index(write_lines("t.csv", HEADER, *LINES), mapping=without).manifest
    assert manifest["exam_id"].to_list() == ["a", "a", "a", "b"]


def test_images_are_found_by_the_pattern(write_lines: WriteTable, tmp_path: Path) -> None:
    table = write_lines("t.csv", HEADER, *LINES)
    for name in ("a/1.png", "a/2.png", "b/4.png"):
        write_lines(f"images/{name}", "")
    with pytest.raises(UserInputError, match=r"images of the table that are missing: 1 \(ours_3\), that were found: 3"):
        index(table, tmp_path / "images")
    cohort = index(table, tmp_path / "images", handling=Handling(allow_missing=True))
    assert cohort.manifest["path"].to_list() == [
        str(tmp_path / "images" / name) for name in ("a/1.png", "a/2.png", "b/4.png")
    ]
    assert cohort.missing_image_ids == ("ours_3",)
    with pytest.raises(
        UserInputError, match=r"found none of the table's 4 images, expected \{woman\}/\{picture\}\.png"
    ):
        index(table, tmp_path)
    with pytest.raises(UserInputError, match=r"no such folder, expected \{woman\}/\{picture\}\.png below it"):
        index(table, tmp_path / "gone")


def test_images_want_a_pattern(write_lines: WriteTable, tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match="found a mapping without a path, expected one that says where images lie"):
        index(write_lines("t.csv", HEADER, *LINES), tmp_path, build_mapping(path=None))


def test_columns_that_are_not_there_are_named(write_lines: WriteTable) -> None:
    with pytest.raises(TableError, match="columns missing: visit, truth; found picture, woman"):
        index(write_lines("t.csv", "picture;woman;Breast side;age;dense", "1;a;left;61;2"))


def test_images_are_found_by_paths_that_windows_wrote(write_lines: WriteTable, tmp_path: Path) -> None:
    table = write_lines("t.csv", HEADER, r"a\1.png;a;left;61;2;sick;v1", r"b\c\2.png;b;left;61;2;well;v1")
    for name in ("a/1.png", "b/c/2.png"):
        write_lines(f"images/{name}", "")
    manifest = index(table, tmp_path / "images", build_mapping(path="{picture}")).manifest
    assert manifest["path"].to_list() == [str(tmp_path / "images" / name) for name in ("a/1.png", "b/c/2.png")]


def test_all_bad_rows_are_named_with_row_column_value_and_what_was_expected(write_lines: WriteTable) -> None:
    bad = [f"{row};w{row};left;61;9;sick;v" for row in range(1, 41)]
    with pytest.raises(TableError) as caught:
        index(write_lines("t.csv", HEADER, *bad, LINES[0].replace("1;a", "99;z", 1)))
    assert [line.strip() for line in str(caught.value).splitlines()[1:]] == [
        f"row {row}, dense: found '9', expected one of A, B, C, D" for row in range(1, 41)
    ]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("5;c;middle;1;2;sick;v", "row 1, Breast side: found 'middle', expected one of L, R"),
        ("5;c;left;old;2;sick;v", "row 1, age: found 'old', expected 0 to 130 years"),
        ("5;c;left;1;2;perhaps;v", "row 1, truth: found 'perhaps', expected 0 or 1"),
        (";c;left;1;2;sick;v", "row 1, picture: empty, expected a value"),
        ("5;;left;1;2;sick;v", "row 1, woman: empty, expected a value"),
        ("1;b;left;1;2;sick;v2", "picture: one image of several patients in rows 1, 2"),
        ("9;a;left;1;2;well;v1", "truth: one breast with different outcomes in rows 1, 2, 3"),
    ],
)
def test_what_is_wrong_is_refused_or_left_out(write_lines: WriteTable, line: str, sentence: str) -> None:
    table = write_lines("t.csv", HEADER, line, *LINES, "8;z;left;50;2;well;v1")
    with pytest.raises(TableError, match=sentence):
        index(table)
    cohort = index(table, handling=Handling(on_conflict="exclude"))
    left = cohort.manifest["image_id"].to_list()
    assert "ours_8" in left
    assert len(left) < 6
    assert set(left).isdisjoint(cohort.rejected["image_id"])
    assert sentence in cohort.rejected["sentence"][0]


def test_pathology_is_decided_by_the_rule(write_lines: WriteTable) -> None:
    mapping = build_mapping(
        fields={
            "image_id": "{i}",
            "patient_id": "{p}",
            "laterality": "{s}",
            "view": "CC",
            "pathology": "{t}",
        },
        separator=",",
        values={"pathology": {"M": "malignant", "B": "benign", "N": "normal"}},
        unknown={},
        path=None,
    )
    table = write_lines("t.csv", "i,p,s,t", "1,a,L,M", "2,a,L,B", "3,a,R,N", "4,b,L,B", "5,b,R,")
    rule = OutcomeRule(benign="undetermined", normal_side="undetermined")
    handling = Handling()
    outcomes = [
        read_mapped_table(table, None, mapping, rule=each, handling=handling).manifest["cancer"].to_list()
        for each in (OutcomeRule(), rule)
    ]
    assert outcomes == [[True, True, False, False, None], [True, True, None, None, None]]
    table = write_lines("t.csv", "i,p,s,t", "1,a,L,M", "2,a,L,X")
    with pytest.raises(TableError, match="row 2, t: found 'X', expected one of malignant, benign, normal"):
        index(table, mapping=mapping)


def test_birads_decide_when_the_mapping_says_so(write_lines: WriteTable) -> None:
    fields = {"image_id": "{i}", "patient_id": "{i}", "laterality": "L", "view": "CC", "birads": "{b}"}
    table = write_lines("t.csv", "i,b", *(f"{category},{category}" for category in range(7)))
    plain = {"separator": ",", "path": None, "fields": fields, "values": {}, "unknown": {}}
    manifest = index(table, mapping=build_mapping(outcome_from_birads=True, **plain)).manifest
    assert manifest["cancer"].to_list() == [None, False, False, None, True, True, True]
    assert index(table, mapping=build_mapping(**plain)).manifest["cancer"].to_list() == [None] * 7


def test_the_example_reads_its_layout(write_lines: WriteTable, tmp_path: Path) -> None:
    table = write_lines(
        "index.csv",
        "split,patient_id,left_or_right_breast,image_view,file,malignant,pathologies,density,assessment,n_abn",
        "train,P_00001,LEFT,CC,png/Mass-Training_P_00001_LEFT_CC.png,1,MALIGNANT,3,4,1",
        "train,P_00002,RIGHT,MLO,png/Mass-Training_P_00002_RIGHT_MLO.png,0,BENIGN_WITHOUT_CALLBACK,1,2,1",
        "train,P_00003,RIGHT,CC,png/Mass-Training_P_00003_RIGHT_CC.png,1,BENIGN|MALIGNANT,4,0,2",
    )
    names = [f"Mass-Training_P_{name}" for name in ("00001_LEFT_CC", "00002_RIGHT_MLO", "00003_RIGHT_CC")]
    for name in names:
        write_lines(f"png/{name}.png", "")
    manifest = index(table, tmp_path, read_mapping("cbis_ddsm_mass")).manifest
    assert manifest.select("image_id", "laterality", "view", "cancer", "density", "birads").rows() == [
        (names[0], "L", "CC", True, "C", 4),
        (names[1], "R", "MLO", False, "A", 2),
        (names[2], "R", "CC", True, "D", 0),
    ]
    assert manifest["path"].to_list() == [str(tmp_path / "png" / f"{name}.png") for name in names]


@pytest.mark.parametrize(
    ("path", "name"),
    [("a/b.png", "b"), ("a\\b.png", "b"), ("b", "b"), ("a.b/c.d.png", "c.d"), (".png", ".png"), ("b.", "b")],
)
def test_the_name_of_a_file_is_without_folder_and_suffix(write_lines: WriteTable, path: str, name: str) -> None:
    fields = build_mapping().fields | {"image_id": "x_{picture:stem}"}
    line = LINES[0].replace("1;", f"{path};", 1)
    manifest = index(write_lines("t.csv", HEADER, line), mapping=build_mapping(fields=fields, path=None)).manifest
    assert manifest["image_id"].to_list() == [f"x_{name}"]
    with pytest.raises(TableError, match="row 1, picture: empty, expected a value"):
        index(write_lines("t.csv", HEADER, LINES[0][1:]), mapping=build_mapping(fields=fields, path=None))
