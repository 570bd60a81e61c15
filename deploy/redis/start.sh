#!/bin/sh
# Starts Redis with TLS; when the certificate has been renewed, tells the server to read it, without a restart.
set -eu

seen=$(cksum </run/tls/cert.pem)
(
  while sleep 60; do
    now=$(cksum </run/tls/cert.pem)
    [ "$now" != "$seen" ] || continue
    # The password goes through the environment: arguments can be read by every process here.
    REDISCLI_AUTH=$(cat /run/secrets/operator_password) redis-cli --no-auth-warning --user operator \
      --tls --cacert /run/tls/ca.pem -p 6379 \
      config set tls-cert-file /run/tls/cert.pem tls-key-file /run/tls/key.pem && seen=$now && echo 'certificate renewed'
  done
) &

exec redis-server /etc/countersign/redis.conf
