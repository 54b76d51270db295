# Two images, neither run as root, nor with a compiler or an installer in it but what BASE brings: `run` (the last, so the
# default) is the daemon and the commands, `sandbox` has the emulated AWS besides. deploy/README.md has the commands that
# build and run them.
#
# BASE is a Python of 3.11 or newer on glibc. Releases name it by digest, and a mirror may stand in for the registry:
#   --build-arg BASE=python:3.13-slim@sha256:<digest>    (docker buildx imagetools inspect python:3.13-slim tells it)
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# The installer lives beside what is copied out of here, not in it.
RUN python3 -m venv /opt/installer \
    && python3 -m venv --without-pip /opt/relayd
ENV PATH=/opt/installer/bin:$PATH
WORKDIR /src
# The locks alone first: this layer is made again only when a version changes. An index of one's own, and its password,
# come from a pip.conf that stays out of the image: --secret id=pip,src=pip.conf
COPY requirements/build.txt requirements/run.txt requirements/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install --require-hashes --only-binary :all: -r requirements/build.txt \
    && pip --python /opt/relayd/bin/python3 install --no-compile --require-hashes --only-binary :all: -r requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY relayd relayd
RUN pip wheel --no-index --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/relayd/bin/python3 install --no-index --no-deps --no-compile dist/*.whl \
    # Compiled once and here: the running container can write nowhere, and nobody changes a source under it.
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/relayd/lib
# The version has one source, the package: a label that says another one is no image.
ARG VERSION=unknown
RUN test "${VERSION}" = unknown || test "$(/opt/relayd/bin/relayd --version)" = "relayd, version ${VERSION}"

FROM build AS build-sandbox
COPY requirements/sandbox.txt requirements/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip --python /opt/relayd/bin/python3 install --no-compile --require-hashes --only-binary :all: -r requirements/sandbox.txt \
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/relayd/lib

FROM ${BASE} AS bare
# A number, not a name: Kubernetes' runAsNonRoot can check only numbers.
RUN groupadd --gid 10001 relayd \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin relayd \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/relayd
# HOME: there is none to read or write, so AWS credentials come from the environment or from the container's role.
ENV PATH=/opt/relayd/bin:$PATH \
    HOME=/nonexistent \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    PYTHONUNBUFFERED=1 \
    RELAYD_HTTP_ADDRESS=0.0.0.0:8080
USER 10001:10001
# Where SQLite's file belongs, on a volume. With PostgreSQL nothing is written anywhere.
WORKDIR /var/lib/relayd
# `relayd run` is the process itself, so the signal reaches it; stopping takes up to RELAYD_GRACE_SECONDS.
STOPSIGNAL SIGTERM
ENTRYPOINT ["relayd"]
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="relayd" \
      org.opencontainers.image.description="Forwards mail sent to e-mail masks: SES to S3 to SNS to SQS, and on with SES." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM bare AS sandbox
COPY --from=build-sandbox /opt/relayd /opt/relayd
EXPOSE 2525 8025
CMD ["sandbox"]

FROM bare AS run
COPY --from=build /opt/relayd /opt/relayd
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=3s --start-period=30s \
    CMD ["python3", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:%s/livez' % os.environ['RELAYD_HTTP_ADDRESS'].rpartition(':')[2], timeout=2)"]
CMD ["run"]
