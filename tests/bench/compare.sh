#!/bin/sh
# compare.sh -- moonwire beside the raw epoll server, in turn, so that the
# ratio holds when the machine's speed drifts.
#
#   compare.sh BUILD-DIR [ROUNDS] [SECONDS]
#
# BUILD-DIR holds moonwire, bench_floor and bench_load (a release build:
# cmake --build BUILD-DIR --target moonwire bench_floor bench_load). Server on
# one processor, load on the other. Each row: the server's CPU time for one
# message (delivery) in us, medians over the rounds, and the median ratio.
set -eu
build=$1
rounds=${2:-5}
seconds=${3:-2}
here=$(cd "$(dirname "$0")" && pwd)
floor_port=19401
moon_port=19402
out=$(mktemp)
trap 'rm -f "$out"' EXIT

cost() { # port pid mode conns n size
    port=$1 pid=$2
    shift 2
    taskset -c 1 "$build/bench_load" "$port" "$pid" "$@" "$seconds" |
        sed 's/.*CPU //; s/ us.*//'
}

median() { sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

row() { # mode conns n size
    taskset -c 0 "$build/bench_floor" $floor_port "$1" &
    floor=$!
    taskset -c 0 "$build/moonwire" run "$here/apps/$1" \
        --listen 127.0.0.1:$moon_port --log-level error &
    moon=$!
    sleep 1
    : > "$out"
    i=0
    while [ $i -lt "$rounds" ]; do
        a=$(cost $floor_port $floor "$@")
        b=$(cost $moon_port $moon "$@")
        echo "$a $b" | awk '{print $1, $2, $2 / $1}' >> "$out"
        i=$((i + 1))
    done
    kill $floor $moon
    wait $floor $moon 2>/dev/null || true
    printf '%-28s floor %8s  moonwire %8s  ratio %5.2f\n' "$*" \
        "$(cut -d' ' -f1 "$out" | median)" "$(cut -d' ' -f2 "$out" | median)" \
        "$(cut -d' ' -f3 "$out" | median)"
}

row echo 200 1 32
row echo 200 16 32
row echo 50 1 4096
row fan 1000 1 64
row fan 1000 16 64
row fan 5000 1 64
