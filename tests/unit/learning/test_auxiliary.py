"""Labels of further questions, and the loss of their answers where the cohort knows them."""

import math

import polars as pl
import pytest
import torch
from torch.nn import functional

from mammoscope.cohort.manifest import ALLOWED_VALUES, SCHEMA
from mammoscope.errors import ConfigError
from mammoscope.learning.auxiliary import CLASSES, MISSING, auxiliary_loss, count_logits, encode_labels, label_rows
from mammoscope.learning.settings import AuxiliarySettings

Tensors = dict[str, torch.Tensor]
HEADS = tuple(AuxiliarySettings.model_fields)
EVERY_HEAD = AuxiliarySettings(**dict.fromkeys(HEADS, 1.0))


def build_rows(**columns: list[object]) -> pl.DataFrame:
    """Manifest rows with only these columns known; views of CC."""
    n_rows = len(next(iter(columns.values())))
    unknown = {name: [None] * n_rows for name in SCHEMA} | {"view": ["CC"] * n_rows}
    return pl.DataFrame(unknown | columns, schema=SCHEMA)


def draw_answers(n: int = 20) -> tuple[Tensors, Tensors]:
    """Logits in double precision, and labels of which every fourth or so is missing, for every head."""
    generator = torch.Generator().manual_seed(1)
    logits, labels = {}, {}
    for head, n_logits in count_logits(EVERY_HEAD).items():
        shape = (n,) if n_logits == 1 else (n, n_logits)
        logits[head] = torch.randn(shape, generator=generator, dtype=torch.float64)
        labels[head] = torch.randint(len(CLASSES[head]), (n,), generator=generator)
        labels[head][torch.rand(n, generator=generator) < 0.25] = MISSING
    return logits, labels


# labels


def test_the_classes_are_the_values_of_a_manifest_in_this_order() -> None:
    """Weights of a trained head depend on it."""
    assert CLASSES == {
        "view": ("CC", "MLO", "ML", "LM", "LMO", "SIO", "ISO", "FB", "XCCL", "XCCM", "AT"),
        "density": ("A", "B", "C", "D"),
        "birads": (0, 1, 2, 3, 4, 5, 6),
        "invasive": (False, True),
        "difficult_negative": (False, True),
        "biopsy": (False, True),
    }
    assert set(CLASSES) == set(HEADS)
    assert set(CLASSES["view"]) == set(ALLOWED_VALUES["view"])
    assert set(CLASSES["density"]) == set(ALLOWED_VALUES["density"])


@pytest.mark.parametrize(
    ("head", "values", "labels"),
    [
        ("view", ["MLO", "CC", "AT"], [1, 0, 10]),
        ("density", ["D", None, "A"], [3, -1, 0]),
        ("birads", [0, 6, None], [0, 6, -1]),
        ("invasive", [True, None, False], [1, -1, 0]),
        ("difficult_negative", [None, True, False], [-1, 1, 0]),
        ("biopsy", [False, None, True], [0, -1, 1]),
        ("biopsy", [None, None], [-1, -1]),
    ],
)
def test_the_label_of_a_value_is_its_place_and_of_none_is_missing(
    head: str, values: list[object], labels: list[int]
) -> None:
    encoded = encode_labels(build_rows(**{head: values}))
    assert set(encoded) == set(HEADS)
    assert encoded[head].tolist() == labels
    assert all(each.dtype == torch.int64 and len(each) == len(values) for each in encoded.values())
    assert all(encoded[other].tolist() == [MISSING] * len(values) for other in set(HEADS) - {head, "view"})


def test_rows_are_labelled_for_the_questions_that_are_asked() -> None:
    rows = build_rows(density=["A", None, "D"], biopsy=[None, True, None])
    labels = label_rows(rows, AuxiliarySettings(density=0.5, biopsy=2.0))
    assert labels is not None
    assert {head: each.tolist() for head, each in labels.items()} == {"density": [0, -1, 3], "biopsy": [-1, 1, -1]}
    assert label_rows(rows, AuxiliarySettings()) is None


def test_a_question_that_no_row_answers_is_refused() -> None:
    rows = build_rows(density=["A", None, "D"])
    with pytest.raises(
        ConfigError, match=r"auxiliary\.biopsy: found 0\.5, but biopsy is empty in all 3 images to train on; leave this"
    ):
        label_rows(rows, AuxiliarySettings(density=1.0, biopsy=0.5))


