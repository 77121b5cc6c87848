from collections.abc import Callable

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mammoscope.cohort.manifest import SCHEMA, find_problems, manifest_hash

VALUES: dict[object, st.SearchStrategy[object]] = {
    pl.String(): st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    pl.Boolean(): st.booleans(),
    pl.Float64(): st.floats(allow_nan=False),
    pl.Int64(): st.integers(-(2**40), 2**40),
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@pytest.mark.parametrize("column", [name for name in SCHEMA if name != "path"])
@given(data=st.data())
def test_the_hash_changes_with_any_value(manifest: pl.DataFrame, column: str, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, manifest.height - 1))
    values = manifest[column].to_list()
    other = data.draw((st.none() | VALUES[SCHEMA[column]]).filter(lambda value: value != values[row]))
    values[row] = other
    changed = manifest.with_columns(pl.Series(column, values, dtype=SCHEMA[column]))
    assert manifest_hash(changed) != manifest_hash(manifest)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(20)))
def test_the_order_of_the_rows_belongs_to_the_hash_but_not_to_the_check(
    manifest: pl.DataFrame, order: list[int]
) -> None:
    shuffled = manifest[order]
    assert find_problems(shuffled) == []
    assert (manifest_hash(shuffled) == manifest_hash(manifest)) == (order == sorted(order))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(outcomes=st.lists(st.none() | st.booleans(), min_size=1, max_size=12), data=st.data())
def test_one_bad_row_is_one_problem_at_that_row(
    manifest_of: Callable[..., pl.DataFrame], outcomes: list[bool | None], data: st.DataObject
) -> None:
    manifest = manifest_of(outcomes)
    row = data.draw(st.integers(1, manifest.height))
    views = manifest["view"].to_list()
    views[row - 1] = "front"
    problems = find_problems(manifest.with_columns(view=pl.Series(views)))
    assert [problem.split(":")[0] for problem in problems] == [f"row {row}, view"]
