"""The one exception tree of the project.

MammoscopeError              exit code 1: our failure
├── WorkerLostError          a worker process ended in its work, by itself or by the system
└── UserInputError           exit code 2: the user's input; says where, found, expected, what to do
    ├── ConfigError          a recipe or settings file; the message begins with the dotted path of the key
    ├── TableError           a table of a cohort or of scores; all problems of a file in one message
    ├── LeakageError         a patient stands on both sides of a split
    ├── StoreError           a prepared store is missing, torn, in use, or made with other settings
    ├── RunError             a run folder is missing, torn, or of another schema version
    ├── UndefinedMetricError a figure that these outcomes cannot give: no case, or no control
    ├── WeightsError         weights that cannot be had, or do not fit the network
    └── ImageRefusedError    one file that cannot be used; carries the stable reason code
"""


class MammoscopeError(Exception):
    """Anything that this project raises on purpose."""


class WorkerLostError(MammoscopeError):
    """A worker process ended before it gave its result."""


class UserInputError(MammoscopeError):
    """What the user gave cannot be used; the message says what to do."""


class ConfigError(UserInputError):
    """A recipe or settings file that does not say what it must."""


class TableError(UserInputError):
    """A table whose columns, types or values break its schema."""


class LeakageError(UserInputError):
    """A patient stands on both sides of a split, so that every figure would be too good; with the ids of all such."""

    def __init__(self, sentence: str, patient_ids: tuple[str, ...]) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.patient_ids = patient_ids

    def __reduce__(self) -> tuple[type["LeakageError"], tuple[str, tuple[str, ...]]]:
        """Two arguments, not one: so that the error survives the way back from a worker process."""
        return type(self), (self.sentence, self.patient_ids)


class StoreError(UserInputError):
    """A prepared store that cannot be read or continued."""


class RunError(UserInputError):
    """A run folder that cannot be read or continued."""


class UndefinedMetricError(UserInputError):
    """A figure that these outcomes cannot give: no case, no control, or nothing at all."""


class WeightsError(UserInputError):
    """Weights that cannot be had, or do not fit the network."""


class ImageRefusedError(UserInputError):
    """One file that cannot be used, with the reason code that goes into `rejected.parquet`."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence

    def __reduce__(self) -> tuple[type["ImageRefusedError"], tuple[str, str]]:
        """Two arguments, not one: so that the error survives the way back from a worker process."""
        return type(self), (self.code, self.sentence)
