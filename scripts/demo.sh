#!/usr/bin/env bash
# Shows the main job: a primary under write load is cloned into a standby,
# which catches up and takes over. Everything lives in a temporary directory,
# on loopback, and is gone at the end. internal/demo tells the story; make demo
# builds bin/pgbraid and brings the server first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Built and not "go run": the demo itself must get the signals, and its exit
# code must be ours.
"${GO:-go}" build -buildvcs=false -trimpath -o bin/demo ./internal/demo
exec bin/demo bin/pgbraid .cache/postgres/18/bin
