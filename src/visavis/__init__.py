"""visavis: face recognition, face to face.

What needs NumPy, OpenCV or a runtime is loaded when it is first used: importing visavis costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from visavis.errors import (
    FetchFailed,
    FetchRefused,
    ImageCorrupt,
    ImageNotFound,
    ImageTooLarge,
    ImageUnreadable,
    InputError,
    InvalidImage,
    InvalidOption,
    KeysUnusable,
    ModelCorrupt,
    ModelMissing,
    MultipleFaces,
    NoFace,
    RuntimeFailed,
    RuntimeMissing,
    ServerError,
    ServerOverloaded,
    ServerUnreachable,
    SetupError,
    UnsupportedFormat,
    VisavisError,
)

if TYPE_CHECKING:
    from visavis.client import AsyncClient, Client
    from visavis.core.image import ImageLimits
    from visavis.models.recognizer import Recognizer
    from visavis.types import Face, ImageSource, Verification

__all__ = [
    "AsyncClient",
    "Client",
    "Face",
    "FetchFailed",
    "FetchRefused",
    "ImageCorrupt",
    "ImageLimits",
    "ImageNotFound",
    "ImageSource",
    "ImageTooLarge",
    "ImageUnreadable",
    "InputError",
    "InvalidImage",
    "InvalidOption",
    "KeysUnusable",
    "ModelCorrupt",
    "ModelMissing",
    "MultipleFaces",
    "NoFace",
    "Recognizer",
    "RuntimeFailed",
    "RuntimeMissing",
    "ServerError",
    "ServerOverloaded",
    "ServerUnreachable",
    "SetupError",
    "UnsupportedFormat",
    "Verification",
    "VisavisError",
    "__version__",
]

__version__ = "0.1.0"

_LOADED_WHEN_USED = {
    "AsyncClient": "visavis.client",
    "Client": "visavis.client",
    "Face": "visavis.types",
    "ImageLimits": "visavis.core.image",
    "ImageSource": "visavis.types",
    "Recognizer": "visavis.models.recognizer",
    "Verification": "visavis.types",
}


def __getattr__(name: str) -> object:
    if name not in _LOADED_WHEN_USED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LOADED_WHEN_USED[name]), name)


def __dir__() -> list[str]:
    return __all__
