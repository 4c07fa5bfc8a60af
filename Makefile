# What a person needs: build, test, demo. `make help` lists all.

GO          ?= go
PREFIX      ?= /usr/local
DROPINDIR   ?= $(PREFIX)/bin
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOSEC       ?= github.com/securego/gosec/v2/cmd/gosec@v2.22.10
GOVULNCHECK ?= golang.org/x/vuln/cmd/govulncheck@v1.8.0
FUZZTIME    ?= 20s
TESTFLAGS   ?=

DROPINS = pg_basebackup pg_receivewal pg_verifybackup pg_combinebackup

export PGBRAID_TEST_VERSIONS ?= 14 15 16 17 18

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: build
build: ## build bin/pgbraid
	$(GO) build -trimpath -o bin/pgbraid ./cmd/pgbraid

# The pages and completions are made by the program itself, by one that runs
# here: what is built may be for another system. bin/share is below PREFIX later.
SHARE = bin/share/man/man1/pgbraid.1 bin/share/bash-completion/completions/pgbraid \
	bin/share/zsh/site-functions/_pgbraid bin/share/fish/vendor_completions.d/pgbraid.fish

.PHONY: share
share: ## make the manual pages and shell completions, in bin/share
	rm -rf bin/share
	mkdir -p $(dir $(SHARE))
	GOOS= GOARCH= $(GO) build -trimpath -o bin/generate ./cmd/pgbraid
	bin/generate generate man bin/share/man/man1
	bin/generate generate completion bash > bin/share/bash-completion/completions/pgbraid
	bin/generate generate completion zsh > bin/share/zsh/site-functions/_pgbraid
	bin/generate generate completion fish > bin/share/fish/vendor_completions.d/pgbraid.fish
	rm bin/generate

.PHONY: install
install: build share ## install pgbraid, its manual pages and completions below PREFIX (/usr/local)
	install -d $(DESTDIR)$(PREFIX)/bin $(dir $(SHARE:bin/%=$(DESTDIR)$(PREFIX)/%))
	install -m 755 bin/pgbraid $(DESTDIR)$(PREFIX)/bin/pgbraid
	set -e; for file in $$(cd bin && find share -type f); do \
		install -m 644 bin/$$file $(DESTDIR)$(PREFIX)/$$file; \
	done

# Where the links lead: beside the program its name is enough.
DROPINLINK = $(if $(filter $(PREFIX)/bin,$(DROPINDIR)),pgbraid,$(PREFIX)/bin/pgbraid)

.PHONY: install-dropin
install-dropin: install ## the same, with links by the names of PostgreSQL's tools in DROPINDIR
	install -d $(DESTDIR)$(DROPINDIR)
	@set -e; cd $(DESTDIR)$(DROPINDIR); for tool in $(DROPINS); do \
		if [ -e $$tool -o -L $$tool ] && [ "$$(readlink $$tool)" != $(DROPINLINK) ]; then \
			echo "$(DESTDIR)$(DROPINDIR)/$$tool is another program: set DROPINDIR" >&2; exit 1; \
		fi; \
	done
	set -e; cd $(DESTDIR)$(DROPINDIR); for tool in $(DROPINS); do ln -sfn $(DROPINLINK) $$tool; done

.PHONY: uninstall
uninstall: ## remove what install and install-dropin made, with the same PREFIX and DROPINDIR
	rm -f $(DESTDIR)$(PREFIX)/bin/pgbraid $(DESTDIR)$(PREFIX)/share/man/man1/pgbraid.1 \
		$(DESTDIR)$(PREFIX)/share/man/man1/pgbraid-*.1 $(SHARE:bin/%=$(DESTDIR)$(PREFIX)/%)
	for tool in $(DROPINS); do \
		if [ "$$(readlink $(DESTDIR)$(DROPINDIR)/$$tool)" = $(DROPINLINK) ]; then rm $(DESTDIR)$(DROPINDIR)/$$tool; fi; \
	done

.PHONY: demo
demo: build ## clone a live primary under write load into a standby, before your eyes
	scripts/postgres.sh 18
	scripts/demo.sh

