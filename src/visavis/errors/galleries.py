"""What goes wrong with galleries and the stores that hold them."""

from visavis.errors.roots import InputError, SetupError, StateError


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
