import dataclasses

import pytest

from mammoscope.anatomy import Laterality, View
from mammoscope.errors import UserInputError
from mammoscope.exam import Breast, Exam, Mammogram, group_into_exams


def mammogram(image_id: str, side: Laterality, *, exam_id: str = "exam7", patient_id: str = "Jane") -> Mammogram:
    return Mammogram(image_id, patient_id, exam_id, side, View.CC)


LEFT, RIGHT = mammogram("i1", Laterality.LEFT), mammogram("i2", Laterality.RIGHT)


@pytest.mark.parametrize("name", ["image_id", "patient_id", "exam_id"])
@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_id_is_refused(name: str, text: str) -> None:
    with pytest.raises(UserInputError, match=f"{name} is empty, expected an identifier"):
        dataclasses.replace(LEFT, **{name: text})  # type: ignore[arg-type]  # the three names are of texts


def test_a_breast_without_images_is_refused() -> None:
    with pytest.raises(UserInputError, match="breast L: found no image, expected one or more"):
        Breast("exam7", Laterality.LEFT, ())


def test_a_breast_refuses_an_image_of_the_other_side() -> None:
    with pytest.raises(UserInputError, match="image i2: found side R in a breast of side L; correct its laterality"):
        Breast("exam7", Laterality.LEFT, (LEFT, RIGHT))


def test_a_breast_refuses_an_image_of_another_exam() -> None:
    other = mammogram("i3", Laterality.LEFT, exam_id="exam8")
    with pytest.raises(UserInputError, match="image i3: found in a breast of another exam"):
        Breast("exam7", Laterality.LEFT, (LEFT, other))


def test_an_exam_without_breasts_is_refused() -> None:
    with pytest.raises(UserInputError, match="exam: found sides none; expected L, R or both, each once"):
        Exam("exam7", "Jane", ())


def test_an_exam_refuses_one_side_twice() -> None:
    left, again = Breast("exam7", Laterality.LEFT, (LEFT,)), Breast("exam7", Laterality.LEFT, (LEFT,))
    with pytest.raises(UserInputError, match="found sides L, L; expected L, R or both, each once"):
        Exam("exam7", "Jane", (left, again))


def test_an_image_stands_once_in_an_exam() -> None:
    with pytest.raises(UserInputError, match="image i1: stands twice in one exam; remove one"):
        group_into_exams([LEFT, RIGHT, LEFT])


def test_an_exam_refuses_the_breast_of_another_exam() -> None:
    breast = Breast("exam7", Laterality.LEFT, (LEFT,))
    with pytest.raises(UserInputError, match="exam with image i1: found breasts of two exams, expected one"):
        Exam("exam8", "Jane", (breast,))


def test_images_of_two_patients_are_no_exam() -> None:
    with pytest.raises(UserInputError, match="exam with image i1: found images of 2 patients, expected one"):
        group_into_exams([LEFT, mammogram("i2", Laterality.RIGHT, patient_id="Mary")])


def test_no_sentence_of_an_exam_names_patient_or_exam() -> None:
    with pytest.raises(UserInputError) as caught:
        group_into_exams([LEFT, mammogram("i2", Laterality.RIGHT, patient_id="Mary")])
    assert not any(name in str(caught.value) for name in ("Jane", "Mary", "exam7"))


def test_images_form_exams_and_breasts_in_their_order() -> None:
    elsewhere = mammogram("i0", Laterality.RIGHT, exam_id="exam9", patient_id="Ann")
    first, second = group_into_exams([RIGHT, elsewhere, LEFT])
    assert [each.image_id for each in first.mammograms] == ["i1", "i2"]
    assert [each.laterality for each in first.breasts] == ["L", "R"]
    assert (second.exam_id, second.patient_id, len(second.breasts)) == ("exam9", "Ann", 1)


def test_no_images_are_no_exams() -> None:
    assert group_into_exams([]) == ()
