"""``python -m visavis.compat.face_recognition.detection``: the command ``face_detection``."""

from visavis.compat.face_recognition.commands import detection

if __name__ == "__main__":
    detection()
