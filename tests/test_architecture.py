"""The house rules that a machine can check: who imports whom, what is never imported, how long things are."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mammoscope

ROOT = Path(mammoscope.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
# from the ground up: a part imports from itself and from parts before it
FLOORS = (
    "errors",
    "files",
    "artefact",
    "anatomy",
    "exam",
    "config",
    "pages",
    "imaging",
    "cohort",
    "phantom",
    "evaluation",
    "learning",
    "inference",
    "scaling",
    "cli",
)
HEAVY = {"torch", "torchvision", "timm", "lightning"}
HEAVY_FLOORS = {"learning", "inference"}
PICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal"}
PICKLING_CALLS = {"torch.load", "torch.save", "joblib.load", "joblib.dump", "numpy.load", "np.load"}
MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 40


def floor_of(module: str) -> str:
    """The part of the house: `imaging` of `mammoscope.imaging.store`."""
    return module.split(".")[1] if "." in module else ""


def name_of(path: Path) -> str:
    """The dotted name of a source file."""
    parts = ("mammoscope", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(part for part in parts if part != "__init__")


def imports_in(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere below, in functions and under TYPE_CHECKING too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
            if node.module == "mammoscope":
                yield from (f"mammoscope.{alias.name}" for alias in node.names)


def imports_on_loading(tree: ast.Module) -> Iterator[str]:
    """The modules that loading this one loads: neither those in functions nor those under TYPE_CHECKING."""
    for node in tree.body:
        is_for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not is_for_types and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports_in(node)


def wrong_directions(path: Path, source: str) -> list[str]:
    """Imports of a part that stands later in the house."""
    height = {floor: number for number, floor in enumerate(FLOORS)}
    mine = floor_of(name_of(path))
    return [
        module
        for module in imports_in(ast.parse(source))
        if module.startswith((".", "mammoscope"))
        and module != "mammoscope"
        and height.get(floor_of(module), len(FLOORS)) > height.get(mine, -1)
    ]


def wrong_heavy_imports(path: Path, source: str) -> list[str]:
    """Imports of torch and its kin where they must not be; commands may import them in their handlers."""
    floor, tree = floor_of(name_of(path)), ast.parse(source)
    if floor in HEAVY_FLOORS:
        return []
    imports = imports_on_loading(tree) if floor == "cli" else imports_in(tree)
    return [module for module in imports if module.split(".")[0] in HEAVY]


def wrong_imports_of_a_command(source: str) -> list[str]:
    """What a command imports on loading beside the standard library, typer, its own kind and the errors."""
    return [
        module
        for module in imports_on_loading(ast.parse(source))
        if module.split(".")[0] not in {*sys.stdlib_module_names, "typer"}
        and not module.startswith("mammoscope.cli.")
        and module != "mammoscope.errors"
    ]


def pickles(source: str) -> list[str]:
    """Imports and calls that read or write pickles."""
    tree = ast.parse(source)
    found = [module for module in imports_in(tree) if module.split(".")[0] in PICKLING]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found += [ast.unparse(call.func) for call in calls if ast.unparse(call.func) in PICKLING_CALLS]
    return found + ["allow_pickle" for call in calls for each in call.keywords if each.arg == "allow_pickle"]


def long_functions(source: str) -> list[str]:
    """Functions with too many lines of code: neither docstring nor blank lines nor comments count."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            has_docstring = ast.get_docstring(node) is not None
            first = node.body[1] if has_docstring and len(node.body) > 1 else node.body[0]
            lines = source.splitlines()[first.lineno - 1 : node.end_lineno]
            count = sum(1 for line in lines if line.strip() and not line.strip().startswith("#"))
            if count > MOST_LINES_OF_A_FUNCTION:
                found.append(f"{node.name}: {count} lines")
    return found


def holds_a_docstring_only(source: str) -> bool:
    """Whether a module is one docstring and nothing else."""
    tree = ast.parse(source)
    return ast.get_docstring(tree) is not None and len(tree.body) == 1


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_to_a_line_above(path: Path) -> None:
    assert wrong_directions(path, path.read_text()) == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_torch_is_for_learning_and_inference(path: Path) -> None:
    assert wrong_heavy_imports(path, path.read_text()) == []


