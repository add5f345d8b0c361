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
    │   ├── NoFace                  a face was needed, none was found (LookupError)
    │   └── MultipleFaces           one face was needed, several were found (LookupError)
    └── SetupError                  the installation is wrong
        ├── ModelMissing            a weights file is not installed   (FileNotFoundError)
        ├── ModelCorrupt            a weights file is not what it should be (ValueError)
        ├── RuntimeMissing          an inference runtime is not installed (ImportError)
        └── RuntimeFailed           an inference runtime refused the model or the input (RuntimeError)

Each leaf has a stable ``code``, which programs may rely on; messages are for people and may change.
A message never holds image content or embeddings.
"""

from typing import ClassVar


class VisavisError(Exception):
    """Root of the tree: catch it to catch everything that visavis raises on purpose."""

    code: ClassVar[str] = "error"


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
