#!/usr/bin/env bash
# Builds all tests and runs them, the long test programs side by side. Says what took how long, and what a run has left behind.
#
#   run.sh          what `make test` runs: of each test that is long by nature a part, another one at each commit (GITWARD_SEED)
#   run.sh --all    all parts of them
#   run.sh NAME     the tests whose name contains NAME, of any program; on failure with the logs of their control plane
#
# It runs offline but for what the tests fetch themselves, and writes below target/ and the folder for temporary files.
set -euo pipefail
cd "$(dirname "$0")/.."

# These take long and mostly wait: each runs beside the others, with so many tests at a time. More of them than that would make
# a machine of two cores run into the timeouts of what it waits for.
long="control_plane faults install docs compatibility"
threads() { case $1 in control_plane) echo $((2 * $(nproc))) ;; docs | faults) nproc ;; *) echo $((($(nproc) + 1) / 2)) ;; esac; }

filter=()
case ${1:-} in
--all) unset GITWARD_SEED ;;
'' | *)
  [ -z "${1:-}" ] || filter=("$1")
  if [ -z "${GITWARD_SEED:-}" ]; then
    GITWARD_SEED=$((16#$(git rev-parse --short=8 HEAD 2>/dev/null || echo 0)))
  fi
  export GITWARD_SEED
  echo "GITWARD_SEED=$GITWARD_SEED decides which part of the long tests runs; make test-all runs all of them"
  ;;
esac

# Whatever a test starts inherits it, so that it can be told at the end.
export GITWARD_TEST_RUN=$$.$(date +%s)
logs=$PWD/${CARGO_TARGET_DIR:-target}/test-logs
rm -rf "$logs"
mkdir -p "$logs"
# etcd and git write thousands of small files, which nobody needs afterwards: in memory, where there is room.
temporary=${TMPDIR:-/tmp}
free() { df --output=avail -k "$1" 2>/dev/null | tail -n 1; }
[ -n "${TMPDIR:-}" ] || [ ! -w /dev/shm ] || [ "$(free /dev/shm)" -lt 6000000 ] || temporary=/dev/shm
TMPDIR=$(mktemp -d "$temporary/gitward-test-XXXXXX")
export TMPDIR
# The programs in Go spend a third of a short life on collecting garbage; there is memory enough.
export GOGC=400
mounts_before=$(sort /proc/self/mounts 2>/dev/null || true)

# PROGRAM FOLDER NAME, a line each: where cargo would run it. The test of `make e2e` runs on its node only.
programs() {
  cargo test --workspace --lib --bins --tests --no-run --message-format=json-render-diagnostics |
    sed -nE 's|.*"manifest_path":"([^"]*)/Cargo.toml".*"kind":\["([^"]*)"\].*"name":"([^"]*)".*"test":true.*"executable":"([^"]*/deps/[^"]*)".*|\4 \1 \3-\2|p' |
    sed -E 's/-test$//'
}

# run PROGRAM FOLDER NAME: its output goes to a file.
run() {
  local log=$logs/$3.log options=()
  [[ " $long " != *" $3 "* ]] || options=("--test-threads=$(threads "$3")")
  # libtest tells times with an unstable option only. The variable reaches no compiler here.
  if (cd "$2" && CARGO_MANIFEST_DIR=$2 RUSTC_BOOTSTRAP=1 "$1" -Z unstable-options --report-time "${options[@]}" "${filter[@]}") >"$log" 2>&1 </dev/null; then
    echo "$3" >>"$logs/passed"
  else
    echo "$3" >>"$logs/failed"
  fi
  printf '%4ds  %s: %s\n' "$SECONDS" "$3" "$(sed -nE 's/^test result: //p' "$log" | tail -n 1)"
}

# Processes that belong to this run and are still there.
left_processes() {
  local environment pid
  for environment in $(grep -lsz "^GITWARD_TEST_RUN=$GITWARD_TEST_RUN\$" /proc/[0-9]*/environ 2>/dev/null); do
    pid=${environment//[^0-9]/}
    [ "$pid" = $$ ] || [ "$pid" = "$BASHPID" ] || [ ! -s "/proc/$pid/cmdline" ] || [ "$(awk '{print $4}' "/proc/$pid/stat" 2>/dev/null)" = "$$" ] ||
      echo "process $pid: $(tr '\0' ' ' <"/proc/$pid/cmdline" | cut -c1-160)"
  done
}

# What the run has left: processes, mounts and folders. Logs that failed tests keep are no remains.
remains() {
  left_processes
  diff <(echo "$mounts_before") <(sort /proc/self/mounts) | sed -n 's/^> /mount /p'
  find "$TMPDIR" -mindepth 1 -maxdepth 1 ! -name 'gitward-start-*.lock' | sed 's/^/folder /'
}

keep_logs() {
  local folder
  for folder in "$TMPDIR"/*; do
    [ -e "$folder/keep" ] || continue
    mv "$folder" "$logs/"
  done
}

# The ends of the logs of the control planes whose test has failed.
show_kept() {
  local log
  for log in "$logs"/gitward-cluster-*/*.log; do
    [ -e "$log" ] || continue
    printf '\n── %s ──\n' "${log#"$PWD"/}"
    tail -n 12 "$log"
  done
}

programs >"$logs/programs"
[ -s "$logs/programs" ] || { echo "error: no test program was built" >&2; exit 1; }
printf '%4ds  everything is built\n' "$SECONDS"

sed -i '/ e2e$/d' "$logs/programs"
while read -r program folder name; do
  case " $long " in *" $name "*) run "$program" "$folder" "$name" & ;; esac
done <"$logs/programs"
while read -r program folder name; do
  case " $long " in *" $name "*) ;; *) run "$program" "$folder" "$name" ;; esac
done <"$logs/programs"
wait

status=0
if [ -e "$logs/failed" ]; then
  status=1
  while read -r name; do
    printf '\n════ %s ════\n' "$name"
    sed -n '/^failures:$/,$p' "$logs/$name.log" | grep . || tail -n 40 "$logs/$name.log"
  done <"$logs/failed"
fi
keep_logs
[ ${#filter[@]} = 0 ] || [ $status = 0 ] || show_kept

if [ ${#filter[@]} = 0 ]; then
  printf '\nThe 20 slowest tests:\n'
  grep -hE '^test .* <[0-9.]+s>$' "$logs"/*.log | sed -E 's/^test (.*) \.\.\. .*<([0-9.]+)s>$/\2 \1/' | sort -rn | head -n 20 | awk '{ printf "%7.1f s  %s\n", $1, $2 }'
fi

# What ends beside its parent may take a moment.
for _ in $(seq 20); do
  found=$(remains)
  [ -n "$found" ] || break
  sleep 1
done
if [ -n "$found" ]; then
  printf '\nThe tests have left behind:\n%s\n' "$found"
  status=1
fi
rm -rf "$TMPDIR"

[ $status = 0 ] || printf '\nlogs: %s\n' "${logs#"$PWD"/}"
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 } END { printf "\n%d passed, %d failed, %d skipped\n", passed, failed, ignored }' "$logs"/*.log
exit $status
