#!/usr/bin/env bash
# The agent's main job, told as a story on a real Docker engine and a real
# registry: images pushed to a tag, first a good one, then one that crashes and one
# that is sick, and then a bad edit of the compose file, the last three rolled back;
# with what people read in Slack, from a receiver on this host.
#
# Needs root on Debian or Ubuntu with Go; installs and starts the rest. Nothing
# is pulled from the internet. After every step it looks from outside (the engine,
# an HTTP answer, the channel, the agent's history) and ends with exit code 1 when anything is
# not as told. Everything it made goes at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/docker.sh
source scripts/stage.sh

main() {
  prepare
  first_deployment
  good_deployment
  crashing_image
  sick_image
  good_again
  bad_edit
  look_back
  title "All of it was as told."
}

# --- the story ---------------------------------------------------------------

prepare() {
  title "0. A registry, a compose file that runs shop:stable, a Slack channel, the agent"
  printf 'building the agent and the app …\n'
  stage_up demo slack
  cd "$STAGE"
  stage_slack
  (umask 077 && slack_address bot_token >slack-token)
  push_app v1 good
  PORT=$(free_port)
  OTHER_PORT=$(free_port)
  write_files
  run cat docker-compose.yml
  run cat config.toml
}

write_files() {
  mkdir -p content/old content/new
  echo "the old page" >content/old/page.txt
  echo "the new page" >content/new/page.txt
  cat >docker-compose.yml <<COMPOSE
name: $RUN
services:
  shop:
    image: $REGISTRY/shop:stable
    restart: unless-stopped
    environment:
      APP_GREETING: hello
    ports: ["127.0.0.1:$PORT:8080"]
    volumes: ["./content/old:/content:ro"]
COMPOSE
  # Less patience than usual, so that the story takes a minute.
  cat >config.toml <<CONFIG
state_dir = "$STAGE/state"
socket    = "$STAGE/agent.sock"
host      = "vm-17"

[registry]
poll_interval = "2s"

[slack]
bot_token_file = "$STAGE/slack-token"
channel        = "$(slack_address channel)"
api_url        = "$(slack_address api_url)"

[service.shop]
compose_file     = "$STAGE/docker-compose.yml"
health_url       = "http://127.0.0.1:$PORT/health"
health_interval  = "500ms"
min_healthy_time = "2s"
health_deadline  = "8s"
watch_for        = "3s"
max_restarts     = 1
CONFIG
}

first_deployment() {
  title "1. The agent starts, and finds that nothing runs: it deploys v1"
  run agent check --config config.toml --probe
  say '$ agent run --config config.toml &'
  agent_start config.toml
  deployment succeeded
  serves v1 hello
}

good_deployment() {
  title "2. A good image: v2 is pushed to the tag, and nobody does anything else"
  push_app v2 good
  deployment succeeded
  serves v2 hello
  in_slack "shop on vm-17: r2 is deployed"
}

crashing_image() {
  title "3. A crashing image: v3 exits soon after its start"
  push_app v3 crash
  deployment rolled_back
  serves v2 hello
  in_slack "shop on vm-17: rolled back (crash), r2 serves again" "panic: settings"
}

sick_image() {
  title "4. A sick image: v4 starts, and answers 500 when asked for its health"
  push_app v4 sick
  deployment rolled_back
  serves v2 hello
  in_slack "shop on vm-17: rolled back (health_deadline), r4 serves again" "500"
}

good_again() {
  title "5. v2 is pushed to the tag again: it serves already, so there is nothing to do"
  push_app v2 good
  wait_until 10 "the agent has asked the registry" serves_what_is_wanted
  run agent status --config config.toml
}

serves_what_is_wanted() {
  [[ $(agent plan shop --config config.toml --output json | jq -r 'first.plan.reason') == unchanged ]]
}

bad_edit() {
  title "6. A bad edit: the image as before, but another environment, port and mount"
  run sed -i \
    -e 's/APP_GREETING: hello/APP_GREETING: goodbye\n      APP_HEALTH: "500"/' \
    -e "s/:$PORT:/:$OTHER_PORT:/" \
    -e 's/content\/old/content\/new/' docker-compose.yml
  run cat docker-compose.yml
  deployment rolled_back
  say "The rollback restored the whole old model: environment, published port and mount."
  serves v2 hello
  expect "published port" "$PORT" \
    inspect '.HostConfig.PortBindings["8080/tcp"][0].HostPort'
  expect "mount" "$STAGE/content/old" \
    inspect '.Mounts[] | select(.Destination == "/content") | .Source'
  expect "page" "the old page" \
    curl -fsS "http://127.0.0.1:$PORT/file?path=/content/page.txt"
  in_slack "shop on vm-17: rolled back (health_deadline), r6 serves again" "The files still describe what was rejected"
}

look_back() {
  title "7. What the agent remembers"
  run agent history --config config.toml
  local crash edit
  crash=$(history_json | jq 'map(select(.reason == "crash")) | first.id')
  edit=$(history_json | jq 'map(select(.state == "rolled_back")) | first.id')
  run agent show --config config.toml "$crash"
  run agent show --config config.toml --diff "$edit"
  run agent status --config config.toml
  expect "deployments" "rolled_back rolled_back rolled_back succeeded succeeded" \
    bash -c 'agent history --config config.toml --output json | jq -r "[.[].state] | join(\" \")"'
}

# --- looking from outside ----------------------------------------------------

