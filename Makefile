.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV := .venv
EXPORT := .venv-export
CONVERT := .venv-model
# The environments are made once and again whenever what they are made from changes.
# What serves is enough to see it work; READY adds what tests, checks and deploys it.
SERVES := $(VENV)/serves
READY := $(VENV)/ready
EXPORT_READY := $(EXPORT)/ready
CONVERT_READY := $(CONVERT)/ready
BROWSES := $(VENV)/browses
RUNTIME := lambdas/classifier/requirements.txt

MODEL ?= ViT-B-32-quickgelu
PRETRAINED ?= openai
PRECISION ?= auto
MINUTES ?= 100

# The CDK's command line, in this folder alone. Settings on top of cdk.json's: SETTINGS="memory=4096 playground=true".
CDK := node_modules/.bin/cdk
# What is deployed: BUNDLE=…, bundle=… among SETTINGS, MODEL=… PRETRAINED=…, or what cdk.json says.
NAMED = $(or $(BUNDLE),$(patsubst bundle=%,%,$(filter bundle=%,$(SETTINGS))),$(if $(filter command,$(origin MODEL) $(origin PRETRAINED)),models/$(MODEL)-$(PRETRAINED)))
DEPLOYED = $(or $(NAMED),$(shell $(PYTHON) -c 'import json; print(json.load(open("cdk.json"))["context"]["bundle"])'))
CONTEXT = $(foreach setting,$(SETTINGS),-c $(setting)) -c bundle=$(DEPLOYED)
# Where the bundle's content doesn't matter, the demo stands in.
STAND_IN = $(foreach setting,$(filter-out bundle=%,$(SETTINGS)),-c $(setting)) -c bundle=models/demo -c synth_only=true

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-24s %s\n", $$1, $$2}'

setup: $(READY) ## the environment for everything but making models: no torch

$(SERVES): pyproject.toml $(RUNTIME) tools/requirements.txt examples/requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is needed; or name another: make PYTHON=python3.13 …"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check --no-deps -r $(RUNTIME)
	$(VENV)/bin/pip install -q --disable-pip-version-check -r tools/requirements.txt -r examples/requirements.txt
	$(VENV)/bin/pip install -q --disable-pip-version-check --no-deps --editable .
	@touch $@

$(READY): $(SERVES) requirements.txt tests/requirements.txt
	$(VENV)/bin/pip install -q --disable-pip-version-check -r requirements.txt -r tests/requirements.txt
	@touch $@

