#!/bin/sh
# Create the virtual environment VENV with PYTHON and install the locked requirements and this project.
# Debian ships python3 without ensurepip: then python3-venv is installed first.
set -eu
python=$1
venv=$2
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "batchline needs Python 3.11 or newer; $python is $("$python" -V 2>&1). Set PYTHON=/path/to/python3.11" >&2
  exit 1
}
if [ ! -x "$venv/bin/pip" ]; then
  "$python" -c 'import ensurepip' 2>/dev/null || sh "$(dirname "$0")/system-packages.sh" python3-venv
  "$python" -m venv "$venv"
fi
echo "Installing the project into $venv ..."
"$venv/bin/pip" install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
"$venv/bin/pip" install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
