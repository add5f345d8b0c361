"""Parts that several packs share."""

from dataclasses import replace

import numpy as np

from visavis.core.geometry import ChipTemplate
from visavis.models.packs import Head, InputContract, ModelFile, Part, Role

_ZOO = "https://storage.openvinotoolkit.org/repositories/open_model_zoo/2023.0/models_bin/1"
_ZOO_PAGE = "https://github.com/openvinotoolkit/open_model_zoo"
_SILENT_FACE = "https://github.com/minivision-ai/Silent-Face-Anti-Spoofing"
APACHE = "Apache-2.0"
FOUR_FOLDS = (
    "all 4.7 million pairs of the 1,664 people of LFW's first four folds, which support no rate below 3e-6; "
    "bench/rates.py, float32"
)

# The eyes, the tip of the nose and the corners of the mouth, those on the image's left first, in pixels.
# Source: InsightFace, ``face_align.py``, which OpenCV's ``FaceRecognizerSF`` uses too.
_ARCFACE_POINTS = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))

ARCFACE_TEMPLATE = ChipTemplate(side=112, points=np.array(_ARCFACE_POINTS, np.float32), sampling="plain")
ARCFACE_INPUT = InputContract(colours="rgb", mean=(127.5, 127.5, 127.5), scale=1 / 127.5)
ARCFACE_PREPROCESSING = "plain-chip rgb -1..1"


def zoo_files(model: str, xml: tuple[int, str | None], weights: tuple[int, str | None]) -> tuple[ModelFile, ModelFile]:
    """Return the two files of a network of Intel's Open Model Zoo, in FP16, by their sizes and SHA-256."""
    return tuple(  # type: ignore[return-value]  # two of two
        ModelFile(
            name=f"{model}.{suffix}",
            licence=APACHE,
            origin=f"{_ZOO_PAGE}/tree/master/models/intel/{model}",
            size=size,
            sha256=sha256,
            url=f"{_ZOO}/{model}/FP16/{model}.{suffix}",
        )
        for suffix, (size, sha256) in (("xml", xml), ("bin", weights))
    )


def part_of(role: Role, head: Head, file: ModelFile, training_data: str, *, commercial_use: bool = True) -> Part:
    """Return a part of one file."""
    return Part(role=role, head=head, files=(file,), training_data=training_data, commercial_use=commercial_use)


YUNET = Part(
    role="detector",
    head="yunet",
    files=(
        ModelFile(
            name="face_detection_yunet_2023mar.onnx",
            licence="MIT",
            origin="https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet",
            size=232_589,
            sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
            url="https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/face_detection_yunet_2023mar.onnx",
        ),
    ),
    training_data="WIDER FACE, whose photos were released for research",
    min_face=0.03,
)

_MINIFASNET_V2 = "a5eb02e1843f19b5386b953cc4c9f011c3f985d0ee2bb9819eea9a142099bec0"
_MINIFASNET_V1SE = "84ee1d37d96894d5e82de5a57df044ef80a58be2b218b5ed7cdfd875ec2f5990"
LIVENESS = Part(
    role="liveness",
    head="minifasnet",
    files=tuple(
        ModelFile(
            name=name,
            licence=APACHE,
            origin=_SILENT_FACE,
            size=size,
            sha256=sha256,
            url=f"{_SILENT_FACE}/raw/master/resources/anti_spoof_models/{name}",
        )
        for name, size, sha256 in (
            ("2.7_80x80_MiniFASNetV2.pth", 1_849_453, _MINIFASNET_V2),
            ("4_0_0_80x80_MiniFASNetV1SE.pth", 1_856_130, _MINIFASNET_V1SE),
        )
    ),
    training_data="not published by Minivision",
)

POSE = Part(
    role="pose",
    head="ir-head-pose",
    files=zoo_files(
        "head-pose-estimation-adas-0001",
        (78_824, "7a00509b02c15371c8156b848daf2825a061488b6f1b257ccbb648596c0a1ef3"),
        (3_823_816, "035c41b04268c4541fc0d7fc4a131070bc2d424324ad8e1163f83953ee8bb0b1"),
    ),
    training_data="not published by Intel",
)

_AGE_GENDER_FILES = zoo_files("age-gender-recognition-retail-0013", (43_414, None), (4_276_038, None))
# Intel states SHA-384.
_AGE_GENDER_SHA384 = (
    "a3c4c149f644a8cbcf81fb9fe5c9eb2500c5a102c6dea8ed9ef748eb60e07a0205371d5a839f26592848433971ea8547",
    "667b71d543f455e5683c70de8ae6db303e8c2362b1e25d3b2539a2ce80bb689ccedefb79b2111b0b8cb6dafcbb2cc5b4",
)
AGE_GENDER = Part(
    role="age_gender",
    head="ir-age-gender",
    files=tuple(replace(f, sha384=sha384) for f, sha384 in zip(_AGE_GENDER_FILES, _AGE_GENDER_SHA384, strict=True)),
    training_data="not published by Intel; people from 18 to 75",
)
ATTRIBUTES = (LIVENESS, POSE, AGE_GENDER)
