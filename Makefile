.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV := .venv
EXPORT := .venv-export
export PYTHONPATH := lambdas
# The environments are made once and again whenever what they are made from changes.
READY := $(VENV)/ready
EXPORT_READY := $(EXPORT)/ready
RUNTIME := lambdas/classifier/requirements.txt

MODEL ?= ViT-B-32-quickgelu
PRETRAINED ?= openai
PRECISION ?= auto
MINUTES ?= 100

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-24s %s\n", $$1, $$2}'

setup: $(READY) ## the environment for everything but making models: no torch

$(READY): $(RUNTIME) tools/requirements.txt examples/requirements.txt tests/requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is needed; or name another: make PYTHON=python3.13 …"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check --no-deps -r $(RUNTIME)
	$(VENV)/bin/pip install -q --disable-pip-version-check -r tools/requirements.txt -r examples/requirements.txt -r tests/requirements.txt
	@touch $@

setup-export: $(EXPORT_READY) ## the environment for making models, with torch

$(EXPORT_READY): lambdas/classifier/export/requirements.txt $(RUNTIME) tests/requirements.txt
	@echo "The export environment holds torch: on Linux 5.6 GB with CUDA libraries, which nothing here uses."
	@echo "For the smaller CPU build name PyTorch's CPU index: make $(MAKECMDGOALS) TORCH_INDEX=…"
	$(PYTHON) -m venv --clear $(EXPORT)
	$(if $(TORCH_INDEX),$(EXPORT)/bin/pip install -q --disable-pip-version-check --index-url $(TORCH_INDEX) $$(grep -E '^torch(vision)?==' $<))
	$(EXPORT)/bin/pip install -q --disable-pip-version-check -r lambdas/classifier/export/requirements.txt -r tests/requirements.txt
	$(EXPORT)/bin/pip install -q --disable-pip-version-check --no-deps -r $(RUNTIME)
	@touch $@

demo: $(READY) ## the main job on the embedded demo model; IMAGE=… LABELS="a dog,a cat" takes your own
	@$(VENV)/bin/python tools/demo.py $(if $(BUNDLE),--bundle "$(BUNDLE)") $(if $(IMAGE),--image "$(IMAGE)") $(if $(LABELS),--labels "$(LABELS)")

serve: $(READY) ## the API on this machine; PORT=8000 BUNDLE=models/…
	@$(VENV)/bin/python tools/serve.py $(if $(PORT),--port $(PORT)) $(if $(BUNDLE),--bundle "$(BUNDLE)")

model: $(EXPORT_READY) ## a bundle from an open_clip model: MODEL=… PRETRAINED=… [PRETRAINED_CFG=…] [PRECISION=auto|int8|fp32]
	$(EXPORT)/bin/python -m classifier.export --model "$(MODEL)" --pretrained "$(PRETRAINED)" --precision $(PRECISION) \
		$(if $(PRETRAINED_CFG),--pretrained-cfg '$(PRETRAINED_CFG)')

demo-model: $(EXPORT_READY) ## trains the demo model again from nothing: MINUTES=100
	$(EXPORT)/bin/python tools/train_demo_model.py all --minutes $(MINUTES)

demo-figures: $(EXPORT_READY) ## measures models/demo on new drawings and writes its table
	$(EXPORT)/bin/python tools/train_demo_model.py measure

golden: $(EXPORT_READY) ## writes tests/golden again, from open_clip and the demo model's checkpoint
	$(EXPORT)/bin/python tests/golden/make_golden.py

openapi: $(READY) ## writes the OpenAPI document and the README's table of fields again, from the models
	PYTHONPATH=lambdas:tools $(VENV)/bin/python tools/openapi.py

test: $(READY) ## all tests that need no torch
	$(VENV)/bin/python -m pytest --ignore tests/export

classifier-lambda-test: test ## the same

test-export: $(EXPORT_READY) ## exports and verifies true architectures with random weights; needs torch
	$(EXPORT)/bin/python -m pytest tests/export

check: $(READY) ## lint, format and types; changes nothing
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy lambdas tools examples tests

format: $(READY) ## formats in place
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

examples-setup: $(READY) ## what the examples need

.PHONY: help setup setup-export demo serve model demo-model demo-figures golden openapi test classifier-lambda-test test-export check format examples-setup
