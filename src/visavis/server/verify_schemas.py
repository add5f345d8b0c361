"""What calls to verify, and their answers, look like."""

from itertools import combinations
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from visavis.core.decide import check_threshold
from visavis.server.schemas import Fmr, FoundFace, Image, MinFace, Strict

_WAYS = ("threshold", "fmr", "operating_point")


class VerifyRequest(Strict):
    """Two images to compare; at most one of `threshold`, `fmr` and `operating_point`."""

    model_config = ConfigDict(
        json_schema_extra={"not": {"anyOf": [{"required": list(two)} for two in combinations(_WAYS, 2)]}}
    )

    a: Image
    b: Image
    faces: Annotated[
        Literal["largest", "only"],
        Field(description="Compare the largest face of each image, or insist on exactly one in each."),
    ] = "largest"
    threshold: Annotated[
        float,
        AfterValidator(check_threshold),
        Field(
            default=1.0,
            description="Faces at a smaller distance are the same person. Without it, the server's own threshold.",
            json_schema_extra=lambda schema: (schema.pop("default"), schema.update(exclusiveMinimum=0), None)[-1],
            examples=[0.6],
        ),
    ]
    fmr: Fmr = None
    operating_point: Annotated[
        Literal["default", "strict", "balanced", "lenient"],
        Field(
            description="A threshold by name, of those that /v1/models lists.",
            json_schema_extra=lambda schema: schema.pop("default"),
        ),
    ] = "default"
    min_face: MinFace = None
    require_live: Annotated[
        bool, Field(description="Whether to refuse faces that look like a print or a screen; needs a pack that can.")
    ] = False

    @model_validator(mode="after")
    def _at_most_one(self) -> "VerifyRequest":
        if len(self.model_fields_set.intersection(_WAYS)) > 1:
            raise ValueError("takes at most one of threshold, fmr and operating_point")
        return self


class VerifyResponse(BaseModel):
    """Whether two images show the same person."""

    pack: Annotated[str, Field(examples=["dlib"])]
    same: Annotated[bool, Field(description="Whether the distance is below the threshold.")]
    distance: Annotated[float, Field(examples=[0.32])]
    threshold: Annotated[float, Field(examples=[0.6])]
    probability: Annotated[
        float | None,
        Field(ge=0, le=1, description="Calibrated; both answers equally likely beforehand. Null without calibration."),
    ]
    decision: Annotated[
        Literal["same", "different", "uncertain"],
        Field(description="Uncertain where the distance is within the confidence interval of the threshold."),
    ]
    fmr: Annotated[float | None, Field(description="The false match rate, where one was asked for.")]
    faces: Annotated[list[FoundFace], Field(min_length=2, max_length=2, description="The two that were compared.")]
