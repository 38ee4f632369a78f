# `make` alone lists the targets.  Nothing but `make e2e` needs root, and everything but Python and make is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/installed
RESOLVE := .venv/uv/bin/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-header \
    --no-annotate
LOCK := $(RESOLVE) pyproject.toml
FRAMEWORKS := runtime sklearn xgboost lightgbm catboost onnxscript torch tensorflow jax huggingface
PROTOCOL := operator/tidegate/protocol
export PYTHONDONTWRITEBYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: help demo test e2e images test-unit fuzz control-plane coverage lint backend-cases frameworks format crds docs protos argocd dashboard-pictures canary-picture lock bench-runtime bench-fetch bench-decisions bench-plan bench-operator bench-gpu bench-traces peers-lock bench-peers bench-overload bench-soak bench-cores bench-dashboard bench-traffic bench-optimize clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

$(READY): pyproject.toml locks/dev.txt .ci/bootstrap.py hatch_build.py \
    runtime_image/tidegate_runtime/_json_numbers.c runtime_image/tidegate_runtime/_json_numbers.h
	@$(PYTHON) .ci/bootstrap.py

demo: $(READY)  ## a real model published, proved, served and rolled out on this machine (build/demo/report.html)
	@$(BIN)/python -m examples.demo

test: $(READY)  ## every test that needs no root
	$(BIN)/python -m pytest tests --ignore tests/e2e

e2e: $(READY)  ## the images, and with them the chart on a real node of the tests' own (root; installs nothing; ARGS="-k drain")
	@$(BIN)/python -m tests.e2e $(ARGS)

backend-cases: $(READY)  ## every one of ONNX's test cases packed and served for real, six minutes (docs/backend-cases.md)
	@$(BIN)/python -m tests.runtime.every_backend_case $(ARGS)

frameworks: $(READY)  ## every framework's models packed and compared, each in an environment of its own (ARGS="--only onnx", "--quick")
	@$(BIN)/python -m tests.frameworks --write $(ARGS)

images: $(READY)  ## the images cpu and operator without Docker, from Debian's packages (build/images; docs/images.md)
	@$(BIN)/python -m image_build cpu operator

test-unit: $(READY)  ## the quick tests: pure code
	$(BIN)/python -m pytest tests/unit -m "not slow"

fuzz: $(READY)  ## the server and its parsers under damaged requests, FUZZ_SECONDS long (an hour; `make test`: a minute)
	FUZZ_SECONDS=$${FUZZ_SECONDS:-3600} $(BIN)/python -m pytest tests/runtime/test_fuzz_*.py --timeout 0

control-plane: $(READY)  ## build the Kubernetes programs of the tests (minutes, once per machine; `make test` does it too)
	$(BIN)/python -m tests.control_plane.programs

bench-traffic: $(READY)  ## canaries through a real gateway: 20,000 requests at each step (build/bench/traffic.json; ARGS="--requests 100 --rounds 50")
	@mkdir -p build/bench && rm -rf build/traffic && mkdir -p build/traffic
	@$(BIN)/python -m tests.gateway.world
	@TMPDIR=$(CURDIR)/build/traffic unshare --user --map-root-user --net -- \
	    $(BIN)/python -m tests.gateway.story --requests 20000 $(ARGS) > build/bench/traffic.json
	@cat build/bench/traffic.json

coverage: $(READY)  ## every branch of every decision is tested
	$(BIN)/python -m pytest tests/unit/plan -q --cov=tidegate.plan --cov-branch --cov-report=term-missing:skip-covered \
	    --cov-fail-under=100

lint: $(READY)  ## ruff, mypy --strict, import-linter, generated files up to date
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	@$(MAKE) --no-print-directory crds docs protos argocd
	@git diff --exit-code -- crds charts docs $(PROTOCOL) || { echo "error: generated files differ: commit what make crds docs protos argocd wrote"; exit 1; }

format: $(READY)  ## format the code and mend what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

crds: $(READY)  ## write crds/, and the chart's, from the types in operator/tidegate/api
	@$(BIN)/tidegate crd | tee charts/tidegate/files/crd.yaml > crds/serving.tidegate.io_modeldeployments.yaml

docs: $(READY)  ## write docs/manifest.md from the types, and the table of docs/install.md from the chart's values
	@$(BIN)/python -m tidegate.api.reference > docs/manifest.md
	@$(BIN)/python .ci/chart_values.py

