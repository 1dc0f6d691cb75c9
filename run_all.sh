#!/usr/bin/env bash
# The one command: set up, run the graph, write the report. See the README, or ./run_all.sh help.
set -euo pipefail
# The user's environment is kept out: modules, kernels, settings and folders of other projects.
unset CDPATH PYTHONPATH PYTHONHOME PYTHONSAFEPATH PYTHONSTARTUP PYTHONOPTIMIZE JUPYTER_PATH MPLBACKEND
export PYTHONUTF8=1 JUPYTER_PREFER_ENV_PATH=1
if [ -d "${MCCVAE_DATA:-}" ]; then # as seen from where the command was given
  MCCVAE_DATA=$(cd "$MCCVAE_DATA" && pwd)
  export MCCVAE_DATA
fi
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
export MATPLOTLIBRC="$PWD/notebooks/support/show/style.mplstyle"

# glibc's allocator keeps what a batch frees for the next one. Else it goes back to the system, which clears the same
# pages anew each time: a sixth of a training's time on grey images, a quarter on colour ones.
export MALLOC_MMAP_MAX_="${MALLOC_MMAP_MAX_:-0}" MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-$((1 << 33))}"

fail() { printf 'run_all.sh: %s\n' "$*" >&2; exit "${code:-1}"; }

# A Python that can make the environment and read the words, before there is one.
find_python() {
  local python active="${VIRTUAL_ENV:-${CONDA_PREFIX:-.venv}}/bin/python"
  for python in "$active" python3 python3.14 python3.13 python3.12 python3.11 .venv/bin/python; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$python" && return
  done
  fail "no Python 3.11 or later found; install one, or use conda: conda env create -f environment.yml"
}

