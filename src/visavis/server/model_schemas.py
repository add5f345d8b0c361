"""What the answer about models looks like."""

from typing import Annotated

from pydantic import BaseModel, Field


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
