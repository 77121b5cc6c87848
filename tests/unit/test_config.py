from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from mammoscope.config import (
    Settings,
    Table,
    apply_overrides,
    build_settings,
    merge_tables,
    parse_toml,
    read_toml,
    to_toml,
)
from mammoscope.errors import ConfigError


class Rate(Settings):
    name: Literal["adam", "sgd"] = "adam"
    rate: Annotated[float, Field(gt=0)] = 0.1


class Plan(Settings):
    epochs: int
    optimizer: Rate = Rate()
    second: Rate | None = None
    layers: tuple[int, ...] = ()
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    label: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "Plan":
        if self.epochs == 13:
            raise ValueError("Epochs of 13 bring bad luck")
        return self


def plan(table: Table) -> Plan:
    return build_settings(Plan, table, where="plan.toml")


def test_a_table_becomes_frozen_settings() -> None:
    settings = plan({"epochs": 3, "optimizer": {"rate": 2}, "layers": [4, 5]})
    assert settings == Plan(epochs=3, optimizer=Rate(rate=2.0), layers=(4, 5))
    with pytest.raises(ValidationError, match="frozen"):
        settings.epochs = 4  # type: ignore[misc]  # the very thing that is tested


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({}, r"plan\.toml: epochs: missing; add this key"),
        ({"epochs": 1, "epoch": 2}, r"epoch: unknown key; did you mean 'epochs'\?"),
        ({"epochs": 1, "optimizer": {"rat": 1}}, r"optimizer\.rat: unknown key; did you mean 'rate'\?"),
        ({"epochs": 1, "second": {"rat": 1}}, r"second\.rat: unknown key; did you mean 'rate'\?"),
        ({"epochs": 1, "optimizer": {"zzz": 1}}, r"optimizer\.zzz: unknown key; known here: name, rate"),
        ({"epochs": "3"}, r"epochs: found '3'; input should be a valid integer"),
        ({"epochs": 1.5}, r"epochs: found 1\.5; input should be a valid integer"),
        ({"epochs": True}, r"epochs: found True; input should be a valid integer"),
        ({"epochs": []}, r"epochs: found \[\]; input should be a valid integer"),
        ({"epochs": 1, "optimizer": 3}, r"optimizer: found 3; input should be an object"),
        ({"epochs": 1, "optimizer": {"rate": 0}}, r"optimizer\.rate: found 0.*; input should be greater than 0"),
        ({"epochs": 1, "optimizer": {"rate": -1.0}}, r"optimizer\.rate: found -1\.0; input should be greater than 0"),
        ({"epochs": 1, "optimizer": {"rate": float("nan")}}, r"optimizer\.rate: found nan; .*finite number"),
        ({"epochs": 1, "optimizer": {"rate": float("inf")}}, r"optimizer\.rate: found inf; .*finite number"),
        ({"epochs": 1, "optimizer": {"name": "lion"}}, r"optimizer\.name: found 'lion'; .*'adam' or 'sgd'"),
        ({"epochs": 1, "layers": [1, "x"]}, r"layers\.1: found 'x'; input should be a valid integer"),
        ({"epochs": 1, "options": {"deep": [1]}}, r"options\.deep: found \[1\]; input should be a valid string"),
        ({"epochs": 13}, r"^plan\.toml: epochs of 13 bring bad luck$"),
    ],
)
def test_a_bad_table_names_the_dotted_path(table: Table, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        plan(table)


def test_all_problems_of_a_file_come_together() -> None:
    with pytest.raises(ConfigError) as caught:
        plan({"epoch": 1, "optimizer": {"rate": 0, "name": 3}})
    assert len(str(caught.value).splitlines()) == 4
    assert all(line.startswith("plan.toml: ") for line in str(caught.value).splitlines())


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("a=1", {"a": 1}),
        ("a=-0.5", {"a": -0.5}),
        ("a=1e-3", {"a": 0.001}),
        ("a=true", {"a": True}),
        ("a=True", {"a": "True"}),
        ("a=one-cycle", {"a": "one-cycle"}),
        ('a="1"', {"a": "1"}),
        ("a=[1, 2]", {"a": [1, 2]}),
        ("a={b = 1}", {"a": {"b": 1}}),
        ("a=", {"a": ""}),
        ("a=x=y", {"a": "x=y"}),
        ("a=../weights.safetensors", {"a": "../weights.safetensors"}),
        ("a=1\nb = 2", {"a": "1\nb = 2"}),
        ("a.b.c=1", {"a": {"b": {"c": 1}}}),
        (" a . b = 1 ", {"a": {"b": 1}}),
    ],
)
def test_an_override_is_toml_or_else_text(assignment: str, expected: Table) -> None:
    assert apply_overrides({}, [assignment]) == expected


