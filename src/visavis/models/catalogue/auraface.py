"""The pack ``auraface``: a large embedder that its publisher made for use at work."""

from visavis.models.catalogue.shared import (
    AGE_GENDER,
    APACHE,
    ARCFACE_INPUT,
    ARCFACE_PREPROCESSING,
    ARCFACE_TEMPLATE,
    LIVENESS,
    POSE,
    UNMEASURED,
    UNMEASURED_QUALITY,
    YUNET,
)
from visavis.models.packs import ModelFile, Pack, Part

_PAGE = "https://huggingface.co/fal/AuraFace-v1"

AURAFACE = Pack(
    name="auraface",
    summary="YuNet and fal's AuraFace v1, a ResNet100 of 512-d: large, and made for commercial use",
    parts=(
        YUNET,
        Part(
            role="embedder",
            head="onnx-embedder",
            files=(
                # This file alone: the others there are InsightFace's, under its own terms, whatever the page says.
                ModelFile(
                    name="auraface_v1_glintr100.onnx",
                    licence=APACHE,
                    origin=_PAGE,
                    size=260_694_151,
                    sha256="a7933ea5330113b01c9b60351d8f4c33003f145d8470ac5f0e52ee2effe25c60",
                    url=f"{_PAGE}/resolve/main/glintr100.onnx",
                ),
            ),
            training_data="commercially and publicly available sources, which fal does not name",
        ),
    ),
    optional=(LIVENESS, POSE, AGE_GENDER),
    template=ARCFACE_TEMPLATE,
    input=ARCFACE_INPUT,
    preprocessing=ARCFACE_PREPROCESSING,
    dimension=512,
    metric="cosine",
    threshold=0.6,
    threshold_provenance=UNMEASURED,
    identify_threshold=0.5,
    identify_margin=0.05,
    conflict_threshold=0.4,
    identify_provenance=UNMEASURED,
    cluster_threshold=0.5,
    cluster_provenance=UNMEASURED,
    quality=UNMEASURED_QUALITY,
)
