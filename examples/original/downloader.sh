#!/bin/sh
# Brings a file here: an event with a `url` becomes an event `file_downloaded` with the file.
#
# All it knows is the directory of 2018: key/values in in/eventmeta.json, files and events in out.
set -eu
cd "${HANDLER_BASE_DIR:-/ion}"

url=$(tr -d '\n' < in/eventmeta.json | tr '{' '\n' | sed -n 's/.*"key": *"url".*"value": *"\([^"]*\)".*/\1/p')
[ -n "$url" ] || { echo "the event has no url" >&2; exit 1; }
name=$(basename "${url%%\?*}")

mkdir -p out/data out/events
curl --fail --silent --show-error --location --output "out/data/$name" "$url"

printf '[{"key": "url", "value": "%s"}]' "$url" > out/insights.json
printf '[{"key": "eventType", "value": "file_downloaded"}, {"key": "files", "value": "%s"}, {"key": "link", "value": "%s"}]' \
    "$name" "$url" > out/events/downloaded.json
