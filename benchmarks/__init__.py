"""Measurements that anyone can rerun: python -m benchmarks.NAME. docs/performance.md has the results.

Step times: step (a whole model), layer and models (against other libraries, in peers/), ablation (of the optimizations), scaling
  (with the number of tokens), variant_steps (of a recipe), latency (in runtimes), input_pipeline, pretraining_input, tokenizer,
  profile (by operation), keras_versions (Keras 2 and 3).
Training results: accuracy (bfloat16 and float32), variants (of a recipe), pretrained (and from scratch).
Code and docs: imports (files that a run reads), report (writes the tables of the docs).
Shared: harness measures Cases in turns, each in a process of worker; command has the common arguments; dense_baseline,
  image_models, text_models, layer_cases, ablation_cases, runtime_cases and peak are what is measured.
"""
