.DEFAULT_GOAL := help
VENV := .venv
# The environment's own Python once there is one, else the first that runs and is new enough.
PYTHON ?= $(or $(wildcard $(VENV)/bin/python),$(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done))
EXPORT := .venv-export
SAM := build/sam
STAND_INS := build/stand-ins
# SERVES is installed for the demo and the local server. Each $(VENV)/group-NAME adds a group of
# pyproject.toml, and READY is all but torch, SAM and the groups of single suites.
SERVES := $(VENV)/serves
TOOLS := $(VENV)/group-tools
EVALUATES := $(VENV)/group-evaluate
DEPLOYS := $(VENV)/deploys
CONVERTS := $(VENV)/group-model
READY := $(VENV)/ready
EXPORT_READY := $(EXPORT)/ready
# OPTIONS=--heic needs one package more.
HEIC := $(VENV)/heic
TAKES_HEIC = $(if $(filter --heic,$(OPTIONS)),$(HEIC))
RUNTIME := lambdas/classifier/requirements.txt
# pip knows the groups of pyproject.toml from 25.1 on, and an environment begins with the one of its Python.
PIP := pip==26.1

MODEL ?= ViT-B-32-quickgelu
PRETRAINED ?= openai
PRECISION ?= auto
# A bundle that a deployment makes is for the processor that it sets.
ifeq ($(origin TARGET),undefined)
TARGET := $(patsubst architecture=%,%,$(filter architecture=%,$(value SETTINGS)))
endif
# Processes that share the tests: a number, or auto for one a core.
WORKERS ?= auto

# A text, or a variable's text, as one word of the shell, with its dollars and quotes. Shells differ in whether they expand
# the ~ of PICTURES=~/photos before make sees it, so a text that begins with ~/ begins with the home folder.
quoted = '$(subst ','\'',$(1))'
text = $(subst '~/,"$$HOME"'/,$(call quoted,$(call line,$(1))))
# A variable's text, which a line break would make two commands of.
line = $(if $(findstring $(BREAK),$(value $(1))),$(error $(1) has a line break. Write it on one line),$(value $(1)))
define BREAK


endef
# --option=text of a variable, which may begin with a dash, if the variable is set.
option = $(if $(value $(1)),$(2)=$(call text,$(1)))
# OPTIONS are words of the shell.
WORDS = $(call line,OPTIONS)

# The CDK's command line, installed in this folder alone. Settings go before cdk.json's: SETTINGS="memory=4096 playground=true".
# A value that holds a space goes into cdk.json.
CDK := node_modules/.bin/cdk
# The CDK keeps each bundle that it ever staged.
FRESH := rm -rf build/cdk.out;
# Which changes of permissions the CDK asks about: never, broadening or any-change.
APPROVAL ?= never
# boto3 and version 1 of AWS's command line read the second name alone; the others prefer the first.
ifdef AWS_REGION
export AWS_DEFAULT_REGION := $(AWS_REGION)
endif
# A builder in a container leaves no image in Docker's store, where the CDK looks for it.
unexport BUILDX_BUILDER
# The bundle to deploy: BUNDLE=…, bundle=… among SETTINGS, MODEL=… PRETRAINED=…, or cdk.json's.
NAMED = $(or $(call line,BUNDLE),$(patsubst bundle=%,%,$(filter bundle=%,$(value SETTINGS))),$(if $(filter command environment,$(origin MODEL) $(origin PRETRAINED)),$(MADE)))
MADE = models/$(value MODEL)-$(value PRETRAINED)
DEPLOYED = $(or $(NAMED),$(shell sed -n 's/^ *"bundle": *"\([^"]*\)".*/\1/p' cdk.json))
CONTEXT = $(foreach setting,$(value SETTINGS),-c $(call quoted,$(setting))) -c $(call quoted,bundle=$(DEPLOYED))
# The demo bundle stands in if the bundle's content doesn't matter.
STAND_IN = $(foreach setting,$(filter-out bundle=%,$(value SETTINGS)),-c $(call quoted,$(setting))) -c bundle=models/demo -c synth_only=true

