"""The network of a fold from torch to OpenVINO's form, and to ONNX."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mammoscope.errors import ConfigError
from mammoscope.inference.openvino_engine import OUTPUTS, load_openvino
from mammoscope.learning.network import CancerNetwork
from mammoscope.learning.table_inputs import TableEncoder
from mammoscope.learning.table_layer import TableTensors

_EXAMPLE = 2  # pictures; a network is traced for any number, for which one does not stand
_KINDS_OF_FAILURE = ("General", "Initialization", "NotImplemented", "OpConversion", "OpValidation")
Size = tuple[int, int]


class _Exportable(nn.Module):
    """Pictures in [0, 1], (picture, 1, row, column), and their table, to all of `OUTPUTS` that the network has."""

    def __init__(self, network: CancerNetwork, encoder: TableEncoder | None) -> None:
        super().__init__()
        self.network = network
        self.has_table = encoder is not None
        self.names = ("picture", *(_table_names(encoder) if encoder else ()))
        self.said = tuple(name for name in OUTPUTS if name != "view" or network.view_attention is not None)

    def forward(self, picture: torch.Tensor, *table: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The logits, each (picture,), and the features, (picture, channel)."""
        by_name = dict(zip(self.names[1:], table, strict=True))
        n_pictures = picture.shape[0]
        numbers = by_name.get("numbers", picture.new_zeros((n_pictures, 0)))
        categories = by_name.get("categories", picture.new_zeros((n_pictures, 0), dtype=torch.int64))
        output = self.network(picture, TableTensors(numbers, categories) if self.has_table else None)
        return tuple(getattr(output, name) for name in self.said)


def trace_network(network: CancerNetwork, encoder: TableEncoder | None, size: Size) -> Any:  # noqa: ANN401  # of torch.export, which is loaded late
    """The graph of a network for any number of pictures of a size, as `torch.export` gives it.

    Raises:
        ConfigError: torch cannot trace this network.
    """
    exportable = _Exportable(network, encoder).eval()
    inputs = [torch.rand(_EXAMPLE, 1, *size)]
    if encoder is not None:
        by_name = {
            "numbers": torch.zeros(_EXAMPLE, 2 * len(encoder.numbers)),
            "categories": torch.zeros(_EXAMPLE, len(encoder.categories), dtype=torch.int64),
        }
        inputs += [by_name[name] for name in _table_names(encoder)]
    any_number = torch.export.Dim("pictures", min=1)
    shapes = ({0: any_number}, *([tuple({0: any_number} for _ in inputs[1:])] if inputs[1:] else []))
    with _quiet(), torch.no_grad():
        try:
            return torch.export.export(exportable, tuple(inputs), dynamic_shapes=shapes, strict=False)
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise ConfigError(
                f"export: torch cannot trace this network ({_reason(error)}); compute it with --engine torch"
            ) from error


def to_openvino(traced: Any, encoder: TableEncoder | None, size: Size) -> Any:  # noqa: ANN401  # neither ships types
    """OpenVINO's model of a traced network, its inputs and outputs with names.

    Raises:
        ConfigError: OpenVINO is not installed, or cannot convert this network.
    """
    openvino = load_openvino()
    failures = [getattr(openvino.frontend, f"{kind}Failure") for kind in _KINDS_OF_FAILURE]
    with _quiet():
        try:
            model = openvino.convert_model(traced)
        except (RuntimeError, *failures) as error:
            raise ConfigError(
                f"export: OpenVINO cannot convert this network ({_reason(error)}); compute it with --engine torch"
            ) from error
    names = ("picture", *(_table_names(encoder) if encoder else ()))
    widths = {"numbers": 2 * len(encoder.numbers), "categories": len(encoder.categories)} if encoder else {}
    for port, name in zip(model.inputs, names, strict=True):
        port.get_tensor().set_names({name})
    for port, name in zip(model.outputs, _name_outputs(len(model.outputs)), strict=True):
        port.get_tensor().set_names({name})
    model.reshape({name: [-1, 1, *size] if name == "picture" else [-1, widths[name]] for name in names})
    return model


def write_openvino(model: Any, path: Path) -> tuple[Path, Path]:  # noqa: ANN401  # openvino ships no types
    """Write OpenVINO's model, its numbers as they are; the paths of its graph and of its numbers."""
    load_openvino().save_model(model, path, compress_to_fp16=False)
    return path, path.with_suffix(".bin")


def check_onnx() -> None:
    """Refuse to write ONNX where a package for it is missing.

    Raises:
        ConfigError: one is.
    """
    for name in ("onnx", "onnxscript"):
        if find_spec(name) is None:
            raise ConfigError(
                f"--to onnx: the package {name} is not installed; install it with `uv pip install "
                "'mammoscope[export]'`, or give --to openvino"
            )


def write_onnx(traced: Any, encoder: TableEncoder | None, path: Path) -> None:  # noqa: ANN401  # of torch.export
    """Write a traced network as ONNX, in one file.

    Raises:
        ConfigError: torch cannot write this network.
    """
    names = ["picture", *(_table_names(encoder) if encoder else ())]
    outputs = _name_outputs(len(traced.graph_signature.user_outputs))
    with _quiet():
        try:
            program = torch.onnx.export(
                traced, dynamo=True, input_names=names, output_names=outputs, external_data=False, verbose=False
            )
            program.save(path)  # type: ignore[union-attr]  # None is what the older exporter gives
        except (torch.onnx.OnnxExporterError, RuntimeError) as error:
            raise ConfigError(
                f"--to onnx: torch cannot write this network ({_reason(error)}); give --to openvino"
            ) from error


def _name_outputs(n_outputs: int) -> list[str]:
    """The names of the outputs of a network, of which few have weights of views."""
    return [name for name in OUTPUTS if name != "view" or n_outputs == len(OUTPUTS)]


def _table_names(encoder: TableEncoder) -> tuple[str, ...]:
    """The inputs beside the picture that are not empty."""
    parts = {"numbers": encoder.numbers, "categories": encoder.categories}
    return tuple(name for name, columns in parts.items() if columns)


def _reason(error: Exception) -> str:
    """What an exporter says in its many lines, in one; OpenVINO's summary where it gives one."""
    text = " ".join(str(error).split())
    return (text.partition("Summary: -- ")[2] or text)[:200] or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters tell their makers: of functions that will go, and of their own steps."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "nncf")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
