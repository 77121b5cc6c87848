"""The report as a browser shows it: nothing asked of the network, nothing wrong in it, everything told in words."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.evaluation import EvaluationSettings, evaluate_scores
from mammoscope.evaluation.levels import sample_level
from mammoscope.evaluation.pairing import compare_samples
from mammoscope.evaluation.pictures import Picture, choose_calls
from mammoscope.evaluation.reader_study import cross_readers
from mammoscope.evaluation.readers_on_roc import place_readers
from mammoscope.evaluation.report import NamedComparison, Surroundings, render
from mammoscope.evaluation.run_folder import History
from mammoscope.pages.page import Fact, encode_jpeg

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
BOOTSTRAP = BootstrapSettings(n_replicates=50)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium on the PATH")


@pytest.fixture(scope="module")
def page(cohort: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with all of its sections."""
    sample = sample_level(cohort, "breast")
    turned = sample_level(cohort.with_columns(score=1 - pl.col("score")), "breast")
    grey = np.tile(np.arange(64, dtype=np.uint8), (96, 1))
    around = Surroundings(
        pictures=[Picture(call, encode_jpeg(grey)) for call in choose_calls(cohort)],
        facts=[Fact("Seed", "3")],
        histories=[History("0", (0, 1), (0.7, 0.5), (0.6, 0.7), (1e-4, 5e-5))],
        comparisons=[NamedComparison("ours", "theirs", compare_samples(sample, turned, BOOTSTRAP))],
        readers=place_readers(
            cross_readers({"anna": sample, "ben": turned}, model=sample), settings=BOOTSTRAP, cut=0.5
        ),
    )
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(evaluate_scores(cohort, EvaluationSettings(BOOTSTRAP)), around), encoding="utf-8")
    return path


def browse(page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    assert BROWSER is not None
    words = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", *options]
    return subprocess.run([*words, page.as_uri()], capture_output=True, text=True, timeout=120, check=False)  # noqa: S603  # our own page


def test_the_console_stays_empty_and_every_figure_has_a_text(page: Path) -> None:
    shown = browse(page, "--dump-dom")
    assert shown.returncode == 0
    assert "CONSOLE" not in shown.stderr
    drawings = re.findall(r'<div role="img"[^>]*>', shown.stdout)
    pictures = re.findall(r"<img [^>]*>", shown.stdout)
    assert len(drawings) >= 12
    assert len(pictures) == 16
    assert all(re.search(r'aria-label="[^"]{20,}"', drawing) for drawing in drawings)
    assert all(re.search(r'alt="[^"]{20,}"', picture) for picture in pictures)
    for section in ("Result", "Against others", "Operating points", "Calibration", "Beside readers", "By group"):
        assert f">{section}</h2>" in shown.stdout


def test_no_request_leaves_the_page(page: Path, tmp_path: Path) -> None:
    log = tmp_path / "net.json"
    browse(page, "--dump-dom", f"--log-net-log={log}", "--disable-background-networking", "--disable-component-update")
    text = log.read_text(encoding="utf-8")
    text = text if text.rstrip().endswith("}") else text.rstrip().rstrip(",") + "]}"
    events = json.loads(text)["events"]
    asked = {str(event.get("params", {}).get("url", "")) for event in events}
    own = {url for url in asked if url and not url.startswith(("data:", "file:", "chrome", "about:"))}
    # the browser itself asks its maker whether it is new; the page does not
    assert not {url for url in own if "google" not in url and "gvt1" not in url}
    assert not re.search(r'(?:src|href|url)\s*[=(]\s*["\']?(?:https?:)?//', page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_drawn_at_the_width_of_a_desk_and_of_a_phone(page: Path, tmp_path: Path, width: int) -> None:
    picture = tmp_path / "page.png"
    browse(page, f"--window-size={width},900", "--hide-scrollbars", f"--screenshot={picture}")
    assert picture.stat().st_size > 10_000


def test_it_prints(page: Path, tmp_path: Path) -> None:
    paper = tmp_path / "page.pdf"
    browse(page, f"--print-to-pdf={paper}", "--no-pdf-header-footer")
    assert paper.read_bytes().startswith(b"%PDF")
    assert paper.stat().st_size > 20_000