# The true architecture in 8 bits, with random weights, to weigh the image without a download.
RANDOM := build/ViT-B-32-random/bundle.json
# Encoders in every precision, to run on both architectures.
STEPS := build/steps/inputs.npz
# And bundles of other models than CLIP's.
OTHER_TOWERS := build/other-towers/ready
# And one as the user makes it, for the container.
FROM_HUB := build/from-hub/PE-Core-T-16-384/bundle.json

# Suites of tests, benchmarks and data by name: the needs of each, and its command if it differs from the rest.
NEEDS_browser := $(VENV)/group-browser $(CDK) tests/clients/node_modules
NEEDS_aws := $(VENV)/group-aws $(CDK)
NEEDS_sam := $(SAM)/ready
NEEDS_image := $(RANDOM)
NEEDS_deploy := $(STAND_INS)/ready
NEEDS_arm64 := $(STEPS) $(OTHER_TOWERS) $(FROM_HUB)
NEEDS_export := $(EXPORT_READY)
NEEDS_clients := tests/clients/node_modules
NEEDS_fuzz := $(VENV)/group-fuzz
TEST_browser = $(VENV)/bin/python -m pytest tests/browser -n $(WORKERS) --dist worksteal
FOLDER_deploy := deployment
TEST_export = $(EXPORT)/bin/python -m pytest tests/export -n $(WORKERS) --dist worksteal
TEST_robustness = ROBUSTNESS_SECONDS=$(or $(SECONDS),600) ROBUSTNESS_SEED=$(or $(SEED),1) $(VENV)/bin/python -m pytest -s tests/robustness
TEST_soak = $(VENV)/bin/python -m tests.robustness.soak --minutes $(or $(MINUTES),10)
TEST_fuzz = mkdir -p build/fuzz-corpus && $(VENV)/bin/python -m tests.robustness.fuzz build/fuzz-corpus -dict=build/fuzz-corpus.dict \
	-artifact_prefix=build/fuzz- -max_len=8192 -timeout=10 -rss_limit_mb=2048 -max_total_time=$$((60 * $(or $(MINUTES),60)))
NEEDS_api := $(EXPORT_READY)
NEEDS_peers := $(EXPORT_READY)
NEEDS_start := $(RANDOM)
NEEDS_ladder := $(CONVERTS)
BENCHMARK_api = $(EXPORT)/bin/python -m dev.benchmark.api && $(EXPORT)/bin/python -m dev.benchmark.start --bundle build/benchmark/int8
BENCHMARK_peers = $(EXPORT)/bin/python -m dev.benchmark.peers
BENCHMARK_promises = $(VENV)/bin/python -m dev.benchmark.thresholds
BENCHMARK_learn = $(VENV)/bin/python -m dev.benchmark.thresholds --heads --curve 20 --pool 4000 --images 1000
BENCHMARK_bulk = $(VENV)/bin/python -m dev.benchmark.bulk $(call option,BUNDLE,--bundle)
BENCHMARK_endpoint = $(VENV)/bin/python -m dev.benchmark.endpoint --url $(call text,URL) --key $(call text,KEY) \
	$(call option,CALLS,--calls) $(call option,FUNCTION,--function) $(call option,COLD_STARTS,--cold-starts)
NEEDS_golden := $(EXPORT_READY)
# Data comes from open_clip; the benchmark of the same name does without.
NEEDS_models := $(if $(filter data,$(MAKECMDGOALS)),$(EXPORT_READY))
NEEDS_skeletons := $(EXPORT_READY)
NEEDS_characters := $(EXPORT_READY)
NEEDS_tokenizer := $(EXPORT_READY)
NEEDS_demo-model := $(EXPORT_READY)
NEEDS_demo-figures := $(EXPORT_READY)
NEEDS_still := $(VENV)/group-browser $(EVALUATES)
DATA_answers = $(VENV)/bin/python -m tests.golden.answers
DATA_golden = $(EXPORT)/bin/python -m tests.golden.make_golden
DATA_models = $(EXPORT)/bin/python -m dev.make.model_table
DATA_skeletons = $(EXPORT)/bin/python -m dev.make.skeletons
DATA_characters = $(EXPORT)/bin/python -m dev.make.characters
DATA_tokenizer = $(EXPORT)/bin/python -m dev.make.tokenizer
DATA_demo-model = $(EXPORT)/bin/python -m dev.demo_model all --minutes $(or $(MINUTES),82)
DATA_demo-figures = $(EXPORT)/bin/python -m dev.demo_model measure
DATA_still = $(VENV)/bin/python -m dev.still

