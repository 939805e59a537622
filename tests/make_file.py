"""Write a small ``.bnv`` file of an untrained model and its decoded frames: ``make_file.py FILE.bnv FRAMES.npy``."""

import sys
from pathlib import Path

import numpy as np
import torch

from boostnerv.codec.container.bitstream import Bitstream, Video, write
from boostnerv.codec.decoder import VideoFile
from boostnerv.codec.encoder import Quantized, encode_segment, snap
from boostnerv.config import ModelSettings
from boostnerv.models.architecture import build_model
from boostnerv.models.budget import resolve


def main(file: Path, frames: Path) -> None:
    """Make both."""
    torch.set_num_threads(1)
    spec = resolve(ModelSettings(name="hnerv-boost", strides=(5, 2), total_m=0.12), frames=3, height=33, width=47)
    model = build_model("hnerv-boost", spec, seed=1)
    pictures = torch.rand(3, 3, 33, 47, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        embeddings = model.embed(pictures)
    quantized = Quantized.after_training(dict(model.decoder.named_parameters()), embeddings, bits=6)
    segment = encode_segment(model.architecture, spec, snap(quantized))
    file.write_bytes(write(Bitstream(Video(3, 33, 47, 25.0, "ffmpeg-default"), (segment,))))
    np.save(frames, np.stack(list(VideoFile(file).frames())))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