# deployment STATE waits for the next deployment to end, and wants it to end so.
deployment() {
  wait_until 90 "deployment $((LAST + 1)) ends" deployment_ended
  LAST=$((LAST + 1))
  say "\$ agent history --config config.toml --output json | jq 'first'"
  newest | jq -c '{id, service, kind, state, reason, serving, from_release, to_release, restored_release, duration_ms, message}'
  expect_is "deployment $LAST" "$1" "$(newest | jq -r .state)"
  case $1 in
    succeeded) expect_is "what serves" new "$(newest | jq -r .serving)" ;;
    rolled_back) expect_is "what serves" old "$(newest | jq -r .serving)" ;;
  esac
}
LAST=0

deployment_ended() {
  [[ $(newest | jq -r '(.id // 0), .state' 2>/dev/null | paste -sd' ') =~ ^$((LAST + 1))\ (succeeded|rolled_back|rollback_failed|failed|superseded|cancelled|held)$ ]]
}

newest() { history_json | jq 'first'; }
history_json() { agent history --config config.toml --output json; }

# serves VERSION GREETING asks the app and the engine who serves.
serves() {
  say "\$ curl http://127.0.0.1:$PORT/"
  wait_until 10 "the app answers" curl -fsS -o app.json "http://127.0.0.1:$PORT/"
  cat app.json
  expect_is "version" "$1" "$(jq -r .version app.json)"
  expect_is "greeting" "$2" "$(jq -r .env.APP_GREETING app.json)"
  expect_is "health" 200 "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$PORT/health")"
  if command -v docker >/dev/null; then
    say "\$ docker inspect --format '{{.Image}}' $RUN-shop-1"
  else
    say "\$ curl --unix-socket $DOCKER_SOCKET http://docker/containers/$RUN-shop-1/json | jq -r .Image"
  fi
  inspect .Image
  expect "image of the container" "shop:$1" version_of "$(inspect .Image)"
}

# version_of names an image ID: the digest of its config, or of its manifest where
# the engine keeps its images in containerd.
version_of() {
  local version
  for version in "${!CONFIG[@]}"; do
    [[ $1 != "${CONFIG[$version]}" && $1 != "${MANIFEST[$version]}" ]] || echo "shop:$version"
  done
}
declare -A CONFIG MANIFEST

# inspect FILTER looks at the container of the app.
inspect() {
  if command -v docker >/dev/null; then
    docker inspect "$RUN-shop-1" | jq -r ".[0] | $1"
  else
    engine GET "/containers/$RUN-shop-1/json" | jq -r "$1"
  fi
}

# push_app VERSION MODE makes an image, pushes it, and notes what the registry
# calls it.
push_app() {
  local accept=application/vnd.docker.distribution.manifest.v2+json
  run push -ref "$REGISTRY/shop:stable" -version "$1" -mode "$2" -label "rollback-agent.run=$RUN"
  CONFIG[$1]=$(curl -fsS -H "Accept: $accept" "http://$REGISTRY/v2/shop/manifests/stable" | jq -r .config.digest)
  MANIFEST[$1]=$(curl -fsSI -H "Accept: $accept" "http://$REGISTRY/v2/shop/manifests/stable" |
    sed -n 's/^docker-content-digest: \([^\r]*\).*/\1/Ip')
}

# in_slack TITLE [TEXT...] shows the newest message of the channel as it is now, with
# its thread, and wants the texts in it. There is one message for each deployment.
in_slack() {
  wait_until 10 "Slack has the message: $1" slack_says "$@"
  say "# Slack, channel #deploys:"
  slack_newest
  local text
  for text; do printf '  ✓ Slack: %s\n' "$text"; done
  expect_is "messages in the channel" "$LAST" "$(jq -s 'map(select(.kind == "post" and (.message.thread_ts // "") == "")) | length' slack.json)"
}

slack_says() {
  local text
  for text; do
    grep -qF -- "$text" <<<"$(slack_newest)" || { echo "it says: $(slack_newest)" && return 1; }
  done
}

# slack_newest prints the newest message and its thread, as last edited.
slack_newest() {
  jq -rs '
    (map(select(.kind == "post" and (.message.thread_ts // "") == "")) | last.message.ts) as $ts
    | (map(select(.message.ts == $ts)) | last | .shown),
      (map(select(.message.thread_ts == $ts)) | last | .shown // empty | rtrimstr("\n") | split("\n") | map("  | " + .) | join("\n"))
  ' slack.json
}

# expect WHAT WANT COMMAND... runs the command and compares its output.
expect() {
  local what=$1 want=$2
  shift 2
  expect_is "$what" "$want" "$("$@" 2>&1 || true)"
}

expect_is() {
  if [[ $2 != "$3" ]]; then
    printf '  ✗ %s: got %s, want %s\n' "$1" "$3" "$2"
    fail "$1 is not as told"
  fi
  printf '  ✓ %s: %s\n' "$1" "$2"
}

# --- telling -----------------------------------------------------------------

title() {
  if [[ -t 1 ]]; then printf '\n\033[1m== %s\033[0m\n' "$*"; else printf '\n== %s\n' "$*"; fi
}
say() { printf '\n%s\n' "$*"; }

# run echoes a command as one would type it, and runs it.
run() {
  local word text='$'
  for word; do
    [[ $word =~ ^[[:alnum:]_./:=@,+-]+$ ]] || word=${word@Q}
    text+=" $word"
  done
  say "$text"
  "$@"
}

main "$@"
