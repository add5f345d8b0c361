"""visavis: face recognition, face to face.

What needs NumPy, OpenCV or a runtime is loaded when it is first used: importing visavis costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from visavis import errors
from visavis.errors import *  # noqa: F403  # all of them are public

if TYPE_CHECKING:
    from visavis.client import AsyncClient as AsyncClient
    from visavis.client import AsyncGalleryClient as AsyncGalleryClient
    from visavis.client import Client as Client
    from visavis.client import GalleryClient as GalleryClient
    from visavis.core.image import ImageLimits as ImageLimits
    from visavis.galleries.records import Details as Details
    from visavis.galleries.store import open_store as open_store
    from visavis.models.recognizer import Recognizer as Recognizer
    from visavis.options import Policy as Policy
    from visavis.service.enroller import Enrolment as Enrolment
    from visavis.service.galleries import Galleries as Galleries
    from visavis.service.gallery import OpenGallery as OpenGallery
    from visavis.service.photos import PhotoIndex as PhotoIndex
    from visavis.types import Comparison as Comparison
    from visavis.types import Face as Face
    from visavis.types import ImageSource as ImageSource
    from visavis.types import Quality as Quality
    from visavis.types import Verification as Verification

__version__ = "0.1.0"

_LOADED_WHEN_USED = {
    **dict.fromkeys(("AsyncClient", "AsyncGalleryClient", "Client", "GalleryClient"), "visavis.client"),
    **dict.fromkeys(("Comparison", "Face", "ImageSource", "Quality", "Verification"), "visavis.types"),
    "Details": "visavis.galleries.records",
    "Enrolment": "visavis.service.enroller",
    "Galleries": "visavis.service.galleries",
    "ImageLimits": "visavis.core.image",
    "OpenGallery": "visavis.service.gallery",
    "PhotoIndex": "visavis.service.photos",
    "Policy": "visavis.options",
    "Recognizer": "visavis.models.recognizer",
    "open_store": "visavis.galleries.store",
}

__all__ = [name for name in vars(errors) if not name.startswith("_")]
__all__ += list(_LOADED_WHEN_USED)
__all__ += ["__version__"]


def __getattr__(name: str) -> object:
    if name not in _LOADED_WHEN_USED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LOADED_WHEN_USED[name]), name)


def __dir__() -> list[str]:
    return __all__
