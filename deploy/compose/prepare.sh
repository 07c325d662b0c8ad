#!/bin/sh
# Makes what deploy/compose.yaml must not have a default for: deploy/secrets and deploy/.env, or in another folder:
#
#   sh deploy/compose/prepare.sh [FOLDER]
#
# What exists is left as it is. The secrets lie in a folder that only its owner may enter; the files themselves may be
# read by anybody, since containers mount them and run as other users.
#
# The image interest-streams makes the API's key, and is built where it is not there yet: Compose itself does nothing
# before deploy/.env is made. INTERESTS names another way to run this project's command.
set -eu
umask 022
deploy=$(dirname "$0")/..
folder=${1:-$deploy}
image=interest-streams:${INTERESTS_TAG:-0.1.0}
interests=${INTERESTS:-docker run --rm --pull never $image}
secrets=$folder/secrets

mkdir -p "$secrets"
chmod 700 "$secrets"
random() { head -c "$1" /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }

[ -s "$secrets/qdrant_api_key" ] || random 32 >"$secrets/qdrant_api_key"
[ -s "$secrets/grafana_admin_password" ] || random 24 >"$secrets/grafana_admin_password"
if [ ! -s "$secrets/api_key" ]; then
    if [ -z "${INTERESTS:-}" ] && ! docker image inspect "$image" >/dev/null 2>&1; then
        docker build -f "$deploy/Dockerfile" --target service -t "$image" "$deploy/.."
    fi
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