@pytest.mark.parametrize("path", sorted((ROOT / "cli").glob("*.py")), ids=name_of)
def test_a_command_loads_little(path: Path) -> None:
    assert wrong_imports_of_a_command(path.read_text()) == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_pickled(path: Path) -> None:
    assert pickles(path.read_text()) == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_and_functions_stay_short(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= MOST_LINES_OF_A_FILE
    assert long_functions(source) == []


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "__init__.py"], ids=name_of)
def test_a_package_is_a_docstring(path: Path) -> None:
    assert holds_a_docstring_only(path.read_text())


def test_every_part_has_its_floor() -> None:
    parts = {path.stem if path.is_file() else path.name for path in ROOT.iterdir() if path.suffix in {".py", ""}}
    assert parts - {"__init__", "__pycache__"} == set(FLOORS)


def test_the_list_of_commands_loads_no_heavy_package() -> None:
    heavy = [*HEAVY, "numpy", "polars", "pydicom", "pydantic", "joblib", "scipy", "sklearn", "cv2", "matplotlib", "PIL"]
    code = f"import sys, mammoscope.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  # our own
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "planted",
    [
        "from mammoscope.imaging.prepare import x",
        "from mammoscope import scaling",
        "import mammoscope.cli.console",
        "from . import scores",
        "from mammoscope.attic import x",
        "def f():\n    from mammoscope.learning.run import x",
        "if TYPE_CHECKING:\n    from mammoscope.cohort.manifest import x",
    ],
)
def test_a_planted_import_of_a_later_part_is_found(planted: str) -> None:
    assert wrong_directions(ROOT / "config.py", planted)


@pytest.mark.parametrize(
    "planted", ["from mammoscope.errors import x", "from mammoscope.anatomy import x", "import os"]
)
def test_an_import_of_an_earlier_part_is_none(planted: str) -> None:
    assert wrong_directions(ROOT / "config.py", planted) == []
    assert wrong_directions(ROOT / "errors.py", "from mammoscope.errors import x") == []


def test_a_planted_torch_is_found() -> None:
    inside = "def f():\n    import torch.nn"
    assert wrong_heavy_imports(ROOT / "evaluation" / "scores.py", inside) == ["torch.nn"]
    assert wrong_heavy_imports(ROOT / "cli" / "train.py", "from timm import create_model") == ["timm"]
    assert wrong_heavy_imports(ROOT / "cli" / "train.py", inside) == []
    assert wrong_heavy_imports(ROOT / "learning" / "run.py", "import torch") == []


@pytest.mark.parametrize(
    "planted",
    [
        "import polars",
        "from mammoscope.cohort.manifest import x",
        "try:\n    import rich\nexcept ImportError: pass",
        "if True:\n    import numpy",
    ],
)
def test_a_planted_import_of_a_command_is_found(planted: str) -> None:
    assert wrong_imports_of_a_command(planted)


def test_what_a_command_may_load_is_not_found() -> None:
    later = "if TYPE_CHECKING:\n    import polars\ndef f():\n    import torch"
    allowed = (
        "import os\nimport typer\nfrom mammoscope.cli.console import warn\nfrom mammoscope.errors import StoreError\n"
    )
    assert wrong_imports_of_a_command(allowed + later) == []


@pytest.mark.parametrize(
    "planted", ["import pickle", "from dill import dump", "torch.load('a')", "np.load('a')", "f(x, allow_pickle=True)"]
)
def test_a_planted_pickle_is_found(planted: str) -> None:
    assert pickles(planted)


def test_a_planted_long_function_is_found() -> None:
    body = "    x = 1\n" * MOST_LINES_OF_A_FUNCTION
    comments = '    """Text\n    of two lines."""\n\n    # why\n'
    assert long_functions(f"def f():\n{comments}{body}") == []
    assert long_functions(f"def f():\n{comments}{body}    return x\n") == ["f: 41 lines"]


def test_planted_code_in_a_package_is_found() -> None:
    assert holds_a_docstring_only('"""Text."""\n')
    assert not holds_a_docstring_only('"""Text."""\nfrom os import path\n')
    assert not holds_a_docstring_only("")
