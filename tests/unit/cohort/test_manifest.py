import hashlib
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from mammoscope.cohort.manifest import (
    MANIFEST_VERSION,
    NEVER_NULL,
    SCHEMA,
    check_manifest,
    check_no_leakage,
    find_problems,
    locate_problems,
    manifest_hash,
    manifest_path,
    raise_problems,
    read_manifest,
    write_manifest,
)
from mammoscope.errors import LeakageError, TableError


def with_value(manifest: pl.DataFrame, row: int, column: str, value: object) -> pl.DataFrame:
    """The table with another value in a row, counted from 1."""
    values = manifest[column].to_list()
    values[row - 1] = value
    return manifest.with_columns(pl.Series(column, values, dtype=SCHEMA[column]))


def test_a_manifest_is_read_as_it_was_written(manifest: pl.DataFrame, tmp_path: Path) -> None:
    path = write_manifest(manifest, tmp_path / "cohort")
    assert path == tmp_path / "cohort" / "manifest.parquet"
    assert read_manifest(tmp_path / "cohort").equals(manifest)
    assert read_manifest(path).equals(manifest)


def test_a_manifest_that_is_named_is_the_one_that_is_written(manifest: pl.DataFrame, tmp_path: Path) -> None:
    named = tmp_path / "fold.parquet"
    assert write_manifest(manifest, named) == named
    assert read_manifest(named).equals(manifest)
    assert [path.name for path in tmp_path.iterdir()] == ["fold.parquet"]


def test_a_folder_whose_name_ends_like_a_file_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").mkdir()
    assert manifest_path(tmp_path / "a.parquet") == tmp_path / "a.parquet" / "manifest.parquet"


def test_columns_in_another_order_are_the_same_manifest(manifest: pl.DataFrame, tmp_path: Path) -> None:
    shuffled = manifest.select(reversed(manifest.columns))
    write_manifest(shuffled, tmp_path)
    assert read_manifest(tmp_path).equals(manifest)
    assert manifest_hash(shuffled) == manifest_hash(manifest)


def test_a_cohort_without_manifest_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"manifest\.parquet: not found, expected the manifest .* `mammoscope index`"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"patient_id,image_id\n1,2\n", bytes(500)])
def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.parquet").write_bytes(content)
    with pytest.raises(TableError, match=r"not a Parquet file that can be read .*; index the cohort again"):
        read_manifest(tmp_path)


def test_a_torn_file_is_refused(manifest: pl.DataFrame, tmp_path: Path) -> None:
    path = write_manifest(manifest, tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TableError, match="not a Parquet file that can be read"):
        read_manifest(tmp_path)


def test_a_manifest_of_another_version_is_refused(manifest: pl.DataFrame, tmp_path: Path) -> None:
    manifest.write_parquet(tmp_path / "manifest.parquet", metadata={"mammoscope.manifest_version": "2"})
    with pytest.raises(TableError, match=f"found manifest version 2, expected {MANIFEST_VERSION}; use the version"):
        read_manifest(tmp_path)


def test_rows_that_are_not_those_of_the_recorded_hash_are_refused(manifest: pl.DataFrame, tmp_path: Path) -> None:
    path = write_manifest(manifest, tmp_path)
    metadata = pl.read_parquet_metadata(path)
    del metadata["ARROW:schema"]
    with_value(manifest, 1, "age_years", 50.0).write_parquet(path, metadata=metadata)
    with pytest.raises(TableError, match=r"its rows are not those that were written \(SHA-256 differs\)"):
        read_manifest(tmp_path)


def test_files_may_move_without_another_hash(manifest: pl.DataFrame) -> None:
    moved = manifest.with_columns(path="/elsewhere/" + pl.col("image_id"))
    assert manifest_hash(moved) == manifest_hash(manifest)


def test_a_manifest_of_another_program_is_read(manifest: pl.DataFrame, tmp_path: Path) -> None:
    manifest.write_parquet(tmp_path / "manifest.parquet")
    assert read_manifest(tmp_path).equals(manifest)


def test_a_bad_table_is_not_written_and_leaves_the_old_one(manifest: pl.DataFrame, tmp_path: Path) -> None:
    write_manifest(manifest, tmp_path)
    with pytest.raises(TableError, match="row 1, view: found 'XX'"):
        write_manifest(with_value(manifest, 1, "view", "XX"), tmp_path)
    assert read_manifest(tmp_path).equals(manifest)


