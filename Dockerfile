# syntax=docker/dockerfile:1
# Python's slim image by default; a mirror's or a distribution's own may be named: --build-arg BASE=...
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/relayd
# The lock alone first: this layer is rebuilt only when a version changes.
COPY requirements/run.txt requirements/run.txt
RUN /opt/relayd/bin/pip install --require-hashes --only-binary :all: -r requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY relayd relayd
RUN /opt/relayd/bin/pip install --no-deps . \
    # Compiled here once, because the running container can write nowhere.
    && /opt/relayd/bin/python -m compileall -q -j 0 /opt/relayd/lib \
    # What runs needs no installer.
    && /opt/relayd/bin/python -m pip uninstall -q -y pip

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="relayd" \
      org.opencontainers.image.description="Forwards mail sent to e-mail masks: SES to S3 to SNS to SQS, and on with SES." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A number, not a name: Kubernetes' runAsNonRoot can check only numbers. SQLite's file belongs on a volume here.
RUN groupadd --gid 10001 relayd \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin relayd \
    && install -d -o 10001 -g 10001 /var/lib/relayd
COPY --from=build /opt/relayd /opt/relayd
ENV PATH=/opt/relayd/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    # No home to read or write: AWS credentials come from the environment or the container's role.
    HOME=/nonexistent \
    RELAYD_HTTP_ADDRESS=0.0.0.0:8080
USER 10001:10001
WORKDIR /var/lib/relayd
VOLUME /var/lib/relayd
EXPOSE 8080
# `relayd run` is the process itself, so the signal reaches it; stopping takes up to RELAYD_GRACE_SECONDS.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/livez', timeout=2)"]
ENTRYPOINT ["relayd"]
CMD ["run"]
