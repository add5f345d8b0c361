"""Everything that visavis raises on purpose.

    VisavisError
    ├── InputError                  the caller can mend it
    │   ├── ImageNotFound           no file of that name              (FileNotFoundError)
    │   ├── ImageUnreadable         the file or stream cannot be read (OSError)
    │   ├── ImageTooLarge           more bytes or pixels than allowed (ValueError)
    │   ├── UnsupportedFormat       not one of the image formats read (ValueError)
    │   ├── ImageCorrupt            a known format, but damaged       (ValueError)
    │   ├── InvalidImage            an array or object of wrong shape, type or range (ValueError)
    │   ├── InvalidOption           an argument out of its range      (ValueError)
    │   ├── FetchRefused            a URL that may not be fetched     (ValueError)
    │   ├── FetchFailed             a URL whose download failed       (OSError)
    │   ├── NoFace                  a face was needed, none was found (LookupError)
    │   ├── MultipleFaces           one face was needed, several were found (LookupError)
    │   ├── NotLive                 a live face was needed, this one looks like a print or a screen (ValueError)
    │   ├── FaceTooSmall            the face has too few pixels to be enrolled (ValueError)
    │   ├── FaceBlurred             the face is not sharp enough to be enrolled (ValueError)
    │   ├── LowScore                the detector is not sure enough of the face to enrol it (ValueError)
    │   ├── ExtremePose             the head is turned too far for the face to be enrolled (ValueError)
    │   ├── ConsentMissing          the gallery enrols nobody without a note of consent (ValueError)
    │   ├── InvalidEmbedding        an array given as an embedding has a wrong shape, type or range (ValueError)
    │   ├── GalleryNotFound         no gallery of that name           (LookupError)
    │   ├── SubjectNotFound         no subject of that ID in the gallery (LookupError)
    │   └── SampleNotFound          no sample of that number in the gallery (LookupError)
    ├── StateError                  what is stored forbids it
    │   ├── GalleryExists           there is a gallery of that name   (ValueError)
    │   ├── SpaceMismatch           the gallery holds embeddings of another model (ValueError)
    │   ├── SubjectConflict         the face already is another subject of the gallery (ValueError)
    │   ├── KeyReused               the idempotency key belongs to another enrolment (ValueError)
    │   └── VersionMismatch         the subject has changed since it was read (ValueError)
    ├── SetupError                  the installation is wrong
    │   ├── ModelMissing            a weights file is not installed   (FileNotFoundError)
    │   ├── ModelCorrupt            a weights file is not what it should be (ValueError)
    │   ├── LicenceNotAccepted      the pack's licence restricts its use, and nobody accepted it (PermissionError)
    │   ├── PullFailed              a model could not be fetched or kept (ConnectionError)
    │   ├── RuntimeMissing          an inference runtime is not installed (ImportError)
    │   ├── RuntimeFailed           an inference runtime refused the model or the input (RuntimeError)
    │   ├── KeysUnusable            the file of API keys cannot be opened, or is none (OSError)
    │   ├── StoreUnavailable        the store of galleries is not there, or too busy (ConnectionError)
    │   ├── StoreDamaged            the store's file is damaged       (OSError)
    │   ├── StoreForeign            the file or database is something else (ValueError)
    │   ├── StoreOutdated           a newer version of visavis wrote it, or it must be migrated first (RuntimeError)
    │   ├── StoreReadOnly           the store cannot be written       (PermissionError)
    │   ├── StoreFull               there is no room left for it      (OSError)
    │   ├── GalleryLocked           the key of an encrypted gallery is missing or another one (PermissionError)
    │   └── DriverMissing           the library that speaks to the store is not installed (ImportError)
    └── ServerError                 a server could not do what its client asked; ``code`` is the server's own
        ├── ServerUnreachable       nobody answers there, or not in time (ConnectionError)
        └── ServerOverloaded        the server has no room for the call, also after retries (RuntimeError)

Each leaf has a stable ``code``, which programs may rely on; messages are for people and may change.
A message never holds image content or embeddings.
"""

from visavis.errors.galleries import (
    ConsentMissing,
    DriverMissing,
    ExtremePose,
    FaceBlurred,
    FaceTooSmall,
    GalleryExists,
    GalleryLocked,
    GalleryNotFound,
    InvalidEmbedding,
    KeyReused,
    LowScore,
    SampleNotFound,
    SpaceMismatch,
    StoreDamaged,
    StoreForeign,
    StoreFull,
    StoreOutdated,
    StoreReadOnly,
    StoreUnavailable,
    SubjectConflict,
    SubjectNotFound,
    VersionMismatch,
)
from visavis.errors.images import (
    FetchFailed,
    FetchRefused,
    ImageCorrupt,
    ImageNotFound,
    ImageTooLarge,
    ImageUnreadable,
    InvalidImage,
    InvalidOption,
    MultipleFaces,
    NoFace,
    NotLive,
    UnsupportedFormat,
)
from visavis.errors.roots import InputError, SetupError, StateError, VisavisError
from visavis.errors.server import ServerError, ServerOverloaded, ServerUnreachable
from visavis.errors.setup import (
    KeysUnusable,
    LicenceNotAccepted,
    ModelCorrupt,
    ModelMissing,
    PullFailed,
    RuntimeFailed,
    RuntimeMissing,
)

__all__ = [
    "ConsentMissing",
    "DriverMissing",
    "ExtremePose",
    "FaceBlurred",
    "FaceTooSmall",
    "FetchFailed",
    "FetchRefused",
    "GalleryExists",
    "GalleryLocked",
    "GalleryNotFound",
    "ImageCorrupt",
    "ImageNotFound",
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
    "PullFailed",
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
    "VersionMismatch",
    "VisavisError",
]
