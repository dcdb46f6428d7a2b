# Every target works alone on a machine with Go, git, make and gcc.

# Debian keeps mosquitto in /usr/sbin, which is not on every user's PATH.
export PATH := $(PATH):/usr/sbin

PKG      ?= ./...
ARGS     ?=
FUZZTIME ?= 30s

LINT := go tool -modfile=tools/go.mod golangci-lint

.PHONY: help run build web test lint bench fuzz cover clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# Whoever tries the server out signs in to the web app by name. With a key of
# one's own that would stop the start.
run: build ## Build and start the server (ARGS="--log-level debug" passes flags)
	@if [ -z "$$PARLEY_JWT_SECRET$$PARLEY_JWT_PUBLIC_KEY_FILE$$PARLEY_JWKS_URL" ]; then \
		export PARLEY_DEV_LOGIN="$${PARLEY_DEV_LOGIN-true}"; \
	fi; exec ./bin/parley serve $(ARGS)

build: web ## Build ./bin/parley, static, with the web app where Node.js is
	CGO_ENABLED=0 go build -trimpath -o bin/parley ./cmd/parley

web: ## Build the web app into web/dist, if it has changed
	@scripts/build-web.sh

# The command is not echoed: with ARGS=-json the output is read by a program.
test: ## Install what the tests need and run them (PKG=./broker ARGS="-run X" narrow it)
	@scripts/test-deps.sh
	@CGO_ENABLED=1 go test -race -count=1 -timeout 20m $(ARGS) $(PKG)

lint: ## Check style and likely mistakes (the first run builds the linter)
	@$(LINT) run $(ARGS)

bench: ## Run the Go benchmarks (PKG=./broker narrows it)
	go test -run '^$$' -bench . -benchmem $(ARGS) $(PKG)

fuzz: ## Run each fuzz target for FUZZTIME=30s
	@set -e; for pkg in $$(go list $(PKG)); do \
		list=$$(go test -list '^Fuzz' $$pkg); \
		for target in $$(echo "$$list" | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

cover: ## Run the tests and write coverage.html
	@$(MAKE) --no-print-directory test ARGS="-coverprofile=coverage.out -coverpkg=./... $(ARGS)"
	go tool cover -html=coverage.out -o coverage.html

clean: ## Remove what make built; a data folder stays
	rm -rf bin coverage.*
	find web/dist -mindepth 1 ! -name placeholder.html -delete
