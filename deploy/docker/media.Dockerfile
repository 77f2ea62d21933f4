# The sample modules of examples/media: one image, a module by its command, as examples/media/ion.yaml has it.
#
#     docker build -f deploy/docker/media.Dockerfile -t ion-media .
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS needs
ENV PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/media
COPY examples/media/requirements.txt /tmp/
RUN /opt/pip/bin/pip --quiet --python /opt/media/bin/python install -r /tmp/requirements.txt \
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/media/lib

FROM ${BASE}
LABEL org.opencontainers.image.title=ion-media org.opencontainers.image.licenses=MIT
COPY --from=needs /opt/media /opt/media
COPY examples/media/modules /opt/media/modules
ENV PATH=/opt/media/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /opt/media
USER 65532:65532
