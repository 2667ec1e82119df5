#!/bin/sh
# Install each named system package unless what it brings is there already: nginx, chromium, libnuma1 (the CPU
# build of vLLM loads it), libfaketime (the histories of tests/chaos move the clock), caddy and openssl (the
# samples of docs/deploy.md), postgresql (the handler of that name is tested against it), python3-venv.
set -eu
missing=
for name in "$@"; do
  case $name in
    nginx) command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing="$missing nginx-light" ;;
    caddy | openssl) command -v "$name" >/dev/null || missing="$missing $name" ;;
    chromium) command -v chromium >/dev/null || missing="$missing chromium" ;;
    libfaketime) ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || missing="$missing libfaketime" ;;
    postgresql) command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql" ;;
    libnuma1) PATH="$PATH:/usr/sbin:/sbin" ldconfig -p 2>/dev/null | grep -q 'libnuma\.so\.1' || missing="$missing libnuma1" ;;
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
case $missing in
  *postgresql*) # no cluster is made: the tests make their own (pg_createcluster(1) reads this)
    $sudo mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
      echo 'create_main_cluster = false' | $sudo tee /etc/postgresql-common/createcluster.conf >/dev/null
    ;;
esac
# policy-rc.d 101: packaged services of nginx and PostgreSQL must not start; batchline and tests run their own
$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >/dev/null
