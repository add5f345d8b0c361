"""What came of many enrolments: counted, and told at the end."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from visavis.cli.messages import say
from visavis.cli.report import readable
from visavis.errors import SetupError

_ADVICE = {
    "no_face": "--min-face N looks for smaller ones",
    "multiple_faces": "--faces largest enrols the largest one",
    "too_small": "visavis gallery policy {gallery} --min-face-px N allows smaller ones",
    "blurred": "visavis gallery policy {gallery} --min-sharpness N allows more",
    "low_score": "visavis gallery policy {gallery} --min-score N allows more",
    "extreme_pose": "visavis gallery policy {gallery} --max-yaw N --max-pitch N allows more; 90 allows all",
    "not_live": "visavis gallery policy {gallery} --no-require-live enrols it all the same",
    "conflict": "--allow-conflict enrols it all the same",
    "consent_missing": "--consent TEXT notes what was agreed to",
}


@dataclass(slots=True)
class Tally:
    """Counts what became of each."""

    enrolled: int = 0
    repeated: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    _subjects: set[str] = field(default_factory=set)

    def count(self, subject: str | None, *, repeated: bool, code: str | None) -> None:
        """Count one: its subject, whether it was there already, and the code of the error that refused it."""
        if code is not None:
            self.refused[code] += 1
        elif repeated:
            self.repeated += 1
        else:
            self.enrolled += 1
            self._subjects.add(subject or "")

    def summary(self, gallery: str) -> str:
        """Return what is to be read at the end."""
        people = len(self._subjects)
        facts: dict[str, str | int] = {
            "enrolled": counted(self.enrolled, "sample") + (f" of {counted(people, 'subject')}" if people else ""),
            "already there": self.repeated,
            "refused": self.refused.total(),
        }
        for code, count in self.refused.most_common():
            advice = _ADVICE.get(code, "").format(gallery=gallery)
            facts[f"  {code}"] = f"{count:,}" + (f"  ({advice})" if advice else "")
        return readable(f"gallery {gallery}", facts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        about = {"enrolled": self.enrolled, "subjects": len(self._subjects), "already_there": self.repeated}
        return {**about, "refused": dict(self.refused)}

    def in_short(self) -> str:
        """Return the same in a line."""
        parts = [f"enrolled {counted(self.enrolled, 'sample')}", f"already there {self.repeated:,}"]
        return ", ".join([*parts, f"refused {self.refused.total():,}"])


@contextmanager
def staying(tally: Tally) -> Iterator[None]:
    """Say that what was enrolled stays, where the rest cannot follow."""
    try:
        yield
    except (KeyboardInterrupt, SetupError):
        if tally.enrolled or tally.repeated:
            say(f"visavis: {tally.in_short()}; that stays, and the same command goes on from there")
        raise


def counted(count: int, noun: str) -> str:
    """Return a number of things in words."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def spans(numbers: Iterable[int]) -> str:
    """Return numbers in words: those that follow each other as a span, such as "1-4, 7"."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)
