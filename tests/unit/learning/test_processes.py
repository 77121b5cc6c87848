"""Several processes train what one does: the same pictures, the same steps, the same figures."""

import copy
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from torch import distributed

from mammoscope.errors import ConfigError, UserInputError, WorkerLostError
from mammoscope.evaluation.scores import read_scores
from mammoscope.imaging.store import PreparedStore
from mammoscope.learning.batches import (
    EpochSampler,
    EpochShare,
    StorePictures,
    held_out_batches,
    training_batches,
)
from mammoscope.learning.network import build_network
from mammoscope.learning.processes import (
    Processes,
    ask_first,
    check_devices,
    find_processes,
    launch_processes,
    share_batch,
    share_statistics,
)
from mammoscope.learning.settings import Recipe
from mammoscope.learning.training import count_batches

RecipeOf = Callable[..., Recipe]
CliRun = Callable[..., tuple[int, str, str]]
CPU = torch.device("cpu")
SECOND_OF_TWO = {"TORCHELASTIC_RUN_ID": "x", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}


@pytest.fixture
def pictures(tiny_manifest: pl.DataFrame, tiny_store: PreparedStore) -> StorePictures:
    """The 32 pictures of the tiny cohort with an outcome."""
    return StorePictures(tiny_manifest.filter(pl.col("cancer").is_not_null()), tiny_store)


# shares


