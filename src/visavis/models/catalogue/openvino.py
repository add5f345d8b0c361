"""The pack ``open``: small, accurate, and free to use at work."""

import numpy as np

from visavis.core.decide import Calibration, ErrorRates, OperatingPoint
from visavis.core.geometry import ChipTemplate
from visavis.core.quality import ValidityRule
from visavis.models.catalogue import groups
from visavis.models.catalogue.shared import ATTRIBUTES, YUNET, zoo_files
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
    calibration=Calibration(
        midpoint=0.7070,
        slope=40.31,
        provenance="all pairs of the 435 people of LFW's first fold, bench/rates.py --pack open, float32",
        worst_group=groups.OPEN_WORST,
    ),
    validity=ValidityRule(
        length=12.9,
        likeness=-23.1,
        sharpness=-2.5,
        constant=-29.2,
        prototypes="open",
        provenance="logistic regression on the photos of LFW's first fold, 250 of them degraded, and on test photos of "
        "groups: bench/invalid.py --pack open --fit; bench/nonsense.py",
    ),
    rates=ErrorRates(
        points=(
            OperatingPoint(0.0001, 0.5816, 0.5307, 0.6017),
            OperatingPoint(0.0003, 0.6122, 0.5949, 0.6252),
            OperatingPoint(0.001, 0.6545, 0.6381, 0.6674),
            OperatingPoint(0.003, 0.6997, 0.6875, 0.7094),
            OperatingPoint(0.01, 0.7542, 0.7457, 0.7610),
            OperatingPoint(0.03, 0.8076, 0.8021, 0.8129),
            OperatingPoint(0.1, 0.8724, 0.8683, 0.8756),
        ),
        provenance="all pairs of the 435 people of LFW's first fold, bench/rates.py --pack open, float32",
    ),
)