# The variables that each command takes on its command line. make would ignore any other one.
TAKES_help :=
TAKES_demo := BUNDLE IMAGE LABELS
TAKES_serve := BUNDLE PORT OPTIONS
EXPORTS := MODEL PRETRAINED PRETRAINED_CFG PRECISION TARGET REVISION ACCEPT_LICENCE LANGUAGE TOKENIZER_REVISION
TAKES_model := $(EXPORTS) PICTURES LABELS OPTIONS
TAKES_models := NAME LANGUAGE BUSINESS MAX_TIMES FORMAT
TAKES_evaluate := PICTURES LABELS CLASSIFIER EXCLUDE BUNDLE OPTIONS
TAKES_learn := $(TAKES_evaluate)
TAKES_classify := $(TAKES_evaluate) REQUEST OUTPUT
TAKES_drawings := FOLDER SEED
TAKES_bootstrap := SETTINGS
TAKES_diff := SETTINGS BUNDLE MODEL PRETRAINED
TAKES_synth := $(TAKES_diff)
TAKES_deploy-cdk := SETTINGS BUNDLE $(EXPORTS) APPROVAL
TAKES_destroy := SETTINGS YES
TAKES_pack := BUNDLE OUTPUT
TAKES_fetch-bundle := FROM SHA256 NAME
TAKES_upload-events := BUCKET
TAKES_update-base :=
TAKES_setup :=
TAKES_test := SUITE SECONDS SEED MINUTES WORKERS
TAKES_check :=
TAKES_format :=
TAKES_benchmark := NAME BUNDLE URL KEY CALLS FUNCTION COLD_STARTS
TAKES_document :=
TAKES_data := NAME MINUTES
TAKES_lock :=
TAKES_audit := OSV
# What any command may be given.
TAKEN := AWS_CLI AWS_PROFILE AWS_REGION CDK DEPLOYED EXPORT MAKE PYTHON SAM STAND_INS TORCH_INDEX VENV SHELL MAKEFLAGS MAKEOVERRIDES
COMMANDS := $(patsubst TAKES_%,%,$(filter TAKES_%,$(.VARIABLES)))
# Of a target that isn't listed, and in a make that another one started, each variable of any command is known.
ASKED := $(if $(or $(filter-out 0,$(MAKELEVEL)),$(filter-out $(COMMANDS),$(MAKECMDGOALS))),$(COMMANDS),$(or $(MAKECMDGOALS),help))
ALLOWED := $(sort $(foreach command,$(ASKED),$(TAKES_$(command))))
UNKNOWN := $(filter-out $(TAKEN) $(ALLOWED),$(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name))))
$(if $(UNKNOWN),$(error $(strip make $(MAKECMDGOALS)) has no variable $(firstword $(UNKNOWN)). It takes $(or $(ALLOWED),none)))
# Windows' Linux gives each program the machine's name in NAME; LANGUAGE is that of a desktop's messages.
ifeq ($(origin NAME),environment)
NAME :=
endif
ifeq ($(origin LANGUAGE),environment)
LANGUAGE :=
endif

help: ## show this list
	@awk -F ':.*## ' '/^## / { print "\n" substr($$0, 4) } /^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

## Each day

# A file's name that isn't UTF-8 is printed with escapes, instead of ending a program after all its work.
demo serve model classify evaluate learn drawings: export PYTHONIOENCODING ?= :backslashreplace

demo: $(SERVES) ## classify three images with the demo model, or with BUNDLE=models/…; your own: IMAGE=… LABELS='a dog,a cat'
	@$(VENV)/bin/python -m tools.local.demo $(call option,BUNDLE,--bundle) $(call option,IMAGE,--image) $(call option,LABELS,--labels)