@pytest.mark.parametrize("n_processes", [2, 4])
@pytest.mark.parametrize("sampling", ["all", "matched-controls", "upsample"])
def test_the_shares_of_every_batch_make_the_batch(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, pictures: StorePictures, sampling: str, n_processes: int
) -> None:
    rows = tiny_manifest.filter(pl.col("cancer").is_not_null())
    recipe = recipe_of("batch.size=8", "batch.micro=2", f"sampling={sampling}")
    whole = EpochSampler(rows, recipe, fold=0)
    for epoch in (1, 0):
        whole.set_epoch(epoch)
        drawn, by_process = list(whole), []
        for rank in range(n_processes):
            share = EpochShare(EpochSampler(rows, recipe, fold=0), rank=rank, n_processes=n_processes)
            share.set_epoch(epoch)
            loader = training_batches(pictures, share)
            assert len(loader) * recipe.epochs == count_batches(len(whole), recipe, n_processes=n_processes)
            assert [len(batch.targets) for batch in loader] == [2] * (len(drawn) // 2 // n_processes)
            by_process.append(list(share))
        for first in range(0, len(drawn), 8):
            shared = [draws[first // n_processes :][: 8 // n_processes] for draws in by_process]
            assert sorted(chain.from_iterable(shared)) == sorted(drawn[first : first + 8])


def test_a_share_leaves_out_what_is_done_of_one_epoch(recipe_of: RecipeOf, tiny_manifest: pl.DataFrame) -> None:
    rows = tiny_manifest.filter(pl.col("cancer").is_not_null())
    recipe = recipe_of("batch.size=8", "batch.micro=2")
    share = EpochShare(EpochSampler(rows, recipe, fold=0), rank=1, n_processes=2)
    share.set_epoch(3)
    whole = list(share)
    share.leave_out(3, epoch=3)
    assert list(share) == whole[6:]
    assert len(share) == 16  # the epoch is as long as ever
    share.set_epoch(4)
    assert len(list(share)) == 16


@pytest.mark.parametrize("n_processes", [1, 3, 5])
def test_held_out_shares_are_equally_long_and_hold_all(pictures: StorePictures, n_processes: int) -> None:
    shares = [
        torch.cat([batch.pictures for batch in held_out_batches(pictures, size=4, rank=rank, n_processes=n_processes)])
        for rank in range(n_processes)
    ]
    assert {len(share) for share in shares} == {-(-32 // n_processes)}
    in_order = torch.stack(shares, dim=1).flatten(0, 1)[:32]
    assert torch.equal(in_order, torch.cat([batch.pictures for batch in held_out_batches(pictures, size=32)]))


@pytest.mark.parametrize(("size", "micro", "n", "expected"), [(16, None, 4, 4), (16, 2, 4, 2), (12, None, 1, 12)])
def test_a_batch_is_shared_evenly(recipe_of: RecipeOf, size: int, micro: int | None, n: int, expected: int) -> None:
    given = [] if micro is None else [f"batch.micro={micro}"]
    assert share_batch(recipe_of(f"batch.size={size}", *given), n, "r").batch.micro == expected


@pytest.mark.parametrize(("size", "micro", "n", "multiple"), [(16, None, 3, 15), (16, 8, 4, 32), (2, None, 4, 4)])
def test_a_batch_that_cannot_be_shared_evenly_is_refused(
    recipe_of: RecipeOf, size: int, micro: int | None, n: int, multiple: int
) -> None:
    given = [] if micro is None else [f"batch.micro={micro}"]
    with pytest.raises(ConfigError, match=rf"^batch\.size: found {size}, which {n} .* a multiple of {multiple},"):
        share_batch(recipe_of(f"batch.size={size}", *given), n, "r")


def test_what_one_has_found_to_fit_fits_more_processes_too(recipe_of: RecipeOf) -> None:
    recipe = recipe_of("batch.size=24", "batch.micro=auto")
    assert [share_batch(recipe, n, "r", micro=8).batch.micro for n in (1, 2, 3, 4)] == [8, 4, 8, 2]


def test_a_share_that_is_too_small_for_the_recipe_is_refused(recipe_of: RecipeOf) -> None:
    recipe = recipe_of("batch.size=4", "head.batch_norm=true")
    assert share_batch(recipe, 2, "r").batch.micro == 2
    with pytest.raises(ConfigError, match=r"^recipe r: head\.batch_norm: found true with one picture at a time"):
        share_batch(recipe, 4, "r")


# who is there


def test_a_process_of_torchrun_knows_its_place() -> None:
    assert find_processes("cpu", None, SECOND_OF_TWO) == Processes(CPU, rank=5, n=8, n_here=4)
    assert find_processes("cpu", 4, SECOND_OF_TWO).n == 8
    assert find_processes("cpu", 2, {}) == Processes(CPU)  # it will start two


def test_processes_on_gpus_take_one_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert find_processes("auto", None, SECOND_OF_TWO).device == torch.device("cuda:1")
    assert check_devices("cpu", 64) == CPU
    with pytest.raises(UserInputError, match=r"--device auto --devices 5: torch can use 4 GPUs on .*; give fewer"):
        check_devices("auto", 5)


def test_another_number_than_torchruns_is_refused() -> None:
    with pytest.raises(UserInputError, match=r"--devices: found 2, but torchrun has started 4 processes"):
        find_processes("cpu", 2, SECOND_OF_TWO)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("devices", [(), ("--devices", 4)])
def test_a_gpu_that_is_not_there_ends_with_2_before_anything(
    run_cli: CliRun, tiny_recipe_path: Path, tmp_path: Path, devices: tuple[object, ...]
) -> None:
    code, out, err = run_cli("train", tiny_recipe_path, "--device", "cuda", *devices, "-o", tmp_path / "run")
    assert (code, out) == (2, "")
    assert re.search(r"^error: --device cuda --devices \d: torch can use 0 GPUs on this .*; give --device cpu", err)
    assert not (tmp_path / "run").exists()


def test_the_others_hear_that_the_first_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []

    def broadcast(message: list[object], src: int) -> None:
        assert src == 0
        told[:] = told or message
        message[:] = told

    def fail() -> None:
        raise UserInputError("no room")

    monkeypatch.setattr(distributed, "broadcast_object_list", broadcast)
    with pytest.raises(UserInputError, match="no room"):
        ask_first(Processes(CPU, n=2), fail)
    with pytest.raises(WorkerLostError, match="the first process has failed; see what it says"):
        ask_first(Processes(CPU, rank=1, n=2), fail)
    told.clear()
    assert ask_first(Processes(CPU, n=2), lambda: 7) == ask_first(Processes(CPU, rank=1, n=2), lambda: 8) == 7


def test_the_statistics_of_batches_are_shared_on_gpus_only_and_change_nothing_else(recipe_of: RecipeOf) -> None:
    recipe = recipe_of("backbone.name=test_efficientnet", "head.layers=[4]", "head.batch_norm=true")
    torch.manual_seed(0)
    network = build_network(recipe).eval()
    pictures = torch.rand(2, 1, 64, 32)
    plain = network(pictures).cancer
    assert share_statistics(network, Processes(CPU, n=2)) is network
    assert share_statistics(network, Processes(torch.device("cuda:0"))) is network
    n_norms = sum(isinstance(each, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d) for each in network.modules())
    shared = share_statistics(copy.deepcopy(network), Processes(torch.device("cuda:1"), rank=1, n=2)).eval()
    norms = [each for each in shared.modules() if isinstance(each, torch.nn.modules.batchnorm._BatchNorm)]
    assert len(norms) == n_norms > 5
    assert all(isinstance(each, torch.nn.SyncBatchNorm) for each in norms)
    assert shared.state_dict().keys() == network.state_dict().keys()
    torch.testing.assert_close(shared(pictures).cancer, plain)


# two real ones


def _start(command: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, env=dict(environment))  # noqa: S603  # ours


def _list_files(run: Path) -> list[str]:
    return sorted(str(path.relative_to(run)) for path in run.rglob("*") if not path.name.startswith("events."))


def test_two_processes_of_torchrun_train_what_one_does(
    run_cli: CliRun, tiny_recipe_path: Path, tiny_cohort: Path, tiny_store_path: Path, tmp_path: Path
) -> None:
    """Without chance in the pictures, and without statistics of batches: two parts of each share make a step."""
    keys = ("backbone.name=test_efficientnet_ln", "batch.size=8", "batch.micro=2", "ema=0.8")
    options = [part for key in (*keys, "optimizer.name=sgd", "optimizer.rate=0.1") for part in ("--set", key)]
    data = ("--cohort", str(tiny_cohort), "--store", str(tiny_store_path), "--fold", "0")
    arguments = ("train", str(tiny_recipe_path), *data, *options, "--device", "cpu", "--save-every", "0")
    assert run_cli(*arguments, "-o", tmp_path / "one")[0] == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command = [*torchrun, "mammoscope.cli.main", *arguments, "-o", str(tmp_path / "two"), "--json"]
    ended = _start(command, os.environ | {"OMP_NUM_THREADS": "1"})
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("\n") == 1  # one summary
    assert ended.stderr.count("train fold 0") == 1  # one bar
    assert _list_files(tmp_path / "one") == _list_files(tmp_path / "two")
    one, two = (pl.read_csv(tmp_path / run / "folds/0/history.csv").drop("seconds") for run in ("one", "two"))
    assert one.columns == two.columns
    for column in one.columns:
        assert two[column].to_list() == pytest.approx(one[column].to_list(), abs=1e-5)
    first, second = (read_scores(tmp_path / run / "scores.parquet") for run in ("one", "two"))
    assert second["image_id"].equals(first["image_id"])
    assert second["score"].to_list() == pytest.approx(first["score"].to_list(), abs=1e-5)
    weights, shared = (load_file(tmp_path / run / "folds/0/weights.safetensors") for run in ("one", "two"))
    for key, value in weights.items():
        torch.testing.assert_close(shared[key], value, rtol=1e-4, atol=1e-5)


def test_two_processes_train_a_backbone_with_layers_that_the_pooling_does_not_see(
    tiny_recipe_path: Path, tiny_cohort: Path, tiny_store_path: Path, tmp_path: Path
) -> None:
    """Stages that wait, a further question, and MobileNetV3, of which timm's last layer gets no gradient."""
    keys = ("backbone.name=mobilenetv3_small_050", "batch.size=8", "fine_tuning.train=staged", "auxiliary.view=0.1")
    options = [part for key in (*keys, "precision=f32") for part in ("--set", key)]
    data = ("--cohort", str(tiny_cohort), "--store", str(tiny_store_path), "--fold", "0", "-o", str(tmp_path / "run"))
    arguments = ("train", str(tiny_recipe_path), *data, *options, "--device", "cpu", "--devices", "2")
    ended = _start([sys.executable, "-m", "mammoscope.cli.main", *arguments], os.environ | {"OMP_NUM_THREADS": "1"})
    assert ended.returncode == 0, ended.stderr
    assert "unused" not in ended.stderr
    assert (tmp_path / "run/folds/0/weights.safetensors").is_file()


def test_processes_that_are_started_end_with_the_code_and_the_sentences_of_the_program(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert launch_processes(2, ["--version"]) == 0
    assert capfd.readouterr().out.count("mammoscope") == 2
    assert launch_processes(2, ["train", "nowhere.toml"]) == 2
    told = capfd.readouterr().err.splitlines()
    sentence = "recipe nowhere.toml: no such file, and not one of the recipes that ship: "
    assert all(re.match(rf"error( in process 1)?: {sentence}", line) for line in told)
    assert 1 <= len(told) <= 2  # the first that fails ends the other
