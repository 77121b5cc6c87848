import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mammoscope.cohort.manifest import SCHEMA
from mammoscope.errors import ConfigError, RunError, TableError
from mammoscope.files import write_json
from mammoscope.learning.settings import Recipe
from mammoscope.learning.table_inputs import (
    COLUMNS,
    MISSING,
    SHORTCUTS,
    UNKNOWN,
    TableEncoder,
    TableSettings,
    count_gaps,
    fit_table_encoder,
    read_table_encoder,
    write_table_encoder,
)

RecipeOf = Callable[..., Recipe]
FACTS: dict[str, Sequence[object]] = {
    "age_years": [40.0, 50.0, None, 60.0, 70.0],
    "density": ["C", "A", None, "C", "B"],
    "birads": [0, 4, 2, None, 2],
    "implant": [False, False, True, None, False],
    "view": ["CC", "MLO", "CC", "MLO", "CC"],
}


def rows_of(**facts: Sequence[object]) -> pl.DataFrame:
    """Rows of a manifest that say nothing but the given columns."""
    n_rows = len(next(iter(facts.values())))
    facts = {"image_id": [f"image{number}" for number in range(n_rows)], **facts}
    return pl.DataFrame({name: facts.get(name, [None] * n_rows) for name in SCHEMA}, schema=SCHEMA)


def fit(*columns: str, **facts: Sequence[object]) -> TableEncoder:
    return fit_table_encoder(rows_of(**(facts or FACTS)), TableSettings(columns=columns))


# what an encoding is


def test_a_number_is_standardised_and_flagged_where_it_is_missing() -> None:
    """Mean 55; spread the square root of (15² + 5² + 5² + 15²) / 4 = 125."""
    encoded = fit("age_years").encode(rows_of(**FACTS))
    assert encoded.numbers.dtype == np.float32
    spread = 125**0.5
    expected = [[-15 / spread, 0], [-5 / spread, 0], [0, 1], [5 / spread, 0], [15 / spread, 0]]
    assert encoded.numbers == pytest.approx(np.array(expected))
    assert encoded.categories.shape == (5, 0)


def test_categories_and_flags_are_numbered_in_the_order_of_their_values() -> None:
    encoded = fit("density", "implant", "birads", "view").encode(rows_of(**FACTS))
    assert encoded.numbers.shape == (5, 0)
    assert encoded.categories.dtype == np.int64
    density, implant, birads, view = encoded.categories.T.tolist()
    assert (MISSING, UNKNOWN) == (0, 1)
    assert density == [4, 2, 0, 4, 3]  # A, B, C from 2 on
    assert implant == [2, 2, 3, 0, 2]  # false, true
    assert birads == [2, 4, 3, 0, 3]  # 0, 2, 4
    assert view == [2, 3, 2, 3, 2]


def test_columns_keep_the_order_of_the_recipe_numbers_first() -> None:
    encoder = fit("view", "age_years", "density")
    assert encoder.columns == ("age_years", "view", "density")
    assert encoder.n_values == (4, 5)


def test_what_training_never_saw_is_unknown_and_not_missing() -> None:
    encoder = fit("density", "implant", "view", density=["A", "B"], implant=[False, None], view=["CC", "MLO"])
    later = rows_of(density=["D", None, "A"], implant=[True, False, None], view=["AT", "CC", None])
    assert encoder.encode(later).categories.tolist() == [
        [UNKNOWN, UNKNOWN, UNKNOWN],
        [MISSING, 2, 2],
        [2, MISSING, MISSING],
    ]


def test_each_row_is_encoded_by_itself() -> None:
    encoder, rows = fit("age_years", "density", "implant"), rows_of(**FACTS)
    whole = encoder.encode(rows)
    for place in range(rows.height):
        alone = encoder.encode(rows[place])
        assert np.array_equal(alone.numbers[0], whole.numbers[place])
        assert np.array_equal(alone.categories[0], whole.categories[place])
    none = encoder.encode(rows[:0])
    assert (none.numbers.shape, none.categories.shape) == ((0, 2), (0, 2))


def test_an_encoder_survives_its_file(tmp_path: Path) -> None:
    settings = TableSettings(columns=("age_years", "density", "implant"))
    encoder = fit_table_encoder(rows_of(**FACTS), settings)
    write_table_encoder(encoder, tmp_path / "table.json")
    assert read_table_encoder(tmp_path / "table.json", settings) == encoder
    assert json.loads((tmp_path / "table.json").read_text()) == {
        "schema_version": 1,
        "numbers": [{"name": "age_years", "mean": 55.0, "spread": 125**0.5}],
        "categories": [
            {"name": "density", "values": ["A", "B", "C"]},
            {"name": "implant", "values": ["false", "true"]},
        ],
    }


def test_gaps_count_what_is_missing_and_what_one_of_the_networks_never_saw() -> None:
    encoders = [
        fit("age_years", "density", density=["A", "B"], age_years=[1, 2]),
        fit("age_years", "density", density=["B", "C"], age_years=[1, 2]),
    ]
    rows = rows_of(age_years=[None, 3.0, 4.0, None], density=["A", "B", "C", None])
    assert count_gaps(encoders, rows) == (("age_years", 2, 0), ("density", 1, 2))
    assert count_gaps([fit("age_years")], rows) == (("age_years", 2, 0),)
    assert count_gaps([], rows) == ()


