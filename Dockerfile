# Two images from one file; the official Dockerfile syntax of any engine since 20.10 is enough.
#
#   docker build --target batchline -t batchline .           gateway, dispatcher and command line
#   docker build --target vllm-cpu  -t batchline-vllm-cpu .  a model server without a GPU, for trying it out
#
# The model servers of the GPU files are the official vllm/vllm-openai image, not built here.
# Behind a package mirror: --build-arg PIP_INDEX_URL=… (PIP_EXTRA_INDEX_URL, PIP_TRUSTED_HOST).
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# ---------------------------------------------------------------- build: the locked virtual environment
FROM ${PYTHON_IMAGE} AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src

# The lock files change rarely and the code often: dependencies get their own layers.
COPY requirements.lock requirements-dev.lock ./
RUN python -m venv /opt/batchline \
 && /opt/batchline/bin/pip install -q --require-hashes -r requirements.lock
# The build backend comes from the lock as well: the entries of hatchling and of what it needs.
RUN awk '/^[a-z]/ {keep = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/} keep' \
        requirements-dev.lock > builder.lock \
 && python -m venv /opt/builder \
 && /opt/builder/bin/pip install -q --require-hashes -r builder.lock

COPY pyproject.toml README.md LICENSE ./
COPY batchline batchline
COPY gateway gateway
COPY dispatcher dispatcher
COPY dashboard dashboard
RUN /opt/builder/bin/pip wheel -q --no-deps --no-build-isolation -w /wheels . \
 && /opt/batchline/bin/pip install -q --no-deps --no-index /wheels/batchline-*.whl \
 && /opt/batchline/bin/pip uninstall -q -y pip setuptools

# ---------------------------------------------------------------- batchline: gateway, dispatcher, command line
FROM ${PYTHON_IMAGE} AS batchline
ENV PATH=/opt/batchline/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BATCHLINE_DATA_DIR=/data \
    BATCHLINE_HOST=0.0.0.0
# A fixed number, so that a bind-mounted /data can be given to it: chown 10001:10001.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin batchline \
 && install -d -o batchline -g batchline -m 0750 /data
COPY --from=build /opt/batchline /opt/batchline
USER batchline
WORKDIR /data
VOLUME /data
EXPOSE 5000 5001
ENTRYPOINT ["batchline"]
CMD ["--help"]
