# One image for every role. The first argument is the command: api, worker, migrate, up, doctor, ...
#
#   docker build --build-arg REVISION="$(git rev-parse HEAD)" -t kling-relay:0.1.0 .
#
# Pin BASE by digest (docker buildx imagetools inspect python:3.11-slim-bookworm).
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv --without-pip /opt/kling-relay
# Dependencies first, because they change rarely. Every file must match its hash in the lock file. There is no compiler.
COPY requirements/ requirements/
RUN python -m pip --python /opt/kling-relay/bin/python install --no-compile --no-deps --require-hashes --only-binary=:all: -r requirements/run.txt
RUN sed -n '/^setuptools==/,/[^\\]$/p' requirements/dev.txt > build.txt && python -m pip install --require-hashes --only-binary=:all: -r build.txt
COPY pyproject.toml README.md LICENSE ./
COPY service/ service/
COPY alembic/ alembic/
RUN python -m pip wheel --no-deps --no-build-isolation --no-index --wheel-dir dist .
RUN python -m pip --python /opt/kling-relay/bin/python install --no-compile --no-deps --no-index dist/*.whl
COPY alembic.ini deploy/healthcheck.py /opt/kling-relay/share/kling-relay/
# Bytecode is checked by hash, not by time: it stays valid in a read-only root and is the same in every build.
RUN /opt/kling-relay/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/kling-relay/lib /opt/kling-relay/share

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="kling-relay" \
      org.opencontainers.image.description="A service between a back end and Kling: it records every task, ingests callbacks exactly once, and delivers events to subscribers." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
# initdb (for `up` without a database) needs a user name. USER has the number, so that Kubernetes sees it is not root.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/kling-relay --shell /usr/sbin/nologin relay \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/kling-relay
COPY --from=build /opt/kling-relay /opt/kling-relay
ENV PATH=/opt/kling-relay/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RELAY_HOST=0.0.0.0 \
    RELAY_PORT=8080 \
    RELAY_METRICS_PORT=9464 \
    RELAY_DATA_DIR=/var/lib/kling-relay
USER 10001:10001
WORKDIR /var/lib/kling-relay
EXPOSE 8080 9464
STOPSIGNAL SIGTERM
# No command below starts a shell.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 \
    CMD ["python", "-I", "/opt/kling-relay/share/kling-relay/healthcheck.py"]
ENTRYPOINT ["kling-relay"]
CMD ["up"]
