"""The module ``face_recognition``, on the pack ``dlib``: see docs/dialects/face_recognition.md."""

from visavis.compat.face_recognition.api import (
    accept_licence,
    batch_face_locations,
    compare_faces,
    face_distance,
    face_encodings,
    face_landmarks,
    face_locations,
    load_image_file,
)

__version__ = "1.3.0"  # of face_recognition, whose functions these are
__all__ = [
    "accept_licence",
    "batch_face_locations",
    "compare_faces",
    "face_distance",
    "face_encodings",
    "face_landmarks",
    "face_locations",
    "load_image_file",
]
