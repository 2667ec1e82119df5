#!/bin/sh
# Recompute the lock files: pinned with hashes, naming no package index.
set -eu
compile="$1/pip-compile -q --generate-hashes --strip-extras --allow-unsafe --no-annotate
  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links"
$compile --extra handlers -o requirements.lock pyproject.toml
$compile --extra dev --extra handlers -o requirements-dev.lock pyproject.toml
$compile -o tests/clients/requirements.lock tests/clients/requirements.in
$compile -o tests/curation/requirements.lock tests/curation/requirements.in
