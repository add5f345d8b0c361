"""``python -m visavis.compat.face_recognition``: the command ``face_recognition``."""

from visavis.compat.face_recognition.commands import recognition

recognition()