protos: $(READY)  ## write the messages of the gRPC protocol from its .proto
	@$(BIN)/python -m grpc_tools.protoc -I $(PROTOCOL) --python_out=$(PROTOCOL) --pyi_out=$(PROTOCOL) open_inference.proto
	@sed -i.was 's/^DESCRIPTOR = _descriptor_pool.Default()/DESCRIPTOR = _descriptor_pool.DescriptorPool()/' $(PROTOCOL)/open_inference_pb2.py && rm $(PROTOCOL)/open_inference_pb2.py.was

argocd: $(READY)  ## write the values for Argo CD from the Lua scripts in charts/tidegate/argocd
	@$(BIN)/python .ci/argocd.py

dashboard-pictures: $(READY)  ## take the pictures of docs/dashboard.md, after a change of the page
	@$(BIN)/python -m tests.browser.pictures

canary-picture: $(READY)  ## take the README's picture of a canary behind a real gateway, after a change of the page
	@$(BIN)/python -m tests.gateway.world
	@$(BIN)/python -m tests.gateway.picture

lock: $(READY)  ## resolve the dependencies of pyproject.toml again
	$(LOCK) --python-version 3.11 --extra dev --output-file locks/dev.txt
	$(LOCK) --python-version 3.13 --extra operator --output-file locks/operator.txt
	$(LOCK) --python-version 3.13 --extra runtime --output-file locks/runtime-cpu.txt
	echo 'ziglang>=0.14' | $(RESOLVE) - --python-version 3.13 --output-file locks/native.txt
	echo 'cyclonedx-python-lib>=11.12' | $(RESOLVE) - --python-version 3.13 --output-file locks/sbom.txt
	$(LOCK) --python-version 3.13 --extra runtime-cuda --output-file locks/runtime-cuda.txt
	@for one in $(FRAMEWORKS); do $(LOCK) --python-version 3.11 --extra $$one --output-file locks/frameworks/$$one.txt || exit 1; done

bench-runtime: $(READY)  ## the server beside raw ONNX Runtime, six minutes (build/bench/runtime.json; ARGS="--help")
	@$(BIN)/python -m benchmarks.runtime $(ARGS)

bench-peers: $(READY)  ## the same with KServe, MLServer, LitServe, BentoML and Triton in one run, twelve minutes
	@$(BIN)/python -m benchmarks.runtime --peers all $(ARGS)

bench-overload: $(READY)  ## ten times as many requests as the server can answer (build/bench/overload.json)
	@$(BIN)/python -m benchmarks.overload $(ARGS)

bench-soak: $(READY)  ## memory over two and a half million requests of all kinds, six minutes (build/bench/soak.json)
	@$(BIN)/python -m benchmarks.soak $(ARGS)

peers-lock: $(READY)  ## resolve the packages of the benchmarked peers again
	@for one in benchmarks/peers/locks/*.in; do $(RESOLVE) --python-version 3.11 --output-file $${one%.in}.txt $$one || exit 1; done

bench-traces: $(READY)  ## what tracing costs a request
	@$(BIN)/python -m benchmarks.traces

bench-cores: $(READY)  ## what a second core and a second process give, seven minutes (build/bench/cores.json)
	@$(BIN)/python -m benchmarks.cores

bench-fetch: $(READY)  ## the verified fetch beside s5cmd (build/bench/fetch.json)
	@$(BIN)/python -m benchmarks.fetch

bench-decisions: $(READY)  ## how often the rollout rule decides rightly (build/bench/decisions.json)
	@$(BIN)/python -m benchmarks.decisions

bench-gpu: $(READY)  ## the server on a GPU; ends with 2 where there is none (build/bench/gpu.json)
	@$(BIN)/python -m benchmarks.gpu $(ARGS)

bench-plan: $(READY)  ## what one decision costs
	@$(BIN)/python -m benchmarks.plan

bench-operator: $(READY)  ## the operator with 2,000 objects on a real API server, half an hour (build/bench/operator.json)
	@$(BIN)/python -m benchmarks.operator

bench-dashboard: $(READY)  ## 500 rollouts in a browser: how fast, how large (build/bench/dashboard.json)
	@$(BIN)/python -m benchmarks.dashboard $(ARGS)

bench-optimize: $(READY)  ## smaller models of digits: size, accuracy, latency (build/bench/optimize.json, docs/optimize.md; ARGS="--no-docs")
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.optimize $(ARGS)

clean:  ## remove what was built or installed here
	rm -rf .venv build
