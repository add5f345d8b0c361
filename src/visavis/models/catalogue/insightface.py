"""InsightFace's packs ``buffalo_l``, ``buffalo_s`` and ``antelopev2``: accurate, and not for commercial use."""

from dataclasses import replace

from visavis.models.catalogue.shared import (
    ARCFACE_INPUT,
    ARCFACE_PREPROCESSING,
    ARCFACE_TEMPLATE,
    UNMEASURED,
    UNMEASURED_QUALITY,
)
from visavis.models.packs import Archive, ModelFile, Pack, Part

_LICENCE = "non-commercial research"
_PAGE = "https://github.com/deepinsight/insightface"
_RELEASE = f"{_PAGE}/releases/download/v0.7"
_WIDER = "WIDER FACE, whose photos were released for research"

_BUFFALO_L = Archive(
    f"{_RELEASE}/buffalo_l.zip", sha256="80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f"
)
# It holds the same two networks as buffalo_s.zip, and nothing else.
_BUFFALO_SC = Archive(
    f"{_RELEASE}/buffalo_sc.zip",
    size=16_140_916,
    sha256="57d31b56b6ffa911c8a73cfc1707c73cab76efe7f13b675a05223bf42de47c72",
)
_ANTELOPEV2 = Archive(
    f"{_RELEASE}/antelopev2.zip", sha256="8e182f14fc6e80b3bfa375b33eb6cff7ee05d8ef7633e738d1c89021dcf0c5c5"
)


def _file(archive: Archive, member: str, size: int, sha256: str) -> ModelFile:
    return ModelFile(
        name=member.rpartition("/")[2],
        licence=_LICENCE,
        origin=f"{_PAGE}/tree/master/model_zoo",
        size=size,
        sha256=sha256,
        archive=archive,
        member=member,
    )


def _detector(file: ModelFile) -> Part:
    return Part(role="detector", head="scrfd", files=(file,), training_data=_WIDER, commercial_use=False)


def _embedder(file: ModelFile, training_data: str) -> Part:
    return Part(
        role="embedder",
        head="onnx-embedder",
        files=(file,),
        training_data=f"{training_data}, released for research",
        commercial_use=False,
    )


BUFFALO_L = Pack(
    name="buffalo_l",
    summary="InsightFace's SCRFD-10G and ArcFace ResNet50, 512-d: accurate; not for commercial use",
    parts=(
        _detector(
            _file(
                _BUFFALO_L,
                "det_10g.onnx",
                16_923_827,
                "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
            )
        ),
        _embedder(
            _file(
                _BUFFALO_L,
                "w600k_r50.onnx",
                174_383_860,
                "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
            ),
            "WebFace600K, a part of WebFace260M",
        ),
    ),
    template=ARCFACE_TEMPLATE,
    input=ARCFACE_INPUT,
    preprocessing=ARCFACE_PREPROCESSING,
    dimension=512,
    metric="cosine",
    threshold=0.6,
    threshold_provenance=UNMEASURED,
    identify_threshold=0.55,
    identify_margin=0.05,
    conflict_threshold=0.45,
    identify_provenance=UNMEASURED,
    cluster_threshold=0.55,
    cluster_provenance=UNMEASURED,
    quality=replace(UNMEASURED_QUALITY, min_score=0.6),
)

BUFFALO_S = replace(
    BUFFALO_L,
    name="buffalo_s",
    summary="InsightFace's SCRFD-500M and ArcFace MobileFaceNet, 512-d: small; not for commercial use",
    parts=(
        _detector(
            _file(
                _BUFFALO_SC,
                "det_500m.onnx",
                2_524_817,
                "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a",
            )
        ),
        _embedder(
            _file(
                _BUFFALO_SC,
                "w600k_mbf.onnx",
                13_616_099,
                "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f",
            ),
            "WebFace600K, a part of WebFace260M",
        ),
    ),
    identify_threshold=0.5,
    conflict_threshold=0.4,
    cluster_threshold=0.5,
)

ANTELOPEV2 = replace(
    BUFFALO_L,
    name="antelopev2",
    summary="InsightFace's SCRFD-10G and ArcFace ResNet100, 512-d: large and accurate; not for commercial use",
    parts=(
        _detector(
            _file(
                _ANTELOPEV2,
                "antelopev2/scrfd_10g_bnkps.onnx",
                16_923_827,
                "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
            )
        ),
        _embedder(
            _file(
                _ANTELOPEV2,
                "antelopev2/glintr100.onnx",
                260_665_334,
                "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf",
            ),
            "Glint360K",
        ),
    ),
)
