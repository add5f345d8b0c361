"""Everything that visavis raises on purpose: a tree of four branches, whose leaves are Python's own errors too.

Each leaf has a stable ``code``, which programs may rely on; messages are for people and may change.
A message never holds image content or embeddings.
"""

from traceback import clear_frames as _clear_frames


class VisavisError(Exception):
    """Root of the tree: catch it to catch everything that visavis raises on purpose.

    Attributes:
        code: stable, for programs.
        argument: on what ``verify`` raises because of an image, and nowhere else: which one, "a" or "b".
    """

    code: str = "error"
    argument: str

    def __init_subclass__(cls, *, code: str | None = None) -> None:
        super().__init_subclass__()
        if code is not None:
            cls.code = code

    def without_frames(self) -> "VisavisError":
        """Let go of all that was in memory where this arose, as is wanted of an error that stands for a result."""
        part: BaseException | None = self
        while part is not None:
            _clear_frames(part.__traceback__)
            part = part.__cause__ or part.__context__
        return self.with_traceback(None)


class InputError(VisavisError):
    """Something that the caller passed cannot be used; passing something else helps."""


class SetupError(VisavisError):
    """The installation cannot do what was asked; mending it helps, another input does not."""


class StateError(VisavisError):
    """What is stored forbids what was asked; another request, or the same one later, may be possible."""


class ImageNotFound(InputError, FileNotFoundError, code="image_not_found"):
    """There is no file of that name."""


class ImageUnreadable(InputError, OSError, code="image_unreadable"):
    """The file or stream exists and cannot be read: a folder, no permission, an I/O error."""


class ImageTooLarge(InputError, ValueError, code="image_too_large"):
    """The image has more bytes or pixels than the limits allow."""


class TooMuchWork(InputError, ValueError, code="too_much_work"):
    """One call asks for more work than the server does for one."""


class UnsupportedFormat(InputError, ValueError, code="unsupported_format"):
    """The bytes are not in an image format that is read here."""


class ImageCorrupt(InputError, ValueError, code="image_corrupt"):
    """The bytes begin as an image of a known format and cannot be decoded: damaged or cut off."""


class InvalidImage(InputError, ValueError, code="invalid_image"):
    """An array or object given as an image has a wrong shape, type or range."""


class InvalidOption(InputError, ValueError, code="invalid_option"):
    """An argument is outside its range."""


class FetchRefused(InputError, ValueError, code="fetch_refused"):
    """A URL may not be fetched: what it is, or where it leads, is not allowed.

    Attributes:
        reason: url (malformed), scheme, credentials, host (not in its usual spelling), port, address (none, or one that
            is not public; an unknown name and a private one read alike), or redirect (too many, or from https to http).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return _not_fetched(self.reason)


class FetchFailed(InputError, OSError, code="fetch_failed"):
    """A URL may be fetched, and the download failed or went beyond a limit.

    Attributes:
        reason: unreachable (or broken off), timeout, tls (certificate or handshake), status (other than 200),
            too_large, encoding (compressed on the way), or response (no valid HTTP).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return _not_fetched(self.reason)


def _not_fetched(reason: str) -> str:
    """Say what anybody may know: neither a host nor an address."""
    return f"the URL could not be fetched: {reason.replace('_', ' ')}"


class NoFace(InputError, LookupError, code="no_face"):
    """A face was needed and none was found."""


class MultipleFaces(InputError, LookupError, code="multiple_faces"):
    """Exactly one face was needed and several were found."""


class NotLive(InputError, ValueError, code="not_live"):
    """A live face was required, and this one looks like a print or a screen."""


class ModelMissing(SetupError, FileNotFoundError, code="model_missing"):
    """A weights file that the pack needs is not installed."""


class ModelCorrupt(SetupError, ValueError, code="model_corrupt"):
    """A weights file is not what it should be: foreign, truncated or changed."""


class RuntimeMissing(SetupError, ImportError, code="runtime_missing"):
    """The inference runtime asked for is not installed."""


class RuntimeFailed(SetupError, RuntimeError, code="runtime_failed"):
    """The inference runtime could not load or run a model."""


class KeysUnusable(SetupError, OSError, code="keys_unusable"):
    """The file of API keys cannot be opened or written, or is something else."""


