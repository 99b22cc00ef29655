# `make demo`: set up and run the embedded study. `make visual`: the one of images, in the folder visual.
# `make twins`: the one of a model and its fine-tuned copy, in the folder twins.
# `make contestants`: one small study read in every way there is, in the folder contestants.
# `make synthetic`: the one of a model whose hidden states are sums of known directions, in the folder synthetic.
# `make steering`: the embedded model steered and a label erased from it, in the folder steering.
# `make report`: a study's report in one file, for a study of your own with ARGS="--configfile mystudy.yaml".
# `make test`: set up and run every test, in CORES processes. `make docs`: the documentation as a site, in the folder site.
PYTHON ?= python3
CORES ?= 2
REPORT ?= results/report.html
VENV := .venv
LOOK := Open in a browser:
# Pip compiles one file after another; COMPILE does so in all processes, without what is hardly ever imported.
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet --no-compile
COMPILE := $(VENV)/bin/python -m compileall -qq -j 0 -x '/transformers/models/|/tests?/|/testing/' $(VENV)/lib

.PHONY: demo visual twins contestants synthetic steering report test lint docs clean

demo: $(VENV)/demo.done
	$(VENV)/bin/snakemake --cores $(CORES)
	@echo $(LOOK) results/explorer.html

visual: $(VENV)/demo.done
	$(VENV)/bin/snakemake --cores $(CORES) --configfile config/visual.yaml --directory visual
	@echo $(LOOK) visual/results/explorer.html

twins: $(VENV)/demo.done
	$(VENV)/bin/snakemake --cores $(CORES) --configfile config/twins.yaml --directory twins
	@echo $(LOOK) twins/results/explorer.html

contestants: $(VENV)/demo.done
	$(VENV)/bin/snakemake --cores $(CORES) --configfile config/contestants.yaml --directory contestants
	@echo $(LOOK) contestants/results/explorer.html

synthetic: $(VENV)/demo.done synthetic/planted
	$(VENV)/bin/snakemake --cores $(CORES) --configfile config/synthetic.yaml --directory synthetic
	@echo $(LOOK) synthetic/results/explorer.html

synthetic/planted: | $(VENV)/demo.done
	PYTHONPATH=workflow/scripts $(VENV)/bin/python -m tessera.models.planting $@

steering: $(VENV)/demo.done
	$(VENV)/bin/snakemake --cores $(CORES) --configfile config/steering.yaml --directory steering
	@echo $(LOOK) steering/results/explorer.html

report: $(VENV)/demo.done
	$(VENV)/bin/snakemake --cores $(CORES) $(ARGS) --report $(REPORT) --report-after-run report

test: $(VENV)/dev.done
	HF_HUB_OFFLINE=1 $(VENV)/bin/python -m pytest tests --numprocesses $(CORES) --dist loadfile --no-loadscope-reorder

lint: $(VENV)/dev.done
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/snakefmt --check Snakefile workflow/Snakefile workflow/rules
	$(VENV)/bin/snakemake --lint

docs: $(VENV)/dev.done
	$(VENV)/bin/python -m sphinx --fail-on-warning --quiet -c docs . site

$(VENV)/demo.done: requirements.txt requirements-embedded.txt constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --constraint constraints.txt $$(grep '^torch==' requirements.txt)
	$(PIP) --constraint constraints.txt --requirement requirements.txt
	$(PIP) --no-deps --require-hashes --requirement requirements-embedded.txt
	$(COMPILE)
	touch $@

$(VENV)/dev.done: $(VENV)/demo.done requirements-dev.txt
	$(PIP) --constraint constraints.txt --requirement requirements-dev.txt
	$(COMPILE)
	touch $@

clean:
	rm -rf $(VENV) .snakemake docs/api site
