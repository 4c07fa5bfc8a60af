#!/usr/bin/env bash
# Shows the main job: a primary under write load is cloned into a standby,
# which starts, connects and catches up. Everything lives in a temporary
# directory, on loopback, and is gone at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

exec go run ./internal/pgtest/demo "$PWD/bin/pgbraid"