.PHONY: servers
servers: ## bring the PostgreSQL servers that the tests run against, and client programs
	scripts/postgres.sh $(PGBRAID_TEST_VERSIONS)
	scripts/postgres.sh debian
	scripts/clients.sh

# These start the program itself, hundreds of times: with the race detector that
# takes several times as long, and what it runs is tested with it elsewhere.
WITHOUTRACE = /internal/(torture|dropin)$$

.PHONY: test
test: servers ## the tests, on PostgreSQL 14 to 18 and some on 19, most with the race detector
	$(GO) vet ./...
	$(GO) test -race -timeout 60m $(TESTFLAGS) $$($(GO) list ./... | grep -v -E '$(WITHOUTRACE)')
	$(GO) test -timeout 60m $(TESTFLAGS) $$($(GO) list ./... | grep -E '$(WITHOUTRACE)')
	$(GO) test -timeout 60m $(TESTFLAGS) -run PowerLoss ./basebackup ./logstream
	scripts/postgres.sh 19
	PGBRAID_TEST_VERSIONS=19 $(GO) test -timeout 60m $(TESTFLAGS) ./internal/controlfile ./internal/walread ./basebackup/combine

.PHONY: test-all
test-all: ## the same on PostgreSQL 10 to 19
	$(MAKE) test PGBRAID_TEST_VERSIONS="10 11 12 13 14 15 16 17 18 19"

.PHONY: test-tools
test-tools: ## barman and repmgr themselves, on pgbraid in the place of PostgreSQL's tools
	scripts/postgres.sh debian
	scripts/tools.sh
	$(GO) vet -tags tools ./internal/dropin/tools
	$(GO) test -tags tools -count=1 -timeout 60m $(TESTFLAGS) ./internal/dropin/tools

.PHONY: torture
torture: ## break everything at random points; SEEDS=n points for each cell, FIRST=seed to begin with
	scripts/postgres.sh 18
	PGBRAID_TORTURE_SEEDS=$(or $(SEEDS),20) PGBRAID_TORTURE_FIRST=$(or $(FIRST),1) \
		$(GO) test -count=1 -v -timeout 24h $(TESTFLAGS) -run TestMatrix ./internal/torture

.PHONY: soak
soak: ## an hour of a receiver, clones and handovers under load; SOAK=10m for another time
	scripts/postgres.sh 18
	PGBRAID_SOAK=$(or $(SOAK),1h) $(GO) test -count=1 -v -timeout 24h $(TESTFLAGS) -run TestSoak ./internal/torture

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (20s)
	scripts/fuzz.sh $(FUZZTIME)

.PHONY: coverage
coverage: servers ## how much of the public packages the tests run, and what they do not
	scripts/coverage.sh

# Test beds are not looked at. What is left out of the rest: docs/security.md.
GOSECFLAGS = -quiet -exclude=G103,G104,G115,G304 -exclude-dir=internal/pgtest \
	-exclude-dir=internal/demo -exclude-dir=internal/bench

.PHONY: check
check: ## formatting, vet, staticcheck, gosec, other systems, licences
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "gofmt these"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(GOSEC) $(GOSECFLAGS) ./...
	GOOS=darwin $(GO) build ./...
	GOOS=darwin $(GO) vet ./...
	scripts/licences.sh | diff docs/licences.md -

.PHONY: licences
licences: ## list the licences of what is linked, in docs/licences.md
	scripts/licences.sh > docs/licences.md

.PHONY: vuln
vuln: ## known vulnerabilities in what is linked (asks the Go vulnerability database)
	$(GO) run $(GOVULNCHECK) ./...

.PHONY: bench
bench: build ## pgbraid beside PostgreSQL's own tools; ROW=name for one row, SCALE=, PAIRS=, TABLES= for small
	scripts/bench.sh

.PHONY: microbench
microbench: ## Go benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./tarx ./internal/... ./basebackup/... ./logstream

.PHONY: clean
clean: ## remove what was built; the servers in .cache stay
	rm -rf bin
