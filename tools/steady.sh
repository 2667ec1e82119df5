#!/bin/sh
# Run a command in each situation that tests must not notice; end with the first that fails.
#   sh tools/steady.sh make test
#   sh tools/steady.sh .venv/bin/pytest -q tests/dispatcher
set -eu

load=
begin_load() {
    for _ in $(seq "$(nproc)"); do
        while :; do :; done &
        load="$load $!"
    done
}
end_load() {
    [ -z "$load" ] || kill $load
    load=
}
trap end_load EXIT
trap 'exit 130' INT TERM

echo "== alone"
"$@"

echo "== beside a load on every core"
begin_load
"$@"

echo "== beside that load, on one core"
core=$(taskset -cp $$ | sed 's/.*: *\([0-9]*\).*/\1/')
taskset -c "$core" "$@"
end_load

echo "== as a background job, which ignores SIGINT"
"$@" &
wait $!