serve: $(SERVES) $(TAKES_HEIC) ## run the API on this machine: PORT=8000 BUNDLE=models/… OPTIONS="--api-key secret"
	@$(VENV)/bin/python -m tools.local.serve $(call option,PORT,--port) $(call option,BUNDLE,--bundle) $(WORDS)

# While packages are installed, the weights are on their way.
ahead:
	@$(needs-python)
	@test -e $(CONVERTS) || "$(PYTHON)" export/ahead.py --model $(call text,MODEL) --pretrained $(call text,PRETRAINED) --parent $$PPID &

# Status 3 says that the model needs torch.
model: $(if $(value REVISION),,ahead) $(CONVERTS) ## make a bundle from an open_clip model: MODEL=… PRETRAINED=…; docs/models.md lists the options
	@$(VENV)/bin/python $(EXPORT_ARGUMENTS) || { test $$? = 3 && \
		$(RUN_MAKE) setup-export && $(EXPORT)/bin/python $(EXPORT_ARGUMENTS); }

models: ## list open_clip's models: accuracy, time, price, languages, licence: NAME='part of a name or reason' LANGUAGE=de BUSINESS=yes MAX_TIMES=2 FORMAT=csv|json
	@$(needs-python)
	@PYTHONPATH=.:lambdas "$(PYTHON)" -m export.table.models $(call option,FORMAT,--format) $(call option,LANGUAGE,--language) $(call option,BUSINESS,--business) \
		$(call option,MAX_TIMES,--max-times) $(if $(value NAME),-- $(call text,NAME))

EXPORT_ARGUMENTS = -m export --model $(call text,MODEL) --pretrained $(call text,PRETRAINED) --precision $(call text,PRECISION) \
	$(call option,PRETRAINED_CFG,--pretrained-cfg) $(call option,REVISION,--revision) $(call option,ACCEPT_LICENCE,--accept-licence) \
	$(call option,LANGUAGE,--language) $(call option,TOKENIZER_REVISION,--tokenizer-revision) \
	$(call option,TARGET,--target) $(call option,PICTURES,--pictures) $(call option,LABELS,--labels) $(WORDS)
# By another name: a recipe that names MAKE itself runs even in a dry run.
RUN_MAKE = $(MAKE) --no-print-directory

WORK = $(call option,LABELS,--labels) $(call option,CLASSIFIER,--classifier) $(call option,EXCLUDE,--exclude) \
	$(call option,BUNDLE,--bundle)
FOUND = $(if $(value PICTURES),-- $(call text,PICTURES))

classify: $(TOOLS) $(TAKES_HEIC) ## classify a folder on all cores: PICTURES=folder LABELS='a dog,a cat'|CLASSIFIER=name OUTPUT=results.jsonl|csv|parquet EXCLUDE='*.gif' BUNDLE=…
	@$(VENV)/bin/python -m tools.classify $(WORK) $(call option,REQUEST,--request) $(call option,OUTPUT,--output) $(WORDS) $(FOUND)

evaluate: $(EVALUATES) $(TAKES_HEIC) ## how good is it on labelled images: PICTURES=folder CLASSIFIER=name|LABELS='…' OPTIONS="--save pets" BUNDLE='models/a models/b'
	@$(VENV)/bin/python -m tools.evaluate $(WORK) $(WORDS) $(FOUND)

learn: $(EVALUATES) $(TAKES_HEIC) ## teach a classifier with a few labelled images: PICTURES=folder CLASSIFIER=name|LABELS='…' OPTIONS="--save"
	@$(VENV)/bin/python -m tools.evaluate.learn $(WORK) $(WORDS) $(FOUND)

drawings: $(TOOLS) ## draw labelled images that the demo model never saw, to try make evaluate on: FOLDER=build/drawings SEED=1
	@$(VENV)/bin/python -m dev.demo_model.labelled $(if $(value FOLDER),$(call text,FOLDER),build/drawings) $(call option,SEED,--seed)

## On AWS

# Checks that need nothing but Python, before minutes of installing.
deploy-cdk: BUILDERS := docker buildx
machine:
	@$(needs-python)
	@"$(PYTHON)" -m tools.deploy.machine node $(BUILDERS) aws credentials region

node:
	@command -v node >/dev/null || { echo "Node.js 22 or newer is needed: https://nodejs.org"; exit 1; }

