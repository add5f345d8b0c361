"""Answers about galleries and models, as the OpenAPI document describes them."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, JsonValue

from visavis.server.requests import Failed, FoundFace, PolicyChange, QualityInfo

_Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2025-03-01T09:30:00Z"])]
_Id = Annotated[str, Field(examples=["ada"])]
_Probability = Annotated[
    float | None,
    Field(ge=0, le=1, description="Calibrated; both answers equally likely beforehand. Null without calibration."),
]
_Fmr = Annotated[
    float | None,
    Field(description="The false match rate of one comparison, where one was asked for.", examples=[0.001]),
]
_Cursor = Annotated[str | None, Field(description="Where the next page begins; null where this is the last one.")]


class SpaceInfo(BaseModel):
    """What makes embeddings comparable."""

    id: Annotated[str, Field(description="Of the models that made them.", examples=["df2e423c8260a6ae"])]
    dimension: Annotated[int, Field(examples=[128])]
    metric: Annotated[str, Field(examples=["euclidean"])]


class GalleryInfo(BaseModel):
    """A set of subjects whose embeddings can be compared."""

    name: Annotated[str, Field(examples=["team"])]
    number: Annotated[int, Field(description="Never given twice.")]
    space: SpaceInfo
    policy: PolicyChange
    encrypted: bool
    created_at: _Moment
    subjects: Annotated[int, Field(description="How many it holds.")]
    samples: Annotated[int, Field(description="How many it holds.")]


class GalleriesResponse(BaseModel):
    """The galleries that the key may see, by name."""

    galleries: list[GalleryInfo]


class SubjectInfo(BaseModel):
    """A person."""

    id: _Id
    number: Annotated[int, Field(description="By which logs and receipts call the subject; never given twice.")]
    name: Annotated[str | None, Field(examples=["Ada Lovelace"])]
    metadata: dict[str, JsonValue]
    consent: str | None
    created_at: _Moment
    updated_at: _Moment
    expires_at: _Moment | None
    version: Annotated[int, Field(description="One more with every change.")]
    samples: Annotated[int, Field(description="How many there are.")]


class SampleInfo(BaseModel):
    """One enrolled face."""

    id: int
    quality: QualityInfo | None
    source: str | None
    picture: Annotated[str, Field(description="What is stored of the image: nothing, chips or images.")]
    created_at: _Moment


class SubjectDetail(SubjectInfo):
    """A person with all samples."""

    sample_list: list[SampleInfo]


class SubjectsResponse(BaseModel):
    """A page of subjects, in the order in which they were enrolled."""

    subjects: list[SubjectInfo]
    next_cursor: _Cursor


class CandidateInfo(BaseModel):
    """A subject that a face resembles."""

    subject: _Id
    subject_number: int
    name: str | None
    sample: Annotated[int, Field(description="Its sample that is nearest to the face.")]
    distance: Annotated[float, Field(examples=[0.31])]
    probability: _Probability
    margin: Annotated[
        float | None, Field(description="By how much the next candidate is farther away; null where there is none.")
    ]


class EnrolledInfo(BaseModel):
    """A face that is enrolled."""

    sample: int
    repeated: Annotated[bool, Field(description="Whether the idempotency key says that this was done before.")]
    face: FoundFace | None
    conflict: Annotated[
        CandidateInfo | None, Field(description="Another subject that it resembles, where that was allowed.")
    ]


class EnrolResponse(BaseModel):
    """The subject as it is now, and a result for each face, in order."""

    subject: SubjectInfo
    results: list[EnrolledInfo | Failed]


class IdentificationInfo(BaseModel):
    """Who a face is."""

    match: Annotated[CandidateInfo | None, Field(description="The subject; null where the face is nobody.")]
    unknown: Annotated[
        Literal["below_threshold", "low_margin", "low_quality", "not_live", "empty_gallery"] | None,
        Field(description="Why the face is nobody."),
    ]
    candidates: Annotated[list[CandidateInfo], Field(description="Nearest first, near enough or not.")]
    threshold: Annotated[float, Field(description="The one that was used.", examples=[0.56])]
    fmr: _Fmr
    face: FoundFace | None


class Identified(BaseModel):
    """The faces of one image, largest first; none is an empty list."""

    faces: list[IdentificationInfo]


class IdentifyResponse(BaseModel):
    """A result for each image or embedding, in order."""

    gallery: Annotated[str, Field(examples=["team"])]
    pack: Annotated[str, Field(examples=["dlib"])]
    results: list[Identified | Failed]


class SubjectVerificationInfo(BaseModel):
    """Whether a face is the subject's."""

    same: Annotated[bool, Field(description="Whether the distance is below the threshold.")]
    distance: Annotated[float, Field(description="To the nearest sample of the subject.", examples=[0.32])]
    threshold: Annotated[float, Field(examples=[0.6])]
    probability: _Probability
    decision: Annotated[
        Literal["same", "different", "uncertain"],
        Field(description="Uncertain where the distance is within the confidence interval of the threshold."),
    ]
    fmr: _Fmr
    subject: _Id
    sample: int
    face: FoundFace | None


