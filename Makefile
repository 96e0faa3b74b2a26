.DEFAULT_GOAL := help
VENV := .venv
# The environment's own Python once there is one, else the first that runs and is new enough.
PYTHON ?= $(or $(wildcard $(VENV)/bin/python),$(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done))
EXPORT := .venv-export
CONVERT := .venv-model
# Each environment is made once, and again when its requirements change. SERVES is what the demo and the local server need; READY adds
# what tests, checks and deployments need.
SERVES := $(VENV)/serves
READY := $(VENV)/ready
EXPORT_READY := $(EXPORT)/ready
CONVERT_READY := $(CONVERT)/ready
BROWSES := $(VENV)/browses
RUNTIME := lambdas/classifier/requirements.txt

MODEL ?= ViT-B-32-quickgelu
PRETRAINED ?= openai
PRECISION ?= auto
MINUTES ?= 82

# The CDK's command line, installed in this folder alone. Settings go before cdk.json's: SETTINGS="memory=4096 playground=true".
CDK := node_modules/.bin/cdk
# Which changes of permissions the CDK asks about: never, broadening or any-change.
APPROVAL ?= never
# A builder in a container leaves no image in Docker's store, where the CDK looks for it.
unexport BUILDX_BUILDER
# The bundle to deploy: BUNDLE=…, bundle=… among SETTINGS, MODEL=… PRETRAINED=…, or cdk.json's.
NAMED = $(or $(BUNDLE),$(patsubst bundle=%,%,$(filter bundle=%,$(SETTINGS))),$(if $(filter command,$(origin MODEL) $(origin PRETRAINED)),models/$(MODEL)-$(PRETRAINED)))
DEPLOYED = $(or $(NAMED),$(shell sed -n 's/^ *"bundle": *"\([^"]*\)".*/\1/p' cdk.json))
CONTEXT = $(foreach setting,$(SETTINGS),-c $(setting)) -c bundle=$(DEPLOYED)
# The demo bundle stands in where the bundle's content doesn't matter.
STAND_IN = $(foreach setting,$(filter-out bundle=%,$(SETTINGS)),-c $(setting)) -c bundle=models/demo -c synth_only=true

help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-24s %s\n", $$1, $$2}'

setup: $(READY) ## install what everything needs except torch
	@echo "Ready: make test, make check, make demo."

$(SERVES): pyproject.toml $(RUNTIME) tools/requirements.txt examples/requirements.txt
	@test -n "$(PYTHON)" && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Python 3.11 or newer is needed. Install it, or name yours: make setup PYTHON=/path/to/python3"; exit 1; }
	@echo "Installing what the demo and the local server need into $(VENV) …"
	@"$(PYTHON)" -m venv --clear $(VENV)
	@$(VENV)/bin/pip install -q --disable-pip-version-check --no-deps -r $(RUNTIME)
	@$(VENV)/bin/pip install -q --disable-pip-version-check -r tools/requirements.txt -r examples/requirements.txt
	@$(VENV)/bin/pip install -q --disable-pip-version-check --no-deps --editable .
	@touch $@

$(READY): $(SERVES) requirements.txt tests/requirements.txt
	@echo "Installing what tests, checks and deployments need into $(VENV) …"
	@$(VENV)/bin/pip install -q --disable-pip-version-check -r requirements.txt -r tests/requirements.txt
	@touch $@

