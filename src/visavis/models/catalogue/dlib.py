"""dlib's own models, public domain: as dlib itself uses them, and with more made of the same numbers."""

from dataclasses import replace

import numpy as np

from visavis.core.decide import Calibration, ErrorRates, OperatingPoint
from visavis.core.geometry import EYE_CORNERS_NOSE, ChipTemplate
from visavis.core.quality import ValidityRule
from visavis.models.catalogue import groups
from visavis.models.catalogue.shared import FOUR_FOLDS, part_of
from visavis.models.packs import InputContract, ModelFile, Pack, QualityLimits

# Outer and inner corner of the eye on the image's right, the same on its left, base of the nose, in a unit square that
# is padded by a quarter of its side all around. Source: dlib's ``get_face_chip_details``.
_DLIB_POINTS = (
    (0.8595674595992, 0.2134981538014),
    (0.6460604764104, 0.2289674387677),
    (0.1205750620789, 0.2137274526848),
    (0.3340850613712, 0.2290642403242),
    (0.4901123135679, 0.6277975316475),
)
_DLIB_SIDE = 150
_DLIB_PADDING = 0.25


def _file(  # noqa: PLR0913  # as many facts
    name: str, *, size: int, sha256: str, parameters: int, layers: int = 0, licence: str = "public domain"
) -> ModelFile:
    return ModelFile(
        name=name,
        licence=licence,
        origin=f"https://github.com/davisking/dlib-models ({licence})",
        size=size,
        sha256=sha256,
        package="face_recognition_models",
        path=f"models/{name}",
        requirement="'visavis[dlib]'",
        parameters=parameters,
        layers=layers,
    )


DLIB = Pack(
    name="dlib",
    summary="dlib's CNN detector, 5 landmarks and 128-d ResNet embedder: public domain, always there",
    parts=(
        part_of(
            "detector",
            "dlib-mmod",
            _file(
                "mmod_human_face_detector.dat",
                size=729_940,
                sha256="4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6",
                parameters=181_141,
                layers=19,
            ),
            "7,220 images that dlib's author collected and labelled",
        ),
        part_of(
            "landmarks",
            "dlib-forest",
            _file(
                "shape_predictor_5_face_landmarks.dat",
                size=9_150_489,
                sha256="c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
                parameters=1_573_510,
            ),
            "7,198 faces that dlib's author labelled",
        ),
        part_of(
            "embedder",
            "dlib-resnet",
            _file(
                "dlib_face_recognition_resnet_model_v1.dat",
                size=22_466_066,
                sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
                parameters=5_614_592,
                layers=108,
            ),
            "about 3 million faces of FaceScrub, VGG and others, collected from the web",
        ),
    ),
    template=ChipTemplate(
        side=_DLIB_SIDE,
        points=((_DLIB_PADDING + np.array(_DLIB_POINTS)) / (1 + 2 * _DLIB_PADDING) * _DLIB_SIDE).astype(np.float32),
        anatomy=EYE_CORNERS_NOSE,
    ),
    input=InputContract(colours="rgb", layout="nhwc", dtype="uint8"),
    preprocessing="dlib-chip rgb8",
    dimension=128,
    metric="euclidean",
    threshold=0.6,
    threshold_provenance="the threshold that dlib's author trained and published the network for",
    identify_threshold=0.56,
    conflict_threshold=0.45,
    identify_provenance="bench/identify.py on the people of LFW's first fold, float32",
    cluster_threshold=0.5,
    cluster_provenance="bench/cluster.py on the people of LFW's first fold, float32",
    quality=QualityLimits(
        min_score=0.9,
        max_yaw=40.0,
        max_pitch=90.0,
        provenance="bench/quality.py on the 807 photos of LFW's first fold, float32: the yaw alone refuses two; its "
        "landmarks tell no pitch",
    ),
    child=groups.DLIB_CHILD,
    validity=ValidityRule(
        length=11.9,
        likeness=-22.4,
        sharpness=-4.2,
        flatness=-18.8,
        constant=15.4,
        usual_length=1.43,
        unseen=5.2,
        prototypes="dlib",
        provenance="logistic regression on the photos of LFW's first fold, 60 of them degraded, and on test photos of "
        "groups: bench/invalid.py --pack dlib --fit; bench/nonsense.py",
    ),
    calibration=Calibration(midpoint=0.6259, slope=54.59, provenance=FOUR_FOLDS, worst_group=groups.DLIB_WORST),
    rates=ErrorRates(
        points=(
            OperatingPoint(0.000003, 0.3942, 0.3819, 0.4227),
            OperatingPoint(0.00001, 0.4150, 0.3889, 0.4475),
            OperatingPoint(0.00003, 0.4454, 0.4113, 0.4678),
            OperatingPoint(0.0001, 0.4759, 0.4501, 0.4940),
            OperatingPoint(0.0003, 0.5080, 0.4874, 0.5228),
            OperatingPoint(0.001, 0.5461, 0.5322, 0.5554),
            OperatingPoint(0.003, 0.5799, 0.5718, 0.5855),
            OperatingPoint(0.01, 0.6179, 0.6131, 0.6214),
            OperatingPoint(0.03, 0.6564, 0.6529, 0.6593),
            OperatingPoint(0.1, 0.7077, 0.7045, 0.7105),
        ),
        provenance=FOUR_FOLDS,
    ),
)

LANDMARKS_68 = part_of(
    "landmarks",
    "dlib-forest",
    _file(
        "shape_predictor_68_face_landmarks.dat",
        size=99_693_937,
        sha256="fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
        parameters=16_680_136,
        licence="not for commercial use: iBUG-300W",
    ),
    "iBUG 300-W, whose licence forbids commercial use",
    commercial_use=False,
)
"""Part of no pack: ``visavis.compat.face_recognition`` has it, after its licence was accepted."""

DLIB_COSINE = replace(
    DLIB,
    name="dlib-cosine",
    summary="dlib's models, with the mirrored face embedded too and cosine distances: fewer errors than dlib",
    mirror=True,
    metric="cosine",
    threshold=0.08,
    threshold_provenance="a false match rate of 3e-3 on the people of LFW's first four folds, half of the pack "
    "dlib's at its own threshold; bench/rates.py, float32",
    identify_threshold=0.064,
    identify_margin=0.006,
    conflict_threshold=0.053,
    cluster_threshold=0.062,
    validity=None,  # not measured: lengths of sums say something else
    calibration=Calibration(midpoint=0.0911, slope=182.81, provenance=FOUR_FOLDS),
    rates=ErrorRates(
        points=(
            OperatingPoint(0.000003, 0.0418, 0.0362, 0.0463),
            OperatingPoint(0.00001, 0.0462, 0.0424, 0.0505),
            OperatingPoint(0.00003, 0.0510, 0.0471, 0.0547),
            OperatingPoint(0.0001, 0.0573, 0.0533, 0.0603),
            OperatingPoint(0.0003, 0.0641, 0.0611, 0.0660),
            OperatingPoint(0.001, 0.0715, 0.0698, 0.0729),
            OperatingPoint(0.003, 0.0797, 0.0784, 0.0807),
            OperatingPoint(0.01, 0.0898, 0.0889, 0.0906),
            OperatingPoint(0.03, 0.1013, 0.1004, 0.1020),
            OperatingPoint(0.1, 0.1181, 0.1170, 0.1191),
        ),
        provenance=FOUR_FOLDS,
    ),
)
