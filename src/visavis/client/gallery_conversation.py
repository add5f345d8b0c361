"""What a client and a server say to each other about galleries, without a network.

Only what can be done twice is tried again after the server may have got it: reading, enrolling (under an idempotency
key), and setting what then is as it was set. A gallery that is made twice exists already, what is forgotten twice is
not there, and a change to a certain version finds another: those end in ``ServerUnreachable``, and asking tells.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from visavis.client import gallery_answers as answers
from visavis.client.batching import ask_many, ask_one, loaded
from visavis.client.bodies import call_about, call_with, details_json, given, json_call, rows_json, vector_json
from visavis.client.bulk import read_lines, send_lines
from visavis.client.conversation import VerifyOptions
from visavis.client.exchange import Call, Each, Found, Patience, Steps, exchange
from visavis.client.gallery_options import About, EnrolOptions, SearchOptions
from visavis.client.lines import enrolment_line, export_line
from visavis.client.reading import every
from visavis.client.report_answers import audit_report
from visavis.errors import GalleryNotFound, InvalidOption, ServerError, SubjectNotFound, VersionMismatch, VisavisError
from visavis.galleries.checks import check_gallery_name, check_subject_id, may_be_gallery
from visavis.galleries.records import Details, Gallery, LogEntry, Subject
from visavis.options import Policy
from visavis.service.enroller import Enrolment
from visavis.service.results import AuditReport, Enrolled, Identification, Receipt, SubjectVerification
from visavis.types import ImageSource, Quality

if TYPE_CHECKING:
    from visavis.options import Rate

_GALLERIES = "v1/galleries"
_PAGE = "200"
_MOST_PROBES = 100  # in one call

_Value = TypeVar("_Value")


def galleries(patience: Patience) -> Steps[tuple[Gallery, ...]]:
    """Return every gallery that may be seen."""
    answer = yield from exchange(Call("GET", _GALLERIES), patience)
    return answers.read_answer(answer, lambda value: every(answers.gallery, value["galleries"]))


def create(name: str, policy: Policy | None, patience: Patience, *, encrypted: bool | None) -> Steps[Gallery]:
    """Make a gallery."""
    chosen = given(name=check_gallery_name(name), policy=policy and policy.to_dict(), encrypted=encrypted)
    call = replace(json_call("POST", _GALLERIES, chosen), repeatable=False)
    return answers.read_answer((yield from exchange(call, patience)), answers.gallery)


def entries(patience: Patience, path: str = "v1") -> Each[LogEntry]:
    """Find the entries of the log, oldest first: of all galleries, or of the one at that path."""
    yield from _pages(f"{path}/log", "entries", answers.log_entry, patience)


class GalleryConversation:
    """What can be said about one gallery: the methods that ``GalleryClient`` has, as steps."""

    def __init__(self, name: str, patience: Patience) -> None:
        """Say nothing yet.

        Raises:
            GalleryNotFound: no gallery can have that name.
        """
        if not may_be_gallery(name):
            raise GalleryNotFound("no gallery can have this name")
        self._path = f"{_GALLERIES}/{name}"
        self._patience = patience

    def record(self) -> Steps[Gallery]:
        """Read the gallery's record."""
        return (yield from self._ask(Call("GET", self._path), answers.gallery))

    def set_policy(self, policy: Policy) -> Steps[Gallery]:
        """Replace the policy."""
        call = json_call("PATCH", self._path, {"policy": policy.to_dict()})
        return (yield from self._ask(call, answers.gallery))

    def forget(self) -> Steps[Receipt]:
        """Forget the gallery."""
        return (yield from self._ask(_forgetting(self._path), answers.receipt))

    def enrol(self, image: ImageSource, about: About, options: EnrolOptions) -> Steps[Enrolled]:
        """Enrol a face from an image."""
        chosen, headers = {**about.told(), **options.chosen()}, about.headers()
        sent = yield from loaded(image)
        call = replace(call_about(f"{self._path}/enrol", [sent], chosen), headers=headers)
        return answers.read_enrolled((yield from exchange(call, self._patience)), sent.name)

    def enrol_embedding(
        self, embedding: object, quality: Quality | None, about: About, *, allow_conflict: bool
    ) -> Steps[Enrolled]:
        """Enrol an embedding."""
        body = {"embeddings": [vector_json(embedding)], "allow_conflict": allow_conflict, **about.told()}
        if quality is not None:
            body["qualities"] = [quality.to_dict()]
        call = replace(json_call("POST", f"{self._path}/enrol", body), headers=about.headers())
        return answers.read_enrolled((yield from exchange(call, self._patience)), None)

    def enrol_many(
        self, enrolments: Iterable[Enrolment | VisavisError], options: EnrolOptions
    ) -> Each[Enrolled | VisavisError]:
        """Enrol many."""
        yield from send_lines(self._import(options), enrolments, enrolment_line, self._patience)

    def import_lines(
        self, lines: Iterable[Mapping[str, Any]], *, allow_conflict: bool
    ) -> Each[Enrolled | VisavisError]:
        """Enrol what was exported."""
        call = self._import(EnrolOptions(allow_conflict=allow_conflict))
        yield from send_lines(call, lines, export_line, self._patience)

    def identify(self, image: ImageSource, options: SearchOptions) -> Steps[tuple[Identification, ...]]:
        """Say who the faces of an image are."""
        path = f"{self._path}/identify"
        return (yield from ask_one(path, image, options.chosen(), answers.identifications, self._patience))

    def identify_many(
        self, images: Iterable[ImageSource], options: SearchOptions
    ) -> Each[tuple[Identification, ...] | VisavisError]:
        """Say who the faces of many images are."""
        path = f"{self._path}/identify"
        yield from ask_many(path, images, options.chosen(), answers.identifications, self._patience)

    def identify_embeddings(
        self, embeddings: object, *, limit: int, threshold: float | None, fmr: "Rate | None"
    ) -> Steps[tuple[Identification, ...]]:
        """Say whose embeddings these are."""
        chosen = given(limit=limit, threshold=threshold, fmr=fmr)
        probes = rows_json(embeddings)
        found: tuple[Identification, ...] = ()
        for start in range(0, len(probes), _MOST_PROBES):
            body = {"embeddings": probes[start : start + _MOST_PROBES], **chosen}
            answer = yield from exchange(json_call("POST", f"{self._path}/identify", body), self._patience)
            found += answers.read_identified(answer, len(body["embeddings"]))
        return found

    def verify(self, image: ImageSource, subject: str, options: VerifyOptions) -> Steps[SubjectVerification]:
        """Say whether the face of an image is a subject."""
        path, chosen = self._subject(subject, "verify"), options.chosen()
        sent = yield from loaded(image)
        names = {"image": sent.name}
        return (yield from self._ask(call_with(path, {"image": sent}, chosen), answers.subject_verification, names))

    def verify_embedding(
        self, embedding: object, subject: str, *, threshold: float | None, fmr: "Rate | None"
    ) -> Steps[SubjectVerification]:
        """Say whether an embedding is a subject's."""
        body = {"embedding": vector_json(embedding), **given(threshold=threshold, fmr=fmr)}
        call = json_call("POST", self._subject(subject, "verify"), body)
        return (yield from self._ask(call, answers.subject_verification))

    def subjects(self) -> Each[Subject]:
        """Find the subjects, in the order of their enrolment."""
        yield from _pages(f"{self._path}/subjects", "subjects", answers.subject, self._patience)

    def subject(self, subject: str) -> Steps[Subject]:
        """Read the record of a subject."""
        return (yield from self._ask(Call("GET", self._subject(subject)), answers.subject))

    def samples(self, subject: str) -> Steps[tuple[answers.ServedSample, ...]]:
        """Read the samples of a subject."""
        return (yield from self._ask(Call("GET", self._subject(subject)), answers.samples))

    def update(self, subject: str, details: Details, version: int | Subject | None) -> Steps[Subject]:
        """Change what is known of a subject."""
        call = json_call("PATCH", self._subject(subject), details_json(details))
        return (yield from self._ask((yield from self._on(call, subject, version)), answers.subject))

    def picture(self, subject: str, sample: int) -> Steps[bytes]:
        """Read what is stored of a sample's image."""
        path = self._subject(subject, "samples", _number(sample), "picture")
        return answers.read_picture((yield from exchange(Call("GET", path), self._patience)))

    def forget_sample(self, subject: str, sample: int) -> Steps[Receipt]:
        """Forget a sample."""
        path = self._subject(subject, "samples", _number(sample))
        return (yield from self._ask(_forgetting(path), answers.receipt))

    def forget_subject(self, subject: str, version: int | Subject | None) -> Steps[Receipt]:
        """Forget a subject."""
        call = yield from self._on(_forgetting(self._subject(subject)), subject, version)
        return (yield from self._ask(call, answers.receipt))

    def export(self, *, pictures: bool) -> Each[dict[str, Any]]:
        """Find the lines of an export."""
        query = {"pictures": "true" if pictures else "false"}
        yield from read_lines(Call("GET", f"{self._path}/export", query), self._patience)

    def export_subject(self, subject: str) -> Steps[dict[str, Any]]:
        """Read all that is known of a subject."""
        return (yield from self._ask(Call("GET", self._subject(subject, "export")), answers.subject_export))

    def audit(self) -> Steps[AuditReport]:
        """Say what there is to mend."""
        return (yield from self._ask(Call("GET", f"{self._path}/audit"), audit_report))

    def entries(self) -> Each[LogEntry]:
        """Find the entries of the gallery's log."""
        return entries(self._patience, self._path)

    def _ask(self, call: Call, read: Callable[[Any], _Value], names: Mapping[str, str] | None = None) -> Steps[_Value]:
        return answers.read_answer((yield from exchange(call, self._patience)), read, names)

    def _subject(self, subject: str, *below: str) -> str:
        # Not checked, the IDs "." and ".." would lead elsewhere: to another call.
        try:
            segment = quote(check_subject_id(subject), safe="")
        except InvalidOption:
            raise SubjectNotFound("no subject can have this ID") from None
        return "/".join([self._path, "subjects", segment, *below])

    def _import(self, options: EnrolOptions) -> Call:
        query = {
            name: value if isinstance(value, str) else f"{value}".lower() for name, value in options.chosen().items()
        }
        return Call("POST", f"{self._path}/import", query)

    def _on(self, call: Call, subject: str, version: int | Subject | None) -> Steps[Call]:
        """Return a call that is done to that version only; a number alone is one of the subject that is there now."""
        if version is None:
            return call
        if not isinstance(version, Subject):
            now = yield from self.subject(subject)
            if now.version != version:
                raise VersionMismatch(f"the subject has version {now.version}, not {version}")
            version = now
        return replace(call, headers={"If-Match": f'"{version.number}-{version.version}"'}, repeatable=False)


def _pages(path: str, name: str, read: Callable[[Any], _Value], patience: Patience) -> Each[_Value]:
    query = {"limit": _PAGE}
    while True:
        answer = yield from exchange(Call("GET", path, query), patience)
        items, cursor = answers.read_answer(answer, answers.page(name, read))
        for item in items:
            yield Found(item)
        if cursor is None:
            return
        if cursor == query.get("cursor"):
            raise ServerError("the server's list leads back to where it was", status=answer.status)
        query = {**query, "cursor": cursor}


def _forgetting(path: str) -> Call:
    return Call("DELETE", path, repeatable=False)


def _number(sample: int) -> str:
    if type(sample) is not int:
        raise InvalidOption(f"a sample is called by its number, an int, not {type(sample).__name__}")
    return str(sample)