def test_overrides_leave_the_given_table_alone_and_the_last_wins() -> None:
    table: Table = {"a": {"b": 1, "c": 2}}
    assert apply_overrides(table, ["a.b=3", "a.b=4", "d=5"]) == {"a": {"b": 4, "c": 2}, "d": 5}
    assert table == {"a": {"b": 1, "c": 2}}


def test_no_override_is_a_copy() -> None:
    table: Table = {"a": {"b": 1}}
    assert apply_overrides(table, []) == table
    assert apply_overrides(table, [])["a"] is not table["a"]


@pytest.mark.parametrize("assignment", ["", "a", "=1", "a.=1", ".a=1", "a..b=1", " =1"])
def test_an_override_without_key_or_value_is_refused(assignment: str) -> None:
    with pytest.raises(ConfigError, match=r"--set .*: expected key=value, such as --set optimizer\.rate=0\.001"):
        apply_overrides({}, [assignment])


def test_an_override_below_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--set a\.b=1: 'a' holds a value, expected a table"):
        apply_overrides({"a": 3}, ["a.b=1"])


def test_text_that_is_not_toml_names_the_line() -> None:
    with pytest.raises(ConfigError, match=r"r\.toml: not valid TOML: .*line 2"):
        parse_toml("a = 1\nb = = 2\n", where="r.toml")


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="not valid TOML"):
        parse_toml("a = 1\na = 2\n", where="r.toml")


def test_a_file_is_read_with_or_without_byte_order_mark_and_with_any_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    for content in (b"a = 1\n", b"\xef\xbb\xbfa = 1\n", b"a = 1\r\n"):
        path.write_bytes(content)
        assert read_toml(path) == {"a": 1}


def test_an_empty_file_is_an_empty_table(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"")
    assert read_toml(tmp_path / "a.toml") == {}


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read \(No such file.*\); check the path"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)"):
        read_toml(tmp_path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"a = 1\n\xff\xfe")
    with pytest.raises(ConfigError, match=r"a\.toml: not UTF-8 text, byte 6; expected a TOML file"):
        read_toml(tmp_path / "a.toml")


def test_settings_as_toml_are_what_a_person_would_write() -> None:
    text = to_toml(Plan(epochs=3, layers=(1, 2), options={"a b": "x"}))
    assert text == ('epochs = 3\nlayers = [1, 2]\n\n[optimizer]\nname = "adam"\nrate = 0.1\n\n[options]\n"a b" = "x"\n')


def test_merged_tables_keep_what_only_one_has_and_take_the_upper_value() -> None:
    below: Table = {"a": 1, "inner": {"b": 2, "c": {"d": 3}}, "changes": {"x": 1}}
    above: Table = {"inner": {"b": 5, "c": {"e": 6}}, "changes": 7}
    assert merge_tables(below, above) == {"a": 1, "inner": {"b": 5, "c": {"d": 3, "e": 6}}, "changes": 7}
    assert below == {"a": 1, "inner": {"b": 2, "c": {"d": 3}}, "changes": {"x": 1}}
