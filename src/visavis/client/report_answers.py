"""From the server's answer about the hygiene of a gallery to the library's report."""

from collections.abc import Mapping
from typing import Any

from visavis.client.reading import every, if_any, number, text, whole
from visavis.service.results import AuditReport, LowQuality, Outlier, SubjectPair


def audit_report(value: Mapping[str, Any]) -> AuditReport:
    """Return what there is to mend."""
    return AuditReport(
        subjects=whole(value["subjects"]),
        samples=whole(value["samples"]),
        duplicates=every(_pair, value["duplicates"]),
        confusable=every(_pair, value["confusable"]),
        outliers=every(_outlier, value["outliers"]),
        low_quality=every(_low_quality, value["low_quality"]),
    )


def _pair(value: Mapping[str, Any]) -> SubjectPair:
    first, second = every(whole, value["samples"])
    return SubjectPair(
        a=text(value["a"]),
        b=text(value["b"]),
        samples=(first, second),
        distance=number(value["distance"]),
        probability=if_any(number, value["probability"]),
    )


def _outlier(value: Mapping[str, Any]) -> Outlier:
    return Outlier(
        subject=text(value["subject"]),
        sample=whole(value["sample"]),
        distance=number(value["distance"]),
        nearest=if_any(text, value["nearest"]),
    )


def _low_quality(value: Mapping[str, Any]) -> LowQuality:
    return LowQuality(
        subject=text(value["subject"]),
        sample=whole(value["sample"]),
        reasons=every(text, value["reasons"]),
    )
