# One image for all of Ion: the handler in job pods, dispatchers, the management API, the front API; by command.
# It runs as any user, needs no writable root, and has nothing in it to build with.
#
#     docker build -f deploy/docker/ion.Dockerfile -t ion .
ARG BASE=python:3.11-slim-bookworm

# What Ion needs, before Ion itself: a change of its source leaves this layer as it is. Only the names of the needs are
# there yet, so they are installed for a package of the same name that is empty.
FROM ${BASE} AS needs
ARG EXTRAS=kubernetes,management,mongodb,nats,objects,otel,postgres,rabbitmq
ENV PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/ion
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
RUN mkdir -p src/ion && echo '__version__ = "0"' >src/ion/__init__.py \
    && /opt/pip/bin/pip --quiet --python /opt/ion/bin/python install ".[${EXTRAS}]" \
    && /opt/pip/bin/pip --quiet --python /opt/ion/bin/python uninstall --yes ion-events \
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/ion/lib

FROM needs AS built
COPY src src
RUN /opt/pip/bin/pip --quiet --python /opt/ion/bin/python install --no-deps --no-warn-script-location --root /own . \
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -s /own /own

FROM ${BASE}
LABEL org.opencontainers.image.title=ion org.opencontainers.image.licenses=MIT
COPY --from=needs /opt/ion /opt/ion
COPY --from=built /own/opt/ion /opt/ion
ENV PATH=/opt/ion/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
USER 65532:65532
ENTRYPOINT ["ion"]
