#!/bin/sh
# loops.sh -- one app on two loops beside the same app on one, for each placement.
#
#   loops.sh BUILD-DIR [ROUNDS] [SECONDS]
#
# BUILD-DIR as for compare.sh. Nothing is pinned: the loops and the load share
# the machine's processors. Each row: CPU time of the server for one message
# (delivery) in us, and thousands of messages a second, medians over rounds in
# which the servers are measured in turn.
set -eu
build=$1
rounds=${2:-5}
seconds=${3:-2}
here=$(cd "$(dirname "$0")" && pwd)
out=$(mktemp -d)
pids=
trap 'rm -rf "$out"; [ -z "$pids" ] || kill $pids' EXIT

median() { sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

start() { # name port app options...
    name=$1 port=$2 app=$3
    shift 3
    "$build/moonwire" run "$here/apps/$app" --listen "127.0.0.1:$port" \
        --log-level error "$@" &
    eval "pid_$name=$!"
    pids="$pids $!"
}

row() { # mode conns n size
    start one 19411 "$1" --workers 1
    start home 19412 "$1" --workers 2 --placement home
    start spread 19413 "$1" --workers 2 --placement spread
    start auto 19414 "$1" --workers 2 --placement auto
    sleep 1
    rm -f "$out"/*
    i=0
    while [ $i -lt "$rounds" ]; do
        port=19411
        for name in one home spread auto; do
            eval "pid=\$pid_$name"
            timeout 60 "$build/bench_load" $port "$pid" "$@" "$seconds" \
                > "$out/line"
            sed 's/.*CPU //; s/ us.*//' "$out/line" >> "$out/$name.cpu"
            sed 's|.* s, \([0-9]*\)/s.*|\1|' "$out/line" |
                awk '{print $1 / 1000}' >> "$out/$name.rate"
            port=$((port + 1))
        done
        i=$((i + 1))
    done
    # shellcheck disable=SC2086 # a list
    kill $pids
    pids=
    wait
    printf '%-18s' "$*"
    for name in one home spread auto; do
        printf '  %s %s us %s k/s' $name "$(median < "$out/$name.cpu")" \
            "$(median < "$out/$name.rate")"
    done
    printf '\n'
}

row echo 200 1 32
row echo 200 16 32
row echo 50 1 4096
row fan 1000 1 64
row fan 1000 16 64
row fan 5000 1 64