# PyTorch's CPU build lies in an index of its own on Linux; macOS has no other. TORCH_INDEX= (empty) takes pip's, with CUDA libraries.
TORCH_INDEX ?= $(if $(filter Linux,$(shell uname -s)),https://download.pytorch.org/whl/cpu)

setup-export: $(EXPORT_READY) ## the environment with torch and open_clip, for what is tested or made with them: TORCH_INDEX=…

$(EXPORT_READY): export/requirements-torch.txt export/requirements.txt $(RUNTIME) tests/requirements.txt
	@echo "Installing torch and open_clip: with CUDA libraries, as in pip's index for Linux, 5.6 GB; less from PyTorch's CPU index."
	$(PYTHON) -m venv --clear $(EXPORT)
	@test -z "$(TORCH_INDEX)" || \
		$(EXPORT)/bin/pip install -q --disable-pip-version-check --index-url "$(TORCH_INDEX)" $$(grep -E '^torch(vision)?==' $<) || \
		{ echo "$(TORCH_INDEX) doesn't give torch. For pip's own index, run it again with TORCH_INDEX= (empty)."; exit 1; }
	$(EXPORT)/bin/pip install -q --disable-pip-version-check -r $< -r export/requirements.txt \
		$$(grep -E '^(pytest|hypothesis|awslambdaric)==' tests/requirements.txt)
	$(EXPORT)/bin/pip install -q --disable-pip-version-check --no-deps -r $(RUNTIME) --editable .
	@touch $@

$(CONVERT_READY): export/requirements.txt $(RUNTIME)
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is needed; or name another: make PYTHON=python3.13 …"; exit 1; }
	$(PYTHON) -m venv --clear $(CONVERT)
	$(CONVERT)/bin/pip install -q --disable-pip-version-check -r $<
	$(CONVERT)/bin/pip install -q --disable-pip-version-check --no-deps -r $(RUNTIME) --editable .
	@touch $@

demo: $(SERVES) ## three pictures classified by the demo model, or by BUNDLE=models/…; IMAGE=… LABELS="a dog,a cat" takes your own
	@$(VENV)/bin/python -m tools.local.demo $(if $(BUNDLE),--bundle "$(BUNDLE)") $(if $(IMAGE),--image "$(IMAGE)") $(if $(LABELS),--labels "$(LABELS)")

serve: $(SERVES) ## the API on this machine; PORT=8000 BUNDLE=models/… OPTIONS="--api-key secret"
	@$(VENV)/bin/python -m tools.local.serve $(if $(PORT),--port $(PORT)) $(if $(BUNDLE),--bundle "$(BUNDLE)") $(OPTIONS)

EXPORT_ARGUMENTS = -m export --model "$(MODEL)" --pretrained "$(PRETRAINED)" --precision $(PRECISION) \
	$(if $(PRETRAINED_CFG),--pretrained-cfg '$(PRETRAINED_CFG)') $(if $(REVISION),--revision "$(REVISION)") \
	$(if $(ACCEPT_LICENCE),--accept-licence "$(ACCEPT_LICENCE)") $(if $(TARGET),--target "$(TARGET)") \
	$(if $(PICTURES),--pictures "$(PICTURES)") $(if $(LABELS),--labels "$(LABELS)")

# Status 3 says that the model needs torch.
model: $(CONVERT_READY) ## a bundle from an open_clip model: MODEL=… PRETRAINED=…; docs/models.md names all options
	@$(CONVERT)/bin/python $(EXPORT_ARGUMENTS) || { test $$? = 3 && \
		$(MAKE) --no-print-directory setup-export && $(EXPORT)/bin/python $(EXPORT_ARGUMENTS); }

model-table: $(EXPORT_READY) ## writes export/models.json again, from open_clip
	$(EXPORT)/bin/python -m export.make_table

$(CDK): package.json package-lock.json
	@command -v npm >/dev/null || { echo "Node.js 22 or newer with npm is needed: https://nodejs.org"; exit 1; }
	npm ci --silent --no-audit --no-fund
	@touch $@

deploy-cdk: $(READY) ## puts it on AWS, makes the bundle first where there is none: SETTINGS="memory=4096 …" BUNDLE=models/…
	@$(VENV)/bin/python -m tools.deploy check node docker buildx aws credentials region logging-role
	@test -f "$(DEPLOYED)/bundle.json" || test "$(DEPLOYED)" != "models/$(MODEL)-$(PRETRAINED)" || $(MAKE) model
	@$(MAKE) --no-print-directory $(CDK)
	$(CDK) deploy $(CONTEXT) --require-approval never --outputs-file build/outputs.json
	@$(VENV)/bin/python -m tools.deploy wait build/outputs.json

synth: $(READY) $(CDK) ## the CloudFormation template in build/cdk.out; no AWS account, no Docker; the demo where no bundle is
	@test -f "$(DEPLOYED)/bundle.json" || test -n "$(NAMED)" || echo "$(DEPLOYED) isn't there: the demo bundle stands in."
	$(CDK) synth --quiet $(if $(NAMED)$(wildcard $(DEPLOYED)/bundle.json),$(CONTEXT) -c synth_only=true,$(STAND_IN))

diff: $(READY) $(CDK) ## what a deployment would change
	@$(VENV)/bin/python -m tools.deploy check node aws credentials region
	$(CDK) diff $(CONTEXT)

destroy: $(READY) $(CDK) ## takes it off AWS, after a question
	@$(VENV)/bin/python -m tools.deploy check node aws credentials region
	$(CDK) destroy $(STAND_IN)

bootstrap: $(READY) $(CDK) ## once per AWS account and region: CDK's own stack, and API Gateway's role for logs where there is none
	@$(VENV)/bin/python -m tools.deploy check node aws credentials region
	$(CDK) bootstrap $(STAND_IN)
	@$(VENV)/bin/python -m tools.deploy check logging-role >/dev/null 2>&1 || aws cloudformation deploy \
		--stack-name api-gateway-logging --template-file stacks/logging_role.yaml --capabilities CAPABILITY_IAM

demo-model: $(EXPORT_READY) ## trains the demo model again from nothing: MINUTES=100
	$(EXPORT)/bin/python -m tools.demo_model all --minutes $(MINUTES)

demo-figures: $(EXPORT_READY) ## measures models/demo on new drawings and writes its table
	$(EXPORT)/bin/python -m tools.demo_model measure

golden: $(EXPORT_READY) ## writes tests/golden again, from open_clip and the demo model's checkpoint
	$(EXPORT)/bin/python -m tests.golden.make_golden

document: $(READY) ## writes the OpenAPI document, and the README's table and answers, again
	$(VENV)/bin/python -m tools.generate_docs

benchmark: $(EXPORT_READY) ## ViT-B/32 against the original method: writes build/benchmark.json, docs/benchmark.svg; eight quiet minutes
	$(EXPORT)/bin/python -m tools.benchmark

benchmark-ladder: $(CONVERT_READY) ## every precision's accuracy, time and size, as docs/performance.md has them; ten minutes
	$(CONVERT)/bin/python -m tools.benchmark.ladder

benchmark-endpoint: $(READY) ## latency, errors and estimated cost of a deployed endpoint: URL=… KEY=… [CALLS=30]
	@$(VENV)/bin/python -m tools.benchmark.endpoint --url "$(URL)" --key "$(KEY)" $(if $(CALLS),--calls $(CALLS))

test: $(READY) ## all tests that need no torch; Node.js for the stack's
	@$(VENV)/bin/python -m tools.deploy check node
	$(VENV)/bin/python -m pytest --ignore tests/export --ignore tests/integration/test_container.py --ignore tests/integration/test_arm64.py --ignore tests/integration/test_browser.py --ignore tests/integration/test_sam.py

classifier-lambda-test: test ## the same

test-export: $(EXPORT_READY) ## exports and verifies true architectures with random weights; needs torch
	$(EXPORT)/bin/python -m pytest tests/export

# The true architecture in 8 bits, with random weights: what the image weighs, without a download.
RANDOM := build/ViT-B-32-random/bundle.json

$(RANDOM): $(wildcard export/*.py) $(wildcard lambdas/classifier/*.py) | $(CONVERT_READY)
	@mkdir -p build
	$(CONVERT)/bin/python -m tests.support.weights ViT-B-32-quickgelu build/random.safetensors
	$(CONVERT)/bin/python -m export --model ViT-B-32-quickgelu --pretrained build/random.safetensors --pretrained-cfg openai \
		--precision int8 --crops 12 --output $(@D)
	@rm build/random.safetensors

test-image: $(READY) $(RANDOM) ## builds the image for both architectures, runs the one, looks into the other, weighs; root on Debian or Ubuntu, x86_64
	$(VENV)/bin/python -m pytest tests/integration/test_container.py

test-arm64: $(READY) ## the ARM64 image on an emulated Graviton2; root on Debian or Ubuntu, x86_64
	$(VENV)/bin/python -m pytest tests/integration/test_arm64.py

test-browser: $(BROWSES) ## the playground in Chromium; root on Debian or Ubuntu where there is no chromium
	$(VENV)/bin/python -m pytest tests/integration/test_browser.py

$(BROWSES): tests/integration/requirements.txt $(READY)
	$(VENV)/bin/pip install -q --disable-pip-version-check -r $<
	@touch $@

test-sam: $(READY) build/sam/ready ## the local front's events against those of SAM's local API Gateway
	$(VENV)/bin/python -m pytest tests/integration/test_sam.py

build/sam/ready: tests/integration/sam-requirements.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/pip install -q --disable-pip-version-check -r $<
	@touch $@

check: $(READY) ## lint, format and types; changes nothing
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy app.py stacks lambdas export tools examples tests

format: $(READY) ## formats in place
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

examples-setup: $(SERVES) ## what the examples need

.PHONY: help benchmark benchmark-ladder benchmark-endpoint setup setup-export demo serve model model-table deploy-cdk synth diff destroy bootstrap demo-model demo-figures golden document test classifier-lambda-test test-export test-image test-arm64 test-sam test-browser check format examples-setup