class ReceiptInfo(BaseModel):
    """What was forgotten."""

    gallery: Annotated[str, Field(examples=["team"])]
    gallery_number: int
    subject: Annotated[str | None, Field(description="As it was asked for; null where it was a whole gallery.")]
    subjects: Annotated[list[int], Field(description="The numbers of the subjects concerned, as the log has them.")]
    samples: Annotated[int, Field(description="How many are gone.")]
    forgotten_at: _Moment
    actor: str
    overwritten: Annotated[bool, Field(description="Whether the store's files hold none of its bytes any more.")]


class PairInfo(BaseModel):
    """Two subjects whose faces are near each other."""

    a: _Id
    b: _Id
    samples: Annotated[list[int], Field(min_length=2, max_length=2)]
    distance: float
    probability: _Probability


class OutlierInfo(BaseModel):
    """A sample that looks unlike the others of its subject."""

    subject: _Id
    sample: int
    distance: Annotated[float, Field(description="To the nearest other sample of the subject.")]
    nearest: Annotated[str | None, Field(description="Another subject that it resembles.")]


class LowQualityInfo(BaseModel):
    """A sample that today's policy would refuse."""

    subject: _Id
    sample: int
    reasons: Annotated[list[str], Field(examples=[["blurred"]])]


class AuditResponse(BaseModel):
    """What there is to mend in a gallery."""

    subjects: int
    samples: int
    duplicates: Annotated[list[PairInfo], Field(description="Subjects that are likely one person.")]
    confusable: Annotated[list[PairInfo], Field(description="Further pairs that the threshold does not tell apart.")]
    outliers: list[OutlierInfo]
    low_quality: list[LowQualityInfo]


class LogEntryInfo(BaseModel):
    """Who did what, and when; neither faces nor names."""

    number: int
    at: _Moment
    actor: Annotated[str, Field(examples=["key 5f0c93a1b2d4"])]
    action: Annotated[str, Field(examples=["enrol"])]
    gallery: str
    subjects: Annotated[list[int], Field(description="Their numbers.")]
    count: Annotated[int, Field(description="How many samples or faces it was about.")]


class LogResponse(BaseModel):
    """A page of the log, oldest first."""

    entries: list[LogEntryInfo]
    next_cursor: _Cursor


class SampleExport(SampleInfo):
    """One enrolled face, with what is stored of it."""

    embedding: list[float]
    picture_data: Annotated[str | None, Field(description="The chip or the image, in base64.")]


class SubjectExport(SubjectInfo):
    """All that is stored of a person."""

    gallery: Annotated[str, Field(examples=["team"])]
    sample_list: list[SampleExport]
    log: list[LogEntryInfo]


class WeightsFileInfo(BaseModel):
    """A file of learned numbers."""

    role: Annotated[str, Field(examples=["embedder"])]
    name: str
    size: Annotated[int | None, Field(description="In bytes, where it is known.")]
    sha256: Annotated[str | None, Field(description="Where it is known.")]
    licence: Annotated[str, Field(examples=["public domain"])]
    origin: str


class PartInfo(BaseModel):
    """What does one thing in a pack."""

    role: Annotated[str, Field(examples=["embedder"])]
    needed: Annotated[bool, Field(description="Else it is for attributes of faces, and the pack works without it.")]
    installed: Annotated[bool, Field(description="Whether its files are on the server; they are not read for that.")]
    training_data: Annotated[str, Field(description="What is known of the data that it was trained on.")]
    commercial_use: Annotated[bool, Field(description="Whether the licence of its weights allows it.")]
    files: Annotated[list[str], Field(description="Their names.")]


class PackInfo(BaseModel):
    """A detector, landmarks and an embedder that belong together."""

    name: Annotated[str, Field(examples=["dlib"])]
    summary: str
    commercial_use: Annotated[bool, Field(description="Whether the licences of all needed parts allow it.")]
    installed: Annotated[bool, Field(description="Whether the files of all needed parts are on the server.")]
    attributes: Annotated[
        list[str],
        Field(description="What it tells of faces besides, by the parts that are on the server.", examples=[["pose"]]),
    ]
    space: Annotated[
        str | None,
        Field(
            description="The embedding space; null before the first installation of some.",
            examples=["df2e423c8260a6ae"],
        ),
    ]
    dimension: Annotated[int, Field(examples=[128])]
    metric: Annotated[str, Field(examples=["euclidean"])]
    threshold: Annotated[float, Field(examples=[0.6])]
    threshold_provenance: Annotated[str, Field(description="Where the threshold comes from.")]
    operating_points: Annotated[
        dict[str, float],
        Field(
            description="Thresholds: the default one; and strict, balanced and lenient, which keep false match rates "
            "of 1e-4, 1e-3 and 1e-2, as far as those are measured.",
            examples=[{"default": 0.6}],
        ),
    ]
    parts: list[PartInfo]
    files: list[WeightsFileInfo]


class ModelsResponse(BaseModel):
    """The packs there are, and the one in use."""

    default: Annotated[str, Field(description="The pack that this server uses.", examples=["dlib"])]
    packs: list[PackInfo]
