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


class VisavisError(Exception):
    """Root of the tree: catch it to catch everything that visavis raises on purpose.

    Attributes:
        code: stable, for programs.
        argument: on what ``verify`` raises because of an image, and nowhere else: which one, "a" or "b".
    """

    code: str = "error"
    argument: str


class InputError(VisavisError):
    """Something that the caller passed cannot be used; passing something else helps."""


class SetupError(VisavisError):
    """The installation cannot do what was asked; mending it helps, another input does not."""


class StateError(VisavisError):
    """What is stored forbids what was asked; another request, or the same one later, may be possible."""


class ImageNotFound(InputError, FileNotFoundError):
    """There is no file of that name."""

    code = "image_not_found"


class ImageUnreadable(InputError, OSError):
    """The file or stream exists and cannot be read: a folder, no permission, an I/O error."""

    code = "image_unreadable"


class ImageTooLarge(InputError, ValueError):
    """The image has more bytes or pixels than the limits allow."""

    code = "image_too_large"


class UnsupportedFormat(InputError, ValueError):
    """The bytes are not in an image format that is read here."""

    code = "unsupported_format"


class ImageCorrupt(InputError, ValueError):
    """The bytes begin as an image of a known format and cannot be decoded: damaged or cut off."""

    code = "image_corrupt"


class InvalidImage(InputError, ValueError):
    """An array or object given as an image has a wrong shape, type or range."""

    code = "invalid_image"


class InvalidOption(InputError, ValueError):
    """An argument is outside its range."""

    code = "invalid_option"


class FetchRefused(InputError, ValueError):
    """A URL may not be fetched: what it is, or where it leads, is not allowed.

    Attributes:
        reason: url (malformed), scheme, credentials, host (not in its usual spelling), port, address (none, or one that
            is not public; an unknown name and a private one read alike), or redirect (too many, or from https to http).
    """

    code = "fetch_refused"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return _not_fetched(self.reason)


class FetchFailed(InputError, OSError):
    """A URL may be fetched, and the download failed or went beyond a limit.

    Attributes:
        reason: unreachable (or broken off), timeout, tls (certificate or handshake), status (other than 200),
            too_large, encoding (compressed on the way), or response (no valid HTTP).
    """

    code = "fetch_failed"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return _not_fetched(self.reason)


def _not_fetched(reason: str) -> str:
    """Say what anybody may know: neither a host nor an address."""
    return f"the URL could not be fetched: {reason.replace('_', ' ')}"


class NoFace(InputError, LookupError):
    """A face was needed and none was found."""

    code = "no_face"


class MultipleFaces(InputError, LookupError):
    """Exactly one face was needed and several were found."""

    code = "multiple_faces"


class NotLive(InputError, ValueError):
    """A live face was required, and this one looks like a print or a screen."""

    code = "not_live"


class ModelMissing(SetupError, FileNotFoundError):
    """A weights file that the pack needs is not installed."""

    code = "model_missing"


class ModelCorrupt(SetupError, ValueError):
    """A weights file is not what it should be: foreign, truncated or changed."""

    code = "model_corrupt"


class RuntimeMissing(SetupError, ImportError):
    """The inference runtime asked for is not installed."""

    code = "runtime_missing"


class RuntimeFailed(SetupError, RuntimeError):
    """The inference runtime could not load or run a model."""

    code = "runtime_failed"


class KeysUnusable(SetupError, OSError):
    """The file of API keys cannot be opened or written, or is something else."""

    code = "keys_unusable"


class LicenceNotAccepted(SetupError, PermissionError):
    """The pack's licence restricts its use, and nobody has accepted it here."""

    code = "licence_not_accepted"


class PullFailed(SetupError, ConnectionError):
    """A model could not be fetched, or not be kept; nothing half-written remains in its place."""

    code = "pull_failed"


class FaceTooSmall(InputError, ValueError):
    """The face has fewer pixels than the gallery's policy wants of those that it enrols."""

    code = "too_small"


class FaceBlurred(InputError, ValueError):
    """The face is less sharp than the gallery's policy wants those that it enrols."""

    code = "blurred"


class LowScore(InputError, ValueError):
    """The detector is less sure of the face than the gallery's policy wants of those that it enrols."""

    code = "low_score"


class ExtremePose(InputError, ValueError):
    """The head is turned further than the gallery's policy allows of those that it enrols."""

    code = "extreme_pose"


class ConsentMissing(InputError, ValueError):
    """The gallery's policy wants a note of consent with every subject, and this one has none."""

    code = "consent_missing"


class InvalidEmbedding(InputError, ValueError):
    """An array given as an embedding has a wrong shape, type or range."""

    code = "invalid_embedding"


class GalleryNotFound(InputError, LookupError):
    """There is no gallery of that name."""

    code = "gallery_not_found"


class SubjectNotFound(InputError, LookupError):
    """The gallery has no subject of that ID."""

    code = "subject_not_found"


class SampleNotFound(InputError, LookupError):
    """The gallery has no sample of that number."""

    code = "sample_not_found"


class GalleryExists(StateError, ValueError):
    """There is a gallery of that name already."""

    code = "gallery_exists"


class SpaceMismatch(StateError, ValueError):
    """The gallery is bound to another embedding space: distances between the two mean nothing."""

    code = "space_mismatch"


class SubjectConflict(StateError, ValueError):
    """The face to be enrolled already is another subject of the gallery."""

    code = "conflict"


class KeyReused(StateError, ValueError):
    """The idempotency key was used for another enrolment."""

    code = "idempotency_key_reused"


class VersionMismatch(StateError, ValueError):
    """The subject has changed since the version that the caller knows."""

    code = "version_mismatch"


class StoreUnavailable(SetupError, ConnectionError):
    """The store of galleries does not answer, or others kept it busy for too long; later it may."""

    code = "store_unavailable"


class StoreDamaged(SetupError, OSError):
    """The store's file is damaged; a backup helps."""

    code = "store_damaged"


class StoreForeign(SetupError, ValueError):
    """The file or database holds something else than galleries."""

    code = "store_foreign"


class StoreOutdated(SetupError, RuntimeError):
    """The store's schema is newer than this version of visavis knows, or older and not migrated yet."""

    code = "store_outdated"


class StoreReadOnly(SetupError, PermissionError):
    """The store cannot be written, or not even be opened: the permissions forbid it."""

    code = "store_read_only"


class StoreFull(SetupError, OSError):
    """The disk has no room left for what was to be stored; nothing of it was."""

    code = "store_full"


class GalleryLocked(SetupError, PermissionError):
    """The gallery is encrypted, and the key that opens it is missing or another one."""

    code = "gallery_locked"


class DriverMissing(SetupError, ImportError):
    """The library that speaks to this kind of store is not installed."""

    code = "driver_missing"


class ServerError(VisavisError):
    """A server refused or failed, for a reason that is none of the other leaves.

    Attributes:
        code: as the server gave it, for instance "unauthorized".
        status: of its HTTP answer, or None where there was none.
        request_id: by which the server's log knows the call, or None.
    """

    code = "server_error"

    def __init__(
        self, message: str, *, code: str | None = None, status: int | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code or type(self).code
        self.status = status
        self.request_id = request_id


class ServerUnreachable(ServerError, ConnectionError):
    """Nobody answers at that address, or not in time."""

    code = "server_unreachable"


class ServerOverloaded(ServerError, RuntimeError):
    """The server has no room for the call now, or has had too many; later it may."""

    code = "overloaded"
