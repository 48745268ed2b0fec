#!/usr/bin/env bash
# What spec-local does on this machine's GPU, measured unattended, in ten minutes at most:
#
#   bash scripts/gpu_check.sh --models FOLDER --llama-server PATH --out docs/gpu/NAME
#
#   --out FOLDER         where everything found goes (OUT; gpu-check-DATE)
#   --wheel FILE         a built llama-cpp-python, which is installed first (WHEEL)
#   --models FOLDER      with smollm2-135m.gguf, qwen2.5-coder-1.5b.gguf and qwen2.5-coder-0.5b.gguf,
#                        as far as there are (MODELS; those that spec-local has pulled)
#   --llama-server PATH  llama.cpp's own server, to be measured beside (LLAMA_SERVER)
#   --python PYTHON      with spec-local's packages (PYTHON; .venv/bin/python, else python3)
#   --work FOLDER        for files of up to 70 GB, which are removed (WORK; the temporary folder)
#   --minutes N          at most (10)
#   --quick              a little of everything, in about two minutes on a GPU
#
# In brackets: what stands in the environment instead, and else the default. Every step has a limit
# and a log of its own; one that fails, or has no room or time, is noted, and the next one begins.
# Without a GPU everything runs on the processor. Nothing is fetched where the models are given.
# docs/gpu-check.md says more. Made for bash 3.2 too, as macOS has it.

set -u

root=$(cd "$(dirname "$0")/.." && pwd)
wheel=${WHEEL:-} models=${MODELS:-} server=${LLAMA_SERVER:-} python=${PYTHON:-} minutes=10 quick=
out=${OUT:-gpu-check-$(date +%Y%m%d-%H%M%S)} parent=${WORK:-${TMPDIR:-/tmp}}

refuse() {
  echo "error: $1" >&2
  exit 2
}

while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=1 ;;
    -h | --help)
      sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    --out | --wheel | --models | --llama-server | --python | --work | --minutes)
      [ $# -gt 1 ] || refuse "$1 needs a value."
      case $1 in
        --out) out=$2 ;;
        --wheel) wheel=$2 ;;
        --models) models=$2 ;;
        --llama-server) server=$2 ;;
        --python) python=$2 ;;
        --work) parent=$2 ;;
        --minutes) minutes=$2 ;;
      esac
      shift
      ;;
    *) refuse "there is no option $1; --help tells which there are." ;;
  esac
  shift
done

absolute() { # of a file or folder that is there
  echo "$(cd "$(dirname "$1")" && pwd)/$(basename "$1")"
}

case $minutes in '' | *[!0-9]*) refuse "--minutes takes a whole number." ;; esac
if [ -z "$python" ]; then
  python=python3
  [ ! -x "$root/.venv/bin/python" ] || python=$root/.venv/bin/python
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
  refuse "$python is no Python 3.10 or later; name one with --python."
for file in "$wheel" "$models" "$server"; do
  [ -z "$file" ] || [ -e "$file" ] || refuse "there is no $file."
done
[ -z "$wheel" ] || wheel=$(absolute "$wheel")
[ -z "$models" ] || models=$(cd "$models" && pwd)
[ -z "$server" ] || server=$(absolute "$server")
case $python in */*) python=$(absolute "$python") ;; esac
mkdir -p "$out/logs" "$out/profiles" || refuse "$out cannot be made; name another folder with --out."
out=$(cd "$out" && pwd)
work=$(mktemp -d "$parent/gpu-check.XXXXXX") || refuse "$parent cannot be written; see --work."
# shellcheck source=scripts/limited.sh
. "$root/scripts/limited.sh"

clean() {
  [ -z "$running" ] || kill -KILL "-$running" 2>/dev/null
  rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM HUP

deadline=$((SECONDS + 60 * minutes))
export PYTHONPATH=$root
cd "$out" || exit 2
: >steps.tsv

noted() { # NAME STATUS SECONDS
  printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>steps.tsv
  echo "  $2, $3 s"
}

# step NAME SECONDS COMMAND…: within what is left of the time.
step() {
  local name=$1 limit=$2 begun=$SECONDS left=$((deadline - SECONDS))
  shift 2
  echo "$name"
  if [ "$left" -lt 5 ]; then
    noted "$name" "left out: no time" 0
    return 1
  fi
  [ "$limit" -le "$left" ] || limit=$left
  limited "$limit" "logs/$name.log" "$@"
  local code=$?
  case $code in
    0) noted "$name" done $((SECONDS - begun)) ;;
    124) noted "$name" "stopped at its limit" $((SECONDS - begun)) ;;
    *) noted "$name" "failed with $code" $((SECONDS - begun)) ;;
  esac
  return $code
}

here() { # whether that model is there
  [ -e "$work/cache/models/$1.gguf" ]
}

# ---- what is measured with -----------------------------------------------------------------------

if [ -n "$wheel" ]; then
  step install 120 "$python" -m pip install --no-deps --no-index --force-reinstall "$wheel"
fi
given=$models
if [ -z "$given" ]; then
  models=$("$python" -c 'from spec_local.models.download import store; print(store())' 2>/dev/null)
fi
export SPEC_LOCAL_CACHE=$work/cache # what is learned here is kept apart
mkdir -p "$work/cache/models"
for file in "$models"/*.gguf; do
  [ ! -e "$file" ] || ln -s "$file" "$work/cache/models/"
done
[ -n "$given" ] || here smollm2-135m ||
  step pull 60 "$python" -m spec_local models pull smollm2-135m

# Exit code 1 of doctor means that there is something to mend.
step doctor 60 sh -c '"$0" -m spec_local doctor --json >doctor.json || [ -s doctor.json ]' "$python"

if ! "$python" -c 'import sys; from spec_local.llama.build import this_build
sys.exit(not this_build().has_gpu)' 2>/dev/null; then
  wanted=$(sed -n 's/.*"\(llama-cpp-python[^"]*\)".*/\1/p' "$root/pyproject.toml" | head -n 1)
  cat >&2 <<END
