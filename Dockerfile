# The program `cecochat` as an image: each server, `up`, and the command line.
#
#   make image
#   docker run --rm --publish 127.0.0.1:8080-8082:8080-8082 --env CECOCHAT_HOST=0.0.0.0 \
#       --env CECOCHAT_ADVERTISE_HOST=127.0.0.1 --volume cecochat:/data cecochat:0.1.0 up
#
# See docs/how-to/run-in-a-container.md; for jobs of Nomad with the driver docker, docs/how-to/deploy-with-nomad.md.

# `make image` names the base by its digest; this is the tag that it looks up where base-image.lock is missing.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/cecochat && python -m venv /opt/build

# What others wrote first, each package by its hash: a change of ours leaves this layer as it is.
# Of the services that botocore describes, only S3 is called, and those that give credentials for it.
COPY requirements.lock ./
RUN /opt/cecochat/bin/pip install --no-compile --require-hashes --requirement requirements.lock \
    && find /opt/cecochat/lib/python*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
        ! -name s3 ! -name sts ! -name 'sso*' -exec rm -r {} + \
    && rm /opt/cecochat/lib/python*/site-packages/botocore/cacert.pem

# What only builds has an environment of its own, which is left behind.
COPY requirements-build.lock ./
RUN /opt/build/bin/pip install --no-compile --require-hashes --requirement requirements-build.lock

COPY pyproject.toml LICENSE README.md ./
COPY protos protos
COPY services services
COPY scripts/healthcheck.py scripts/image-root.sh ./
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /opt/build/wheels . \
    && /opt/cecochat/bin/pip install --no-compile --no-deps /opt/build/wheels/*.whl \
    && /opt/cecochat/bin/pip uninstall --yes pip \
    && cp healthcheck.py /opt/cecochat/bin/ \
    && ./image-root.sh /image/root \
    && install --directory --mode 0700 /image/owned/data

# Python and what it loads, and nothing else of the base: docs/adr/0190-the-image-holds-what-it-runs.md
FROM scratch

COPY --from=build /image/root/ /
# A fixed number, for who owns what is mounted.
COPY --from=build --chown=10001:10001 /image/owned/ /

ENV PATH=/opt/cecochat/bin LANG=C.UTF-8 PYTHONUNBUFFERED=1 \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt CECOCHAT_DATA_DIR=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
# connect, messaging and history for clients; the internal listeners of messaging, materialize, history, control,
# connect and hooks, on 127.0.0.1 of the container unless CECOCHAT_INTERNAL_HOST says otherwise
EXPOSE 8080 8081 8082 8083 8084 8085 8086 8087 8088 8089 8090 8091

HEALTHCHECK --interval=30s --timeout=15s --start-period=60s --retries=3 \
    CMD ["python", "/opt/cecochat/bin/healthcheck.py"]
ENTRYPOINT ["cecochat"]
CMD ["--help"]
