"""The client for programs that wait by standing still."""

from collections.abc import Collection, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import httpx

from visavis.client import conversation, gallery_conversation
from visavis.client.conversation import FaceOptions, VerifyOptions
from visavis.client.drivers import Driver
from visavis.client.galleries import GalleryClient
from visavis.client.pack_answers import ServedPack
from visavis.client.wire import headers_for, patience_with
from visavis.errors import VisavisError
from visavis.galleries.records import Gallery, LogEntry
from visavis.options import Attribute, Policy
from visavis.types import Face, ImageSource, Verification

if TYPE_CHECKING:
    from typing_extensions import Self

    from visavis.options import FacesPolicy, Rate


class Client:
    """Asks a visavis server what a ``Recognizer`` would be asked; any number of threads may share one.

    An image is whatever the library takes, or a string that begins with ``http://`` or ``https://``: the server fetches
    that. Results are the library's own, and so are errors, by their ``code``. Where the server is busy, or cannot be
    reached for a moment, calls are tried again, unless that might do twice what should be done once.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        timeout_s: float = 30.0,
        retries: int = 3,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Describe the server; nothing is sent yet.

        Args:
            base_url: its address, for instance "http://localhost:8000".
            key: an API key, where it requires one.
            timeout_s: to wait for a connection, and then for each part of the answer.
            retries: how often to try again; a server that names a time is given that time, up to ``timeout_s``.
            transport: in place of a network connection: a proxy, a Unix socket, a test.

        Raises:
            InvalidOption: an argument is out of its range.
        """
        self._patience = patience_with(base_url, timeout_s, retries)
        self._driver = Driver(
            httpx.Client(base_url=base_url, headers=headers_for(key), timeout=float(timeout_s), transport=transport)
        )

    def detect(
        self,
        image: ImageSource,
        *,
        faces: "FacesPolicy" = "all",
        min_face: float | None = None,
        quality: bool = False,
        attributes: Collection[Attribute] = (),
    ) -> tuple[Face, ...]:
        """Find faces, as ``Recognizer.detect`` does.

        Raises:
            InputError: the image cannot be used, or an option is out of its range.
            ServerError: the server refused, failed, cannot be reached or is overloaded; see its ``code``.
        """
        options = FaceOptions(faces, min_face, quality, attributes)
        return self._driver.run(conversation.find_one("detect", image, options, self._patience))

    def embed(
        self,
        image: ImageSource,
        *,
        faces: "FacesPolicy" = "all",
        min_face: float | None = None,
        quality: bool = False,
        attributes: Collection[Attribute] = (),
    ) -> tuple[Face, ...]:
        """Find faces and embed them, as ``Recognizer.embed`` does; errors as in ``detect``."""
        options = FaceOptions(faces, min_face, quality, attributes)
        return self._driver.run(conversation.find_one("embed", image, options, self._patience))

    def verify(  # noqa: PLR0913  # independent options, as in the library
        self,
        a: ImageSource,
        b: ImageSource,
        *,
        faces: Literal["largest", "only"] = "largest",
        threshold: float | None = None,
        fmr: "Rate | None" = None,
        operating_point: str | None = None,
        min_face: float | None = None,
        require_live: bool = False,
    ) -> Verification:
        """Tell whether two images show the same person, as ``Recognizer.verify`` does.

        The faces of the answer come without their embeddings. In place of a threshold, ``fmr`` is the false match rate
        to keep, or an operating point names one of those that ``models`` lists. Errors as in ``detect``, ``NoFace``
        where an image shows none, and with ``require_live`` ``NotLive`` where a face looks like a print or a screen.
        """
        options = VerifyOptions(faces, threshold, fmr, operating_point, min_face, require_live)
        return self._driver.run(conversation.verify(a, b, options, self._patience))

    def detect_many(
        self,
        images: Iterable[ImageSource],
        *,
        faces: "FacesPolicy" = "all",
        min_face: float | None = None,
        quality: bool = False,
        attributes: Collection[Attribute] = (),
    ) -> Iterator[tuple[Face, ...] | VisavisError]:
        """Return for each image, in order, what ``detect`` returns, or the error that its image is.

        Images are taken from the iterable up to 16 at a time, and sent together.

        Raises (the iterator):
            VisavisError: not an image failed but a whole call: the server cannot be reached, refuses, and so on.
        """
        options = FaceOptions(faces, min_face, quality, attributes)
        return self._driver.each(conversation.find_many("detect", images, options, self._patience))

    def embed_many(
        self,
        images: Iterable[ImageSource],
        *,
        faces: "FacesPolicy" = "all",
        min_face: float | None = None,
        quality: bool = False,
        attributes: Collection[Attribute] = (),
    ) -> Iterator[tuple[Face, ...] | VisavisError]:
        """Return for each image, in order, what ``embed`` returns; everything else as in ``detect_many``."""
        options = FaceOptions(faces, min_face, quality, attributes)
        return self._driver.each(conversation.find_many("embed", images, options, self._patience))

    def galleries(self) -> tuple[Gallery, ...]:
        """Return every gallery that the key may see, by name."""
        return self._driver.run(gallery_conversation.galleries(self._patience))

    def create_gallery(self, name: str, *, policy: Policy | None = None, encrypted: bool | None = None) -> Gallery:
        """Make a gallery.

        Args:
            name: 1 to 64 of a-z, 0-9, dot, underscore and hyphen; begins with a letter or digit.
            policy: how it is to be used; without one, the server's own.
            encrypted: whether to encrypt embeddings and pictures; None to do so where the server has a key.

        Raises:
            GalleryExists: there is one of that name.
            GalleryLocked: encryption is asked for, and the server has no key.
            ServerUnreachable: where the connection broke after the call was sent, the gallery may be made or not.
        """
        return self._driver.run(gallery_conversation.create(name, policy, self._patience, encrypted=encrypted))

    def gallery(self, name: str) -> GalleryClient:
        """Return what asks about one gallery; nothing is sent yet.

        Raises:
            GalleryNotFound: no gallery can have that name.
        """
        return GalleryClient(name, self._driver, self._patience)

    def entries(self) -> Iterator[LogEntry]:
        """Return the log of all galleries, oldest first; for keys that are not limited to some galleries."""
        return self._driver.each(gallery_conversation.entries(self._patience))

    def models(self) -> tuple[ServedPack, ...]:
        """Return the packs that the server knows, with their thresholds, licences and files."""
        return self._driver.run(conversation.models(self._patience))

    def health(self) -> bool:
        """Tell whether the server is ready to work: asked once, without retries.

        Raises:
            ServerUnreachable: nobody answers.
        """
        return self._driver.run(conversation.health(self._patience))

    def close(self) -> None:
        """Close the connections; the client cannot be used any more."""
        self._driver.close()

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