@pytest.mark.parametrize("name", NEVER_NULL)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_value_that_must_be_there_is_missed_with_its_row(
    manifest: pl.DataFrame, name: str, value: str | None
) -> None:
    with pytest.raises(TableError, match=f"row 3, {name}: empty, expected a value"):
        check_manifest(with_value(manifest, 3, name, value), where="m")


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("laterality", "B", "row 20, laterality: found 'B', expected one of L, R"),
        ("laterality", "l", "row 20, laterality: found 'l', expected one of L, R"),
        ("view", "AP", "row 20, view: found 'AP', expected one of CC, MLO, .*, AT"),
        ("density", "E", "row 20, density: found 'E', expected one of A, B, C, D"),
        ("density", "", "row 20, density: found '', expected one of A, B, C, D"),
        ("age_years", -1.0, r"row 20, age_years: found -1\.0, expected 0 to 130 years"),
        ("age_years", 131.0, r"row 20, age_years: found 131\.0, expected 0 to 130 years"),
        ("age_years", float("nan"), "row 20, age_years: found nan, expected 0 to 130 years"),
        ("age_years", float("inf"), "row 20, age_years: found inf, expected 0 to 130 years"),
        ("birads", -1, "row 20, birads: found -1, expected 0 to 6"),
        ("birads", 7, "row 20, birads: found 7, expected 0 to 6"),
        ("fold", -1, "row 20, fold: found -1, expected 0 or more"),
        ("path", None, r"path: empty in row 20, expected one for each image, or for none \(a table-only cohort\)"),
        ("path", "", "path: empty in row 20, expected one for each image"),
        ("image_id", "0LCC", "image_id: one image of several patients in rows 1, 20, expected each once"),
        ("image_id", "4RCC", "image_id: one image in rows 19, 20, expected each once"),
        ("exam_id", "exam0", "exam_id: one exam of several patients in rows 1, 2, 3, 4, 20, expected one patient"),
        ("cancer", True, "cancer: one breast with different outcomes in rows 19, 20, expected one outcome"),
        ("cancer", None, "cancer: one breast with different outcomes in rows 19, 20, expected one outcome"),
    ],
)
def test_a_bad_value_is_named_with_its_row(manifest: pl.DataFrame, column: str, value: object, sentence: str) -> None:
    with pytest.raises(TableError, match=sentence):
        check_manifest(with_value(manifest, 20, column, value), where="m")


@pytest.mark.parametrize(("column", "value"), [("age_years", 0.0), ("age_years", 130.0), ("birads", 0), ("birads", 6)])
def test_the_limits_of_a_range_belong_to_it(manifest: pl.DataFrame, column: str, value: object) -> None:
    assert find_problems(with_value(manifest, 20, column, value)) == []


@pytest.mark.parametrize("column", [name for name in SCHEMA if name not in {*NEVER_NULL, "path"}])
def test_what_is_unknown_may_be_null(manifest: pl.DataFrame, column: str) -> None:
    assert find_problems(manifest.with_columns(pl.lit(None, SCHEMA[column]).alias(column))) == []


def test_a_table_only_cohort_has_no_path_at_all(manifest: pl.DataFrame) -> None:
    assert find_problems(manifest.with_columns(path=pl.lit(None, pl.String))) == []


@pytest.mark.parametrize("column", SCHEMA)
def test_a_missing_column_is_named(manifest: pl.DataFrame, column: str) -> None:
    with pytest.raises(TableError, match=f"column {column}: missing, expected {SCHEMA[column]}"):
        check_manifest(manifest.drop(column), where="m")


def test_an_unknown_column_and_a_wrong_type_are_named_together(manifest: pl.DataFrame) -> None:
    changed = manifest.with_columns(pl.col("age_years").cast(pl.Int64), name=pl.lit("Jane"))
    with pytest.raises(TableError) as caught:
        check_manifest(changed, where="m.parquet")
    assert str(caught.value).splitlines() == [
        "m.parquet: 2 problems",
        "  column name: unknown; remove it",
        "  column age_years: found Int64, expected Float64",
    ]


def test_a_table_without_rows_is_no_manifest(manifest: pl.DataFrame) -> None:
    with pytest.raises(TableError, match="m: 1 problem\n  no rows, expected one for each mammogram"):
        check_manifest(manifest.clear(), where="m")


def test_forty_bad_rows_are_forty_problems(manifest: pl.DataFrame) -> None:
    rows = pl.concat([manifest.with_columns(("c" + str(copy) + pl.col(ids)).alias(ids) for ids in NEVER_NULL[:3])
                      for copy in range(2)])  # fmt: skip
    with pytest.raises(TableError) as caught:
        check_manifest(rows.with_columns(view=pl.lit("AP")), where="m")
    first, *problems = str(caught.value).splitlines()
    assert first == "m: 40 problems"
    assert [problem.split(",")[0].strip() for problem in problems] == [f"row {row}" for row in range(1, 41)]


