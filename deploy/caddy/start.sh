#!/bin/sh
# Caddy for PUBLIC_URL: its host is the site. With APP_UPSTREAM (host:port) an app of yours is that site, behind a
# sign-in, and identity answers below PUBLIC_URL's path; without it identity is the whole site.
set -eu
SITE=$(printf %s "$PUBLIC_URL" | cut -d/ -f1-3)
SIGN_IN_PATH=$(printf %s "$PUBLIC_URL" | cut -d/ -f4-)
SIGN_IN_PATH=${SIGN_IN_PATH%/}
if [ -z "${APP_UPSTREAM:-}" ]; then
  SERVED=alone.caddy
elif [ -n "$SIGN_IN_PATH" ]; then
  SERVED=with_app.caddy
else
  echo "APP_UPSTREAM needs a PUBLIC_URL with a path, such as https://app.example/auth: the app has the rest." >&2
  exit 1
fi
export SITE SERVED SIGN_IN_PATH="/$SIGN_IN_PATH"
exec caddy run --config /etc/caddy/Caddyfile
