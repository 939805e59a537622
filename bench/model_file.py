"""A ``.bnv`` file of one model, for measurements that need a file and no training."""

from __future__ import annotations

from boostnerv.codec.container.bitstream import Bitstream, Video, write
from boostnerv.codec.encoder import Quantized, encode_segment, snap
from boostnerv.models.architecture import Architecture, Spec


def model_file(entry: Architecture, spec: Spec, model: Quantized) -> bytes:
    """The bytes of a file of one segment at 25 frames per second, under the entropy model ``gaussian``."""
    segment = encode_segment(entry, spec, snap(model), entropy_model="gaussian")
    return write(Bitstream(Video(spec.frames, spec.height, spec.width, 25.0, "ffmpeg-default"), (segment,)))
