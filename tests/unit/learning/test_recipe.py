import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from mammoscope.config import build_settings, parse_toml, to_toml
from mammoscope.errors import ConfigError
from mammoscope.learning.network import build_network
from mammoscope.learning.recipe import read_recipe, shipped_recipes
from mammoscope.learning.settings import Recipe, ScheduleSettings

RecipeOf = Callable[..., Recipe]
CliRun = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_loads_and_survives_the_run_folder(name: str) -> None:
    recipe = read_recipe(name, [])
    assert build_settings(Recipe, parse_toml(to_toml(recipe), where="run"), where="run") == recipe


def test_baseline_and_small_ship() -> None:
    assert {"baseline", "small"} <= set(shipped_recipes())


def test_baseline_is_the_public_baseline() -> None:
    recipe = read_recipe("baseline", [])
    assert (recipe.backbone.name, recipe.backbone.weights) == ("efficientnet_b4", "hub")
    assert recipe.fine_tuning.model_dump(exclude_defaults=True) == {"train": "head"}  # its BatchNorm follows the data
    assert (recipe.picture.train_rows, recipe.picture.train_columns) == (320, 320)
    assert (recipe.picture.held_out_rows, recipe.picture.held_out_columns) == (384, 384)
    assert recipe.augment.model_dump(exclude_defaults=True) == {
        "flip_horizontal": 0.5,
        "flip_vertical": 0.5,
        "rotation_degrees": 5.0,
    }
    optimizer = {"name": "adam", "rate": 1e-3, "weight_decay": 0.0, "clip_norm": 0.0, "most_skipped": 10}
    assert recipe.optimizer.model_dump() == optimizer
    assert (recipe.schedule, recipe.ema) == (ScheduleSettings(name="constant"), 0.0)
    assert (recipe.batch.size, recipe.epochs, recipe.sampling) == (16, 10, "matched-controls")
    assert recipe.loss.positive_weight == 1.0


def test_standard_is_what_its_words_say() -> None:
    recipe = read_recipe("standard", [])
    assert recipe.backbone.name.startswith("convnext_small.")
    assert (recipe.store.rows, recipe.store.columns) == (1536, 768)
    assert (recipe.sampling, recipe.balance.least_cases, recipe.batch.size) == ("balanced-batch", 1, 16)
    assert (recipe.ema, recipe.schedule.name, recipe.schedule.warm_up) == (0.999, "cosine", 0.05)
    assert (recipe.precision, recipe.views.combine, recipe.batch.micro, recipe.keep) == ("bf16", "mean", "auto", "last")


def test_winner_is_the_winners() -> None:
    """ConvNeXt-small at 2048 x 1024, max pooling, SGD from 3e-3, 4 of 30 epochs to warm up, 1 case to 7 controls."""
    recipe = read_recipe("winner", [])
    assert recipe.backbone.name == "convnext_small.fb_in22k_ft_in1k_384"
    assert recipe.backbone.options == {"drop_path_rate": 0.2}
    assert (recipe.store.rows, recipe.store.columns, recipe.store.bits) == (2048, 1024, 8)
    assert (recipe.head.pooling, recipe.head.dropout, recipe.level, recipe.views.combine) == (
        "max",
        0.5,
        "image",
        "mean",
    )
    assert (recipe.optimizer.name, recipe.optimizer.rate, recipe.schedule.name) == ("sgd", 3e-3, "cosine")
    assert recipe.schedule.warm_up_epochs == 4
    assert recipe.optimizer.rate * recipe.schedule.floor == pytest.approx(5e-5, rel=0.01)
    assert (recipe.epochs, recipe.batch.size, recipe.ema) == (30, 8, 0.9998)
    assert (recipe.loss.name, 1 - recipe.loss.soften_positives) == ("bce", 0.8)
    assert (recipe.sampling, recipe.balance.controls_per_case) == ("balanced-batch", 7.0)
    assert recipe.balance.least_cases == 1


