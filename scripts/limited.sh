# For bash 3.2 too, where there may be no `timeout`; sourced by gpu_check.sh.

running= # the process group that is limited now

# limited SECONDS LOG COMMAND…: its exit code, or 124 if it was stopped; its children end with it.
limited() {
  local limit=$1 log=$2 ends signal stopped=
  shift 2
  set -m # a process group of its own
  "$@" >"$log" 2>&1 </dev/null &
  running=$!
  set +m
  ends=$((SECONDS + limit))
  for signal in INT TERM KILL; do # after the first one, benchmarks and tests write what they have
    while kill -0 "$running" 2>/dev/null && [ "$SECONDS" -lt "$ends" ]; do sleep 0.2; done
    kill -0 "$running" 2>/dev/null || break
    stopped=124
    kill "-$signal" "-$running" 2>/dev/null
    ends=$((SECONDS + 10))
  done
  wait "$running" 2>/dev/null
  local code=$?
  kill -KILL "-$running" 2>/dev/null # what it has left behind
  running=
  return "${stopped:-$code}"
}
