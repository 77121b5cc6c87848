import pickle

from mammoscope.imaging.verdict import Verdict, refusal


def test_a_refusal_says_what_was_found_what_was_expected_and_what_to_do() -> None:
    error = refusal(Verdict.COLOUR, "17", found="3 samples per pixel", expected="one", advice="give the mammogram")
    assert error.code == "colour"
    assert error.sentence == "17: found 3 samples per pixel, expected one; give the mammogram"


def test_a_refusal_survives_the_way_back_from_a_worker() -> None:
    error = refusal(Verdict.BLANK, "17", found="a", expected="b", advice="c")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes, as a worker process sends them
    assert (copy.code, copy.sentence) == (error.code, error.sentence)
