#!/usr/bin/env bash
# Checks and tests everything, with the race detector, on real peers.
#
#   scripts/test.sh         all of it
#   scripts/test.sh quick   the loop of five minutes: leaves out the packages of SLOW, and
#                           kills processes at a sixth of the places
#
# A test that is skipped, and a peer that cannot be had, are failures.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/docker.sh

# Packages that run whole stories.
SLOW=(rollback-agent/scripts rollback-agent/agent/daemon)

main() {
  [[ $# -le 1 && ${1-full} =~ ^(full|quick)$ ]] || die "unknown argument" "scripts/test.sh [quick]"
  command -v go >/dev/null || die "go is missing" "install the version that go.mod names: https://go.dev/dl"
  need curl git jq gcc
  docker_ensure
  step "gofumpt" gofumpt_clean
  step "go vet" go vet ./...
  step "staticcheck" go tool staticcheck ./...
  step "go fix" fix_clean
  if command -v golangci-lint >/dev/null; then
    step "golangci-lint" golangci-lint run
  else
    printf '%s\n' '-- golangci-lint is not installed, the others stand in for it'
  fi
  run_tests "${1-full}"
}

step() {
  printf -- '-- %s\n' "$1"
  shift
  "$@" || die "$1 found something"
}

gofumpt_clean() {
  local files
  files=$(go tool gofumpt -l .) || return 1
  [[ -z $files ]] || { printf '%s\n' "$files" && return 1; }
}

# fix_clean: code that a newer way of writing would replace.
fix_clean() {
  local diff
  diff=$(go fix -diff ./... 2>&1) || true # a difference is an exit code, too
  [[ -z $diff ]] || { printf '%s\n' "$diff" && return 1; }
}

run_tests() {
  local packages=() package log short=()
  [[ $1 != quick ]] || short=(-short)
  # The longest come first: the others run beside them.
  for package in rollback-agent/agent/target/compose rollback-agent/agent/daemon \
    $(go list ./... | grep -vx -e rollback-agent/agent/target/compose -e rollback-agent/agent/daemon); do
    if [[ $1 == quick && " ${SLOW[*]} " == *" $package "* ]]; then
      printf -- '-- quick leaves out %s\n' "$package"
    else
      packages+=("$package")
    fi
  done
  printf -- '-- go test -race, %d packages\n' "${#packages[@]}"
  log=$(mktemp)
  # shellcheck disable=SC2064 # expand now: log is local
  trap "rm -f '$log'" EXIT
  local status=0
  go test -json -race "${short[@]}" -count=1 -p 2 -timeout 20m "${packages[@]}" 2>&1 | tee "$log" | progress || status=1
  failures <"$log"
  totals "$status" <"$log"
}

# progress prints a line for each package as it ends.
progress() {
  jq --raw-input --unbuffered --raw-output '
    (fromjson? // {Action: "output", Output: (. + "\n")})
    | if .Test == null and (.Action == "pass" or .Action == "fail") and .Package then
        "\(if .Action == "pass" then "ok  " else "FAIL" end) \(.Package) \((.Elapsed // 0) * 10 | round / 10)s"
      elif .Action == "build-output" then .Output | rtrimstr("\n")
      else empty end'
}

# failures prints what the failed and skipped tests and packages said.
failures() {
  jq --raw-input --slurp --raw-output '
    [split("\n")[] | fromjson?]
    | [.[] | select(.Action == "fail" or .Action == "skip" and .Test) | [.Package, .Test]] as $failed
    | .[] | select(.Action == "output") | select([.Package, .Test] as $of | $failed | index([$of]))
    | .Output | rtrimstr("\n")'
}

# totals prints the line that counts, and fails unless every test passed.
totals() {
  local passed failed skipped
  read -r passed failed skipped < <(jq --raw-input --slurp --raw-output '
    [split("\n")[] | fromjson? | select(.Test)]
    | [("pass", "fail", "skip") as $how | map(select(.Action == $how)) | length]
    | join(" ")')
  [[ $skipped -eq 0 ]] || printf '%s skipped, which counts as failed\n' "$skipped"
  [[ $1 -eq 0 || $failed -gt 0 ]] || printf 'a package did not build, or ended early\n'
  printf '%d passed, %d failed\n' "$passed" "$((failed + skipped))"
  ((passed > 0 && failed + skipped + $1 == 0))
}

main "$@"
