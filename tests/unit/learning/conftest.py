"""Half precision with a gradient scaler on the CPU, by the plugin that Lightning takes on GPUs."""

from collections.abc import Callable

import lightning.pytorch as lightning
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision

from mammoscope.learning import training

ComputeInHalf = Callable[[float], None]


@pytest.fixture
def compute_in_half(monkeypatch: pytest.MonkeyPatch) -> ComputeInHalf:
    """Say that trainings compute in f16 from now on, with a scaler that starts at a scale."""

    def patch(scale: float) -> None:
        original = lightning.Trainer.__init__

        def with_plugin(self: lightning.Trainer, **options: object) -> None:
            assert options.pop("precision") == "16-mixed"
            plugins = options.pop("plugins", [])
            assert isinstance(plugins, list)
            precision = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale))
            original(self, plugins=[*plugins, precision], **options)  # type: ignore[arg-type]  # the trainer's own options

        monkeypatch.setattr(training, "autocast_type", lambda *_: torch.float16)
        monkeypatch.setattr(training, "check_precision", lambda *_: None)
        monkeypatch.setattr(lightning.Trainer, "__init__", with_plugin)

    return patch
