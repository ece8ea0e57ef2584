#!/usr/bin/env bash
# Measures the agent from outside, every 10 ms, against the bare work that any
# deployment needs, in one run on one machine:
#
#   outage of a crashing image   against one bare recreate of the same container
#   file saved → deployment starts
#   a good deployment            against bare pull + up with the same Compose SDK
#   resident memory and CPU      with idle services
#
#   scripts/bench.sh [-n RUNS] [-s IDLE_SERVICES] [-t IDLE_SECONDS] [-o RAW.json]
#
# Prints a table of medians with minimum and maximum; the raw numbers go to
# RAW.json (dist/bench.json).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/docker.sh
source scripts/stage.sh

RUNS=5 IDLE_SERVICES=100 IDLE_SECONDS=60 RAW=$PWD/dist/bench.json

main() {
  options "$@"
  say "building, n = $RUNS"
  stage_up bench probe up
  cd "$STAGE"
  PORT=$(free_port)
  BARE_PORT=$(free_port)
  push_app v1 good
  say "one bare recreate, through the engine"
  repeat bare_recreate
  say "bare pull + up, and good deployments"
  good_deployments
  say "crashing images, max_restarts = 0"
  repeat crash
  say "idle with $IDLE_SERVICES services, for $IDLE_SECONDS s"
  idle
  mkdir -p "$(dirname "$RAW")"
  jq --slurp 'group_by(.what) | map({key: .[0].what, value: map(.value)}) | from_entries' samples >"$RAW"
  table <"$RAW"
  say "raw numbers: $RAW"
}

options() {
  local option
  while getopts n:s:t:o: option; do
    case $option in
      n) RUNS=$OPTARG ;;
      s) IDLE_SERVICES=$OPTARG ;;
      t) IDLE_SECONDS=$OPTARG ;;
      o) RAW=$(realpath -m "$OPTARG") ;;
      *) die "unknown option" "scripts/bench.sh [-n RUNS] [-s IDLE_SERVICES] [-t IDLE_SECONDS] [-o RAW.json]" ;;
    esac
  done
}

# repeat COMMAND runs it RUNS times, with the number of the run.
repeat() {
  local i
  for ((i = 1; i <= RUNS; i++)); do "$1" "$i"; done
}

# --- what is measured ----------------------------------------------------------

bare_recreate() {
  [[ $1 -gt 1 ]] || bare_container
  sample bare_recreate_ms "$(outage "$BARE_PORT" bare_recreate_once)"
}

# bare_container has a network of its own, as Compose would give it one.
bare_container() {
  engine POST /networks/create --header 'Content-Type: application/json' --output /dev/null --data @- <<JSON
{"Name": "$RUN-bare", "Labels": {"rollback-agent.run": "$RUN"}}
JSON
  engine POST "/images/create?fromImage=$REGISTRY/shop&tag=v1" >/dev/null
  bare_create
  wait_until 10 "the bare container answers" healthy "$BARE_PORT"
}

bare_recreate_once() {
  engine POST "/containers/$RUN-bare/stop"
  engine DELETE "/containers/$RUN-bare"
  bare_create
}

bare_create() {
  engine POST "/containers/create?name=$RUN-bare" --header 'Content-Type: application/json' --output /dev/null --data @- <<JSON
{"Image": "$REGISTRY/shop:v1",
 "HostConfig": {"NetworkMode": "$RUN-bare", "PortBindings": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "$BARE_PORT"}]}}}
JSON
  engine POST "/containers/$RUN-bare/start"
}

# good_deployments changes the image of two equal projects, in turn: one by pull
# and up, the other by the agent.
good_deployments() {
  compose_file bare "$RUN-up" "$(free_port)" v1
  compose_file agent "$RUN-shop" "$PORT" v1
  up -f bare.yml >/dev/null
  up -f agent.yml >/dev/null
  fresh_agent
  repeat good_deployment
}

