"""The packs ``facenet``, ``facenet512`` and ``vggface2``: Keras' networks, whose hashes nobody publishes."""

from dataclasses import replace

import numpy as np

from visavis.core.geometry import ChipTemplate
from visavis.models.catalogue.shared import ATTRIBUTES, YUNET, part_of
from visavis.models.keras.networks import INCEPTION_SIDE as FACENET_SIDE
from visavis.models.keras.networks import RESNET50_SIDE as VGGFACE2_SIDE
from visavis.models.packs import InputContract, ModelFile, Pack, Part, QualityLimits

_DEEPFACE = "https://github.com/serengil/deepface_models"
_KERAS_VGGFACE = "https://github.com/rcmalli/keras-vggface"
_VGGFACE2 = (
    "VGGFace2: photos of 9,131 people found by Google, released for research with the rights of their owners "
    "reserved, and withdrawn since"
)

# None of these networks was trained on faces aligned by their eyes: they saw what the detector MTCNN framed. A face is
# aligned here so that, on average, its chip shows what such a frame did. Hence where YuNet's points are in MTCNN's
# boxes: eyes, tip of the nose and corners of the mouth in widths and heights of the box, and how large that is, as
# means over 366 photos of LFW's first fold (of every second one, without those where the two found different faces or a
# head is turned far), both sides of a face taken as one. With MTCNN of the package ``mtcnn`` 1.0.0. What it does to
# accuracy has not been measured: the weights were not to be had.
_IN_BOX = ((0.261, 0.386), (0.739, 0.386), (0.5, 0.589), (0.297, 0.742), (0.703, 0.742))
_BOX_WH = (91.6, 123.5)


def _template(side: int, crop: float) -> ChipTemplate:
    """Return where the points are in a chip of ``side`` pixels that shows ``crop`` pixels around the box's middle."""
    points = (np.array(_IN_BOX) - 0.5) * _BOX_WH * side / crop + side / 2
    return ChipTemplate(side=side, points=points.astype(np.float32), sampling="plain")


# Sandberg adds 32 pixels to the width and height of boxes in LFW, and stretches what is in them to a square. A
# similarity does not stretch: the square of the same area.
_FACENET_TEMPLATE = _template(FACENET_SIDE, float(np.sqrt(np.prod(np.add(_BOX_WH, 32)))))
# Its authors enlarge boxes by 0.3, bring the shorter side to 256 pixels, and take 224 x 224 from the middle.
_VGGFACE2_TEMPLATE = _template(VGGFACE2_SIDE, _BOX_WH[0] * 1.3 * VGGFACE2_SIDE / 256)


def _facenet_part(file: str, training_data: str) -> Part:
    return part_of(
        "embedder",
        "inception-resnet-v1",
        ModelFile(
            name=file,
            licence="MIT",
            origin=f"{_DEEPFACE}, converted from https://github.com/davidsandberg/facenet (both MIT)",
            url=f"{_DEEPFACE}/releases/download/v1.0/{file}",
        ),
        f"{training_data}; the licence of the weights says nothing of that",
    )


# Both thresholds are DeepFace's, which feeds BGR divided by 255 unless told otherwise. The networks are fed here as
# they were trained, in RGB: the older one on images whitened one by one, the newer one with the same shift and scale
# for all. Sandberg's accuracies are for that; better thresholds for it than DeepFace's, nobody has published.
_AS_DEEPFACE = (
    "the threshold that DeepFace publishes for these weights, with its own detectors and pixels divided by 255; not "
    "measured here, where they are fed as they were trained: visavis calibrate does, with photos of yours"
)

FACENET = Pack(
    name="facenet",
    summary="YuNet and FaceNet's Inception-ResNet v1, 128-d, in DeepFace's weights: for comparing with older systems",
    parts=(
        YUNET,
        _facenet_part("facenet_weights.h5", "MS-Celeb-1M, which was released for research and is withdrawn since"),
    ),
    optional=ATTRIBUTES,
    template=_FACENET_TEMPLATE,
    input=InputContract(colours="rgb", whiten=True),
    preprocessing="plain-chip rgb whitened",
    dimension=128,
    metric="cosine",
    threshold=0.4,
    threshold_provenance=_AS_DEEPFACE,
    identify_threshold=0.3,
    conflict_threshold=0.2,
    cluster_threshold=0.3,
)

FACENET512 = replace(
    FACENET,
    name="facenet512",
    summary="YuNet and FaceNet's Inception-ResNet v1, 512-d, in DeepFace's weights: for comparing with older systems",
    parts=(YUNET, _facenet_part("facenet512_weights.h5", _VGGFACE2)),
    input=InputContract(colours="rgb", mean=(127.5, 127.5, 127.5), scale=1 / 128),
    preprocessing="plain-chip rgb 127.5 128",
    dimension=512,
    threshold=0.3,
    identify_threshold=0.25,
    conflict_threshold=0.15,
    cluster_threshold=0.25,
)

VGGFACE2 = Pack(
    name="vggface2",
    summary="YuNet and Oxford's ResNet-50 of VGGFace2, 2048-d, in keras-vggface's weights: not for commercial use",
    parts=(
        YUNET,
        part_of(
            "embedder",
            "vggface2-resnet50",
            ModelFile(
                name="rcmalli_vggface_tf_notop_resnet50.h5",
                licence="non-commercial research",
                origin=f'{_KERAS_VGGFACE} (code MIT; "Original models can be used for non-commercial research '
                'purposes"), converted from https://github.com/ox-vgg/vgg_face2',
                url=f"{_KERAS_VGGFACE}/releases/download/v2.0/rcmalli_vggface_tf_notop_resnet50.h5",
            ),
            _VGGFACE2,
            commercial_use=False,
        ),
    ),
    optional=ATTRIBUTES,
    template=_VGGFACE2_TEMPLATE,
    input=InputContract(colours="bgr", mean=(91.4953, 103.8827, 131.0912)),
    preprocessing="plain-chip bgr vggface2",
    dimension=2048,
    metric="cosine",
    threshold=0.45,
    threshold_provenance=(
        "in use by services that verify with these weights; not measured here: visavis calibrate does, with photos of "
        "yours"
    ),
    identify_threshold=0.35,
    conflict_threshold=0.25,
    cluster_threshold=0.35,
    # Its chips show a face twice as large as others', and so half as sharp: a quarter in squared frequency.
    quality=QualityLimits(min_sharpness=0.016, probe_min_sharpness=0.008),
)
