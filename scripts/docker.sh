#!/usr/bin/env bash
# Makes sure that a Docker engine answers at /var/run/docker.sock: installs
# Debian's or Ubuntu's own where none is, starts it where it does not run.
#
#   scripts/docker.sh         install and start what is missing
#   scripts/docker.sh stop    stop the engine, if this script started it
#
# Sourced by the other scripts for docker_ensure, engine and need. It does not
# need systemd, and it never stops or changes an engine that it did not start.
set -euo pipefail

DOCKER_SOCKET=/var/run/docker.sock
DOCKER_RUN=/run/rollback-agent-scripts
DOCKER_PID=$DOCKER_RUN/dockerd.pid
DOCKER_LOG=$DOCKER_RUN/dockerd.log

die() {
  printf '%s: error: %s\n' "${0##*/}" "$1" >&2
  [[ -z ${2-} ]] || printf '%s: hint: %s\n' "${0##*/}" "$2" >&2
  exit 1
}

# need COMMAND... installs the Debian packages of commands that are missing.
need() {
  local command missing=()
  for command; do
    command -v "$command" >/dev/null || missing+=("$(package_of "$command")")
  done
  [[ ${#missing[@]} -eq 0 ]] || apt_install "${missing[@]}"
}

package_of() {
  case $1 in
    dockerd) echo docker.io ;;
    setsid) echo util-linux ;;
    gcc) echo gcc libc6-dev ;;
    *) echo "$1" ;;
  esac
}

apt_install() {
  local wanted="$*"
  command -v apt-get >/dev/null || die "missing: $wanted" "this is not Debian or Ubuntu: install it by hand"
  [[ $EUID -eq 0 ]] || die "missing: $wanted" "run this as root, or: sudo apt-get install $wanted"
  printf 'installing %s\n' "$wanted" >&2
  local options=(-y -qq --no-install-recommends -o DPkg::Lock::Timeout=120) log
  log=$(mktemp)
  # shellcheck disable=SC2086 # a package list
  if ! DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" $wanted >"$log" 2>&1 &&
    ! { apt-get update -qq >"$log" 2>&1 &&
      DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" $wanted >>"$log" 2>&1; }; then
    tail -n 20 "$log" >&2
    die "apt-get could not install $wanted" "the lines above are its last ones"
  fi
  rm -f "$log"
}

# engine METHOD PATH [CURL-OPTION...] asks the engine, without its command line.
engine() {
  local method=$1 path=$2
  shift 2
  curl --silent --show-error --fail-with-body --unix-socket "$DOCKER_SOCKET" --request "$method" "$@" "http://docker$path"
}

docker_answers() { engine GET /_ping --max-time 5 >/dev/null 2>&1; }

# docker_wait SECONDS waits until the engine answers.
docker_wait() {
  local deadline=$((SECONDS + $1))
  until docker_answers; do
    ((SECONDS < deadline)) || return 1
    [[ ! -s $DOCKER_PID ]] || kill -0 "$(<"$DOCKER_PID")" 2>/dev/null || return 1
    sleep 0.2
  done
}

docker_ensure() {
  need curl
  docker_answers && return
  [[ $EUID -eq 0 ]] || die "no Docker engine answers at $DOCKER_SOCKET" "start it, or run this as root"
  need dockerd
  # The package may have started it, or systemd may be asked to.
  if [[ -d /run/systemd/system ]]; then
    systemctl start docker || die "systemd cannot start docker" "journalctl -u docker"
    docker_wait 60 || die "the engine does not answer at $DOCKER_SOCKET" "journalctl -u docker"
    return
  fi
  if grep -qsx dockerd /proc/[0-9]*/comm && docker_wait 30; then
    return
  fi
  docker_start
}

docker_start() {
  need setsid
  mkdir -p "$DOCKER_RUN"
  printf 'starting dockerd, its log is %s\n' "$DOCKER_LOG" >&2
  # --fork leaves the engine without a parent among the scripts.
  # shellcheck disable=SC2016 # the inner shell expands
  setsid --fork bash -c 'echo $$ >"$1"; exec dockerd --host "unix://$2"' dockerd "$DOCKER_PID" "$DOCKER_SOCKET" \
    >"$DOCKER_LOG" 2>&1 </dev/null
  sleep 0.2
  if ! docker_wait 60; then
    tail -n 20 "$DOCKER_LOG" >&2
    die "dockerd does not start" "the lines above are the last ones of $DOCKER_LOG"
  fi
}

docker_stop() {
  [[ -s $DOCKER_PID ]] || die "this script has started no engine"
  local pid
  pid=$(<"$DOCKER_PID")
  rm -f "$DOCKER_PID"
  [[ $(cat "/proc/$pid/comm" 2>/dev/null) == dockerd ]] || die "the engine that this script started is gone"
  kill "$pid"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  case ${1-start} in
    start) docker_ensure && engine GET /version | grep -o '"Version":"[^"]*"' | head -n 1 ;;
    stop) docker_stop ;;
    *) die "unknown command $1" "scripts/docker.sh [start|stop]" ;;
  esac
fi
