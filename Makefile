# What a person needs: build, test, demo. `make help` lists all.

GO          ?= go
PREFIX      ?= /usr/local
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK ?= golang.org/x/vuln/cmd/govulncheck@v1.8.0
FUZZTIME    ?= 20s
TESTFLAGS   ?=

export PGBRAID_TEST_VERSIONS ?= 14 15 16 17 18

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

.PHONY: build
build: ## build bin/pgbraid
	$(GO) build -trimpath -o bin/pgbraid ./cmd/pgbraid

.PHONY: install
install: build ## install pgbraid below PREFIX (/usr/local)
	install -D -m 755 bin/pgbraid $(DESTDIR)$(PREFIX)/bin/pgbraid

.PHONY: demo
demo: build ## clone a live primary under write load into a standby, before your eyes
	scripts/postgres.sh 18
	scripts/demo.sh

.PHONY: servers
servers: ## bring the PostgreSQL servers that the tests run against
	scripts/postgres.sh $(PGBRAID_TEST_VERSIONS)
	scripts/postgres.sh debian

.PHONY: test
test: servers ## the tests, on PostgreSQL 14 to 18, with the race detector
	$(GO) vet ./...
	$(GO) test -race -timeout 15m $(TESTFLAGS) ./...

.PHONY: test-all
test-all: ## the same on PostgreSQL 10 to 18
	$(MAKE) test PGBRAID_TEST_VERSIONS="10 11 12 13 14 15 16 17 18"

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (20s)
	scripts/fuzz.sh $(FUZZTIME)

.PHONY: check
check: ## formatting, vet, staticcheck, other systems
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "gofmt these"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	GOOS=darwin $(GO) build ./...
	GOOS=darwin $(GO) vet ./...

.PHONY: vuln
vuln: ## known vulnerabilities in what is linked (asks the Go vulnerability database)
	$(GO) run $(GOVULNCHECK) ./...

.PHONY: bench
bench: ## Go benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./tarx ./internal/... ./basebackup/... ./logstream

.PHONY: clean
clean: ## remove what was built; the servers in .cache stay
	rm -rf bin
