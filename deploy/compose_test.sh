#!/bin/sh
# Brings the stack up in Docker under a name and ports of its own, runs the end-to-end tests against it, and throws it
# away with its data. A stack of yours that is up stays untouched.
set -eu

export COMPOSE_PROJECT_NAME=countersign-test COMPOSE_PROFILES=standin,ops COUNTERSIGN_TAG=test
export PORT="${PORT:-18080}" STANDIN_PORT="${STANDIN_PORT:-18090}"
export FLOWER_PORT="${FLOWER_PORT:-18055}" REDIS_EXPORTER_PORT="${REDIS_EXPORTER_PORT:-18021}"
export BROKER_EXPORTER_PORT="${BROKER_EXPORTER_PORT:-18022}"
export EDGE_HTTP_PORT="${EDGE_HTTP_PORT:-18081}" EDGE_HTTPS_PORT="${EDGE_HTTPS_PORT:-18443}" EDGE_BIND=127.0.0.1
export EDGE_SUBNET=10.213.78.0/27 EDGE_RANGE=10.213.78.16/28 EDGE_ADDRESS=10.213.78.2
export FRONT_SUBNET=10.213.78.32/28 FRONT_GATEWAY=10.213.78.33
export STACK=compose TWILIO_STANDIN="http://127.0.0.1:$STANDIN_PORT"
# Nothing of the caller's: neither an account that costs money nor an address that is not this machine.
export TWILIO_ACCOUNT_SID='' TWILIO_AUTH_TOKEN='' TWILIO_FROM='' TWILIO_MESSAGING_SERVICE_SID=''
export TWILIO_AUTH_TOKEN_FILE='' SMTP_HOST='' SMTP_FROM='' SMTP_USER='' SMTP_PASSWORD='' SMTP_PASSWORD_FILE=''
export PUBLIC_URL="http://127.0.0.1:$PORT" ALLOWED_ORIGINS='' TRUSTED_PROXIES='' PRODUCT_NAME=''

clean_up() {
  code=$?
  trap - EXIT INT TERM
  if [ "$code" -ne 0 ]; then
    docker compose ps --all || true
    docker compose logs --no-color --tail 15 || true
  fi
  docker compose --profile "*" down --volumes --timeout 5 --remove-orphans >/dev/null 2>&1 || true
  exit "$code"
}
trap clean_up EXIT INT TERM

docker compose --profile "*" down --volumes --timeout 5 --remove-orphans >/dev/null 2>&1 || true
began=$(date +%s)
docker compose up --build --wait --quiet-pull
echo "up, built and healthy in $(($(date +%s) - began)) s"
"${PYTHON:-.venv/bin/python}" -m pytest -q tests/compose tests/end_to_end "$@"

# Again as one host with an app behind Caddy and the sign-in; its certificate is Caddy's own.
export COMPOSE_FILE=docker-compose.yml:tests/compose/with_app.yml COMPOSE_PROFILES=standin,edge
export PUBLIC_URL=https://localhost/auth EDGE="https://127.0.0.1:$EDGE_HTTPS_PORT"
docker compose up --wait --quiet-pull
"${PYTHON:-.venv/bin/python}" -m pytest -q tests/compose

# And with the sample app, in a browser that finds the host at Caddy's port here.
export COMPOSE_FILE=docker-compose.yml COMPOSE_PROFILES=standin,edge,sample APP_UPSTREAM=sample:8000
docker compose up --wait --quiet-pull
SAMPLE_APP=https://localhost "${PYTHON:-.venv/bin/python}" -m pytest -q tests/end_to_end/test_sample_app.py