# Answers --help and stops at words that mean nothing (notebooks/support/__main__.py), before anything is set up.
read_words() {
  local python status=0
  python=$(find_python) || exit 1
  [[ $python != .venv/* ]] || python="$PWD/$python"
  (cd notebooks && "$python" -B -m support --check "$@") || status=$?
  [ "$status" = 100 ] && exit 0 # it has helped
  [ "$status" = 0 ] || exit "$status"
}

# Does this Python have every version that requirements.txt pins? Prints the first that it lacks.
satisfies() {
  "$1" - <<'PYTHON'
import importlib.metadata, sys
if sys.version_info < (3, 11):
    sys.exit(f"it is Python {sys.version.split()[0]}, and 3.11 or later is needed")
for line in open("requirements.txt"):
    name, _, pin = line.split("#")[0].strip().partition("==")
    if not name:
        continue
    try:
        found = importlib.metadata.version(name).split("+")[0]
    except importlib.metadata.PackageNotFoundError:
        found = "missing"
    if found != pin:
        sys.exit(f"{name} {pin} is needed, {found} is there" if found != "missing" else f"{name} {pin} is missing")
PYTHON
}

# Leaves the environment's bin/ first in PATH: the active one if it satisfies the pins, else .venv, made where it is not
# there.
set_up() {
  local active="${VIRTUAL_ENV:-${CONDA_PREFIX:-}}" lack python
  if [ -n "$active" ] && [ -x "$active/bin/python" ]; then
    if lack=$(satisfies "$active/bin/python" 2>&1); then
      export PATH="$active/bin:$PATH"
      return
    fi
    echo "The active environment is not used: $lack. Using .venv."
  fi
  if ! [ -x .venv/bin/python ] || ! lack=$(satisfies .venv/bin/python 2>&1); then
    local started=$SECONDS
    [ -z "$only_shows" ] || fail "a dry run makes nothing, and the environment .venv is not there yet, or not whole;" \
      "make it: ./run_all.sh test -- --version"
    python=$(find_python) || exit 1
    echo "Setting up .venv with the versions of requirements.txt (some minutes, once) ..."
    .venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear .venv ||
      fail "could not make .venv; on Debian and Ubuntu install python3-venv first"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt ||
      fail "could not install requirements.txt (pip's message is above); run again when that is mended"
    echo "Set up in $((SECONDS - started)) s."
  fi
  export VIRTUAL_ENV="$PWD/.venv" PATH="$PWD/.venv/bin:$PATH"
}

# Do these options of Snakemake only show something? Then nothing may be written, not even compiled modules.
only_shows=""
look_at_options() {
  local python
  python=$(find_python) || exit 1
  "$python" -B notebooks/support/commands/options.py "$@" || { only_shows=yes; export PYTHONDONTWRITEBYTECODE=1; }
}

# Checks the images and makes their profile, then runs it; a dry run says what it would make.
run_own() {
  local words=() said
  while [ $# -gt 0 ] && [ "$1" != "--" ]; do words+=("$1"); shift; done
  [ "${1:-}" = "--" ] && shift
  look_at_options "$@"
  set_up
  said=$(cd notebooks && python -m support.commands.own ${only_shows:+--dry-run} "$here" "${words[@]}") ||
    stopped_check $?
  printf '%s\n' "${said%$'\n'*}"
  if [ "${said##*$'\n'}" = "-" ]; then nothing_made; else run_profile "${said##*$'\n'}" "$@"; fi
}

stopped_check() { # told already, or killed
  [ "$1" -le 128 ] || [ "$1" = 130 ] || code=$1 fail "own: the check of the images was stopped from outside (signal" \
    "$(($1 - 128))), as when memory runs out; nothing was made. Close other programs, or make the pictures smaller," \
    "and run again."
  exit "$1"
}

nothing_made() { echo "Nothing was made: these options only show what would be done, or what is there."; }

stand_in_note() { # the profile's source decides, not its name
  [[ $1 != own_* ]] || return 0
  grep -q '^source: embedded' "notebooks/profiles/$1.yaml" || return 0
  # stick figures stand in for nothing
  grep -qE '^(models: \[|  (celeba|mnist|chest_xray):)' "notebooks/profiles/$1.yaml" || return 0
  echo "These are stand-in data, not the paper's: ./run_all.sh paper is the reproduction."
}

run_profile() {
  local graph="$1" profile="$1" started=$SECONDS
  shift
  [ "$graph" = report ] && profile=published
  look_at_options "$@"
  stand_in_note "$profile"
  set_up
  local report="outputs/$profile/report.html"
  local status=0 interrupted="" running why
  trap 'interrupted=130' INT # Snakemake, which gets the signal too, stops its jobs first
  python notebooks/support/commands/graph.py "$graph" "$@" &
  running=$!
  trap 'interrupted=143; kill -TERM "$running"' TERM
  wait "$running" || status=$?
  while kill -0 "$running" 2>/dev/null; do status=0; wait "$running" || status=$?; done # a signal ends a wait
  trap - INT TERM
  if [ "$status" != 0 ]; then
    [ "$status" = 3 ] && exit 1 # it has said why
    [ -e "$report" ] && echo "$report is an earlier run's, not brought up to date." >&2
    if [ -n "$interrupted" ]; then
      code=$interrupted fail "interrupted. Finished steps are kept; the same command goes on from here."
    fi
    [ "$status" = 2 ] && fail "Snakemake did not understand the options after --; its message is above."
    why=$(python notebooks/support/commands/graph.py "$graph" "$@" --dry-run 2>&1) ||
      fail "Snakemake stopped: $(grep -v -e '^Building DAG' -e '^Assuming ' <<<"$why" | tail -n 5)"
    fail "stopped: a step failed, and its message is above. Finished steps are kept; run the same command again when" \
      "it is mended."
  fi
  if [ -n "$only_shows" ]; then
    nothing_made
  elif [ -e "$report" ]; then
    echo "The report is $report (made in $((SECONDS - started)) s, set-up included)."
    [[ $profile != own_* ]] || echo "What the model says of each image: $PWD/outputs/$profile/characteristics.csv." \
      "Of new images: ./run_all.sh apply $PWD/outputs/$profile IMAGES"
  else
    echo "No report was made: the options did not ask for one."
  fi
  stand_in_note "$profile"
}

read_words "$@"
command="${1:-demo}"
[ "$command" = "--" ] && command=demo
[ $# -gt 0 ] && [ "$1" != "--" ] && shift
case "$command" in own | apply | repeat | check | draw) ;; *) [ "${1:-}" != "--" ] || shift ;; esac
case "$command" in
  # a file a process: what it prepares is made once; threads would only be in each other's way
  test)
    set_up
    OMP_NUM_THREADS=1 exec python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder "$@"
    ;;
  lab) set_up && exec python -m jupyterlab --ServerApp.root_dir="$PWD" --LabApp.default_url=/lab/tree/notebooks "$@" ;;
  own) run_own "$@" ;;
  apply | repeat | check | draw) set_up && cd notebooks && MCCVAE_HERE="$here" exec python -m support "$command" "$@" ;;
  *) run_profile "$command" "$@" ;;
esac
