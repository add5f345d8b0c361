"""What is wrong with what a caller passed: an image, a URL, an option."""

from visavis.errors.roots import InputError


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
