import inspect
import pickle

import pytest

from mammoscope import errors
from mammoscope.errors import ImageRefusedError, LeakageError, MammoscopeError, UserInputError, WorkerLostError

ALL_ERRORS = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, Exception)]


@pytest.mark.parametrize("error", ALL_ERRORS)
def test_every_error_stands_in_the_tree_of_the_docstring(error: type[Exception]) -> None:
    assert issubclass(error, MammoscopeError)
    assert errors.__doc__ is not None
    assert f" {error.__name__} " in f" {errors.__doc__.replace(chr(10), ' ')} "


def test_only_the_root_and_a_lost_worker_are_our_failure() -> None:
    assert [each for each in ALL_ERRORS if not issubclass(each, UserInputError)] == [MammoscopeError, WorkerLostError]


def test_a_refusal_keeps_code_and_sentence_on_the_way_between_processes() -> None:
    refusal = pickle.loads(pickle.dumps(ImageRefusedError("truncated", "a.dcm: ends early")))  # noqa: S301  # our own bytes
    assert (refusal.code, refusal.sentence, str(refusal)) == ("truncated", "a.dcm: ends early", "a.dcm: ends early")


def test_a_leak_keeps_its_patients_on_the_way_between_processes() -> None:
    leak = pickle.loads(pickle.dumps(LeakageError("m: patients in two folds", ("a", "b"))))  # noqa: S301  # our own bytes
    assert (str(leak), leak.patient_ids) == ("m: patients in two folds", ("a", "b"))
