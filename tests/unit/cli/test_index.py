import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from mammoscope.cohort.manifest import manifest_hash, read_manifest
from mammoscope.phantom.cohort import CohortSettings, synthesize_cohort

CliRun = Callable[..., tuple[int, str, str]]
SOURCES = ("rsna", "dicom", "table", "cbis-ddsm", "vindr-mammo", "cmmd", "inbreast", "mini-mias")
HEADER = (
    "site_id,patient_id,image_id,laterality,view,age,cancer,biopsy,invasive,BIRADS,implant,density,machine_id,"
    "difficult_negative_case"
)
ROWS = (
    "2,7711,101,L,CC,61.0,1,1,1,0.0,0,B,29,False",
    "2,7711,102,R,CC,61.0,0,0,0,,0,B,29,False",
    "1,7712,103,R,MLO,,0,0,0,1,1,,49,False",
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "train.csv").write_text("\n".join([HEADER, *ROWS]) + "\n")
    return tmp_path / "train.csv"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("7711/101.dcm", "7711/102.dcm"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(b"")
    return tmp_path / "images"


def test_a_table_alone_becomes_a_table_only_cohort(run_cli: CliRun, table: Path, tmp_path: Path) -> None:
    code, out, err = run_cli("index", "rsna", "--table", table, "-o", tmp_path / "cohort", "--json")
    assert (code, err) == (0, "")
    manifest = read_manifest(tmp_path / "cohort")
    assert manifest["path"].null_count() == 3
    assert json.loads(out) == {
        "images": 3,
        "images_missing": 0,
        "patients": 2,
        "breasts": 3,
        "breasts_with_cancer": 1,
        "breasts_undetermined": 0,
        "manifest": str(tmp_path / "cohort" / "manifest.parquet"),
        "sha256": manifest_hash(manifest),
    }


def test_missing_images_are_left_out_when_that_is_allowed(
    run_cli: CliRun, table: Path, images: Path, tmp_path: Path
) -> None:
    arguments = ("index", "rsna", "--table", table, "--images", images, "-o", tmp_path / "cohort")
    code, out, err = run_cli(*arguments)
    assert (code, out) == (2, "")
    assert "images of the table that are missing: 1 (103), that were found: 2" in err
    assert not (tmp_path / "cohort").exists()
    code, out, _ = run_cli(*arguments, "--allow-missing")
    assert code == 0
    assert "images missing        1" in out


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (bytes(range(256)), "not UTF-8 text (byte 128), expected a CSV table"),
        (b"", "empty, expected a CSV table"),
        (f"{HEADER}\n{ROWS[0]}\n{ROWS[1][:20]}".encode(), "row 2: found 6 values, expected 14"),
        (f"{HEADER},age\n{ROWS[0]},3\n".encode(), "column age: stands in the header 2 times, expected once"),
        (f"{HEADER}\n".encode(), "no rows, expected one for each mammogram"),
    ],
    ids=["binary", "empty", "ragged", "column twice", "no rows"],
)
def test_a_table_that_cannot_be_read_is_one_message_without_traceback(
    run_cli: CliRun, tmp_path: Path, content: bytes, sentence: str
) -> None:
    (tmp_path / "train.csv").write_bytes(content)
    code, out, err = run_cli("index", "rsna", "--table", tmp_path / "train.csv", "-o", tmp_path / "cohort")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {tmp_path / 'train.csv'}: ")
    assert sentence in err
    assert "Traceback" not in err


