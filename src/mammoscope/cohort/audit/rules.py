"""What the audit looks for in the rows of a cohort: a rule for each check, with what to do about what it finds."""

from dataclasses import dataclass
from enum import StrEnum

from mammoscope.cohort.audit.counts import name_column
from mammoscope.exam import BREAST

# nobody is screened before 18, and 110 is older than all but a handful of people ever were
IMPLAUSIBLE_BELOW_YEARS, IMPLAUSIBLE_ABOVE_YEARS = 18, 110
# programmes begin at 40 to 50; women at high risk from 25 or 30 (ACR, doi:10.1016/j.jacr.2023.04.002)
UNUSUAL_BELOW_YEARS = 30
CONSTANT_IN_BREAST = ("biopsy", "invasive", "difficult_negative", "birads", "implant")
CONSTANT_IN_EXAM = ("age_years", "density", "site")
EXAM = ("exam_id",)
IMAGE = ("image_id",)
PICTURE = ("picture",)
_UNIT_BY_IDENTITY = {BREAST: "breasts", EXAM: "exams", IMAGE: "images", PICTURE: "pictures"}


class Severity(StrEnum):
    """How much a finding spoils: figures are wrong, figures may mislead, good to know."""

    DANGER = "danger"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What to look for.

    Attributes:
        code: a stable name.
        severity: of what is found.
        title: what is looked for.
        advice: what to do about it.
        identity: the columns of which each combination is counted once.
    """

    code: str
    severity: Severity
    title: str
    advice: str
    identity: tuple[str, ...] = BREAST

    @property
    def unit(self) -> str:
        """What is counted."""
        return _UNIT_BY_IDENTITY[self.identity]


def _constancy_rule(column: str, identity: tuple[str, ...]) -> Rule:
    whole = "breast" if identity == BREAST else "exam"
    return Rule(
        code=f"conflicting_{column}",
        severity=Severity.WARNING,
        title=f"Images of one {whole} that differ in {name_column(column)}",
        advice="Look at these rows in the source, and take the value that is right for all.",
        identity=identity,
    )


_RULES = (
    Rule(
        code="conflicting_cancer",
        severity=Severity.DANGER,
        title="Images of one breast that differ in cancer",
        advice="Mend the table: the outcome belongs to the breast.",
    ),
    Rule(
        code="invasive_without_cancer",
        severity=Severity.DANGER,
        title="Invasive, but without cancer",
        advice="Mend the table, or leave these breasts undetermined.",
    ),
    Rule(
        code="difficult_negative_with_cancer",
        severity=Severity.DANGER,
        title="A difficult negative, but with cancer",
        advice="Mend the table: a negative has no cancer.",
    ),
    Rule(
        code="cancer_without_biopsy",
        severity=Severity.WARNING,
        title="Cancer, but no biopsy",
        advice="Find out what proves the cancer; without proof leave the breast undetermined.",
    ),
    Rule(
        code="cancer_with_negative_birads",
        severity=Severity.NOTE,
        title="Cancer, but read as negative or benign (BI-RADS 1 or 2)",
        advice="Such cases may show nothing, and bound what a detector can reach: look at them apart.",
    ),
    *(_constancy_rule(column, BREAST) for column in CONSTANT_IN_BREAST),
    *(_constancy_rule(column, EXAM) for column in CONSTANT_IN_EXAM),
    *(
        Rule(
            code=f"without_{view.lower()}",
            severity=Severity.NOTE,
            title=f"Breasts without the {view} view",
            advice="A mean over views is then that of fewer images; see that their share of cases is that of all.",
        )
        for view in ("CC", "MLO")
    ),
    Rule(
        code="extra_views",
        severity=Severity.NOTE,
        title="Breasts with more than one image of a view",
        advice="A view is repeated where something was blurred or cut off: the number of images may tell the outcome.",
    ),
    Rule(
        code="one_side_only",
        severity=Severity.NOTE,
        title="Exams of one side only",
        advice="The other breast may be gone, or was left out: its outcome is not known, and sides cannot be compared.",
        identity=EXAM,
    ),
    Rule(
        code="implausible_age",
        severity=Severity.WARNING,
        title=f"Age below {IMPLAUSIBLE_BELOW_YEARS} or above {IMPLAUSIBLE_ABOVE_YEARS}",
        advice="Look for a wrong unit, or a date of birth that stands for unknown; make these ages null.",
        identity=IMAGE,
    ),
    Rule(
        code="unusual_age",
        severity=Severity.NOTE,
        title=f"Age below {UNUSUAL_BELOW_YEARS}, at which screening is rare",
        advice="These may be diagnostic exams: ask the source.",
        identity=IMAGE,
    ),
    *(
        rule
        for what in ("pixels", "file")
        for rule in (
            Rule(
                code=f"same_{what}_across_patients",
                severity=Severity.DANGER,
                title=f"The same {what} under several patients",
                advice="One woman may stand under several ids, on both sides of a split: join or remove these.",
                identity=PICTURE,
            ),
            Rule(
                code=f"same_{what}_in_a_patient",
                severity=Severity.WARNING,
                title=f"The same {what} several times under one patient",
                advice="Keep one of each, or these images count more than others.",
                identity=PICTURE,
            ),
        )
    ),
    Rule(
        code="not_in_store",
        severity=Severity.NOTE,
        title="Images without a prepared picture",
        advice="rejected.parquet of the store says why; see that cases are not refused more often than controls.",
        identity=IMAGE,
    ),
)
RULE_BY_CODE = {rule.code: rule for rule in _RULES}
