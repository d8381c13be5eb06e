# shellcheck shell=bash disable=SC2034,SC2154
# Checks that take too long for each change; sourced by `check`.
#
# A failed step does not stop the others. The results go to a file under target/.

# Step names, in the order in which all of them run.
readonly nightly_steps=(times fuzz abuse repeat pooler guards benches)

# Promised times, judged with nothing else running; `./check` allows ten times the bound.
nightly_times() {
  COUNTERSIGN_TEST_JUDGE_TIMES=1 cargo test --locked --test api -- --test-threads 1 --show-output within_a_second
}

# A minute for each target. COUNTERSIGN_TEST_FUZZ_SECONDS asks for more.
nightly_fuzz() {
  COUNTERSIGN_TEST_FUZZ_SECONDS=${COUNTERSIGN_TEST_FUZZ_SECONDS:-60} cargo test --locked --test fuzz
}

# Whole attacks on a release build, which also judge how long the sign-ins of other clients take; `./check` makes a tenth of
# each and judges no times.
nightly_abuse() { COUNTERSIGN_TEST_ABUSE=full cargo test --release --locked --test abuse -- --test-threads 1 --show-output; }

# The suites that wait most, again and again beside a busy loop: flaky cases fail here. COUNTERSIGN_TEST_ROUNDS asks for
# more rounds.
nightly_repeat() {
  local busy round
  (while :; do :; done) &
  busy=$!
  # shellcheck disable=SC2064
  trap "kill $busy" EXIT
  for ((round = 0; round < ${COUNTERSIGN_TEST_ROUNDS:-5}; round++)); do
    RUST_TEST_THREADS=$threads cargo test --locked --test store --test api
  done
}

# All PostgreSQL cases of both suites, through pgbouncer.
nightly_pooler() {
  RUST_TEST_THREADS=$threads tests/pgbouncer/run "$pgbouncer/pgbouncer" cargo test --locked --test store --test api -- on_postgres
}

# Conditions of statements and use cases, removed one by one from a copy of the last commit: the tests must fail.
nightly_guards() { python -B tests/guards/run.py; }

nightly_benches() { cargo bench --locked; }

nightly() {
  local name
  if (($# == 0)); then set -- "${nightly_steps[@]}"; fi
  for name in "$@"; do
    [[ " ${nightly_steps[*]} " == *" $name "* ]] || die "nightly has no step $name; its steps are ${nightly_steps[*]}"
  done
  prepare all
  step "cargo build" cargo build --locked --tests --bins
  step "tools" await_tools all
  step "an earlier version" provide_earlier
  run_nightly "$@"
}

# shown_and_kept FILE COMMAND...
shown_and_kept() { "${@:2}" 2>&1 | tee "$1"; }

run_nightly() {
  local name start status log results failed=0 outcome
  results=$target/nightly-$(date --utc +%Y%m%dT%H%M%SZ)-$(git describe --always --dirty --abbrev=40 --exclude '*').txt
  log=$(mktemp)
  {
    echo "commit   $(git describe --always --dirty --abbrev=40 --exclude '*')"
    echo "date     $(date --utc --iso-8601=seconds)"
    echo "machine  $(nproc) processors, $(uname -sm)"
    printf '%8s %6s  %-8s %s\n' seconds cases result step
  } >"$results"
  for name in "$@"; do
    start=$SECONDS status=0 outcome=passed current="nightly $name"
    printf '\n== nightly %s\n' "$name"
    # At the side: bash ignores errexit in a command whose status is tested.
    aside shown_and_kept "$log" "nightly_$name"
    await_side_job || status=$?
    if ((status)); then outcome=FAILED failed=$((failed + 1)); fi
    cases=$(passed_in "$log")
    passed=$((passed + cases))
    printf '%6d s %6d  %-8s %s\n' $((SECONDS - start)) "$cases" "$outcome" "$name" >>"$results"
  done
  rm -f "$log"
  echo
  cat "$results"
  echo "written to $results"
  printf '%d passed, %d failed\n' "$passed" "$failed"
  current="nightly"
  ((failed == 0))
}