# PyTorch's CPU build lies in an index of its own on Linux; macOS has no other. TORCH_INDEX= (empty) takes pip's, with CUDA libraries.
TORCH_INDEX ?= $(if $(filter Linux,$(shell uname -s)),https://download.pytorch.org/whl/cpu)

setup-export: $(EXPORT_READY) ## install torch and open_clip, for the models and tests that need them: TORCH_INDEX=…

$(EXPORT_READY): export/requirements-torch.txt export/requirements.txt $(RUNTIME) tests/requirements.txt
	@echo "Installing torch and open_clip: with CUDA libraries, as in pip's index for Linux, 5.6 GB; less from PyTorch's CPU index."
	@"$(PYTHON)" -m venv --clear $(EXPORT)
	@test -z "$(TORCH_INDEX)" || \
		$(EXPORT)/bin/pip install -q --disable-pip-version-check --index-url "$(TORCH_INDEX)" $$(grep -E '^torch(vision)?==' $<) || \
		{ echo "$(TORCH_INDEX) doesn't give torch. For pip's own index, run it again with TORCH_INDEX= (empty)."; exit 1; }
	@$(EXPORT)/bin/pip install -q --disable-pip-version-check -r $< -r export/requirements.txt \
		$$(grep -E '^(pytest|hypothesis|awslambdaric)==' tests/requirements.txt)
	@$(EXPORT)/bin/pip install -q --disable-pip-version-check --no-deps -r $(RUNTIME) --editable .
	@touch $@

$(CONVERT_READY): export/requirements.txt $(RUNTIME)
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed. If yours has another name or place: make PYTHON=…"; exit 1; }
	@echo "Installing what makes a bundle into $(CONVERT) …"
	@"$(PYTHON)" -m venv --clear $(CONVERT)
	@$(CONVERT)/bin/pip install -q --disable-pip-version-check -r $<
	@$(CONVERT)/bin/pip install -q --disable-pip-version-check --no-deps -r $(RUNTIME) --editable .
	@touch $@

demo: $(SERVES) ## classify three pictures with the demo model, or with BUNDLE=models/…; your own: IMAGE=… LABELS="a dog,a cat"
	@$(VENV)/bin/python -m tools.local.demo $(if $(BUNDLE),--bundle "$(BUNDLE)") $(if $(IMAGE),--image "$(IMAGE)") $(if $(LABELS),--labels "$(LABELS)")

serve: $(SERVES) ## run the API on this machine: PORT=8000 BUNDLE=models/… OPTIONS="--api-key secret"
	@$(VENV)/bin/python -m tools.local.serve $(if $(PORT),--port $(PORT)) $(if $(BUNDLE),--bundle "$(BUNDLE)") $(OPTIONS)

classify: $(SERVES) ## classify a folder on all cores, resumable: PICTURES=folder LABELS="a dog,a cat"|CLASSIFIER=name OUTPUT=results.jsonl|parquet EXCLUDE="*.gif" BUNDLE=models/…
	@$(VENV)/bin/python -m tools.classify $(if $(PICTURES),"$(PICTURES)") $(if $(LABELS),--labels "$(LABELS)") $(if $(CLASSIFIER),--classifier "$(CLASSIFIER)") \
		$(if $(REQUEST),--request "$(REQUEST)") $(if $(EXCLUDE),--exclude "$(EXCLUDE)") $(if $(OUTPUT),--output "$(OUTPUT)") $(if $(BUNDLE),--bundle "$(BUNDLE)") $(OPTIONS)

EVALUATED = $(if $(PICTURES),"$(PICTURES)") $(if $(LABELS),--labels "$(LABELS)") $(if $(CLASSIFIER),--classifier "$(CLASSIFIER)") \
	$(if $(EXCLUDE),--exclude "$(EXCLUDE)") $(if $(BUNDLE),--bundle "$(BUNDLE)") $(OPTIONS)

evaluate: $(SERVES) ## how good is a classifier on labelled pictures, and which thresholds keep a promise: PICTURES=folder CLASSIFIER=name|LABELS="…" OPTIONS="--precision 0.95 --save"
	@$(VENV)/bin/python -m tools.evaluate $(EVALUATED)

learn: $(SERVES) ## teach a classifier by labelled pictures, a few a label: PICTURES=folder CLASSIFIER=name|LABELS="…" OPTIONS="--save --precision 0.95"
	@$(VENV)/bin/python -m tools.evaluate.learn $(EVALUATED)

upload-events: $(SERVES) ## switch on EventBridge for a bucket that exists, keeping its other notifications (asks first): BUCKET=…
	@$(VENV)/bin/python -m tools.upload_events "$(BUCKET)"

EXPORT_ARGUMENTS = -m export --model "$(MODEL)" --pretrained "$(PRETRAINED)" --precision $(PRECISION) \
	$(if $(PRETRAINED_CFG),--pretrained-cfg '$(PRETRAINED_CFG)') $(if $(REVISION),--revision "$(REVISION)") \
	$(if $(ACCEPT_LICENCE),--accept-licence "$(ACCEPT_LICENCE)") $(if $(TARGET),--target "$(TARGET)") \
	$(if $(PICTURES),--pictures "$(PICTURES)") $(if $(LABELS),--labels "$(LABELS)")

# By another name: a recipe that names MAKE itself runs even in a dry run.
RUN_MAKE = $(MAKE) --no-print-directory

# Status 3 says that the model needs torch.
model: $(CONVERT_READY) ## make a bundle from an open_clip model: MODEL=… PRETRAINED=…; docs/models.md lists the options
	@$(CONVERT)/bin/python $(EXPORT_ARGUMENTS) || { test $$? = 3 && \
		$(RUN_MAKE) setup-export && $(EXPORT)/bin/python $(EXPORT_ARGUMENTS); }

model-table: $(EXPORT_READY) ## write export/models.json again, from open_clip
	@$(EXPORT)/bin/python -m export.make_table

pack: $(SERVES) ## write a bundle into one file, with its sha256 beside it: BUNDLE=models/… [OUTPUT=build/….tar]
	@$(VENV)/bin/python -m tools.archive pack "$(BUNDLE)" $(if $(OUTPUT),--output "$(OUTPUT)")

fetch-bundle: $(SERVES) ## fetch such a file, check it and unpack it into models/: FROM=s3://…|https://…|path SHA256=… [NAME=folder]
	@$(VENV)/bin/python -m tools.archive fetch "$(FROM)" "$(SHA256)" $(if $(NAME),--name "$(NAME)")

$(CDK): package.json package-lock.json
	@command -v npm >/dev/null || { echo "Node.js 22 or newer with npm is needed: https://nodejs.org"; exit 1; }
	@npm ci --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@

deploy-cdk: $(READY) ## deploy to AWS; makes the bundle first if it is missing: SETTINGS="memory=4096 …" BUNDLE=models/… APPROVAL=broadening
	@$(VENV)/bin/python -m tools.deploy check classifiers node docker buildx aws credentials region bootstrap logging-role concurrency $(CONTEXT)
	@test -f "$(DEPLOYED)/bundle.json" || test "$(DEPLOYED)" != "models/$(MODEL)-$(PRETRAINED)" || $(MAKE) model
	@$(MAKE) --no-print-directory $(CDK)
	@$(CDK) deploy $(CONTEXT) --require-approval $(APPROVAL) --outputs-file build/outputs.json
	@$(VENV)/bin/python -m tools.deploy wait build/outputs.json "$(DEPLOYED)"

synth: $(READY) $(CDK) ## write the CloudFormation template to build/cdk.out, without an AWS account or Docker
	@test -f "$(DEPLOYED)/bundle.json" || test -n "$(NAMED)" || echo "$(DEPLOYED) doesn't exist: the template is made with the demo bundle."
	@$(CDK) synth --quiet $(if $(NAMED)$(wildcard $(DEPLOYED)/bundle.json),$(CONTEXT) -c synth_only=true,$(STAND_IN))

diff: $(READY) $(CDK) ## show what a deployment would change
	@$(VENV)/bin/python -m tools.deploy check node aws credentials region $(CONTEXT)
	@$(CDK) diff $(CONTEXT)

destroy: $(READY) $(CDK) ## delete the stack (asks first; YES=1 doesn't)
	@$(VENV)/bin/python -m tools.deploy check node aws credentials region
	@$(CDK) destroy $(STAND_IN) $(if $(YES),--force)

bootstrap: $(READY) $(CDK) ## prepare an AWS account and region, once: CDK's own stack, and API Gateway's role for logs if there is none
	@$(VENV)/bin/python -m tools.deploy check node aws credentials region
	@$(CDK) bootstrap $(STAND_IN)
	@$(VENV)/bin/python -m tools.deploy logging-role

update-base: $(READY) ## pin today's version of AWS's base image in cdk.json; then deploy
	@$(VENV)/bin/python -m tools.deploy update-base

demo-model: $(EXPORT_READY) ## train the demo model again from nothing: MINUTES=82
	@$(EXPORT)/bin/python -m dev.demo_model all --minutes $(MINUTES)

demo-figures: $(EXPORT_READY) ## measure the demo model on new drawings and write the figures to models/demo/README.md
	@$(EXPORT)/bin/python -m dev.demo_model measure

golden: $(EXPORT_READY) ## write tests/golden again, from open_clip and the demo model's checkpoint
	@$(EXPORT)/bin/python -m tests.golden.make_golden

golden-answers: $(READY) ## answer the recorded requests in tests/golden again, print what changed, record the new answers
	@$(VENV)/bin/python -m tests.golden.answers

document: $(READY) ## write openapi.json, and the tables and answers in README.md and docs/api.md
	@$(VENV)/bin/python -m dev.generate_docs

benchmark: $(EXPORT_READY) ## measure ViT-B/32 against the original method: build/benchmark.json, docs/benchmark.svg; on a quiet machine
	@$(EXPORT)/bin/python -m dev.benchmark.api
	@$(EXPORT)/bin/python -m dev.benchmark.start --bundle build/benchmark/int8

benchmark-bulk: $(READY) ## measure an image's time in bulk: images a run, threads, processes, beside the API: BUNDLE=models/…
	@$(VENV)/bin/python -m dev.benchmark.bulk $(if $(BUNDLE),--bundle "$(BUNDLE)")

benchmark-ladder: $(CONVERT_READY) ## measure accuracy, time and size of every precision; ten minutes
	@$(CONVERT)/bin/python -m dev.benchmark.ladder

benchmark-regions: $(READY) ## measure what regions find in drawn scenes, and their time; four minutes
	@$(VENV)/bin/python -m dev.benchmark.regions

benchmark-colours: $(READY) ## measure what ignoring a colour profile changes, and what is left once it is converted
	@$(VENV)/bin/python -m dev.benchmark.colours

benchmark-promises: $(READY) ## measure how often fitted thresholds break their promise, on 200 folders of new drawings
	@$(VENV)/bin/python -m dev.benchmark.promises

benchmark-copies: $(READY) ## measure which near-copies of pictures are found, and which different pictures are joined
	@$(VENV)/bin/python -m dev.benchmark.copies

benchmark-learn: $(READY) ## measure what a few examples teach, and how often thresholds of learned heads break their promise
	@$(VENV)/bin/python -m dev.benchmark.learn

drawings: $(SERVES) ## draw labelled pictures that the demo model never saw, to try make evaluate on: FOLDER=build/drawings
	@$(VENV)/bin/python -m dev.demo_model.labelled "$(or $(FOLDER),build/drawings)"

benchmark-endpoint: $(READY) ## measure a deployed endpoint: URL=… KEY=… [CALLS=30]; or its cold starts (asks first): FUNCTION=name [COLD_STARTS=10]
	@$(VENV)/bin/python -m dev.benchmark.endpoint --url "$(URL)" --key "$(KEY)" $(if $(CALLS),--calls $(CALLS)) \
		$(if $(FUNCTION),--function "$(FUNCTION)") $(if $(COLD_STARTS),--cold-starts $(COLD_STARTS))

# Processes that share the tests; a number, or auto for one a core.
WORKERS ?= auto

test: $(READY) ## run all tests that need neither torch nor root; needs Node.js
	@command -v node >/dev/null || { echo "Node.js 22 or newer is needed for the stack's tests: https://nodejs.org"; exit 1; }
	@$(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal

classifier-lambda-test: test ## the same as make test

test-export: $(EXPORT_READY) ## export real architectures with random weights and verify them; needs torch
	@$(EXPORT)/bin/python -m pytest tests/export

# The true architecture in 8 bits, with random weights: what the image weighs, without a download.
RANDOM := build/ViT-B-32-random/bundle.json

$(RANDOM): $(wildcard export/*.py) $(wildcard lambdas/classifier/*/*.py) | $(CONVERT_READY)
	@mkdir -p build
	@$(CONVERT)/bin/python -m tests.support.weights ViT-B-32-quickgelu build/random.safetensors
	@$(CONVERT)/bin/python -m export --model ViT-B-32-quickgelu --pretrained build/random.safetensors --pretrained-cfg openai \
		--precision int8 --crops 12 --output $(@D)
	@rm build/random.safetensors

benchmark-start: $(READY) $(RANDOM) ## measure a start step by step, warm and (as root) cold: docs/start.svg; on a quiet machine
	@$(VENV)/bin/python -m dev.benchmark.start

test-image: $(READY) $(RANDOM) ## build the image for both architectures, run it, and print what it weighs; root on x86_64 Debian or Ubuntu
	@$(VENV)/bin/python -m pytest tests/image

# Encoders in every precision, to run on both architectures.
STEPS := build/steps/inputs.npz

$(STEPS): $(wildcard export/*.py) tests/support/steps.py tests/support/weights.py | $(CONVERT_READY)
	@$(CONVERT)/bin/python -m tests.support.steps $(@D)

test-arm64: $(READY) $(STEPS) ## run the ARM64 image on an emulated Graviton2; root on x86_64 Debian or Ubuntu
	@$(VENV)/bin/python -m pytest tests/arm64

test-browser: $(BROWSES) $(CDK) ## test the playground and the report in Chromium, with axe-core; root on Debian or Ubuntu if there is no chromium
	@$(VENV)/bin/python -m pytest tests/browser

playground-film: $(BROWSES) ## record docs/playground.webp and .png, the page at work on the demo model; needs chromium
	@$(VENV)/bin/python -m dev.film

$(BROWSES): tests/integration/requirements.txt $(READY)
	@echo "Installing what the browser's test needs into $(VENV) …"
	@$(VENV)/bin/pip install -q --disable-pip-version-check -r $<
	@touch $@

test-sam: $(READY) build/sam/ready ## compare the local server's events with those of SAM's local API Gateway
	@$(VENV)/bin/python -m pytest tests/sam

build/sam/ready: tests/integration/sam-requirements.txt
	@echo "Installing SAM, 342 MB, into $(@D) …"
	@"$(PYTHON)" -m venv --clear $(@D)
	@$(@D)/bin/pip install -q --disable-pip-version-check -r $<
	@touch $@

test-aws: $(READY) build/aws/ready $(CDK) ## run the tools around a deployment, AWS's command line and the CDK's against moto: AWS_CLI=/usr/bin/aws
	@$(VENV)/bin/python -m pytest tests/aws

build/aws/ready: tests/integration/aws-requirements.txt
	@echo "Installing the AWS CLI and moto, 480 MB, into $(@D) …"
	@"$(PYTHON)" -m venv --clear $(@D)
	@$(@D)/bin/pip install -q --disable-pip-version-check -r $<
	@touch $@

test-robustness: $(READY) ## send hostile files and requests, made from a seed: SECONDS=600 for each SEED=1
	@ROBUSTNESS_SECONDS=$(or $(SECONDS),600) ROBUSTNESS_SEED=$(or $(SEED),1) $(VENV)/bin/python -m pytest -s tests/robustness

check: $(READY) ## check lint, format and types, changing nothing
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . || { echo "To fix most of this: make format"; exit 1; }
	@$(VENV)/bin/mypy app.py stacks lambdas export tools dev examples tests

lock: $(SERVES) ## write the hashes of what the image installs, for both architectures: lambdas/classifier/requirements.lock
	@$(VENV)/bin/python -m dev.lock

# By default PyPI's own advisories. Without --strict, what could not be looked up would count as harmless.
audit: build/audit/ready ## look up known vulnerabilities of what the image installs; other advisories: OSV=https://api.osv.dev/v1/query
	@build/audit/bin/pip-audit --strict --disable-pip --require-hashes $(if $(OSV),-s osv --osv-url "$(OSV)") \
		-r lambdas/classifier/requirements.lock || \
		{ echo "Vulnerabilities are listed above. If a package could not be looked up, nothing is known: run it where pypi.org can be reached, or name another service: make audit OSV=https://api.osv.dev/v1/query"; exit 1; }

build/audit/ready: dev/audit-requirements.txt
	@"$(PYTHON)" -m venv --clear $(@D)
	@$(@D)/bin/pip install -q --disable-pip-version-check -r $<
	@touch $@

soak: $(READY) ## send good and hostile requests to AWS's runtime client and watch its memory: MINUTES=10; Linux
	@$(VENV)/bin/python -m tests.robustness.soak --minutes $(if $(filter command,$(origin MINUTES)),$(MINUTES),10)

fuzz: build/fuzz/ready ## fuzz containers, bodies and events, guided by coverage: MINUTES=60; Linux
	@mkdir -p build/fuzz-corpus
	@build/fuzz/bin/python -m tests.robustness.fuzz build/fuzz-corpus -dict=build/fuzz-corpus.dict -artifact_prefix=build/fuzz- -max_len=8192 -timeout=10 -rss_limit_mb=2048 \
		-max_total_time=$$((60 * $(if $(filter command,$(origin MINUTES)),$(MINUTES),60)))

build/fuzz/ready: tests/robustness/fuzz-requirements.txt $(RUNTIME)
	@"$(PYTHON)" -m venv --clear $(@D)
	@$(@D)/bin/pip install -q --disable-pip-version-check --no-deps -r $(RUNTIME) -r $< --editable .
	@touch $@

test-clients: $(READY) ## run Hugging Face's and OpenAI's official clients against the API; needs Node.js
	@cd tests/clients && npm ci --silent --no-audit --no-fund
	@$(VENV)/bin/python -m pytest tests/clients

format: $(READY) ## format in place
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

examples-setup: $(SERVES) ## install what the examples need
	@echo "Ready: $(VENV)/bin/python examples/classify.py --help"

TARGETS := $(shell grep -oE '^[a-z0-9-]+:' $(firstword $(MAKEFILE_LIST)) | tr -d :)
.PHONY: $(TARGETS)
