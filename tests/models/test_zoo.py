"""Parity with the original implementations: outputs and parameter counts."""

from __future__ import annotations

import pytest
import torch

from boostnerv.config import ModelSettings
from boostnerv.models.architecture import Architecture, Spec, architecture
from boostnerv.models.budget import decoder_parameters, resolve, total_parameters
from tests.conftest import Golden
from tests.golden.models import images, recorded_model
from tests.golden.subset import reduce_output

BUNNY_FRAMES = 132  # of the video for which the counts were recorded
SIZED = {"NeRV_Boost": "nerv-boost", "ENeRV_Boost": "e-nerv-boost", "HNeRV_Boost": "hnerv-boost", "HNeRV": "hnerv"}
FILES = {
    "nerv": "nerv",
    "enerv": "e-nerv",
    "hnerv": "hnerv",
    "nerv_boost": "nerv-boost",
    "enerv_boost": "e-nerv-boost",
    "hnerv_boost": "hnerv-boost",
    "hnerv_boost_5x4x2x2": "hnerv-boost",
}


@pytest.mark.parametrize("file", FILES)
def test_output_equals_the_original(golden: Golden, file: str) -> None:
    tensors, recorded = golden.tensors(file), golden.manifest[file]
    model = recorded_model(FILES[file], recorded["reference_args"], tensors, frames=BUNNY_FRAMES)
    assert decoder_parameters(model.architecture, model.spec) == recorded["decoder_params"]
    assert model.spec.embedding_parameters == recorded["embed_params"]

    frames = images(tensors["frames"]) if model.encoder else None
    with torch.no_grad():
        output = model(tensors["norm_idx"], frames)

    assert tuple(output.shape[2:]) == (model.spec.height, model.spec.width)
    compared = reduce_output(output) if golden.reduced else output
    assert compared.shape == tensors["output"].shape
    assert (compared - tensors["output"]).abs().max() <= 1e-5


def _encoder_parameters(entry: Architecture, spec: Spec) -> int:
    """Parameters of the encoder, which trains with the decoder but is not stored."""
    if entry.encoder is None:
        return 0
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in entry.encoder(spec).parameters())


@pytest.mark.parametrize("model", SIZED)
def test_published_sizes(golden: Golden, model: str) -> None:
    rows = [row for row in golden.sizes if row["model"] == model]
    assert len(rows) >= 7  # three of Bunny, four of UVG
    for row in rows:
        settings = ModelSettings(name=SIZED[model], strides=tuple(row["strides"]), modelsize_m=row["size"])
        spec = resolve(settings, row["frames"], row["height"], row["width"])
        entry = architecture(settings.name)
        counts = {
            "fc_dim": spec.fc_dim,
            "decoder_params": decoder_parameters(entry, spec),
            "embedding_params": spec.embedding_parameters,
            "encoder_params": _encoder_parameters(entry, spec),
            "total_params": total_parameters(entry, spec),
        }
        assert counts == {key: row[key] for key in counts}, row