@pytest.mark.parametrize("name", shipped_recipes())
def test_the_network_of_a_shipped_recipe_takes_its_pictures(name: str) -> None:
    """Without memory for its weights."""
    recipe = read_recipe(name, [])
    rows, columns = recipe.store.rows or 512, recipe.store.columns or 256
    with torch.device("meta"):
        output = build_network(recipe)(torch.zeros(2, 1, rows, columns))
    assert output.cancer.shape == (2,)


def test_an_override_takes_the_place_of_a_value() -> None:
    assert read_recipe("baseline", ["optimizer.rate=0.5", "batch.micro=4"]).optimizer.rate == 0.5


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("optimiser.rate=1", r"recipe .*tiny\.toml: optimiser: unknown key; did you mean 'optimizer'\?"),
        ("optimizer.rat=1", r"optimizer\.rat: unknown key; did you mean 'rate'\?"),
        ("optimizer.rate=0.0", r"optimizer\.rate: found 0\.0; input should be greater than 0"),
        ("optimizer.rate=nan", r"optimizer\.rate: found "),
        ("epochs=0", r"epochs: found 0; input should be greater than or equal to 1"),
        ("epochs=2.5", r"epochs: found 2\.5"),
        ("ema=1.0", r"ema: found 1\.0; input should be less than 1"),
        ("seed=-1", r"seed: found -1"),
        (
            "head.pooling=mean",
            r"head\.pooling: found 'mean'; input should be 'avg', 'max', 'catavgmax', 'gem' or",
        ),
        ("head.layers=[0]", r"head\.layers\.0: found 0"),
        ("head.dropout=1.0", r"head\.dropout: found 1\.0"),
        ("head.dropout_samples=0", r"head\.dropout_samples: found 0"),
        (
            "head.dropout_samples=4",
            r"head\.dropout_samples: found 4 with head\.dropout = 0, which makes all",
        ),
        ("backbone.frozen=true", r"backbone\.frozen: unknown key"),
        ("fine_tuning.train=some", r"fine_tuning\.train: found 'some'; input should be 'all', 'head' or 'staged'"),
        ("fine_tuning.stage_epochs=0", r"fine_tuning\.stage_epochs: found 0"),
        (
            "fine_tuning.stage_epochs=2",
            r"fine_tuning\.stage_epochs: found 2, which train = 'all' does not use",
        ),
        ("fine_tuning.layer_decay=0", r"fine_tuning\.layer_decay: found 0; input should be greater than 0"),
        ("fine_tuning.layer_decay=1.1", r"fine_tuning\.layer_decay: found 1\.1"),
        ("fine_tuning.layer_decay=nan", r"fine_tuning\.layer_decay: found "),
        ("fine_tuning.drop_path=1.0", r"fine_tuning\.drop_path: found 1\.0"),
        ("compute.compile=1", r"compute\.compile: found 1; input should be a valid boolean"),
        ("augment.zoom=1.0", r"augment\.zoom: found 1\.0"),
        ("augment.flip_horizontal=1.5", r"augment\.flip_horizontal: found 1\.5"),
        ("augment.crop=1.0", r"augment\.crop: found 1\.0"),
        ("augment.elastic=0.2", r"augment\.elastic: found 0\.2; input should be less than or equal to 0\.1"),
        ("augment.blur_px=-1", r"augment\.blur_px: found -1"),
        ("augment.noise=nan", r"augment\.noise: found "),
        ("augment.window=0.5", r"augment\.window: found 0\.5"),
        ("augment.tone_curve=3", r"augment\.tone_curve: found 3"),
        ("augment.brightness=1.5", r"augment\.brightness: found 1\.5"),
        ("augment.erase=0.6", r"augment\.erase: found 0\.6"),
        ("augment.erase_side=0", r"augment\.erase_side: found 0"),
        ("loss.positive_weight=0", r"loss\.positive_weight: found 0; expected a number above 0, or 'auto'$"),
        ("loss.positive_weight=-1", r"loss\.positive_weight: found -1; expected a number above 0, or 'auto'$"),
        ("loss.positive_weight=nan", r"loss\.positive_weight: found nan; expected a number above 0, or 'auto'$"),
        ("loss.positive_weight=even", r"loss\.positive_weight: found 'even'; expected a number above 0, or 'auto'$"),
        ("loss.soften_positives=0.5", r"loss\.soften_positives: found 0\.5; input should be less than 0\.5"),
        ("loss.soften_positives=-0.1", r"loss\.soften_positives: found -0\.1"),
        ("loss.focal_gamma=-1", r"loss\.focal_gamma: found -1"),
        ("loss.surrogate_share=1.5", r"loss\.surrogate_share: found 1\.5"),
        ("loss.surrogate_share=-0.1", r"loss\.surrogate_share: found -0\.1"),
        ("loss.temperature=0", r"loss\.temperature: found 0"),
        ("loss.surrogate_share=1.0", r"surrogate_share: found 1\.0, which loss\.name = 'bce' does not use; expected"),
        (
            "loss.prevalence=1.0",
            r"loss\.prevalence: found 1\.0; expected a number above 0 and below 1, or 'training'$",
        ),
        ("loss.prevalence=0", r"loss\.prevalence: found 0; expected a number above 0 and below 1, or 'training'$"),
        ("loss.prevalence=-0.1", r"loss\.prevalence: found -0\.1; expected a number"),
        ("loss.prevalence=nan", r"loss\.prevalence: found nan; expected a number"),
        ("loss.prevalence=cohort", r"loss\.prevalence: found 'cohort'; expected a number"),
        ("auxiliary.view=-0.1", r"auxiliary\.view: found -0\.1; input should be greater than or equal to 0"),
        ("auxiliary.biopsy=nan", r"auxiliary\.biopsy: found nan"),
        ("auxiliary.age=1", r"auxiliary\.age: unknown key; known here: biopsy, birads, density, difficult_negative"),
        ("loss.name=hinge", r"loss\.name: found 'hinge'"),
        (
            "loss.focal_gamma=1.0",
            r"focal_gamma: found 1\.0, which loss\.name = 'bce' does not use; expected it with loss\.name = 'focal' ",
        ),
        ("schedule.warm_up=1.0", r"schedule\.warm_up: found 1\.0"),
        ("schedule.warm_up_steps=-1", r"schedule\.warm_up_steps: found -1"),
        ("schedule.warm_up_steps=2.5", r"schedule\.warm_up_steps: found 2\.5"),
        ("schedule.warm_up_epochs=-0.5", r"schedule\.warm_up_epochs: found -0\.5"),
        ("schedule.floor=1.5", r"schedule\.floor: found 1\.5"),
        ("schedule.floor=0.1", r"schedule\.floor: found 0\.1, which schedule\.name = 'one-cycle' does not use"),
        ("picture.spread=0", r"picture\.spread: found 0"),
        ("picture.train_rows=15", r"picture\.train_rows: found 15"),
        ("store.bits=12", r"store\.bits: found 12"),
        ("sampling=some", r"sampling: found 'some'"),
        ("balance.controls_per_case=0", r"balance\.controls_per_case: found 0"),
        ("balance.least_cases=0", r"balance\.least_cases: found 0"),
        (
            "balance.repeat_strength=0.9",
            r"balance\.repeat_strength: found 0\.9; input should be greater than or equal to 1",
        ),
        ("balance.hard_share=1.5", r"balance\.hard_share: found 1\.5"),
        ("balance.age_within_years=-1", r"balance\.age_within_years: found -1"),
        ("balance.match=['birads']", r"balance\.match\.0: found 'birads'; input should be 'age_years', 'density'"),
        ("balance.match=['site', 'site']", r"balance\.match: found \['site', 'site'\]; expected each column once"),
        ("balance.match=site", r"balance\.match: found 'site'"),
        ("balance.ratio=2", r"balance\.ratio: unknown key; known here: age_within_years, controls_per_case"),
        ("precision=f64", r"precision: found 'f64'; input should be 'auto', 'f32', 'bf16' or 'f16'"),
        ("optimizer.most_skipped=0", r"optimizer\.most_skipped: found 0"),
        ("batch.micro=3", r"batch\.micro: found 3, expected a divisor of batch\.size, which is 4"),
        ("batch.micro=8", r"batch\.micro: found 8, expected a divisor of batch\.size, which is 4"),
        ("batch.micro=0", r"batch\.micro: found 0; expected a whole number, 1 or more, or 'auto'$"),
        ("batch.micro=most", r"batch\.micro: found 'most'; expected a whole number, 1 or more, or 'auto'$"),
        ("batch.micro=1.5", r"batch\.micro: found 1\.5; expected a whole number"),
        ("picture.train_rows=64", r"picture\.train_rows and _columns: expected both or neither"),
        ("picture.held_out_columns=64", r"picture\.held_out_rows and _columns: expected both or neither"),
    ],
)
def test_a_bad_value_is_refused_with_its_dotted_path(recipe_of: RecipeOf, assignment: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        recipe_of(assignment)


@pytest.mark.parametrize(
    ("assignments", "sentence"),
    [
        (
            ("balance.controls_per_case=2.0",),
            r"found 2\.0, which sampling = 'all' does not use; expected it with sampling = 'matched' or 'undersample'",
        ),
        (
            ("balance.scores=s.csv", "sampling=upsample"),
            r"balance\.scores: found 's\.csv', which sampling = 'upsample'",
        ),
        (
            ("balance.match=['site']", "sampling=matched-controls"),
            r"balance\.match: found \('site',\), which sampling = 'matched-controls' does not use",
        ),
        (
            ("balance.age_within_years=2.0", "sampling=undersample"),
            r"balance\.age_within_years: found 2\.0, which sampling = 'undersample' does not use",
        ),
        (
            ("balance.repeat_strength=2.0", "sampling=matched"),
            r"balance\.repeat_strength: found 2\.0, which sampling = 'matched' does not use",
        ),
        (
            ("balance.controls_per_case=1.5", "sampling=matched"),
            r"balance\.controls_per_case: found 1\.5, expected a whole number with sampling = 'matched', which counts",
        ),
        (
            ("balance.age_within_years=2.0", "balance.match=['site']", "sampling=matched"),
            r"balance\.age_within_years: found 2, which is not used without 'age_years' in balance\.match; add it",
        ),
        (
            ("balance.least_cases=4", "sampling=balanced-batch"),
            r"balance\.least_cases: found 4, expected less than batch\.size, which is 4, so that a batch has a control",
        ),
        (
            ("sampling=upsample", "balance.repeat_strength=4.0", "augment.zoom=0.25"),
            r"balance\.repeat_strength: found 4, which times augment\.zoom is 1; expected less than 1; lower one",
        ),
        (
            ("sampling=balanced-batch", "augment.contrast=0.7"),
            r"times augment\.contrast is 1\.05; expected less than 1",
        ),
        (
            ("sampling=upsample", "augment.shear_degrees=30"),
            r"times augment\.shear_degrees is 45; expected less than 45",
        ),
        (("sampling=upsample", "augment.crop=0.8"), r"times augment\.crop is 1\.2; expected less than 1"),
        (("sampling=upsample", "augment.elastic=0.08"), r"times augment\.elastic is 0\.12; expected less than 0\.12"),
        (("sampling=upsample", "augment.window=0.4"), r"times augment\.window is 0\.6; expected less than 0\.5"),
        (
            ("sampling=upsample", "augment.erase=0.5", "balance.repeat_strength=2.0"),
            r"times augment\.erase is 1; expected less than 1",
        ),
    ],
)
def test_a_balance_that_cannot_be_is_refused(recipe_of: RecipeOf, assignments: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        recipe_of(*assignments)


@pytest.mark.parametrize(
    ("assignments", "sentence"),
    [
        (
            ("train=head", "layer_decay=0.9"),
            r"layer_decay: found 0\.9, which train = 'head' does not use; .* 'all' or 'staged' only",
        ),
        (
            ("train=head", "gradient_checkpointing=true"),
            r"gradient_checkpointing: found True, which train = 'head'",
        ),
        (
            ("train=staged", "stage_epochs=2"),
            r"stage_epochs: found 2 with epochs = 2, in which no stage of the backbone gets its turn",
        ),
        (("train=staged", "stage_epochs=3"), r"stage_epochs: found 3 with epochs = 2"),
    ],
)
def test_fine_tuning_that_cannot_be_is_refused(
    recipe_of: RecipeOf, assignments: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=rf"fine_tuning\.{sentence}"):
        recipe_of(*(f"fine_tuning.{assignment}" for assignment in assignments))


@pytest.mark.parametrize(
    ("assignments", "sentence"),
    [
        (("views.most=4",), r"views\.most: found 4, which level = 'image' does not use; .* level = 'breast' only"),
        (("augment.erase_side=0.1",), r"augment\.erase_side: found 0\.1, .* without augment\.erase; set a share"),
        (("table.hidden=8",), r"table\.hidden: found 8, which is not used without columns; .* table\.columns"),
        (("table.dropout=0.5",), r"table\.dropout: found 0\.5, which is not used without columns"),
        (("table.embedding=8",), r"table\.embedding: found 8, which is not used without columns"),
        (
            ("table.embedding=8", "table.columns=['age_years']"),
            r"table\.embedding: found 8, which is not used without categories among the columns",
        ),
    ],
)
def test_a_key_that_does_nothing_is_refused(recipe_of: RecipeOf, assignments: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        recipe_of(*assignments)


def test_a_key_that_does_something_is_not(recipe_of: RecipeOf) -> None:
    assert recipe_of("views.most=4", "level=breast").views.most == 4
    assert recipe_of("augment={erase=0.1, erase_side=0.1}").augment.erase_side == 0.1
    assert recipe_of("table={columns=['age_years'], hidden=8, dropout=0.5}").table.hidden == 8
    assert recipe_of("table={columns=['age_years', 'view'], embedding=8}").table.embedding == 8
    assert recipe_of("table.hidden=16", "views.most=8").table.columns == ()  # their defaults, said aloud


def test_drop_path_is_said_once(recipe_of: RecipeOf) -> None:
    twice = ("fine_tuning.drop_path=0.1", "backbone.options={drop_path_rate=0.2}")
    with pytest.raises(ConfigError, match=r"fine_tuning\.drop_path: found 0\.1 beside drop_path_rate in backbone\.opt"):
        recipe_of(*twice)
    assert recipe_of(twice[0]).fine_tuning.drop_path == 0.1
    assert recipe_of(twice[1]).fine_tuning.drop_path is None


def test_a_balance_that_can_be_is_none_of_these(recipe_of: RecipeOf) -> None:
    assert recipe_of("balance.least_cases=3", "sampling=balanced-batch").balance.least_cases == 3
    assert recipe_of("balance.controls_per_case=1.0").sampling == "all"  # its default, said aloud
    matched = recipe_of("sampling=matched", "balance.match=[]", "balance.controls_per_case=3").balance
    assert (matched.match, matched.controls_per_case) == ((), 3.0)
    assert recipe_of("sampling=matched", "balance.age_within_years=0").balance.age_within_years == 0
    assert recipe_of("augment.contrast=0.9").augment.contrast == 0.9  # nothing is repeated


@pytest.mark.parametrize(
    ("assignments", "sentence"),
    [
        (
            ("schedule.warm_up=0.1", "schedule.warm_up_steps=5"),
            r"schedule\.warm_up_steps: found beside schedule\.warm_up, expected at most one of warm_up, warm_up_steps",
        ),
        (
            ("schedule.warm_up_steps=5", "schedule.warm_up_epochs=0.0"),
            r"schedule\.warm_up_epochs: found beside schedule\.warm_up_steps, .*; take the others out",
        ),
    ],
)
def test_two_warm_ups_are_refused(recipe_of: RecipeOf, assignments: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        recipe_of(*assignments)
    assert recipe_of("schedule.name=cosine", "schedule.floor=0.1", assignments[1]).schedule.floor == 0.1


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_warm_up_may_be_given_in_any_unit_to_a_recipe_that_ships(name: str) -> None:
    for assignment in ("schedule.warm_up=0.1", "schedule.warm_up_steps=5", "schedule.warm_up_epochs=1"):
        assert len(read_recipe(name, [assignment]).schedule.given_warm_ups) == 1


def test_batch_norm_of_one_picture_is_refused(recipe_of: RecipeOf) -> None:
    with pytest.raises(ConfigError, match=r"head\.batch_norm: found true with one picture at a time"):
        recipe_of("batch.micro=1", "head.batch_norm=true")
    assert recipe_of("batch.micro=1").batch.micro == 1


def test_a_recipe_that_is_not_there_is_refused_with_the_names_of_those_that_ship() -> None:
    with pytest.raises(ConfigError, match=r"recipe huge: no such file, and not one of the recipes that ship: baseline"):
        read_recipe("huge", [])


def test_a_recipe_without_a_backbone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.toml"
    path.write_text("")
    with pytest.raises(ConfigError, match=r"backbone: missing; add this key"):
        read_recipe(str(path), [])


def _documented_keys() -> dict[str, str]:
    text = (Path(__file__).parents[3] / "docs" / "learning.md").read_text()
    table = text.split("## The recipe", 1)[1].split("\n## ", 1)[0]
    return dict(re.findall(r"^\| `([a-z_.]+)` \| ([^|]+) \|", table, flags=re.MULTILINE))


def _default_by_key() -> dict[str, object]:
    found: dict[str, object] = {}
    for name, field in Recipe.model_fields.items():
        annotations: tuple[Any, ...] = (field.annotation, *get_args(field.annotation))  # a table may be left out
        table = next((each for each in annotations if hasattr(each, "model_fields")), None)
        if table is not None:
            inner = table.model_fields
            found |= {f"{name}.{key}": each.get_default(call_default_factory=True) for key, each in inner.items()}
        else:
            found[name] = field.default
    return found


def test_the_documented_table_of_keys_is_complete_and_gives_the_defaults() -> None:
    documented, defaults = _documented_keys(), _default_by_key()
    assert set(documented) == set(defaults)
    wrong = {
        key: (said, defaults[key])
        for key, said in documented.items()
        if defaults[key].__class__ in {int, float, bool, str} and said.strip() != str(defaults[key])
    }
    assert wrong == {}


def write_recipe(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_recipe_extends_one_that_ships(tmp_path: Path) -> None:
    mine = write_recipe(tmp_path / "mine.toml", 'extends = "small"\nepochs = 3\n[augment]\ngamma = 0.0\n')
    small, recipe = read_recipe("small", []), read_recipe(mine, [])
    assert (recipe.epochs, recipe.augment.gamma) == (3, 0.0)
    rest = recipe.model_copy(update={"epochs": small.epochs, "augment": small.augment})
    assert rest == small
    assert recipe.augment == small.augment.model_copy(update={"gamma": 0.0})


def test_a_recipe_extends_a_file_beside_it_and_set_comes_last(tmp_path: Path) -> None:
    write_recipe(tmp_path / "below.toml", 'extends = "small"\nepochs = 3\nseed = 7\n')
    mine = write_recipe(tmp_path / "mine.toml", 'extends = "below.toml"\nepochs = 4\n')
    recipe = read_recipe(mine, ["seed=9"])
    assert (recipe.epochs, recipe.seed, recipe.backbone.name) == (4, 9, "mobilenetv2_100")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('extends = "mine.toml"', r"extends: found a circle, .*mine\.toml -> .*mine\.toml"),
        ("extends = 3", r"mine\.toml: extends: found 3, expected the name or the path of one recipe"),
        ('extends = "none.toml"', r"none\.toml: no such file, and not one of the recipes that ship: baseline"),
    ],
)
def test_what_cannot_be_extended_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=sentence):
        read_recipe(write_recipe(tmp_path / "mine.toml", text), [])


@pytest.mark.parametrize("weight", ["auto", 2.5, 3])
def test_a_weight_is_a_number_or_a_word_and_survives_the_run_folder(recipe_of: RecipeOf, weight: object) -> None:
    recipe = recipe_of(f"loss.positive_weight={weight}", "loss.name=focal", "loss.focal_gamma=0")
    assert recipe.loss.positive_weight == weight
    assert build_settings(Recipe, parse_toml(to_toml(recipe), where="run"), where="run") == recipe


@pytest.mark.parametrize(
    ("assignments", "sentence"),
    [
        (
            ("loss.name=focal", "loss.surrogate_share=0.2"),
            r"found 0\.2, which loss\.name = 'focal' does not use; .* loss\.name = 'average-precision' or 'pf1' only",
        ),
        (
            ("loss.name=pf1", "loss.temperature=2.0"),
            r"loss\.temperature: found 2\.0, which loss\.name = 'pf1' does not use",
        ),
        (
            ("loss.name=average-precision", "loss.focal_gamma=1.0"),
            r"loss\.focal_gamma: found 1\.0, which loss\.name = 'average-precision' does not use",
        ),
        (
            ("loss.name=average-precision", "batch.micro=1"),
            r"loss\.name: found 'average-precision' with one picture at a time, which has no others to be held against",
        ),
        (("loss.name=pf1", "batch.size=1"), r"loss\.name: found 'pf1' with one picture at a time"),
        (
            ("loss.name=pf1", "loss.surrogate_share=1", "loss.positive_weight=auto"),
            r"loss\.positive_weight: found 'auto', which only cross-entropy uses, but loss\.surrogate_share = 1 leaves",
        ),
        (
            ("loss.name=average-precision", "loss.surrogate_share=1.0", "loss.soften_positives=0.1"),
            r"loss\.soften_positives: found 0\.1, which only cross-entropy uses",
        ),
        *(
            (
                (f"loss.name={name}", "loss.prevalence=training"),
                rf"loss\.prevalence: found 'training', which loss\.name = '{name}' does not use; .* = 'bce' only",
            )
            for name in ("focal", "average-precision", "pf1")
        ),
        *(
            (
                (f"sampling={sampling}", "loss.prevalence=0.01"),
                rf"loss\.prevalence: found 0\.01 with sampling = '{sampling}', which does not draw controls by chance",
            )
            for sampling in ("matched", "matched-controls", "hard-negatives")
        ),
        (
            ("loss.prevalence=training", "loss.soften_positives=0.1"),
            r"loss\.soften_positives: found 0\.1 with loss\.prevalence, but a score that is learned from such targets",
        ),
    ],
)
def test_a_loss_that_cannot_be_is_refused(recipe_of: RecipeOf, assignments: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        recipe_of(*assignments)


def test_a_loss_that_can_be_is_none_of_these(recipe_of: RecipeOf) -> None:
    assert recipe_of("loss.name=pf1", "loss.surrogate_share=1", "batch.micro=2").loss.surrogate_share == 1.0
    weighed = recipe_of("loss.name=average-precision", "loss.positive_weight=2", "loss.soften_positives=0.1").loss
    assert (weighed.surrogate_share, weighed.temperature) == (0.5, 1.0)


def test_a_share_of_0_leaves_no_surrogate_to_learn_from(recipe_of: RecipeOf) -> None:
    with pytest.raises(ConfigError, match=r"loss\.surrogate_share: found 0; input should be greater than 0"):
        recipe_of("loss.name=average-precision", "loss.surrogate_share=0")


@pytest.mark.parametrize("sampling", ["all", "undersample", "upsample", "balanced-batch"])
@pytest.mark.parametrize("prevalence", ["training", 0.01])
def test_a_prevalence_goes_with_sampling_by_chance_and_survives_the_run_folder(
    recipe_of: RecipeOf, sampling: str, prevalence: object
) -> None:
    recipe = recipe_of(f"sampling={sampling}", f"loss.prevalence={prevalence}", "loss.positive_weight=auto")
    assert recipe.loss.prevalence == prevalence
    assert build_settings(Recipe, parse_toml(to_toml(recipe), where="run"), where="run") == recipe
