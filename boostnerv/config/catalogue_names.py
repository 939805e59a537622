"""Names of the catalogue as types of settings: anything else is refused with an enumeration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from boostnerv import catalogue

if TYPE_CHECKING:
    AnchorName = str
    AnchorPixelFormat = str
    EmbeddingQuantizerName = str
    EmbeddingRateName = str
    EntropyModelName = str
    ImageCodecName = str
    PostTrainingQuantizerName = str
    WeightQuantizerName = str
else:
    AnchorName = Literal[tuple(catalogue.ANCHORS)]
    AnchorPixelFormat = Literal[catalogue.anchor_pixel_formats()]
    EmbeddingQuantizerName = Literal[tuple(catalogue.EMBEDDING_QUANTIZERS)]
    EmbeddingRateName = Literal[catalogue.EMBEDDING_RATES]
    EntropyModelName = Literal[(catalogue.AUTO, *catalogue.entropy_model_names())]
    ImageCodecName = Literal[tuple(catalogue.IMAGE_CODECS)]
    PostTrainingQuantizerName = Literal[tuple(catalogue.POST_TRAINING_QUANTIZERS)]
    WeightQuantizerName = Literal[tuple(catalogue.WEIGHT_QUANTIZERS)]
