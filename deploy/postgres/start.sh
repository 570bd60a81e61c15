#!/bin/sh
# Starts PostgreSQL with TLS. The server refuses a key that another user owns, so it gets a copy of its own in memory;
# when the certificate has been renewed, the copy is renewed and the server told to read it, without a restart.
set -eu
umask 077

take_certificate() {
  for name in ca.pem cert.pem key.pem; do
    cp "/run/tls/$name" "/run/own/$name.new"
    mv "/run/own/$name.new" "/run/own/$name"
  done
}

take_certificate
(
  while sleep 60; do
    if ! cmp -s /run/tls/cert.pem /run/own/cert.pem; then
      take_certificate && kill -HUP "$(head -n 1 "$PGDATA/postmaster.pid")" && echo 'certificate renewed'
    fi
  done
) &

exec docker-entrypoint.sh postgres \
  -c hba_file=/etc/countersign/pg_hba.conf \
  -c ssl=on -c ssl_min_protocol_version=TLSv1.3 \
  -c ssl_ca_file=/run/own/ca.pem -c ssl_cert_file=/run/own/cert.pem -c ssl_key_file=/run/own/key.pem \
  -c password_encryption=scram-sha-256 -c synchronous_commit=on -c shared_buffers=96MB -c max_connections=150 \
  -c timezone=UTC -c log_timezone=UTC -c log_connections=off -c log_statement=none -c jit=off
