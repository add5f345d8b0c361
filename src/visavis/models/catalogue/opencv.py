"""The pack ``opencv``: what OpenCV's own face module uses."""

from visavis.models.catalogue.shared import (
    AGE_GENDER,
    APACHE,
    ARCFACE_TEMPLATE,
    LIVENESS,
    POSE,
    UNMEASURED,
    UNMEASURED_QUALITY,
    YUNET,
)
from visavis.models.packs import InputContract, ModelFile, Pack, Part

_ZOO = "https://github.com/opencv/opencv_zoo"
_FOLDER = "models/face_recognition_sface"
_FILE = "face_recognition_sface_2021dec.onnx"

OPENCV = Pack(
    name="opencv",
    summary="YuNet and SFace, 128-d, as OpenCV's FaceDetectorYN and FaceRecognizerSF use them",
    parts=(
        YUNET,
        Part(
            role="embedder",
            head="onnx-embedder",
            files=(
                ModelFile(
                    name=_FILE,
                    licence=APACHE,
                    origin=f"{_ZOO}/tree/main/{_FOLDER}",
                    size=38_696_353,
                    sha256="0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
                    url=f"{_ZOO}/raw/main/{_FOLDER}/{_FILE}",
                ),
            ),
            training_data="not stated with the file; its paper's networks are trained on CASIA-WebFace, VGGFace2 and "
            "MS-Celeb-1M, which were released for research",
        ),
    ),
    optional=(LIVENESS, POSE, AGE_GENDER),
    template=ARCFACE_TEMPLATE,
    input=InputContract(colours="rgb"),
    preprocessing="plain-chip rgb",
    dimension=128,
    metric="cosine",
    threshold=0.637,
    threshold_provenance="the similarity of 0.363 that OpenCV publishes for it; not measured here",
    identify_threshold=0.5,
    identify_margin=0.05,
    conflict_threshold=0.4,
    identify_provenance=UNMEASURED,
    cluster_threshold=0.5,
    cluster_provenance=UNMEASURED,
    quality=UNMEASURED_QUALITY,
)