good_deployment() {
  local saved id
  push_app "bare$1" good
  push_app "good$1" good
  edit bare "bare$1"
  sample bare_up_ms "$(up -f bare.yml)"
  edit agent "good$1"
  saved=$(date +%s%3N)
  id=$(deployment_ends succeeded)
  sample file_to_start_ms "$(($(started "$id") - saved))"
  sample good_deployment_ms "$(applied "$id")"
}

# crash starts with a healthy release that the agent adopts, and saves a crashing
# image. A state of its own keeps the storm brake out.
crash() {
  push_app "crash$1" crash -env APP_CRASH_AFTER=0s
  edit agent v1
  up -f agent.yml >/dev/null
  fresh_agent
  sample crash_outage_ms "$(outage "$PORT" crash_once "$1")"
}

crash_once() {
  local saved id
  edit agent "crash$1"
  saved=$(date +%s%3N)
  id=$(deployment_ends rolled_back)
  sample file_to_start_ms "$(($(started "$id") - saved))"
}

idle() {
  local i began
  agent_stop
  rm -rf state
  config idle
  for ((i = 1; i <= IDLE_SERVICES; i++)); do
    idle_file "$i"
    printf '\n[service.s%d]\ncompose_file = "%s/idle%d.yml"\n' "$i" "$STAGE" "$i" >>idle.toml
  done
  seq "$IDLE_SERVICES" | xargs -P 4 -I{} up -f idle{}.yml >/dev/null
  agent_start idle.toml
  wait_until $((60 + 10 * IDLE_SERVICES)) "all services are adopted" idle_adopted
  sleep 5
  began=$(cpu_ticks)
  sleep "$IDLE_SECONDS"
  sample idle_cpu_percent "$(jq -n "($(cpu_ticks) - $began) / $(getconf CLK_TCK) / $IDLE_SECONDS * 100")"
  sample idle_rss_mb "$(awk '/^VmRSS/ {printf "%.1f", $2 / 1024}' "/proc/$AGENT_PID/status")"
}

idle_file() {
  printf 'name: %s-idle%d\nservices:\n  app:\n    image: %s/shop:v1\n    network_mode: none\n' \
    "$RUN" "$1" "$REGISTRY" >"idle$1.yml"
}

idle_adopted() {
  [[ $(agent history --config idle.toml --limit 0 --output json | jq '[.[] | select(.state == "succeeded")] | length') -eq $IDLE_SERVICES ]]
}

cpu_ticks() { awk '{print $14 + $15}' "/proc/$AGENT_PID/stat"; }

# --- the service ---------------------------------------------------------------

# fresh_agent starts the agent with an empty memory and waits until it has adopted
# what runs.
fresh_agent() {
  agent_stop
  rm -rf state
  config agent
  cat >>agent.toml <<CONFIG

[service.shop]
compose_file     = "$STAGE/agent.yml"
health_url       = "http://127.0.0.1:$PORT/health"
health_interval  = "200ms"
min_healthy_time = "1s"
health_deadline  = "20s"
watch_for        = "1s"
max_restarts     = 0
CONFIG
  echo 0 >last
  agent_start agent.toml
  deployment_ends succeeded >/dev/null
}

config() {
  printf 'state_dir = "%s/state"\nsocket    = "%s/agent.sock"\n' "$STAGE" "$STAGE" >"$1.toml"
}

compose_file() {
  cat >"$1.yml" <<COMPOSE
name: $2
services:
  shop:
    image: $REGISTRY/shop:$4
    restart: "no"
    ports: ["127.0.0.1:$3:8080"]
COMPOSE
}

# edit NAME VERSION saves the compose file as editors do: by rename.
edit() { sed -i "s|/shop:[a-z0-9]*$|/shop:$2|" "$1.yml"; }

# push_app VERSION MODE [OPTION...] pushes an image with a layer of its own.
push_app() {
  local version=$1 mode=$2
  shift 2
  push -ref "$REGISTRY/shop:$version" -mode "$mode" -padding 1000000 \
    -label "rollback-agent.run=$RUN" "$@" >/dev/null
}