bootstrap: machine $(DEPLOYS) $(CDK) ## prepare an AWS account and region, once: CDK's own stack, and API Gateway's role for logs if there is none
	@$(FRESH) $(CDK) bootstrap $(STAND_IN)
	@$(VENV)/bin/python -m tools.deploy logging-role

deploy-cdk: machine $(DEPLOYS) ## deploy; makes the bundle first if it is missing: SETTINGS="memory=4096 …" BUNDLE=models/… APPROVAL=broadening
	@$(VENV)/bin/python -m tools.deploy check builder model classifiers region bootstrap logging-role concurrency $(CONTEXT)
	@test -f $(call quoted,$(DEPLOYED)/bundle.json) || test $(call quoted,$(DEPLOYED)) != $(call quoted,$(MADE)) || $(RUN_MAKE) model
	@$(MAKE) --no-print-directory $(CDK)
	@$(FRESH) $(CDK) deploy $(CONTEXT) --require-approval $(APPROVAL) --outputs-file build/outputs.json
	@$(VENV)/bin/python -m tools.deploy wait build/outputs.json $(call quoted,$(DEPLOYED))

diff: machine $(DEPLOYS) $(CDK) ## show the changes that a deployment would make
	@$(VENV)/bin/python -m tools.deploy check region $(CONTEXT)
	@$(FRESH) $(CDK) diff $(CONTEXT)

