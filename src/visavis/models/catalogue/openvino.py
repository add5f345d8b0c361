"""The pack ``open``: small, accurate, and free to use at work."""

import numpy as np

from visavis.core.decide import Calibration, ErrorRates, OperatingPoint
from visavis.core.geometry import ChipTemplate
from visavis.core.quality import ValidityRule
from visavis.models.catalogue import groups
from visavis.models.catalogue.shared import ATTRIBUTES, FOUR_FOLDS, YUNET, zoo_files
from visavis.models.packs import InputContract, Pack, Part, QualityLimits

_SIDE = 128
# The eyes, the tip of the nose and the corners of the mouth, those on the image's left first, in a unit square.
# Source: Open Model Zoo, face-reidentification-retail-0095.
_POINTS = (
    (0.31556875, 0.4615741071428571),
    (0.6826229166666667, 0.4615741071428571),
    (0.5002624999999999, 0.6405053571428571),
    (0.34947187500000004, 0.8246919642857142),
    (0.6534364583333333, 0.8246919642857142),
)

OPEN = Pack(
    name="open",
    summary="YuNet and Intel's face-reidentification-retail-0095, 256-d: small, fast, more accurate than dlib",
    parts=(
        YUNET,
        Part(
            role="embedder",
            head="ir-embedder",
            files=zoo_files(
                "face-reidentification-retail-0095",
                (350_427, "ce53d2c9c08c0bd1c1660fb8a5b6d0e3e4ec19eb92f1036d2d83a85e83082dce"),
                (2_213_628, "241229ca3d206321868d46ce74a3c0b06c49cea58db7dc70b2e842ff287545d1"),
            ),
            training_data="not published by Intel",
        ),
    ),
    optional=ATTRIBUTES,
    template=ChipTemplate(side=_SIDE, points=(np.array(_POINTS) * _SIDE).astype(np.float32), sampling="plain"),
    input=InputContract(colours="bgr"),
    preprocessing="plain-chip bgr",
    dimension=256,
    metric="cosine",
    threshold=0.7,
    threshold_provenance="a false match rate of 3e-3 on the people of LFW's first fold, half of the pack dlib's at its "
    "own threshold; bench/rates.py, float32",
    identify_threshold=0.6,
    conflict_threshold=0.5,
    identify_provenance="bench/identify.py on the people of LFW's first fold, float32",
    cluster_threshold=0.56,
    cluster_provenance="bench/cluster.py on the people of LFW's first fold, float32",
    quality=QualityLimits(
        min_face_px=30.0,
        provenance="bench/quality.py --pack open on the 807 photos of LFW's first fold, float32: none is refused; the "
        "11 that are turned by more than 35 degrees, at most 59, are recognised as well as the others",
    ),
    child=groups.OPEN_CHILD,
    validity=ValidityRule(
        length=12.9,
        likeness=-23.1,
        sharpness=-2.5,
        constant=-29.2,
        usual_length=15.2,
        unseen=2.9,
        prototypes="open",
        provenance="logistic regression on the photos of LFW's first fold, 250 of them degraded, and on test photos of "
        "groups: bench/invalid.py --pack open --fit; bench/nonsense.py",
    ),
    calibration=Calibration(midpoint=0.7218, slope=33.22, provenance=FOUR_FOLDS, worst_group=groups.OPEN_WORST),
    rates=ErrorRates(
        points=(
            OperatingPoint(0.000003, 0.4414, 0.3646, 0.5002),
            OperatingPoint(0.00001, 0.4796, 0.4357, 0.5256),
            OperatingPoint(0.00003, 0.5267, 0.4700, 0.5526),
            OperatingPoint(0.0001, 0.5742, 0.5362, 0.5892),
            OperatingPoint(0.0003, 0.6169, 0.5985, 0.6248),
            OperatingPoint(0.001, 0.6622, 0.6536, 0.6676),
            OperatingPoint(0.003, 0.7066, 0.7013, 0.7102),
            OperatingPoint(0.01, 0.7600, 0.7560, 0.7624),
            OperatingPoint(0.03, 0.8121, 0.8090, 0.8136),
            OperatingPoint(0.1, 0.8754, 0.8734, 0.8760),
        ),
        provenance=FOUR_FOLDS,
    ),
)
