# `make demo` does the main job from nothing, `make test` checks everything. `make help` lists the rest.

# bpy 4.5 exists for Python 3.11 only, so another Python 3 won't do.
IS_3_11 := -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1
PYTHON ?= $(shell for p in python3.11 python3; do "$$p" $(IS_3_11) && { echo "$$p"; break; }; done)
# The build for the CPU or for CUDA is pip's choice (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS).
TORCH ?= torch==2.13.0
TORCHVISION ?= torchvision==0.29.2
TIMM ?= timm==1.0.31

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
BLENDER_EXT = $$($(BIN)/python -c 'import importlib.util as u, pathlib as p; \
	print(next(p.Path(u.find_spec("bpy").origin).parent.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py")))')

# The shared libraries that bpy links to and that a bare Linux lacks, and Debian's packages with them.
X_PACKAGES := libx11-6 libxext6 libxrender1 libxfixes3 libxi6 libxxf86vm1 libxkbcommon0 libsm6 libice6 libgl1 libegl1
X_MISSING = ldd $$($(BIN)/python -c 'import importlib.util as u; print(u.find_spec("bpy").origin)') | grep "not found"

# Where the built extension goes, and the repository with it.
DIST := dist

.PHONY: help setup demo test zip repository clean
.DELETE_ON_ERROR:

help:
	@echo "make setup   makes .venv with everything in it (again only when pyproject.toml or constraints.txt change)"
	@echo "make demo    makes a capture, trains a field, segments an object, writes it to demo-out/"
	@echo "make test    runs ruff, mypy and pytest"
	@echo "make zip     builds the Blender extension in dist/ and validates it"
	@echo "make repository   puts it into dist/repository: static files that Blender installs and updates it from"
	@echo "make clean   removes demo-out, dist, build and the tools' caches; keeps .venv"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" $(IS_3_11); then \
		echo "Python 3.11 is needed (bpy 4.5 has no other): install python3.11 and python3.11-venv, or run" \
			"'make setup PYTHON=/path/to/python3.11'."; exit 1; fi
	@if [ ! -x $(BIN)/python ] && ! "$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null; then \
		echo "$(PYTHON) lacks the venv module: install it (on Debian and Ubuntu: apt-get install python3.11-venv)."; \
		exit 1; fi
	@if [ -x $(BIN)/python ] && ! $(BIN)/python $(IS_3_11); then \
		echo "$(VENV) was made by another Python than 3.11: remove it and run 'make setup' again."; exit 1; fi
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then "$(PYTHON)" -m venv $(VENV); fi
# torch first and by itself: the build that pip picks here is then kept by everything below.
	$(BIN)/python -m pip install -q "$(TORCH)"
	$(BIN)/python -m pip install -q -e ".[blender,test]" -c constraints.txt
# segment_anything imports torchvision to resize pictures. There isn't a compiled build of it for every torch,
# so it comes without its dependencies, and engine/segmenters/torchvision_ops.py makes it import.
	$(BIN)/python -m pip install -q --no-deps "$(TORCHVISION)"
# timm has MobileSAM's encoder; it would pull a torchvision, and with it another torch.
	$(BIN)/python -m pip install -q --no-deps "$(TIMM)"
	@if command -v ldd >/dev/null && $(X_MISSING) >/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "bpy lacks shared libraries; installing $(X_PACKAGES)"; \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
				apt-get install -qq -y --no-install-recommends $(X_PACKAGES); \
		fi; \
		if $(X_MISSING); then echo "bpy lacks these libraries. On Debian and Ubuntu run:" \
			"sudo apt-get install -y $(X_PACKAGES)"; exit 1; fi; \
	fi
	@touch $@
	@echo "Ready. 'make demo' shows the whole way in a few minutes; '$(BIN)/sa3d doctor' says what there is."

demo: setup
	$(BIN)/sa3d demo --out demo-out

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q

# Blender's own packer comes inside the bpy package; no Blender binary is needed.
zip: setup
	@mkdir -p "$(DIST)"
	@rm -f "$(DIST)"/*.zip
	@$(BIN)/python "$(BLENDER_EXT)" build --source-dir . --output-dir "$(DIST)"
	@for archive in "$(DIST)"/*.zip; do $(BIN)/python "$(BLENDER_EXT)" validate "$$archive" || exit 1; done

# Static files only: any web server can hold the folder, and Blender installs from a folder on disk as well.
# Made aside and then moved, so that the folder is whole or as it was.
repository: zip
	@rm -rf "$(DIST)/repository.new"
	@mkdir "$(DIST)/repository.new"
	@cp "$(DIST)"/*.zip "$(DIST)/repository.new"
	@$(BIN)/python "$(BLENDER_EXT)" server-generate --html --repo-dir "$(DIST)/repository.new"
	@rm -rf "$(DIST)/repository"
	@mv "$(DIST)/repository.new" "$(DIST)/repository"
	@$(BIN)/python -c 'import pathlib, sys; print("Blender takes it from", pathlib.Path(sys.argv[1]).resolve().as_uri())' \
		"$(DIST)/repository/index.json"

clean:
	rm -rf demo-out dist build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find engine sa3d_blender tests -name __pycache__ -type d -prune -exec rm -rf {} +