note: llama.cpp finds no GPU here, so everything is measured on the processor. For a GPU build it with
  CMAKE_ARGS="-DGGML_CUDA=on" pip install --force-reinstall --no-deps --no-cache-dir \\
      --no-binary llama-cpp-python '$wanted'
where -DGGML_CUDA=on is for NVIDIA's; Apple's take -DGGML_METAL=on, AMD's -DGGML_HIP=on, and most of all
kinds -DGGML_VULKAN=on.
END
fi

# ---- what is measured ----------------------------------------------------------------------------

target=smollm2-135m draft=
if here qwen2.5-coder-1.5b; then
  target=qwen2.5-coder-1.5b
  if here qwen2.5-coder-0.5b; then draft=qwen2.5-coder-0.5b; fi
fi

curve() { # MODEL TYPE SECONDS
  step "curve-$1-$2" "$3" "$python" -m scripts.shape_costs "$1" --type "$2" --work "$work" \
    --context 256 --seconds "$curve_seconds" --json "curve-$1-$2.json"
}

own_curve() { # MODEL SECONDS
  here "$1" || return 0
  step "curve-$1" "$2" "$python" -m scripts.shape_costs "$1" --seconds "$curve_seconds" \
    --json "curve-$1.json"
}

exact() { # MODEL SECONDS OPTIONS…: the certificate, and texts compared
  local model=$1 limit=$2
  shift 2
  here "$model" || return 0
  step "exact-$model" "$limit" "$python" -m spec_local verify -m "$model" --drafter auto \
    --drafter lookup --exact --temperature 0 --json "exact-$model.json" "$@"
}

bench() { # NAME SECONDS TARGET OPTIONS…
  local name=$1 limit=$2 model=$3
  shift 3
  here "$model" || return 0
  if [ -n "$draft" ]; then set -- "$@" -d "$draft"; fi
  if [ -n "$server" ]; then set -- "$@" --peer "llama-server=$server"; fi
  step "$name" "$limit" "$python" -m spec_local bench -m "$model" "$@" --temperature 0 \
    --json "$name.json"
}

inflated() { # the target's text at the cost of a model of 7B
  step inflate 90 "$python" -m scripts.inflate_gguf "$work/cache/models/$target.gguf" \
    "$work/cache/models/inflated.gguf" --cost 4.5
}

tests() { # NAME SECONDS OPTIONS…
  local name=$1 limit=$2
  shift 2
  step "$name" "$limit" sh -c 'cd "$0" && exec "$@"' "$root" "$python" -m pytest -q \
    -p no:cacheprovider --junitxml "$out/$name.xml" "$@"
}

# What matters most comes first. On a GPU no step comes near its limit but the largest files.
if [ -n "$quick" ]; then
  curve_seconds=4
  step overhead 40 "$python" -m scripts.bench_overhead --tokens 100 --warm 1 --repeats 2 \
    --json overhead.json
  own_curve "$target" 60
  exact smollm2-135m 150 --tokens 32 -w chat --ctx-size 1024
  bench bench 120 "$target" --quick -w "code edit" -w chat
  tests tests 120 -m model tests/test_models.py
  step moe 60 "$python" -m scripts.moe_costs --layers 2 --seconds 5 --work "$work" --json moe.json
  curve 1.5B Q4_K_M 90
else
  curve_seconds=10
  step overhead 60 "$python" -m scripts.bench_overhead --json overhead.json
  own_curve "$target" 60
  own_curve qwen2.5-coder-0.5b 30
  exact smollm2-135m 90 --tokens 64
  [ "$target" = smollm2-135m ] || exact "$target" 120 --tokens 64 -w chat -w "code edit"
  bench bench 150 "$target" --repeats 1
  curve 7B Q4_K_M 90
  curve 32B Q4_K_M 90
  curve 1.5B Q4_K_M 60
  tests tests 120 -m model tests/test_models.py tests/test_parity.py tests/test_lookup_accepted.py \
    tests/test_constraints.py tests/test_verification.py tests/test_context_end.py
  tests tests-of-every-kind 60 tests/test_zoo.py -k drafting_changes_no_text
  step moe 60 "$python" -m scripts.moe_costs --seconds 15 --work "$work" --json moe.json
  for size in 7B 1.5B; do
    curve $size Q8_0 60
    curve $size F16 90
  done
  if [ -n "$draft" ] && inflated; then
    bench bench-inflated 120 inflated --repeats 1 --tokens 32
    rm -f "$work/cache/models/inflated.gguf"
  fi
  curve 32B Q8_0 120
  curve 32B F16 180
fi

# ---- what was found ------------------------------------------------------------------------------

cp "$work"/cache/profiles/*.json profiles/ 2>/dev/null # cost curves and certificates
"$python" -m scripts.gpu_check_summary . >summary.md 2>logs/summary.log ||
  echo "note: no summary could be made; $out/logs/summary.log says why." >&2
tar -czf "$out.tar.gz" -C "$(dirname "$out")" "$(basename "$out")"
echo
cat summary.md
echo
echo "Everything is in $out, and packed in $out.tar.gz; docs/gpu-check.md says where to send it."
