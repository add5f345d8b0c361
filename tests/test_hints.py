"""What is said of names that people try: attributes here, paths in tests/server/test_server.py."""

import pytest

from visavis import AsyncClient, AsyncGalleryClient, Client, GalleryClient, OpenGallery, Recognizer
from visavis.service.galleries import Galleries


@pytest.mark.parametrize(("of", "name", "meant"), [
    (OpenGallery, "enroll", "enrol"),
    (OpenGallery, "enroll_many", "enrol_many"),
    (OpenGallery, "search", "identify"),
    (OpenGallery, "delete", "forget"),
    (OpenGallery, "colour", None),
    (GalleryClient, "enroll", "enrol"),
    (AsyncGalleryClient, "enroll_embedding", "enrol_embedding"),
    (Recognizer, "compare_faces", "compare"),
    (Recognizer, "represent", "embed"),
    (Recognizer, "face_locations", "detect"),
    (Recognizer, "verfy", "verify"),
    (Client, "embedd", "embed"),
    (AsyncClient, "get_or_create_galery", "get_or_create_gallery"),
    (Galleries, "get_or_crate", "get_or_create"),
    (Galleries, "nonsense", None),
])  # fmt: skip
def test_an_unknown_attribute_names_the_one_that_is_meant(of: type, name: str, meant: str | None) -> None:
    thing = object.__new__(of)
    with pytest.raises(AttributeError) as caught:
        getattr(thing, name)
    told = f"{of.__name__!r} object has no attribute {name!r}"
    assert str(caught.value) == (f"{told}; {meant} may be meant" if meant else told)
    assert not hasattr(thing, "_repr_html_")
