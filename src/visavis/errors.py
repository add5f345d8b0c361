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
    │   └── MultipleFaces           one face was needed, several were found (LookupError)
    ├── SetupError                  the installation is wrong
    │   ├── ModelMissing            a weights file is not installed   (FileNotFoundError)
    │   ├── ModelCorrupt            a weights file is not what it should be (ValueError)
    │   ├── RuntimeMissing          an inference runtime is not installed (ImportError)
    │   ├── RuntimeFailed           an inference runtime refused the model or the input (RuntimeError)
    │   └── KeysUnusable            the file of API keys cannot be opened, or is none (OSError)
    └── ServerError                 a server could not do what its client asked; ``code`` is the server's own
        ├── ServerUnreachable       nobody answers there, or not in time (ConnectionError)
        └── ServerOverloaded        the server has no room for the call, also after retries (RuntimeError)

Each leaf has a stable ``code``, which programs may rely on; messages are for people and may change.
A message never holds image content or embeddings.
"""


class VisavisError(Exception):
    """Root of the tree: catch it to catch everything that visavis raises on purpose."""

    code: str = "error"


class InputError(VisavisError):
    """Something that the caller passed cannot be used; passing something else helps."""


class SetupError(VisavisError):
    """The installation cannot do what was asked; mending it helps, another input does not."""


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
