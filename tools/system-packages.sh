#!/bin/sh
# Install each named system package unless its command is there already: nginx, chromium, python3-venv.
set -eu
missing=
for name in "$@"; do
  case $name in
    nginx) command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing="$missing nginx-light" ;;
    chromium) command -v chromium >/dev/null || missing="$missing chromium" ;;
    *) missing="$missing $name" ;;
  esac
done
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null || {
  echo "Please install:$missing (apt-get was not found to do it for you)" >&2
  exit 1
}
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
echo "Installing system packages:$missing"
$sudo apt-get update -qq
# policy-rc.d 101: the packaged nginx service must not start; batchline runs its own
$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >/dev/null