# what has no place in a table


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "nan"), (float("inf"), "inf"), (float("-inf"), "-inf")])
def test_a_number_that_is_not_finite_is_refused_with_its_images(value: float, word: str) -> None:
    rows = rows_of(age_years=[50.0, value, None, value, 60.0, value, value])
    sentence = rf"^column age_years: found {word} for the images image1, image3, image5 and 1 more, expected finite"
    with pytest.raises(TableError, match=sentence):
        fit_table_encoder(rows, TableSettings(columns=("age_years",)))
    with pytest.raises(TableError, match=r"for the images image1, expected finite numbers, or nothing where"):
        fit("age_years").encode(rows[:3])


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({"age_years": [None, None]}, r"'age_years', which is missing in all 2 images to train on; expected different"),
        (
            {"age_years": [50.0, None, 50.0]},
            r"'age_years', which is 50 in all 3 images to train on; expected different",
        ),
        (
            {"density": [None, None]},
            r"'density', which is missing in all 2 images to train on; expected a value in some",
        ),
        ({"implant": []}, r"'implant', which is missing in all 0 images to train on"),
    ],
)
def test_a_column_with_nothing_to_learn_from_is_refused(facts: dict[str, list[object]], found: str) -> None:
    with pytest.raises(ConfigError, match=rf"^table\.columns: found {found}.*; leave it out$"):
        fit(*facts, **facts)


def test_a_category_of_one_value_may_stay() -> None:
    assert fit("implant", implant=[False, False]).n_values == (3,)


@pytest.mark.parametrize("column", ["biopsy", "invasive", "difficult_negative"])
def test_what_follows_from_the_outcome_is_never_given(recipe_of: RecipeOf, column: str) -> None:
    for allow in ("false", "true"):
        with pytest.raises(
            ConfigError, match=rf"table\.columns: found \['{column}'\]; '{column}' follows from the outcome, so that a"
        ):
            recipe_of(f"table.columns=['{column}']", f"table.allow_shortcuts={allow}")


@pytest.mark.parametrize("column", ["cancer", "fold", "path", "image_id", "patient_id", "exam_id", "age"])
def test_what_is_no_fact_of_the_woman_or_the_image_is_refused(recipe_of: RecipeOf, column: str) -> None:
    sentence = (
        rf"table\.columns: found .*; '{column}' is nothing that a network can be given; expected of age_years, den"
    )
    with pytest.raises(ConfigError, match=sentence):
        recipe_of(f"table.columns=['age_years', '{column}']")


@pytest.mark.parametrize("column", SHORTCUTS)
def test_a_shortcut_needs_to_be_allowed(recipe_of: RecipeOf, column: str) -> None:
    sentence = (
        rf"recipe .*tiny\.toml: table\.columns: found '{column}', which tells cancer by how a cohort was made \(where "
        r"its cases come from\), and not by the breast; leave it out, or set table\.allow_shortcuts = true"
    )
    with pytest.raises(ConfigError, match=sentence):
        recipe_of(f"table.columns=['age_years', '{column}']")
    allowed = recipe_of(f"table.columns=['{column}']", "table.allow_shortcuts=true")
    assert allowed.table.columns == (column,)


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("table.columns=['age_years', 'age_years']", r"table\.columns: found .*; expected each column once"),
        ("table.columns=age_years", r"table\.columns: found 'age_years'"),
        ("table.embedding=0", r"table\.embedding: found 0"),
        ("table.hidden=0", r"table\.hidden: found 0"),
        ("table.dropout=1.0", r"table\.dropout: found 1\.0"),
        ("table.width=3", r"table\.width: unknown key; known here: allow_shortcuts, columns"),
    ],
)
def test_a_bad_key_of_the_table_is_refused(recipe_of: RecipeOf, assignment: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        recipe_of(assignment)


def test_all_that_a_network_may_be_given_can_be_asked_for(recipe_of: RecipeOf) -> None:
    assert set(COLUMNS) < set(SCHEMA)
    recipe = recipe_of(f"table.columns={list(COLUMNS)}", "table.allow_shortcuts=true")
    assert recipe.table.columns == COLUMNS
    assert recipe_of().table.columns == ()


# files that are not what they should be


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, "No such file"),
        ("", "Expecting value"),
        ("[1]", "object"),
        ('{"schema_version": 2, "numbers": [], "categories": []}', "schema_version: found 2"),
        ('{"numbers": [{"name": "age_years", "mean": 1, "spread": 0}], "categories": []}', r"spread: found 0"),
        ('{"numbers": [{"name": "age_years", "mean": NaN, "spread": 1}], "categories": []}', r"mean: found nan"),
    ],
)
def test_a_torn_encoder_is_refused(tmp_path: Path, content: str | None, found: str) -> None:
    if content is not None:
        (tmp_path / "table.json").write_text(content)
    with pytest.raises(RunError, match=rf"table\.json: not the table of this run's network \((.|\n)*{found}"):
        read_table_encoder(tmp_path / "table.json", TableSettings(columns=("age_years",)))


def test_an_encoder_of_other_columns_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "table.json", fit("age_years", "view").model_dump(mode="json"))
    sentence = r"found the columns age_years, view, expected those of recipe\.toml, age_years, density; restore it"
    with pytest.raises(RunError, match=sentence):
        read_table_encoder(tmp_path / "table.json", TableSettings(columns=("age_years", "density")))