def test_rows_of_none_have_no_labels() -> None:
    encoded = encode_labels(build_rows(view=["CC"])[:0])
    assert all(each.shape == (0,) and each.dtype == torch.int64 for each in encoded.values())


def test_heads_with_a_weight_have_a_logit_for_each_class_or_one_for_yes_and_no() -> None:
    assert count_logits(AuxiliarySettings()) == {}
    assert count_logits(AuxiliarySettings(biopsy=0.1, density=0.2)) == {"density": 4, "biopsy": 1}
    assert list(count_logits(EVERY_HEAD).values()) == [11, 4, 7, 1, 1, 1]


# their loss


def test_the_loss_worked_by_hand() -> None:
    """Even logits of four classes, and a logit of ln 3 for yes; the missing ones are left out of the mean."""
    logits = {"density": torch.zeros(3, 4), "biopsy": torch.full((3,), math.log(3))}
    labels = {"density": torch.tensor([2, MISSING, MISSING]), "biopsy": torch.tensor([1, 0, MISSING])}
    loss = auxiliary_loss(logits, labels, AuxiliarySettings(density=0.5, biopsy=2.0))
    assert loss.item() == pytest.approx(0.5 * math.log(4) - 2.0 * (math.log(0.75) + math.log(0.25)) / 2, rel=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_the_loss_of_a_head_is_torchs_over_the_rows_that_are_known(head: str) -> None:
    logits, labels = draw_answers()
    known = labels[head] != MISSING
    assert 0 < known.sum() < len(known)
    if logits[head].ndim == 1:
        expected = functional.binary_cross_entropy_with_logits(logits[head][known], labels[head][known].double())
    else:
        expected = functional.cross_entropy(logits[head][known], labels[head][known])
    settings = AuxiliarySettings(**{head: 0.3})
    assert auxiliary_loss(logits, labels, settings).item() == pytest.approx(0.3 * expected.item(), rel=1e-12)


def test_what_is_predicted_where_the_label_is_missing_changes_nothing() -> None:
    logits, labels = draw_answers()
    other = {head: each.clone() for head, each in logits.items()}
    for head, each in other.items():
        each[labels[head] == MISSING] = 1e6
    plain, changed = (auxiliary_loss(each, labels, EVERY_HEAD) for each in (logits, other))
    assert plain.item() == changed.item()


@pytest.mark.parametrize("size", [0.0, 1e30])
def test_a_batch_without_any_label_has_no_loss_and_no_gradient(size: float) -> None:
    logits = {
        head: torch.full((3,) if n == 1 else (3, n), size, requires_grad=True)
        for head, n in count_logits(EVERY_HEAD).items()
    }
    labels = {head: torch.full((3,), MISSING) for head in logits}
    loss = auxiliary_loss(logits, labels, EVERY_HEAD)
    torch.autograd.backward(loss)
    assert loss.item() == 0.0
    for each in logits.values():
        assert each.grad is not None
        assert not each.grad.any()


def test_a_head_without_labels_leaves_the_others_as_they_are() -> None:
    logits, labels = draw_answers()
    unknown = labels | {"birads": torch.full((20,), MISSING)}
    rest = EVERY_HEAD.model_copy(update={"birads": 0.0})
    assert auxiliary_loss(logits, unknown, EVERY_HEAD).item() == auxiliary_loss(logits, labels, rest).item()


def test_without_any_weight_no_answer_is_asked_for() -> None:
    assert auxiliary_loss({}, {}, AuxiliarySettings()).item() == 0.0


def test_the_gradient_is_that_of_small_differences() -> None:
    logits, labels = draw_answers(5)
    heads = list(logits)

    def judge(*answers: torch.Tensor) -> torch.Tensor:
        return auxiliary_loss(dict(zip(heads, answers, strict=True)), labels, EVERY_HEAD)

    assert torch.autograd.gradcheck(judge, tuple(each.requires_grad_() for each in logits.values()))


@pytest.mark.parametrize("autocast", [False, True])
def test_answers_in_bfloat16_are_judged_in_full_precision_under_autocast_too(autocast: bool) -> None:
    exact, labels = draw_answers()
    logits = {head: each.bfloat16() for head, each in exact.items()}
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = auxiliary_loss(logits, labels, EVERY_HEAD)
    assert loss.dtype == torch.float32
    expected = auxiliary_loss({head: each.double() for head, each in logits.items()}, labels, EVERY_HEAD)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
