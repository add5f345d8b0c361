"""visavis: face recognition, face to face.

What needs NumPy, OpenCV or a runtime is loaded when it is first used: importing visavis costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from visavis.errors import (
    ConsentMissing,
    DriverMissing,
    ExtremePose,
    FaceBlurred,
    FaceTooSmall,
    FetchFailed,
    FetchRefused,
    GalleryExists,
    GalleryLocked,
    GalleryNotFound,
    ImageCorrupt,
    ImageNotFound,
    ImageTooLarge,
    ImageUnreadable,
    InputError,
    InvalidEmbedding,
    InvalidImage,
    InvalidOption,
    KeyReused,
    KeysUnusable,
    LicenceNotAccepted,
    LowScore,
    ModelCorrupt,
    ModelMissing,
    MultipleFaces,
    NoFace,
    NotLive,
    PullFailed,
    RuntimeFailed,
    RuntimeMissing,
    SampleNotFound,
    ServerError,
    ServerOverloaded,
    ServerUnreachable,
    SetupError,
    SpaceMismatch,
    StateError,
    StoreDamaged,
    StoreForeign,
    StoreFull,
    StoreOutdated,
    StoreReadOnly,
    StoreUnavailable,
    SubjectConflict,
    SubjectNotFound,
    UnsupportedFormat,
    VersionMismatch,
    VisavisError,
)

if TYPE_CHECKING:
    from visavis.client import AsyncClient, AsyncGalleryClient, Client, GalleryClient
    from visavis.core.image import ImageLimits
    from visavis.galleries.opening import open_store
    from visavis.galleries.records import Details
    from visavis.models.recognizer import Recognizer
    from visavis.options import Policy
    from visavis.service.enroller import Enrolment
    from visavis.service.galleries import Galleries
    from visavis.service.gallery import OpenGallery
    from visavis.types import Face, ImageSource, Quality, Verification

__all__ = [
    "AsyncClient",
    "AsyncGalleryClient",
    "Client",
    "ConsentMissing",
    "Details",
    "DriverMissing",
    "Enrolment",
    "ExtremePose",
    "Face",
    "FaceBlurred",
    "FaceTooSmall",
    "FetchFailed",
    "FetchRefused",
    "Galleries",
    "GalleryClient",
    "GalleryExists",
    "GalleryLocked",
    "GalleryNotFound",
    "ImageCorrupt",
    "ImageLimits",
    "ImageNotFound",
    "ImageSource",
    "ImageTooLarge",
    "ImageUnreadable",
    "InputError",
    "InvalidEmbedding",
    "InvalidImage",
    "InvalidOption",
    "KeyReused",
    "KeysUnusable",
    "LicenceNotAccepted",
    "LowScore",
    "ModelCorrupt",
    "ModelMissing",
    "MultipleFaces",
    "NoFace",
    "NotLive",
    "OpenGallery",
    "Policy",
    "PullFailed",
    "Quality",
    "Recognizer",
    "RuntimeFailed",
    "RuntimeMissing",
    "SampleNotFound",
    "ServerError",
    "ServerOverloaded",
    "ServerUnreachable",
    "SetupError",
    "SpaceMismatch",
    "StateError",
    "StoreDamaged",
    "StoreForeign",
    "StoreFull",
    "StoreOutdated",
    "StoreReadOnly",
    "StoreUnavailable",
    "SubjectConflict",
    "SubjectNotFound",
    "UnsupportedFormat",
    "Verification",
    "VersionMismatch",
    "VisavisError",
    "__version__",
    "open_store",
]

__version__ = "0.1.0"

_LOADED_WHEN_USED = {
    "AsyncClient": "visavis.client",
    "AsyncGalleryClient": "visavis.client",
    "Client": "visavis.client",
    "Details": "visavis.galleries.records",
    "Enrolment": "visavis.service.enroller",
    "Face": "visavis.types",
    "Galleries": "visavis.service.galleries",
    "GalleryClient": "visavis.client",
    "ImageLimits": "visavis.core.image",
    "ImageSource": "visavis.types",
    "OpenGallery": "visavis.service.gallery",
    "Policy": "visavis.options",
    "Quality": "visavis.types",
    "Recognizer": "visavis.models.recognizer",
    "Verification": "visavis.types",
    "open_store": "visavis.galleries.opening",
}


def __getattr__(name: str) -> object:
    if name not in _LOADED_WHEN_USED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LOADED_WHEN_USED[name]), name)


def __dir__() -> list[str]:
    return __all__