def test_of_many_problems_the_first_fifty_are_shown() -> None:
    with pytest.raises(TableError) as caught:
        raise_problems([f"problem {number}" for number in range(52)], where="m")
    lines = str(caught.value).splitlines()
    assert (lines[0], lines[50], lines[51], len(lines)) == ("m: 52 problems", "  problem 49", "  … and 2 more", 52)


def test_no_problem_is_no_error() -> None:
    raise_problems([], where="m")


def test_many_rows_of_one_problem_are_counted(manifest_of: object) -> None:
    assert callable(manifest_of)
    rows = manifest_of([False] * 5).with_columns(exam_id=pl.lit("one"), cancer=False)
    assert find_problems(rows) == [
        "exam_id: one exam of several patients in rows 1, 2, 3, 4, 5, 6, 7, 8 and 12 more, expected one patient"
    ]


@pytest.mark.parametrize(("value", "named"), [(1, "0, 1"), (None, "none, 0")])
def test_a_patient_is_in_one_fold(manifest: pl.DataFrame, tmp_path: Path, value: int | None, named: str) -> None:
    leaking = with_value(manifest.with_columns(fold=pl.lit(0, pl.Int64)), 7, "fold", value)
    sentence = f"patients in more than one fold: 1, with rows 5, 6, 7, 8 in folds {named}; expected each patient in one"
    leaking.write_parquet(tmp_path / "manifest.parquet")
    with pytest.raises(LeakageError, match=sentence):
        check_no_leakage(leaking, where="m")
    with pytest.raises(LeakageError, match=sentence):
        read_manifest(tmp_path)
    with pytest.raises(LeakageError, match=sentence):
        write_manifest(leaking, tmp_path)


def test_of_many_torn_patients_the_rows_of_eight_are_named_and_all_ids_are_carried(
    manifest_of: Callable[..., pl.DataFrame],
) -> None:
    leaking = manifest_of([False] * 10).with_columns(pl.Series("fold", [0, 0, 0, 1] * 10))
    with pytest.raises(LeakageError) as leakage:
        check_no_leakage(leaking, where="m")
    sentence = str(leakage.value)
    assert sentence.startswith("m: patients in more than one fold: 10, with rows 1, 2, 3, 4 in folds 0, 1; rows 5, 6, ")
    assert "rows 29, 30, 31, 32 in folds 0, 1; and 2 patients more; expected" in sentence
    assert leakage.value.patient_ids == tuple(f"patient{number}" for number in range(10))


def test_no_sentence_names_a_patient(manifest: pl.DataFrame) -> None:
    leaking = with_value(manifest.with_columns(fold=pl.lit(0, pl.Int64)), 7, "fold", 1)
    mixed = with_value(with_value(manifest, 5, "exam_id", "exam0"), 9, "cancer", value=True)
    with pytest.raises(LeakageError) as leakage:
        check_manifest(leaking, where="m")
    with pytest.raises(TableError) as table:
        check_manifest(mixed, where="m")
    assert "patient1" not in str(leakage.value)
    assert leakage.value.patient_ids == ("patient1",)
    assert "patient" not in str(table.value).replace("several patients", "").replace("one patient", "")
    assert "exam0" not in str(table.value)


def test_the_hash_is_sha_256_of_the_rows_as_csv() -> None:
    row = {"image_id": "i", "patient_id": "p", "exam_id": "e", "laterality": "L", "view": "CC", "source": "s"}
    manifest = pl.DataFrame([dict.fromkeys(SCHEMA) | row | {"path": "/x", "age_years": 61.5}], schema=SCHEMA)
    text = (
        "image_id,patient_id,exam_id,laterality,view,source,cancer,age_years,density,birads,implant,biopsy,invasive,"
        "difficult_negative,site,machine,manufacturer,fold\ni,p,e,L,CC,s,,61.5,,,,,,,,,,\n"
    )
    assert manifest_hash(manifest) == hashlib.sha256(text.encode()).hexdigest()


def test_nothing_and_an_empty_text_have_different_hashes(manifest: pl.DataFrame) -> None:
    empty, nothing = (with_value(manifest, 1, "site", value) for value in ("", None))
    assert manifest_hash(empty) != manifest_hash(nothing)


def test_an_image_of_two_patients_is_one_problem(manifest: pl.DataFrame) -> None:
    first, *others = manifest["image_id"]
    doubled = manifest.with_columns(pl.Series("image_id", [first, *others[:-1], first]))
    assert [(problem.rows, problem.code) for problem in locate_problems(doubled)] == [((1, 20), "mixed_patients")]
