# visavis as a server: models are converted while the image is built, nothing is downloaded when it runs.
#
#   docker build -t visavis .
#   docker run --rm -p 8000:8000 -v visavis:/data -e VISAVIS_KEYS="admin:a-secret-of-24-characters-or-more" visavis

FROM python:3.12-slim AS build

WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN python -m venv /opt/visavis \
 && /opt/visavis/bin/pip install --no-cache-dir '.[keras,postgres]'
RUN VISAVIS_CACHE_DIR=/opt/models /opt/visavis/bin/visavis doctor

FROM python:3.12-slim

RUN useradd --system --uid 10001 --home-dir /data --create-home visavis
COPY --from=build /opt/visavis /opt/visavis
COPY --from=build /opt/models /opt/models

ENV PATH=/opt/visavis/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    VISAVIS_CACHE_DIR=/opt/models \
    VISAVIS_HOST=0.0.0.0 \
    VISAVIS_PORT=8000 \
    VISAVIS_KEYS_FILE=/data/keys.sqlite \
    VISAVIS_MODELS_DIR=/data/models \
    VISAVIS_STORE=sqlite:////data/visavis.db

# All that is ever written: keys, galleries, and models that are pulled. Everything else may be mounted read-only.
VOLUME /data
WORKDIR /data
USER 10001
EXPOSE 8000

HEALTHCHECK --interval=10s --timeout=3s --start-period=15s \
  CMD ["python", "-c", "import os, ssl, urllib.request as r; \
       r.urlopen(f'http{\"s\" * bool(os.environ.get(\"VISAVIS_TLS_CERT\"))}://127.0.0.1:8000/readyz', timeout=2, \
       context=ssl._create_unverified_context())"]

CMD ["visavis", "serve"]
