#!/usr/bin/env bash
# The stage that the demo and the benchmark play on: a folder of their own, the
# agent and the testbed's tools built into it, a registry, free ports; and the
# clean-up of all of it. Sourced, after docker.sh.
set -euo pipefail

STAGE='' RUN='' REGISTRY='' REGISTRY_PID='' SLACK_PID='' AGENT_PID=''

# stage_up NAME TOOL... builds the tools and starts the registry. RUN is a name
# that nobody else has: compose projects start with it, images carry it as label.
stage_up() {
  local name=$1
  shift
  command -v go >/dev/null || die "go is missing" "install the version that go.mod names: https://go.dev/dl"
  need curl jq
  docker_ensure
  STAGE=$(mktemp -d -t "rollback-agent-$name.XXXXXX")
  RUN=$name-$(basename "$STAGE" | tr '[:upper:]' '[:lower:]' | tr -cd 'a-z0-9' | tail -c 6)
  trap stage_down EXIT
  trap 'exit 130' INT TERM
  CGO_ENABLED=0 go build -trimpath -o "$STAGE/bin/" ./cmd/agent ./scripts/testbed/clean ./scripts/testbed/push \
    ./scripts/testbed/registry "${@/#/./scripts/testbed/}"
  export PATH=$STAGE/bin:$PATH
  registry >"$STAGE/registry.addr" 2>"$STAGE/registry.log" &
  REGISTRY_PID=$!
  wait_until 10 "the registry listens" test -s "$STAGE/registry.addr"
  # shellcheck disable=SC2034 # for those who source this
  REGISTRY=$(<"$STAGE/registry.addr")
}

# stage_slack runs a receiver that answers as Slack does, and keeps what people would
# read in slack.json. The tool slack must have been built.
stage_slack() {
  slack -json "$STAGE/slack.json" >"$STAGE/slack.addr" 2>"$STAGE/slack.log" &
  SLACK_PID=$!
  wait_until 10 "the Slack receiver listens" grep -q ^channel= "$STAGE/slack.addr"
}

# slack_address KEY says where it is: webhook_url, api_url, bot_token or channel.
slack_address() { sed -n "s/^$1=//p" "$STAGE/slack.addr"; }

stage_down() {
  local status=$?
  trap - EXIT
  cd /
  agent_stop
  # Every project has images of this run: they, and all that was made of them, go.
  local project
  for project in $(projects); do
    clean -label "com.docker.compose.project=$project" || status=1
  done
  clean -label "rollback-agent.run=$RUN" || status=1
  local pid
  for pid in $SLACK_PID $REGISTRY_PID; do
    { kill "$pid" && wait "$pid"; } 2>/dev/null || true
  done
  rm -rf "$STAGE"
  exit "$status"
}

# projects lists the compose projects of this run.
projects() {
  {
    engine GET "/containers/json?all=1" | jq -r '.[].Labels["com.docker.compose.project"] // empty'
    engine GET /networks | jq -r '.[].Labels["com.docker.compose.project"]? // empty'
  } | grep "^$RUN" | sort -u || true
}

# agent_start CONFIG [WORD...] runs the agent and waits until it answers.
agent_start() {
  local log=$STAGE/agent.log socket
  socket=$(sed -n 's/^socket *= *"\(.*\)"/\1/p' "$1")
  agent run --config "$1" >>"$log" 2>&1 &
  AGENT_PID=$!
  wait_until 30 "the agent answers" agent status --config "$1" --socket "$socket"
}

agent_stop() {
  [[ -n $AGENT_PID ]] || return 0
  { kill "$AGENT_PID" && wait "$AGENT_PID"; } 2>/dev/null || true
  AGENT_PID=''
}

# wait_until SECONDS WHAT COMMAND... repeats the command until it succeeds.
wait_until() {
  local deadline=$((SECONDS + $1)) what=$2 said
  shift 2
  until said=$("$@" 2>&1); do
    ((SECONDS < deadline)) || fail "waited too long until $what: $said"
    [[ -z $AGENT_PID ]] || kill -0 "$AGENT_PID" 2>/dev/null || fail "the agent ended"
    sleep 0.1
  done
}

fail() {
  printf '\nFAILED: %s\n' "$1"
  if [[ -s $STAGE/agent.log ]]; then
    printf '\nthe last lines of the agent:\n'
    tail -n 30 "$STAGE/agent.log"
  fi
  exit 1
}

free_port() {
  local port
  while port=$((20000 + RANDOM % 10000)); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}
