#!/bin/sh
# Run tests/compose/drive.py with the Docker engine of this machine. Where none answers, one is borrowed from
# the program that DOCKER_LAB_TOOL names (it knows `up`, `env` and `down`), and given back at the end.
set -eu
cd "$(dirname "$0")/../.."
python=.venv/bin/python
[ -x "$python" ] || python=$(command -v python3)

engine_answers() {
  docker info >/dev/null 2>&1 || return 1
  docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null
}

if ! engine_answers; then
  lab=${DOCKER_LAB_TOOL:-}
  [ -n "$lab" ] && [ -x "$lab" ] || {
    echo "No Docker engine with compose answers. Install one (docker compose version must work) and run again." >&2
    exit 1
  }
  eval "$("$lab" env)"
  if ! engine_answers; then
    trap '"$lab" down' EXIT
    trap 'exit 130' INT TERM
  fi
  "$lab" up
fi
"$python" tests/compose/drive.py "$@"
