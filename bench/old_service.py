"""The design that visavis replaces, made as fast as it gets without changing it: Flask, gunicorn, one model call each.

It answers ``POST /face-embedding/url`` as the old embedding service did, with the calls that face_recognition makes on
dlib (HOG detector on the image enlarged once, five landmarks, ResNet). For benchmarks only: it fetches any URL.

    gunicorn --chdir bench --workers 2 --bind 127.0.0.1:8001 old_service:api
"""

import io
import urllib.request

import dlib
import numpy as np
from flask import Flask, Response, jsonify, request
from PIL import Image

from visavis.models.catalogue import DLIB
from visavis.models.installation import source_path

api = Flask(__name__)
_detector = dlib.get_frontal_face_detector()
_landmarks = dlib.shape_predictor(str(source_path(DLIB.part("landmarks").files[0])))
_embedder = dlib.face_recognition_model_v1(str(source_path(DLIB.part("embedder").files[0])))


@api.post("/face-embedding/url")
def embedding_of_url() -> tuple[Response, int]:
    """Fetch, find, embed."""
    url = request.get_json()["url"]
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  # as the old service did
        pixels = np.array(Image.open(io.BytesIO(answer.read())).convert("RGB"))
    shape = _landmarks(pixels, _detector(pixels, 1)[0])
    vector = list(_embedder.compute_face_descriptor(pixels, shape, 1))
    return jsonify({"face_embedding": {"url": url, "vector": vector}}), 201
