from pathlib import Path

import pytest

from mammoscope.cohort.sources.mapping import read_mapping, split_pattern
from mammoscope.errors import ConfigError

LEAST = """
source = "ours"
[fields]
image_id = "{image}"
patient_id = "{patient}"
laterality = "{side}"
view = "MLO"
"""


def read(tmp_path: Path, text: str) -> object:
    (tmp_path / "m.toml").write_text(text)
    return read_mapping(str(tmp_path / "m.toml"))


def test_a_pattern_is_text_and_columns() -> None:
    assert split_pattern("a/{b}_{c d}.png") == [
        ("a/", False),
        ("b", True),
        ("_", False),
        ("c d", True),
        (".png", False),
    ]
    assert split_pattern("{b}") == [("b", True)]
    assert split_pattern("MLO") == [("MLO", False)]


def test_the_least_mapping_names_its_columns(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text('path = "{folder}/{image}.png"\n' + LEAST)
    mapping = read_mapping(str(tmp_path / "m.toml"))
    assert mapping.columns == ("image", "patient", "side", "folder")
    assert mapping.separator == ","


def test_the_example_is_known_by_its_name() -> None:
    assert read_mapping("cbis_ddsm_mass").source == "cbis_ddsm"
    with pytest.raises(ConfigError, match="nothing: no such mapping, expected a TOML file, or one of cbis_ddsm_mass"):
        read_mapping("nothing")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (LEAST.replace("view", "projection"), "no such field: projection; known are .*birads.*view"),
        (LEAST.replace('view = "MLO"', ""), "fields without a pattern: view; name the columns"),
        (LEAST + '[values.density]\n1 = "A"', "values of density, which has no pattern; add it to the fields"),
        (LEAST + '[unknown]\ndensity = ["0"]', "values of density, which has no pattern"),
        (LEAST + 'cancer = "{a}"\npathology = "{b}"', "the outcome is given by cancer and pathology; keep one of them"),
        ("outcome_from_birads = true\n" + LEAST, "outcome_from_birads without birads; add it to the fields"),
        (
            "outcome_from_birads = true\n" + LEAST + 'cancer = "{a}"\nbirads = "{b}"',
            "the outcome is given by cancer and outcome_from_birads",
        ),
        (LEAST.replace('source = "ours"', ""), "source: missing; add this key"),
        ("colour = 1\n" + LEAST, "colour: unknown key; did you mean|colour: unknown key; known here"),
        ('separator = ";;"\n' + LEAST, "separator: found ';;'"),
    ],
)
def test_a_mapping_that_says_no_sense_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        read(tmp_path, text)
