import string

from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from mammoscope.config import Settings, Table, apply_overrides, build_settings, parse_toml, to_toml

# TOML's integers have 64 bits; a surrogate is no character of a file
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
KEYS = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=5)


class Inner(Settings):
    share: float = 0.0
    names: tuple[str, ...] = ()


class Outer(Settings):
    count: int = 0
    label: str | None = None
    is_on: bool = False
    inner: Inner = Inner()
    inners: tuple[Inner, ...] = ()
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)


INNERS = st.builds(Inner, share=FLOATS, names=st.lists(TEXT, max_size=3).map(tuple))
OUTERS = st.builds(
    Outer,
    count=INTEGERS,
    label=st.none() | TEXT,
    is_on=st.booleans(),
    inner=INNERS,
    inners=st.lists(INNERS, max_size=3).map(tuple),
    options=st.dictionaries(TEXT, TEXT | INTEGERS | FLOATS | st.booleans(), max_size=4),
)


@given(OUTERS)
def test_settings_written_as_toml_are_read_back_equal(settings: Outer) -> None:
    table = parse_toml(to_toml(settings), where="text")
    assert build_settings(Outer, table, where="text") == settings


@given(st.lists(KEYS, min_size=1, max_size=4), TEXT)
def test_an_override_of_any_text_is_found_at_its_path(path: list[str], text: str) -> None:
    quoted = to_toml(Inner(names=(text,))).split("\n")[1].removeprefix("names = ")
    found: object = apply_overrides({}, [f"{'.'.join(path)}={quoted}"])
    for key in path:
        assert isinstance(found, dict)
        found = found[key]
    assert found == [text]


@given(st.dictionaries(KEYS, INTEGERS, max_size=4), st.dictionaries(KEYS, INTEGERS, max_size=4))
def test_overrides_of_the_first_level_are_a_union(table: Table, changes: Table) -> None:
    assert apply_overrides(table, [f"{key}={value}" for key, value in changes.items()]) == table | changes
