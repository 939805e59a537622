"""From a fine-tuned checkpoint to a coded segment, as `boostnerv encode` and `boostnerv compress` both code it."""

from __future__ import annotations

from boostnerv.codec.container.bitstream import Segment
from boostnerv.codec.encoder import Quantized, Snapped, encode_segment, snap
from boostnerv.models.architecture import architecture
from boostnerv.training.checkpoint import About


def coded_segment(about: About, model: Quantized, entropy_model: str | None = None) -> tuple[Segment, Snapped]:
    """The segment of what `checkpoint.restore_quantized` read, and the integers that it stores.

    `entropy_model` is that of the fine-tuning where it is None. Raises `UserError` where values are not finite.
    """
    assert about.finetune is not None, "only fine-tuned checkpoints have quantisers"
    choice = entropy_model or about.finetune.finetuning.entropy_model
    snapped = snap(model)
    segment = encode_segment(architecture(about.architecture), about.make_spec(), snapped, entropy_model=choice)
    return segment, snapped
