# Two images from one file; the official Dockerfile syntax of any engine since 20.10 is enough.
#
#   docker build --target batchline -t batchline .           our processes and command line
#   docker build --target vllm-cpu  -t batchline-vllm-cpu .  a model server without a GPU, for trying it out
#
# The model servers of the GPU files are the official vllm/vllm-openai image, not built here.
# Behind a package mirror: --build-arg PIP_INDEX_URL=… (PIP_EXTRA_INDEX_URL, PIP_TRUSTED_HOST).
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# ---------------------------------------------------------------- dependencies: the locked virtual environment
# The lock files change rarely and the code often: dependencies get their own layers.
FROM ${PYTHON_IMAGE} AS dependencies
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv /opt/batchline \
 && /opt/batchline/bin/pip install -q --require-hashes -r requirements.lock

# ---------------------------------------------------------------- build: batchline's wheel, installed
FROM dependencies AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
# The build backend comes from the lock as well: the entries of hatchling and of what it needs.
COPY requirements-dev.lock ./
RUN awk '/^[a-z]/ {keep = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/} keep' \
        requirements-dev.lock > builder.lock \
 && python -m venv /opt/builder \
 && /opt/builder/bin/pip install -q --require-hashes -r builder.lock
COPY pyproject.toml README.md LICENSE ./
COPY batchline batchline
COPY gateway gateway
COPY dispatcher dispatcher
COPY deliver deliver
COPY dashboard dashboard
RUN /opt/builder/bin/pip wheel -q --no-deps --no-build-isolation -w /wheels . \
 && /opt/batchline/bin/pip install -q --no-deps --no-index /wheels/batchline-*.whl \
 && /opt/batchline/bin/pip uninstall -q -y pip setuptools

# ---------------------------------------------------------------- batchline: our processes, command line
FROM ${PYTHON_IMAGE} AS batchline
ENV PATH=/opt/batchline/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BATCHLINE_DATA_DIR=/data \
    BATCHLINE_HOST=0.0.0.0 \
    BATCHLINE_DISPATCHER_HOST=0.0.0.0 \
    BATCHLINE_DELIVERER_HOST=0.0.0.0
# A fixed number, so that a bind-mounted /data can be given to it: chown 10001:10001.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin batchline \
 && install -d -o batchline -g batchline -m 0700 /data
COPY --from=build /opt/batchline /opt/batchline
USER batchline
WORKDIR /data
VOLUME /data
EXPOSE 5000 5001 5002
ENTRYPOINT ["batchline"]
CMD ["--help"]

# ---------------------------------------------------------------- vllm-cpu: a model server without a GPU
# Batchline's own installer puts vLLM's CPU build and the converted model into one folder. It gets only the
# modules it needs, so that a change elsewhere does not install 2.5 GB again. (Not batchline/__init__.py: it asks
# for the version of an installed batchline.)
FROM dependencies AS vllm-cpu-build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends libnuma1 && rm -rf /var/lib/apt/lists/*
COPY batchline/child_environment.py batchline/errors.py batchline/
COPY batchline/process/file_lock.py batchline/process/
COPY batchline/fleet batchline/fleet
RUN /opt/batchline/bin/python -c "from pathlib import Path; from batchline.fleet.cpu import install_cpu_build; \
install_cpu_build(Path('/cache'), say=print)" \
 && chmod -R a+rX /cache

FROM ${PYTHON_IMAGE} AS vllm-cpu
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends libnuma1 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --create-home --shell /usr/sbin/nologin vllm
COPY --from=vllm-cpu-build /cache/vllm-cpu-* /opt/vllm-cpu/
ENV PATH=/opt/vllm-cpu/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    VLLM_CPU_KVCACHE_SPACE=1 \
    VLLM_CPU_OMP_THREADS_BIND=nobind \
    OMP_NUM_THREADS=1 \
    VLLM_ENABLE_V1_MULTIPROCESSING=0 \
    VLLM_HTTP_TIMEOUT_KEEP_ALIVE=65 \
    VLLM_MEDIA_URL_ALLOW_REDIRECTS=0 \
    VLLM_NO_USAGE_STATS=1 \
    DO_NOT_TRACK=1 \
    HF_HUB_OFFLINE=1
USER vllm
WORKDIR /home/vllm
EXPOSE 8000
# Through the module: the vllm command insists on a distribution named vllm, and this one is named vllm-cpu.
ENTRYPOINT ["python", "-m", "vllm.entrypoints.openai.api_server", "--host", "0.0.0.0", "--port", "8000", \
            "--shutdown-timeout", "30", "--allowed-media-domains", "no-domain-is-allowed.invalid", \
            "--disable-uvicorn-access-log"]
# The flags of `batchline up`; batchline/fleet/programs.py says why.
CMD ["--model", "/opt/vllm-cpu/smollm2-135m-instruct", "--served-model-name", "smollm2-135m-instruct", \
     "--dtype", "bfloat16", "--max-model-len", "2048", "--max-num-seqs", "32", "--enforce-eager", \
     "--distributed-executor-backend", "uni"]