# Without the CDK's advice on feature flags, which change nothing here, and on an older Node.js, which writes the same.
synth: node $(DEPLOYS) $(CDK) ## write the CloudFormation template to build/cdk.out, without an AWS account or Docker
	@test -f $(call quoted,$(DEPLOYED)/bundle.json) || test -n $(call quoted,$(NAMED)) || echo $(call quoted,$(DEPLOYED) doesn't exist: the template is made with the demo bundle.)
	@mkdir -p build; $(FRESH) $(CDK) synth --quiet $(if $(NAMED)$(wildcard $(DEPLOYED)/bundle.json),$(CONTEXT) -c synth_only=true,$(STAND_IN)) 2>build/synth.log; \
		status=$$?; grep -v -e "feature flags are not configured" -e "^b'!!" build/synth.log >&2; \
		test $$status = 0 && echo "The template: $$(ls -t build/cdk.out/*.template.json | head -1)"

destroy: machine $(DEPLOYS) $(CDK) ## delete the stack (asks first; YES=1 doesn't)
	@$(FRESH) $(CDK) destroy $(STAND_IN) $(if $(YES),--force)

pack: $(SERVES) ## write a bundle into one file, with its sha256: BUNDLE=models/… OUTPUT=build/….tar
	@$(VENV)/bin/python -m tools.archive pack $(if $(value BUNDLE),$(call text,BUNDLE)) $(call option,OUTPUT,--output)

fetch-bundle: $(SERVES) ## fetch such a file, check it and unpack it into models/: FROM=s3://…|https://…|path SHA256=… [NAME=folder]
	@$(VENV)/bin/python -m tools.archive fetch $(call text,FROM) $(call text,SHA256) $(call option,NAME,--name)

upload-events: $(TOOLS) ## switch on EventBridge for a bucket that exists, keeping its other notifications (asks first): BUCKET=…
	@$(VENV)/bin/python -m tools.upload_events $(call text,BUCKET)

update-base: $(DEPLOYS) ## pin today's version of AWS's base image in cdk.json; then deploy
	@$(VENV)/bin/python -m tools.deploy update-base

## To work on the project

setup: $(READY) ## install the needs of everything, except torch
	@echo "Ready: make test, make check, make demo."

# Tests run side by side: a second thread of each process's linear algebra only waits for a core.
test: export OPENBLAS_NUM_THREADS := 1
test: node $(READY) $(foreach suite,$(SUITE),$(NEEDS_$(suite))) ## run the tests, which need Node.js; SUITE=browser|sam|aws|image|deploy|arm64|export|clients|robustness|soak|fuzz
	@$(or $(TEST_$(SUITE)),$(VENV)/bin/python -m pytest $(or $(foreach suite,$(SUITE),tests/$(or $(FOLDER_$(suite)),$(suite))),-n $(WORKERS) --dist worksteal))

check: $(READY) ## check lint, format and types, changing nothing
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . || { echo "To fix most of this: make format"; exit 1; }
	@$(VENV)/bin/mypy

format: $(READY) ## format in place
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

benchmark: $(if $(filter endpoint,$(NAME)),$(SERVES),$(READY)) $(NEEDS_$(or $(NAME),api)) ## measure, on a quiet machine: NAME=api|peers|start|bulk|ladder|models|regions|colours|copies|promises|learn|endpoint
	@$(or $(BENCHMARK_$(or $(NAME),api)),$(VENV)/bin/python -m dev.benchmark.$(NAME))

document: $(READY) ## write openapi.json, and the tables and answers in README.md and docs/
	@$(VENV)/bin/python -m dev.generate_docs

data: $(READY) $(NEEDS_$(NAME)) ## make data in the repository again: NAME=answers|golden|models|skeletons|characters|tokenizer|demo-model|demo-figures|still
	@$(or $(DATA_$(NAME)),echo "Say which: make data NAME=answers" && exit 1)

lock: $(SERVES) ## write the hashes of the image's packages, for both architectures: lambdas/classifier/requirements.lock
	@$(VENV)/bin/python -m dev.lock

# By default PyPI's own advisories. Without --strict, a package that could not be looked up would count as harmless.
audit: $(VENV)/group-audit ## look up known vulnerabilities of the image's packages; other advisories: OSV=https://api.osv.dev/v1/query
	@$(VENV)/bin/pip-audit --strict --disable-pip --require-hashes $(if $(OSV),-s osv --osv-url $(call text,OSV)) \
		-r lambdas/classifier/requirements.lock || \
		{ echo "Vulnerabilities are listed above. If a package could not be looked up, nothing is known: run it where pypi.org can be reached, or name another service: make audit OSV=https://api.osv.dev/v1/query"; exit 1; }

# Other names of the same, which guides and scripts print.

classifier-lambda-test: test
setup-export: $(EXPORT_READY)
examples-setup: $(TOOLS)
	@echo "Ready: $(VENV)/bin/python examples/classify.py --help"
test-%:
	@$(RUN_MAKE) test SUITE=$*
benchmark-%:
	@$(RUN_MAKE) benchmark NAME=$*
soak fuzz:
	@$(RUN_MAKE) test SUITE=$@
golden-answers:
	@$(RUN_MAKE) data NAME=answers
golden demo-model demo-figures:
	@$(RUN_MAKE) data NAME=$@
model-table:
	@$(RUN_MAKE) data NAME=models

# Environments. A line for each package that is downloaded, since pip shows no progress to a pipe.

needs-python = test -n "$(PYTHON)" && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	{ echo "Python 3.11 or newer is needed. Install it, or name yours: make setup PYTHON=/path/to/python3"; exit 1; }

install = { $(VENV)/bin/python -m pip install --disable-pip-version-check $(1) || echo FAILED; } | awk '/^ *Downloading .*\.(whl|gz) / { \
	sub(/.*\//, "", $$2); split($$2, part, "-"); print "  " part[1], part[2], $$3, $$4; fflush() } /^FAILED/ { failed = 1 } END { exit failed }'

$(SERVES): $(RUNTIME) tools/requirements.txt
	@$(needs-python)
	@echo "Installing what the demo and the local server need into $(VENV), 56 MB:"
	@"$(PYTHON)" -m venv --clear $(VENV)
	@$(call install,--no-deps -r $(RUNTIME) -r tools/requirements.txt)
	@$(call install,--no-deps --editable .)
	@touch $@

groups = $(VENV)/bin/python -m pip install --help | grep -q -e --group || $(call install,$(PIP))

$(VENV)/group-%: pyproject.toml $(SERVES)
	@echo "Installing the group $* of pyproject.toml into $(VENV):"
	@$(groups)
	@$(call install,--group $*)
	@touch $@

$(HEIC): lambdas/classifier/requirements-heic.txt $(SERVES)
	@echo "Installing what decodes HEIC into $(VENV):"
	@$(call install,--no-deps -r $<)
	@touch $@

$(DEPLOYS): requirements.txt $(SERVES)
	@echo "Installing what deployments need into $(VENV):"
	@$(call install,--no-deps -r requirements.txt)
	@touch $@

$(READY): pyproject.toml requirements.txt $(SERVES)
	@echo "Installing what tests and checks need into $(VENV):"
	@$(groups)
	@$(call install,-r requirements.txt --group dev)
	@touch $@ $(TOOLS) $(EVALUATES) $(DEPLOYS) $(CONVERTS)

# PyTorch's CPU build lies in an index of its own on Linux; macOS has no other. TORCH_INDEX= (empty) takes pip's, with CUDA libraries.
TORCH_INDEX ?= $(if $(filter Linux,$(shell uname -s)),https://download.pytorch.org/whl/cpu)

# Apart, so that nothing that runs in the other environment can import torch.
$(EXPORT_READY): pyproject.toml $(RUNTIME)
	@echo "Installing torch and open_clip: with CUDA libraries, as in pip's index for Linux, 5.6 GB; less from PyTorch's CPU index."
	@"$(PYTHON)" -m venv --clear $(EXPORT)
	@$(EXPORT)/bin/pip install -q --disable-pip-version-check $(PIP)
	@test -z "$(TORCH_INDEX)" || \
		$(EXPORT)/bin/pip install -q --index-url "$(TORCH_INDEX)" $$(grep -oE '"torch(vision)?==[^"]+' pyproject.toml | tr -d '"') || \
		{ echo "$(TORCH_INDEX) doesn't give torch. For pip's own index, run it again with TORCH_INDEX= (empty)."; exit 1; }
	@$(EXPORT)/bin/pip install -q -r $(RUNTIME) --group torch
	@$(EXPORT)/bin/pip install -q --no-deps --editable .
	@touch $@

# SAM wants other versions of what the rest needs. It takes 342 MB.
$(SAM)/ready: GROUP = sam
# What stands in for an AWS account wants a botocore of its own.
$(STAND_INS)/ready: GROUP = account
$(SAM)/ready $(STAND_INS)/ready: pyproject.toml
	@echo "Installing the group $(GROUP) of pyproject.toml into $(@D):"
	@"$(PYTHON)" -m venv --clear $(@D)
	@$(@D)/bin/pip install -q --disable-pip-version-check $(PIP)
	@$(@D)/bin/pip install -q --group $(GROUP)
	@touch $@

$(CDK): package.json package-lock.json
	@command -v npm >/dev/null || { echo "Node.js 22 or newer with npm is needed: https://nodejs.org"; exit 1; }
	@npm ci --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@

tests/clients/node_modules: tests/clients/package-lock.json
	@cd tests/clients && npm ci --silent --no-audit --no-fund
	@touch $@

$(RANDOM): $(wildcard export/*.py export/*/*.py) $(wildcard lambdas/classifier/*/*.py lambdas/classifier/*/*/*.py) | $(READY)
	@mkdir -p build
	@$(VENV)/bin/python -m dev.weights ViT-B-32-quickgelu build/random.safetensors
	@$(VENV)/bin/python -m export --model ViT-B-32-quickgelu --pretrained build/random.safetensors --pretrained-cfg openai \
		--precision int8 --crops 12 --output $(@D)
	@rm build/random.safetensors

$(STEPS): $(wildcard export/*.py export/*/*.py) tests/support/steps.py dev/weights.py | $(READY)
	@$(VENV)/bin/python -m tests.support.steps $(@D)

$(OTHER_TOWERS): $(wildcard export/*.py export/*/*.py) tests/support/other_towers.py dev/weights.py | $(READY)
	@$(VENV)/bin/python -m tests.support.other_towers $(@D)
	@touch $@

$(FROM_HUB): $(wildcard export/*.py export/*/*.py) tests/support/from_hub.py dev/weights.py | $(READY)
	@$(VENV)/bin/python -m tests.support.from_hub build/from-hub PE-Core-T-16-384

TARGETS := $(shell grep -oE '^[a-z0-9 -]+:' $(firstword $(MAKEFILE_LIST)) | tr -d :)
.PHONY: $(TARGETS)
.SECONDARY:
