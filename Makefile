# Everything a person or CI runs. Needs make and Python 3.11 or newer.
# The Lambda runtime's Python (3.13) is used for building and the local stack where it is found.

PYTHON ?= python3
PYTHON_RUNTIME ?= $(shell command -v python3.13 >/dev/null 2>&1 && python3.13 -c 'import sys; print(sys.executable)' 2>/dev/null \
	|| ls "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.13*/bin/python3.13 2>/dev/null | tail -n 1)
SCHEDULES ?= 5000
SEED ?= $(shell date +%s)
TURNS ?= 15
CONNECTIONS ?= 2000
MINUTES ?= 15
LIFE ?= 300
LANES ?= 1
RATE ?= 20
BACKLOG ?= 400
RUN = PYTHONPATH=layers/token_broker:clients/python/src .venv/bin
PYTEST = .venv/bin/python -m pytest
# These share this machine's ports, so they run one by one; all others a process a core.
ON_PORTS = stack or browser or optional
PIP = -m pip install --quiet --disable-pip-version-check --cache-dir .build/pip --require-hashes --no-deps
# SAM keeps notes in its user's home; ours stay in the checkout.
SAM = mkdir -p .build/home && HOME=$(CURDIR)/.build/home SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 \
	PATH="$(if $(PYTHON_RUNTIME),$(dir $(PYTHON_RUNTIME)):)$$PATH" .venv-sam/bin/sam

.PHONY: help setup check test-fast test test-all faults soak mutants bench load lanes simulate build deploy operate demo up down smoke invoke
help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# ── environments ─────────────────────────────────────────────────────────────────────────────────

setup: .venv/.ready .venv-sam/.ready .venv-aws/.ready ## Make the three virtual environments

.venv/.ready: requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python $(PIP) -r $<
	@touch $@

.venv-sam/.ready: requirements/sam.txt
	$(PYTHON) -m venv --clear .venv-sam
	.venv-sam/bin/python $(PIP) -r $<
	@touch $@

.venv-aws/.ready: requirements/aws.txt
	$(or $(PYTHON_RUNTIME),$(PYTHON)) -m venv --clear .venv-aws
	.venv-aws/bin/python $(PIP) -r $<
	@touch $@

# ── checks ───────────────────────────────────────────────────────────────────────────────────────

check: .venv/.ready .venv-sam/.ready ## Lint, types, directions, template, security
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	$(RUN)/lint-imports --no-cache
	.venv/bin/cfn-lint -t template.yaml -a cfn_lint_serverless.rules
	$(SAM) validate --lint
	.venv/bin/bandit -q -r clients examples functions layers local operations -c pyproject.toml

test-fast: .venv/.ready ## What can be told in memory, in under a minute
	$(PYTEST) -n auto --dist worksteal -m "not (slow or $(ON_PORTS))" tests/unit tests/contract tests/template

test: .venv/.ready ## All but the slow tests; one that needs more than is there is skipped with its reason
	$(PYTEST) -n auto --dist worksteal -m "not (slow or $(ON_PORTS))"
	$(PYTEST) -m "$(ON_PORTS)"

test-all: setup ## Every test; a skipped one fails
	REQUIRE_ALL=1 $(PYTEST) -n auto --dist worksteal -m "not ($(ON_PORTS))"
	REQUIRE_ALL=1 $(PYTEST) -m "$(ON_PORTS)"

faults: .venv/.ready ## Cut every flow everywhere, write docs/faults.md, print what was lost
	PYTHONPATH=.:layers/token_broker .venv/bin/python -m tests.interleavings.faults

soak: .venv/.ready ## Random schedules, new ones each time: make soak [SCHEDULES=5000] [SEED=...]
	SCHEDULES=$(SCHEDULES) .venv/bin/python -m pytest tests/interleavings/test_random_schedules.py \
		--hypothesis-profile=soak --hypothesis-show-statistics --hypothesis-seed=$(SEED)

mutants: .venv/.ready ## Switch each guard off and print the test that misses it
	.venv/bin/python -m tests.mutants

bench: .venv/.ready ## Measure refreshes, hand-outs and starts against what they stand on: make bench [TURNS=15]
	PYTHONPATH=.:layers/token_broker .venv/bin/python -m benchmarks $(TURNS)

load: setup ## A fleet in use on the local stack: make load [CONNECTIONS=2000] [MINUTES=15] [LIFE=300] [LANES=1] [RATE=20]
	PYTHONPATH=.:layers/token_broker:clients/python/src .venv/bin/python -m benchmarks.load \
		$(CONNECTIONS) $(MINUTES) $(LIFE) $(LANES) $(RATE)

lanes: setup ## One lane against four over a backlog on the local stack: make lanes [BACKLOG=400]
	PYTHONPATH=.:layers/token_broker:clients/python/src .venv/bin/python -m benchmarks.load.lanes $(BACKLOG) 3

simulate: .venv/.ready ## Let fleets of up to a million connections live in simulated time
	PYTHONPATH=.:layers/token_broker .venv/bin/python -m simulation

# ── AWS ──────────────────────────────────────────────────────────────────────────────────────────

build: .venv-sam/.ready ## Build what ships into .aws-sam/build
	@test -n "$(PYTHON_RUNTIME)" || { echo "Python 3.13, the Lambda runtime's, is needed to build what ships" >&2; exit 1; }
	$(SAM) build
	$(PYTHON_RUNTIME) -m compileall -q --invalidation-mode unchecked-hash .aws-sam/build

deploy: build ## Deploy to the AWS account of your credentials (asks before it changes anything)
	SAM_CLI_TELEMETRY=0 .venv-sam/bin/sam deploy --guided

operate: .venv/.ready ## An operator's command: make operate ARGS="--stack-name NAME import FILE"
	@$(RUN)/python -m operations $(ARGS)

# ── one machine ──────────────────────────────────────────────────────────────────────────────────

demo: setup ## The whole stack on this machine, in the foreground; Ctrl-C ends it
	$(RUN)/python -m local demo

up: setup ## The same in the background; addresses in local/.run/stack.json
	$(RUN)/python -m local up

down: ## End what `up` started
	$(RUN)/python -m local down

smoke: setup ## Drive a connection's whole life over HTTP on a stack of its own
	$(RUN)/python -m local smoke

invoke: ## Feed an event to a function of the stack `up` started: make invoke F=callback E=...
	.venv/bin/python -m local.invoke "$(F)" "$(E)"
