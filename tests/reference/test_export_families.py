"""Networks of other families than the rest of the tests use: what OpenVINO and ONNX make of them is what torch does."""

from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch

from mammoscope.errors import ConfigError
from mammoscope.inference.conversion import to_openvino, trace_network, write_onnx
from mammoscope.inference.openvino_engine import load_openvino
from mammoscope.learning.network import build_network
from mammoscope.learning.recipe import read_recipe

SIZE = (64, 32)


@pytest.mark.parametrize(
    ("backbone", "pooling"),
    [
        ("vit_tiny_patch16_224", "attention"),
        ("test_convnext", "gem"),
        ("test_efficientnet", "catavgmax"),
        ("test_nfnet", "max"),
    ],
)
def test_a_network_says_the_same_as_in_torch_of_any_number_of_pictures(
    backbone: str, pooling: str, tmp_path: Path
) -> None:
    (tmp_path / "recipe.toml").write_text(f'[backbone]\nname = "{backbone}"\nweights = "none"\n')
    sizes = [f"picture.{name}={size}" for kind in ("train", "held_out") for name, size in _sides(kind)]
    recipe = read_recipe(str(tmp_path / "recipe.toml"), [f"head.pooling={pooling}", "head.layers=[8]", *sizes])
    torch.manual_seed(0)
    network = build_network(recipe).eval()
    traced = trace_network(network, None, SIZE)
    openvino = load_openvino()
    compiled = openvino.Core().compile_model(
        to_openvino(traced, None, SIZE), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    write_onnx(traced, None, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    for n_pictures in (1, 3):
        pictures = torch.rand(n_pictures, 1, *SIZE) ** torch.arange(1, n_pictures + 1)[:, None, None, None]
        with torch.no_grad():
            expected = network(pictures).cancer.numpy()
        assert compiled({"picture": pictures.numpy()})["cancer"] == pytest.approx(expected, abs=1e-5)
        assert session.run(["cancer"], {"picture": pictures.numpy()})[0] == pytest.approx(expected, abs=1e-5)


def _sides(kind: str) -> list[tuple[str, int]]:
    return [(f"{kind}_{side}", size) for side, size in zip(("rows", "columns"), SIZE, strict=True)]


def test_what_openvino_does_not_know_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(
        '[backbone]\nname = "test_vit"\nweights = "none"\n'
    )  # of any size, by bicubic
    network = build_network(read_recipe(str(tmp_path / "recipe.toml"), [])).eval()
    with pytest.raises(
        ConfigError, match=r"export: OpenVINO cannot convert this network .No conversion rule found .*bicubic"
    ):
        to_openvino(trace_network(network, None, SIZE), None, SIZE)


class _Unconvertible(torch.nn.Module):
    """A network that decides by what it sees."""

    view_attention = None

    def forward(self, pictures: torch.Tensor, _: object) -> torch.Tensor:
        return pictures if pictures.sum() > 0 else -pictures


def test_a_network_that_cannot_be_traced_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"export: torch cannot trace this network .*compute it with --engine torch"):
        trace_network(_Unconvertible(), None, SIZE)  # type: ignore[arg-type]  # stands for a network


@pytest.mark.parametrize(
    ("convert", "message"),
    [
        (lambda traced, _: to_openvino(traced, None, SIZE), "export: OpenVINO cannot convert this network"),
        (lambda traced, path: write_onnx(traced, None, path), "--to onnx: torch cannot write this network"),
    ],
    ids=["openvino", "onnx"],
)
def test_a_network_that_cannot_be_converted_is_refused(
    convert: Callable[[object, Path], object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such operation")

    monkeypatch.setattr(load_openvino(), "convert_model", fail)
    monkeypatch.setattr(torch.onnx, "export", fail)

    class Traced:
        class graph_signature:  # noqa: N801  # torch's name
            user_outputs = ("cancer",)

    with pytest.raises(ConfigError, match=rf"{message} \(no such operation\)"):
        convert(Traced(), tmp_path / "network.onnx")
    assert list(tmp_path.iterdir()) == []
