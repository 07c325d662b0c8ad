#!/bin/sh
# Makes what deploy/compose.yaml must not have a default for: deploy/secrets and deploy/.env, or in another folder:
#
#   sh deploy/compose/prepare.sh [FOLDER]
#
# What exists is left as it is. The secrets lie in a folder that only its owner may enter; the files themselves may be
# read by anybody, since containers mount them and run as other users.
#
# INTERESTS  how to run this project's command (docker run --rm interest-streams:0.1.0)
set -eu
umask 022
folder=${1:-$(dirname "$0")/..}
interests=${INTERESTS:-docker run --rm interest-streams:${INTERESTS_TAG:-0.1.0}}
secrets=$folder/secrets

mkdir -p "$secrets"
chmod 700 "$secrets"
random() { head -c "$1" /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }

[ -s "$secrets/qdrant_api_key" ] || random 32 >"$secrets/qdrant_api_key"
[ -s "$secrets/grafana_admin_password" ] || random 24 >"$secrets/grafana_admin_password"
if [ ! -s "$secrets/api_key" ]; then
    # The key goes to its own file, the line that lets it in to the list of all keys.
    $interests api key compose --scope read >"$secrets/api_key.new" 2>"$secrets/api_keys.new" ||
        { cat "$secrets/api_keys.new" >&2 && rm "$secrets"/*.new && exit 1; }
    cat "$secrets/api_keys.new" >>"$secrets/api_keys"
    mv "$secrets/api_key.new" "$secrets/api_key"
    rm "$secrets/api_keys.new"
fi
if [ ! -s "$folder/.env" ]; then
    # Kafka takes no id that begins with a hyphen.
    id=-
    while [ "${id#-}" != "$id" ]; do id=$(random 16); done
    printf 'KAFKA_CLUSTER_ID=%s\n' "$id" >"$folder/.env"
fi
echo "secrets in $secrets; $folder/.env: $(cut -d= -f1 "$folder/.env" | tr '\n' ' ')"