@pytest.mark.parametrize("prefix", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_saved_on_windows_is_the_same(run_cli: CliRun, tmp_path: Path, prefix: str, end: str) -> None:
    (tmp_path / "train.csv").write_bytes((prefix + end.join([HEADER, *ROWS]) + end).encode())
    assert run_cli("index", "rsna", "--table", tmp_path / "train.csv", "-o", tmp_path / "cohort")[0] == 0
    assert read_manifest(tmp_path / "cohort")["difficult_negative"].to_list() == [False] * 3


def test_a_cohort_folder_that_is_a_file_is_refused(run_cli: CliRun, table: Path) -> None:
    before = table.read_bytes()
    code, _, err = run_cli("index", "rsna", "--table", table, "-o", table)
    assert code == 2
    assert err.startswith(f"error: {table}")
    assert table.read_bytes() == before


def test_nothing_that_is_printed_names_a_patient(run_cli: CliRun, table: Path, images: Path, tmp_path: Path) -> None:
    arguments = ("index", "rsna", "--table", table, "-o", tmp_path / "cohort")
    table.write_text(table.read_text() + "2,7711,104,L,MLO,61.0,0,1,1,0.0,0,B,29,False\n")
    conflict = run_cli(*arguments)
    table.write_text("\n".join([HEADER, *ROWS]) + "\n")
    printed = [conflict, run_cli(*arguments, "--images", images), run_cli(*arguments)]
    assert [code for code, _, _ in printed] == [2, 2, 0]
    assert not any("771" in out + err for _, out, err in printed)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms of two patients in the layout of the competition."""
    folder = tmp_path_factory.mktemp("drawn")
    settings = CohortSettings(patients=2, prevalence=0.5, seed=1, scale=0.1)
    synthesize_cohort(folder, settings, run_tasks=map, advance=lambda _: None)
    return folder


@pytest.fixture
def studies(drawn: Path, tmp_path: Path) -> Path:
    """A folder of DICOM studies of two patients, and a file that is none."""
    shutil.copytree(drawn, tmp_path / "phantoms")
    (tmp_path / "phantoms" / "train_images" / "notes.txt").write_text("x")
    return tmp_path / "phantoms" / "train_images"


def test_a_folder_of_studies_becomes_a_cohort(run_cli: CliRun, studies: Path, tmp_path: Path) -> None:
    headers = pl.DataFrame({"patient_id": sorted(path.name for path in studies.iterdir() if path.is_dir())})
    outcomes = headers.with_columns(cancer=0)
    outcomes.write_csv(tmp_path / "outcomes.csv")
    arguments = ("index", "dicom", studies, "-o", tmp_path / "cohort", "--workers", 1, "--json")
    code, out, err = run_cli(*arguments, "--outcomes", tmp_path / "outcomes.csv")
    assert code == 0, err
    manifest = read_manifest(tmp_path / "cohort")
    assert manifest.height == 8
    assert manifest["cancer"].to_list() == [False] * 8
    assert json.loads(out) == {
        "images": 8,
        "images_missing": 0,
        "patients": 2,
        "breasts": 4,
        "breasts_with_cancer": 0,
        "breasts_undetermined": 0,
        "rejected_not_dicom": 1,
        "manifest": str(tmp_path / "cohort" / "manifest.parquet"),
        "sha256": manifest_hash(manifest),
        "rejected_files": str(tmp_path / "cohort" / "rejected.parquet"),
    }
    rejected = pl.read_parquet(tmp_path / "cohort" / "rejected.parquet")
    assert rejected.select("image_id", "code").rows() == [(None, "not_dicom")]


def test_nothing_rejected_leaves_no_file_of_an_earlier_run(run_cli: CliRun, studies: Path, tmp_path: Path) -> None:
    arguments = ("index", "dicom", studies, "-o", tmp_path / "cohort", "--workers", 1)
    assert run_cli(*arguments)[0] == 0
    assert (tmp_path / "cohort" / "rejected.parquet").exists()
    (studies / "notes.txt").unlink()
    code, out, _ = run_cli(*arguments)
    assert code == 0
    assert "breasts undetermined  4" in out
    assert not (tmp_path / "cohort" / "rejected.parquet").exists()


def test_rejected_files_of_a_manifest_by_name_stand_beside_it(run_cli: CliRun, studies: Path, tmp_path: Path) -> None:
    assert run_cli("index", "dicom", studies, "-o", tmp_path / "a.parquet", "--workers", 1)[0] == 0
    assert (tmp_path / "a.rejected.parquet").exists()


def test_headers_are_compared_with_the_table_when_that_is_asked(run_cli: CliRun, studies: Path, tmp_path: Path) -> None:
    table = studies.parent / "train.csv"
    arguments = ("index", "rsna", "--table", table, "--images", studies, "-o", tmp_path / "cohort", "--workers", 1)
    assert run_cli(*arguments, "--check-headers")[0] == 0
    swapped = table.read_text().replace(",L,", ",X,").replace(",R,", ",L,").replace(",X,", ",R,")
    table.write_text(swapped)
    assert run_cli(*arguments)[0] == 0
    code, _, err = run_cli(*arguments, "--check-headers")
    assert code == 2
    assert err.count("laterality: found 'R', but the file says L") == 4
    assert err.count("laterality: found 'L', but the file says R") == 4


@pytest.mark.parametrize("command", SOURCES)
def test_every_source_shows_an_example(run_cli: CliRun, command: str) -> None:
    code, out, _ = run_cli("index", command, "--help")
    assert code == 0
    assert f"mammoscope index {command} " in " ".join(out.replace("│", " ").split())


VINDR = ("study_id,image_id,laterality,view_position,breast_birads,breast_density", "s,i,L,CC,BI-RADS 4,DENSITY B")
CBIS = (
    "patient_id,breast_density,left or right breast,image view,abnormality id,assessment,pathology,image file path",
    "P_00001,3,LEFT,CC,1,4,BENIGN,Mass-Training_P_00001_LEFT_CC/1/2/000000.dcm",
)


@pytest.mark.parametrize(
    ("command", "lines", "options", "case", "undetermined"),
    [
        ("vindr-mammo", VINDR, (), 1, 0),
        ("vindr-mammo", VINDR, ("--case-birads", "5,6"), 0, 1),
        ("vindr-mammo", VINDR, ("--case-birads", "5", "--control-birads", "4"), 0, 0),
        ("cbis-ddsm", CBIS, (), 0, 0),
        ("cbis-ddsm", CBIS, ("--benign", "undetermined"), 0, 1),
        ("mini-mias", ("mdb001 G CIRC M 535 425 197", "mdb002 D NORM"), (), 1, 0),
        ("mini-mias", ("mdb001 G CIRC M 535 425 197", "mdb002 D NORM"), ("--normal-side", "undetermined"), 1, 1),
    ],
)
def test_the_rule_of_outcomes_can_be_set(  # noqa: PLR0913, PLR0917  # a table of cases
    run_cli: CliRun,
    tmp_path: Path,
    command: str,
    lines: tuple[str, ...],
    options: tuple[str, ...],
    case: int,
    undetermined: int,
) -> None:
    (tmp_path / "table").write_text("\n".join(lines))
    arguments = ("index", command, "--table", tmp_path / "table", "-o", tmp_path / "cohort", "--json")
    code, out, err = run_cli(*arguments, *options)
    assert code == 0, err
    facts = json.loads(out)
    assert (facts["breasts_with_cancer"], facts["breasts_undetermined"]) == (case, undetermined)


def test_the_metadata_and_the_official_parts_of_vindr_mammo_are_taken(run_cli: CliRun, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\n".join((f"{VINDR[0]},split", f"{VINDR[1]},test")))
    header = "SOP Instance UID,Patient's Age,Manufacturer,Manufacturer's Model Name"
    (tmp_path / "m.csv").write_text(f"{header}\ni,053Y,Maker,Model\n")
    arguments = ("index", "vindr-mammo", "--table", tmp_path / "t.csv", "-o", tmp_path / "cohort")
    code, _, err = run_cli(*arguments, "--metadata", tmp_path / "m.csv", "--official-split")
    assert code == 0, err
    row = read_manifest(tmp_path / "cohort").row(0, named=True)
    assert [row[name] for name in ("age_years", "machine", "manufacturer", "fold")] == [53.0, "Model", "Maker", 0]


def test_categories_that_are_none_are_refused(run_cli: CliRun, tmp_path: Path) -> None:
    code, _, err = run_cli("index", "vindr-mammo", "--table", "t", "-o", tmp_path / "c", "--case-birads", "high")
    assert code == 2
    assert "--case-birads: found 'high', expected BI-RADS categories with commas, such as 4,5,6" in err


def test_files_and_a_clinical_table_become_a_cohort(run_cli: CliRun, studies: Path, tmp_path: Path) -> None:
    patients = sorted(path.name for path in studies.iterdir() if path.is_dir())
    (tmp_path / "t.csv").write_text("ID1,LeftRight,Age,classification\n" + f"{patients[0]},L,,Malignant\n")
    arguments = ("index", "cmmd", "--table", tmp_path / "t.csv", "--images", studies, "-o", tmp_path / "cohort")
    code, out, err = run_cli(*arguments, "--workers", 1, "--json")
    assert code == 0, err
    assert json.loads(out)["breasts_with_cancer"] == 1
    assert json.loads(out)["breasts_undetermined"] == 3
    assert "patients of the files whom it does not name, who stay undetermined: 1" in err


def test_a_table_and_a_mapping_become_a_cohort(run_cli: CliRun, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,woman,side\n1,a,L\n")
    fields = 'image_id = "{image}"\npatient_id = "{woman}"\nlaterality = "{side}"\nview = "MLO"\n'
    (tmp_path / "m.toml").write_text(f'source = "ours"\n[fields]\n{fields}')
    arguments = ("index", "table", "--table", tmp_path / "t.csv", "--mapping", tmp_path / "m.toml")
    code, out, err = run_cli(*arguments, "-o", tmp_path / "cohort", "--json")
    assert code == 0, err
    assert json.loads(out)["images"] == 1


BY_CANCER, BY_PATHOLOGY, BY_BIRADS = 'cancer = "{x}"', 'pathology = "{x}"', 'birads = "{x}"'


@pytest.mark.parametrize(
    ("outcome", "options", "expected"),
    [
        (BY_CANCER, ("--case-birads", "4,5,6"), "expected a mapping with outcome_from_birads; leave it out"),
        (BY_CANCER, ("--control-birads", "1"), "expected a mapping with outcome_from_birads"),
        (BY_CANCER, ("--benign", "control"), "expected a mapping with pathology; leave it out"),
        (BY_CANCER, ("--normal-side", "undetermined"), "expected a mapping with outcome_from_birads, or pathology"),
        (BY_PATHOLOGY, ("--case-birads", "5"), "expected a mapping with outcome_from_birads"),
        (BY_PATHOLOGY, ("--benign", "undetermined", "--normal-side", "undetermined"), None),
        (BY_BIRADS, ("--benign", "undetermined"), "expected a mapping with pathology"),
        (BY_BIRADS, ("--case-birads", "5", "--control-birads", "1", "--normal-side", "undetermined"), None),
        (BY_CANCER, (), None),
    ],
)
def test_an_option_that_decides_nothing_is_refused(
    run_cli: CliRun, tmp_path: Path, outcome: str, options: tuple[str, ...], expected: str | None
) -> None:
    value = "benign" if outcome is BY_PATHOLOGY else "1"
    (tmp_path / "t.csv").write_text(f"image,woman,side,x\n1,a,L,{value}\n")
    top = 'source = "ours"\n' + ("outcome_from_birads = true\n" if outcome is BY_BIRADS else "")
    fields = 'image_id = "{image}"\npatient_id = "{woman}"\nlaterality = "{side}"\nview = "MLO"\n'
    (tmp_path / "m.toml").write_text(f"{top}[fields]\n{fields}{outcome}\n")
    arguments = ("index", "table", "--table", tmp_path / "t.csv", "--mapping", tmp_path / "m.toml")
    code, _, err = run_cli(*arguments, "-o", tmp_path / "cohort", *options)
    assert code == (0 if expected is None else 2), err
    if expected is not None:
        assert f"error: {options[0]}: found with {tmp_path / 'm.toml'}, which leaves it nothing to decide, " in err
        assert expected in err


def test_files_with_a_patient_in_their_names_become_a_cohort(run_cli: CliRun, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "20000001_00ff_MG_R_ML_ANON.dcm").write_bytes(b"")
    (tmp_path / "t.csv").write_text("Laterality;View;File Name;ACR;Bi-Rads\nR;MLO;20000001;2;4a\n")
    arguments = ("index", "inbreast", "--table", tmp_path / "t.csv", "--images", tmp_path / "images")
    code, out, err = run_cli(*arguments, "-o", tmp_path / "cohort", "--json")
    assert code == 0, err
    assert json.loads(out)["breasts_with_cancer"] == 1


@pytest.mark.parametrize(
    ("command", "option"),
    [
        *((command, "--check-headers") for command in ("rsna", "table", "cbis-ddsm", "vindr-mammo")),
        *((command, "--allow-missing") for command in ("rsna", "table", "cbis-ddsm", "vindr-mammo", "mini-mias")),
    ],
)
def test_an_option_about_images_without_images_is_refused(
    run_cli: CliRun, tmp_path: Path, command: str, option: str
) -> None:
    more = ("--mapping", "cbis_ddsm_mass") if command == "table" else ()
    code, _, err = run_cli("index", command, "--table", tmp_path / "t", *more, "-o", tmp_path / "c", option)
    assert code == 2
    assert err.startswith(f"error: {option}: found without images, which it is about; give --images too, or leave it")


def test_folds_that_are_lost_are_warned_of(run_cli: CliRun, table: Path, tmp_path: Path) -> None:
    table.write_text(table.read_text() + "2,7713,104,R,MLO,,1,1,1,1,1,,49,False\n")
    arguments = ("index", "rsna", "--table", table, "-o", tmp_path / "cohort")
    assert run_cli(*arguments)[2] == ""
    assert run_cli(*arguments)[2] == ""
    assert run_cli("split", tmp_path / "cohort", "--folds", 2)[0] == 0
    path = tmp_path / "cohort" / "manifest.parquet"
    assert run_cli(*arguments)[2] == f"warning: {path}: was split, and its folds are gone; split again\n"
    path.write_bytes(b"damaged")
    assert run_cli(*arguments)[::2] == (0, "")


def test_what_is_wrong_with_outcomes_is_told_before_the_headers_are_read(run_cli: CliRun, tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_text("exam_id,cancer\na,2\n")
    arguments = ("index", "dicom", tmp_path / "no_such_folder", "--outcomes", tmp_path / "o.csv", "-o", tmp_path / "c")
    assert "row 1, cancer: found '2', expected 0 or 1" in run_cli(*arguments)[2]
    assert "no such folder" in run_cli(*arguments, "--on-conflict", "exclude")[2]
