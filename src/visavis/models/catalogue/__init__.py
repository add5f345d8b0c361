"""Every pack as data: its files with their hashes and licences, its contract, and where it decides."""

from visavis.models.catalogue import arcface, dlib, keras, openvino
from visavis.models.catalogue.arcface import ANTELOPEV2, AURAFACE, BUFFALO_L, BUFFALO_S, EDGEFACE_XS, SFACE, SFACE_FLOAT
from visavis.models.catalogue.dlib import DLIB, DLIB_COSINE
from visavis.models.catalogue.keras import FACENET, FACENET512, VGGFACE2
from visavis.models.catalogue.openvino import OPEN
from visavis.models.packs import Pack

__all__ = [
    "ALIASES",
    "ANTELOPEV2",
    "AURAFACE",
    "BUFFALO_L",
    "BUFFALO_S",
    "DLIB",
    "DLIB_COSINE",
    "EDGEFACE_XS",
    "FACENET",
    "FACENET512",
    "OPEN",
    "PACKS",
    "SFACE",
    "SFACE_FLOAT",
    "VGGFACE2",
]

_MODULES = (dlib, openvino, arcface, keras)

PACKS = {pack.name: pack for module in _MODULES for pack in vars(module).values() if isinstance(pack, Pack)}
"""Every pack of these modules, by name, in the order in which they stand there."""

ALIASES = {"opencv": "sface"}
"""Names that packs had."""