class LicenceNotAccepted(SetupError, PermissionError, code="licence_not_accepted"):
    """The pack's licence restricts its use, and nobody has accepted it here."""


class PullFailed(SetupError, ConnectionError, code="pull_failed"):
    """A model could not be fetched, or not be kept; nothing half-written remains in its place."""


class FaceTooSmall(InputError, ValueError, code="too_small"):
    """The face has fewer pixels than the gallery's policy wants of those that it enrols."""


class FaceBlurred(InputError, ValueError, code="blurred"):
    """The face is less sharp than the gallery's policy wants those that it enrols."""


class LowScore(InputError, ValueError, code="low_score"):
    """The detector is less sure of the face than the gallery's policy wants of those that it enrols."""


class ExtremePose(InputError, ValueError, code="extreme_pose"):
    """The head is turned further than the gallery's policy allows of those that it enrols."""


class InvalidFace(InputError, ValueError, code="invalid_face"):
    """The face's embedding says nothing: it lies turned in the image, or is too degraded to be told from others."""


class FaceOccluded(InputError, ValueError, code="occluded"):
    """Eyes or mouth look covered, as by sunglasses or a mask, more than the gallery's policy allows."""


class ChildFace(InputError, ValueError, code="child"):
    """The face looks like that of a child below about 12 years: what tells adults apart hardly tells children apart."""


class ConsentMissing(InputError, ValueError, code="consent_missing"):
    """The gallery's policy wants a note of consent with every subject, and this one has none."""


class InvalidEmbedding(InputError, ValueError, code="invalid_embedding"):
    """An array given as an embedding has a wrong shape, type or range."""


class GalleryNotFound(InputError, LookupError, code="gallery_not_found"):
    """There is no gallery of that name."""


class SubjectNotFound(InputError, LookupError, code="subject_not_found"):
    """The gallery has no subject of that ID."""


class SampleNotFound(InputError, LookupError, code="sample_not_found"):
    """The gallery has no sample of that number."""


class GalleryExists(StateError, ValueError, code="gallery_exists"):
    """There is a gallery of that name already."""


class SubjectExists(StateError, ValueError, code="subject_exists"):
    """There is a subject of that ID already."""


class SpaceMismatch(StateError, ValueError, code="space_mismatch"):
    """The gallery, or the pack, is of another embedding space: distances between the two mean nothing."""


class SubjectConflict(StateError, ValueError, code="conflict"):
    """The face to be enrolled already is another subject of the gallery."""


class KeyReused(StateError, ValueError, code="idempotency_key_reused"):
    """The idempotency key was used for another enrolment."""


class VersionMismatch(StateError, ValueError, code="version_mismatch"):
    """The subject has changed since the version that the caller knows."""


class StoreUnavailable(SetupError, ConnectionError, code="store_unavailable"):
    """The store of galleries does not answer, or others kept it busy for too long; later it may."""


class StoreDamaged(SetupError, OSError, code="store_damaged"):
    """The store's file is damaged; a backup helps."""


class StoreForeign(SetupError, ValueError, code="store_foreign"):
    """The file or database holds something else than galleries."""


class StoreOutdated(SetupError, RuntimeError, code="store_outdated"):
    """The store's schema is newer than this version of visavis knows, or older and not migrated yet."""


class StoreReadOnly(SetupError, PermissionError, code="store_read_only"):
    """The store cannot be written, or not even be opened: the permissions forbid it."""


class StoreFull(SetupError, OSError, code="store_full"):
    """The disk has no room left for what was to be done.

    Attributes:
        undone: what was not done for that reason.
    """

    undone: str = "nothing was changed"


class GalleryLocked(SetupError, PermissionError, code="gallery_locked"):
    """The gallery is encrypted, and the key that opens it is missing or another one."""


class DriverMissing(SetupError, ImportError, code="driver_missing"):
    """The library that speaks to this kind of store is not installed."""


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


class ServerUnreachable(ServerError, ConnectionError, code="server_unreachable"):
    """Nobody answers at that address, or not in time."""


class ServerOverloaded(ServerError, RuntimeError, code="overloaded"):
    """The server has no room for the call now, or has had too many; later it may."""
