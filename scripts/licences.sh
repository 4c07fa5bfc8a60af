#!/usr/bin/env bash
# Lists the modules that are linked into the program, with their licences:
# docs/licences.md is its output. It fails for a licence that it does not know.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

licence() { # of the text on standard input
	local text
	text=$(tr -s '[:space:]' ' ')
	case $text in
	*"Apache License"*"Version 2.0"*) echo Apache-2.0 ;;
	*"Permission is hereby granted, free of charge"*) echo MIT ;;
	*"Redistribution and use in source and binary forms"*"Neither the name"*) echo BSD-3-Clause ;;
	*"Redistribution and use in source and binary forms"*) echo BSD-2-Clause ;;
	*"Permission to use, copy, modify, and"*"distribute this software"*) echo ISC ;;
	*) return 1 ;;
	esac
}

echo "# Licences of what is linked into pgbraid"
echo
echo "Made by \`make licences\`; \`make check\` compares it."
echo
echo "| module | licence |"
echo "|---|---|"
"${GO:-go}" list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}' ./cmd/pgbraid | sort -u |
	while read -r module dir; do
		[[ -n $module ]] || continue
		file=$(find "$dir" -maxdepth 1 -iname 'licen[sc]e*' -o -maxdepth 1 -iname 'copying*' | sort | head -n 1)
		[[ -n $file ]] && name=$(licence <"$file") || {
			echo "licences.sh: $module: no licence that is known" >&2
			exit 1
		}
		echo "| $module | $name |"
	done
