"""The 44 items of the CLAIM checklist, in the order of its 2024 update and in words of ours.

Tejani et al. 2024, Radiology: Artificial Intelligence, doi:10.1148/ryai.240300.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClaimItem:
    """An item of the checklist: what is asked, and where in a paper it belongs."""

    number: int
    section: str
    question: str


QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "Title and abstract": (
        "Does the title say that a model was used, and of what kind?",
        "Does the abstract tell design, patients, methods, results and conclusion in a fixed order?",
    ),
    "Introduction": (
        "What is the clinical need, and what part would the model have?",
        "What was to be found out, and what was expected?",
    ),
    "Methods: design": (
        "Were the data gathered before or after the study was planned?",
        "What kind of study is it: a new model, a feasibility study, a trial?",
    ),
    "Methods: data": (
        "Where do the images come from, and who can get them?",
        "Who and what was taken in, and what was left out?",
        "What was done to the images before the model saw them?",
        "Was only a part of the data or of the picture used, and how was it chosen?",
        "How was identity removed?",
        "What was done where something was missing?",
        "On which machines and how were the images taken?",
    ),
    "Methods: reference standard": (
        "What counts as cancer, and as its absence?",
        "Why this standard and no other?",
        "Who marked the images, and how qualified?",
        "How were the test images marked?",
        "How well did those who marked agree, and how was it settled where not?",
    ),
    "Methods: partitions": (
        "Into which parts were the data divided, how, and how large?",
        "At which level are the parts separate: patient, exam, image?",
        "How was the number of test cases arrived at?",
    ),
    "Methods: model": (
        "What is the model: inputs, layers, outputs?",
        "Which software, in which versions?",
        "What did the weights start from?",
    ),
    "Methods: training": (
        "How was it trained: augmentation, schedule, all settings?",
        "How was the final model chosen?",
        "Were several models combined, and how?",
    ),
    "Methods: evaluation": (
        "Which figures measure it, and why these?",
        "How is uncertainty given, and what is tested?",
        "How far do the results stand when something is changed?",
        "How are single results explained, and was the explanation checked?",
        "Was it tested on data of the same origin?",
        "Was it tested on data of another origin?",
        "Where is the trial registered, if it is one?",
    ),
    "Results: data": (
        "How many were taken in and left out, and why?",
        "Who are they, in each part?",
    ),
    "Results: model": (
        "How good is the model against the standard, in all and in groups?",
        "What are its figures, with intervals?",
        "Where and why does it fail?",
    ),
    "Discussion": (
        "What are the limits?",
        "What does it mean for practice?",
    ),
    "Other": (
        "Where is the full protocol?",
        "Where are software, model and data, and who may use them?",
        "Who paid, and what did they decide?",
    ),
}
ITEMS: tuple[ClaimItem, ...] = tuple(
    ClaimItem(number, section, question)
    for number, (section, question) in enumerate(
        ((section, question) for section, questions in QUESTIONS.items() for question in questions), start=1
    )
)