# deployment_ends STATE waits for the one after the last, wants it to end so, and
# prints its number.
deployment_ends() {
  wait_until 60 "a deployment ends" newer_ended
  [[ $(history 'first.state') == "$1" ]] || fail "a deployment ended $(history 'first.state'), want $1" >&2
  history 'first.id' | tee last
}

newer_ended() {
  [[ $(history "first | .id > $(<last) and (.state | test(\"succeeded|rolled_back|failed|superseded|cancelled|held\"))") == true ]]
}

history() { agent history --config agent.toml --output json | jq "$1" --raw-output; }

# started ID prints when the deployment was recorded, in Unix milliseconds.
started() {
  date -d "$(history ".[] | select(.id == $1) | .started_at")" +%s%3N
}

# applied ID prints how long it took until only the verification was left.
applied() {
  local verifying
  verifying=$(agent show --config agent.toml --output json "$1" |
    jq --raw-output 'first(.. | objects | select(.state? == "verifying" and has("at")) | .at)')
  echo $(($(date -d "$verifying" +%s%3N) - $(started "$1")))
}

# --- measuring -----------------------------------------------------------------

healthy() { curl -fsS --max-time 1 "http://127.0.0.1:$1/health"; }

# outage PORT COMMAND... prints the milliseconds from the first request that failed
# to the last one, while the command ran.
outage() {
  local port=$1 probe_pid
  shift
  probe -url "http://127.0.0.1:$port/health" >outages &
  probe_pid=$!
  sleep 0.3
  "$@" >/dev/null
  wait_until 30 "the app answers again" healthy "$port"
  sleep 0.5
  kill "$probe_pid"
  wait "$probe_pid" || true
  jq --slurp 'if length == 0 then 0 else last.end_ms - first.start_ms end' outages
}

sample() { printf '{"what": "%s", "value": %s}\n' "$1" "$2" >>"$STAGE/samples"; }

table() {
  jq --raw-output '
    def median: sort | if length % 2 == 1 then .[length / 2 | floor] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
    def r: . * 100 | round / 100;
    def row($name; $v): "| \($name) | \($v | median | r) | \($v | min | r) | \($v | max | r) | \($v | length) |";
    def ratio($name; $figure; $ok): "| \($name) | \($figure) | \(if $ok then "reached" else "missed" end) |";
    (.bare_recreate_ms | median) as $bare | (.bare_up_ms | median) as $up
    | (.crash_outage_ms | median) as $crash | (.good_deployment_ms | median) as $good
    | "\n| measured | median | min | max | n |\n| --- | ---: | ---: | ---: | ---: |",
      row("outage of one bare recreate, ms"; .bare_recreate_ms),
      row("outage of a crashing image, max_restarts = 0, ms"; .crash_outage_ms),
      row("file saved → deployment starts, ms"; .file_to_start_ms),
      row("bare pull + up, ms"; .bare_up_ms),
      row("good deployment without its waiting, ms"; .good_deployment_ms),
      row("resident memory, idle, MB"; .idle_rss_mb),
      row("CPU, idle, % of one core"; .idle_cpu_percent),
      "\n| figure | value | |\n| --- | --- | --- |",
      ratio("crash outage ≤ 2 × bare recreate + 500 ms"; "\($crash) ms, \($crash / $bare | r) ×"; $crash <= 2 * $bare + 500),
      ratio("file saved → deployment starts < 1 s"; "\(.file_to_start_ms | max) ms at most"; (.file_to_start_ms | max) < 1000),
      ratio("good deployment ≤ bare pull + up + 10 % + 100 ms"; "\($good - $up) ms more"; $good <= 1.1 * $up + 100),
      ratio("resident memory ≤ 40 MB"; "\(.idle_rss_mb | max) MB"; (.idle_rss_mb | max) <= 40),
      ratio("CPU ≤ 0.3 % of one core"; "\(.idle_cpu_percent | max | r) %"; (.idle_cpu_percent | max) <= 0.3)'
}

say() { printf '%s\n' "-- $*"; }

main "$@"
