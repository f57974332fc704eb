"""The tables of the documents are those of the results that stand beside them."""

import json

import pytest

from benchmarks import report

ROW = dict(name="ours", note="", facts={"kept": 1.0}, median_seconds=0.5, ratio=1.0, ratio_interval=[1, 1], peak_bytes=2**20)
MACHINE = dict(cpu="a processor", cores=2, python="3.11", git_commit="0123456789")


def test_document_is_up_to_date():
    """`python -m benchmarks.report` would change nothing: nobody has edited a table, and every result has its table."""
    texts = [document.read_text() for document in report.DOCUMENTS]
    assert [report.rewritten(text) for text in texts] == texts
    text = "".join(texts)
    for file in report.RESULTS.glob("*.json"):
        assert f"<!-- {file.stem} -->" in text


def test_times_by_hand(tmp_path):
    other = dict(ROW, name="theirs", note="of less work", facts={"kept": 0.9}, median_seconds=1.0, ratio=2.0)
    found = dict(machine=MACHINE, title="x", rounds=3, rows=[ROW, other], exponent=0.912345)
    (tmp_path / "one.json").write_text(json.dumps(found))
    text = report.rewritten("before\n<!-- one -->\nold\n\nolder\n<!-- end -->\nafter\n", tmp_path)
    assert text.splitlines() == [
        "before",
        "<!-- one -->",
        "|  | median | ratio | 95 % | peak memory | kept |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| ours | 500 ms | 1.00 | 1.00-1.00 | 1 MiB | 100.0% |",
        "| theirs | 1000 ms | 2.00 | 1.00-1.00 | 1 MiB | 90.0% |",
        "",
        "- theirs: of less work",
        "",
        "3 rounds on 2 cores (a processor), commit 0123456. exponent: 0.9123.",
        "<!-- end -->",
        "after",
    ]
    assert report.rewritten(text, tmp_path) == text


def test_accuracies_by_hand(tmp_path):
    accuracies = {"float32": [0.9, 0.8], "mixed_bfloat16": [0.85, 0.85]}
    means = {"float32": 0.85, "mixed_bfloat16": 0.85}
    found = dict(machine=MACHINE, accuracies=accuracies, means=means, difference=0.0, spread=0.1, within_spread=True)
    (tmp_path / "two.json").write_text(json.dumps(found))
    lines = report.rewritten("<!-- two -->\n<!-- end -->\n", tmp_path).splitlines()
    assert lines[3] == "| float32 | 90.00% | 80.00% | 85.00% |"
    assert "differ by +0.00%, within the spread of the seeds, 10.00%" in lines[6]


def test_a_profile_by_hand(tmp_path):
    found = dict(machine=MACHINE, milliseconds=200.0, operations=[["MatMul", 150.0, 3], ["all others", 50.0, 9]])
    (tmp_path / "three.json").write_text(json.dumps(found))
    lines = report.rewritten("<!-- three -->\n<!-- end -->\n", tmp_path).splitlines()
    assert lines[3:5] == ["| MatMul | 150 ms | 75.0% | 3 |", "| all others | 50 ms | 25.0% | 9 |"]


def test_variants_by_hand(tmp_path):
    rows = [
        dict(variant="the recipe", parameters=1234, accuracies=[0.9, 0.8, 0.88], mean=0.86, spread=0.1, minutes=9.96),
        dict(variant="no_moe", parameters=6, accuracies=[0.8, 0.6, 0.82], mean=0.74, spread=0.22, minutes=2.0),
        dict(variant="vit", parameters=5, accuracies=[0.5], mean=0.5, spread=0.0, minutes=1.0),
    ]
    runs = [dict(git_commit=commit) for commit in ("1234567890", "abcdefghij", "1234567890")]
    (tmp_path / "four.json").write_text(json.dumps(dict(machine=MACHINE, runs=runs, variants=rows)))
    lines = report.rewritten("<!-- four -->\n<!-- end -->\n", tmp_path).splitlines()
    assert lines[1] == "|  | parameters | seed 0 | seed 1 | seed 2 | median | mean | spread | less the first | minutes |"
    # Differences of -0.1, -0.2 and -0.06: the mean -0.12, the sample standard deviation sqrt(0.0052).
    assert lines[3:6] == [
        "| the recipe | 1,234 | 90.00% | 80.00% | 88.00% | 88.00% | 86.00% | 10.00% |  | 10.0 |",
        "| no_moe | 6 | 80.00% | 60.00% | 82.00% | 80.00% | 74.00% | 22.00% | -12.00% ± 4.16% | 2.0 |",
        "| vit | 5 | 50.00% |  |  |  |  |  |  | 1.0 |",
    ]
    assert lines[7].endswith("commit 1234567, abcdefg.")


def test_latencies_by_hand(tmp_path):
    rows = [
        dict(ROW, name="Keras call"),
        dict(ROW, name="ONNX Runtime", median_seconds=0.25, ratio=0.5, ratio_interval=[0.4, 0.6]),
    ]
    found = dict(machine=MACHINE, length=128, latencies=[dict(model="widenet_ti16", batch=32, rounds=3, rows=rows)])
    (tmp_path / "five.json").write_text(json.dumps(found))
    assert report.rewritten("<!-- five -->\n<!-- end -->\n", tmp_path).splitlines()[1:6] == [
        "| model | batch | rounds | Keras call | ONNX Runtime |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| widenet_ti16 | 32 | 3 | 500.0 ms | 250.0 ms (0.50, 0.40-0.60) |",
        "",
        "2 cores (a processor), texts of 128 tokens, commit 0123456.",
    ]


def test_runtimes_by_hand(tmp_path):
    """The first row is what the others are compared with."""
    first = dict(title="SavedModel", bytes=3 * 2**20, milliseconds={"1": 2.0, "32": 9.96}, metrics=dict(top_1=0.5))
    other = dict(first, title="TFLite, int8", bytes=2**20, largest=0.0123, near_ties=1, flipped=0, metrics=dict(top_1=0.25))
    found = dict(models=[first, other], examples="the first 64 of the test split", split="test", rounds=20, cores=2)
    (tmp_path / "six.json").write_text(json.dumps(dict(found, git_commit="0123456789")))
    assert report.rewritten("<!-- six -->\n<!-- end -->\n", tmp_path).splitlines()[1:7] == [
        "|  | MiB | difference | near ties | batch 1 | batch 32 | top 1 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| SavedModel | 3.00 |  |  | 2.0 ms | 10.0 ms | 0.5000 |",
        "| TFLite, int8 | 1.00 | 1.2e-02 | 1 | 2.0 ms | 10.0 ms | 0.2500 |",
        "",
        "Compared: the first 64 of the test split; metrics of the test split; medians of 20 calls on 2 cores, commit 0123456.",
    ]


def test_steps_for_tpus_by_hand(tmp_path):
    """What is replaced counts once: 3 + 2 - 1 + 5 + 1 GiB. Kinds of operations and counts that no step has get no column."""
    gib = 2**30
    common = dict(settings={}, chip="v3", batch=16, parameters=1234, git_commit="0123456789", limit=15 * gib)
    memory = dict(arguments=3 * gib, outputs=2 * gib, replaced=gib, temporaries=5 * gib, code=gib)
    costs = dict(
        flops=2.5e11, bytes=3e9, cycles=dict(products=3e6, sorts=0, copies=1e6), counts=dict(scatter=0, sort=12, gather=0)
    )
    rows = [
        dict(common, model="widenet_b16", memory=memory, **costs),
        dict(common, model="vit_l16", settings=dict(depth=2), error="RESOURCE_EXHAUSTED: Ran out of memory on HBM"),
        dict(common, model="bert_base", error="UNIMPLEMENTED: no such operation"),
    ]
    recipes = [
        dict(model="widenet_b16", chip="v3", largest=33, is_tried=False, cores=128, chips=64),
        dict(model="bert_base", chip="v3", largest=0, is_tried=False, cores=None, chips=None),
    ]
    (tmp_path / "seven.json").write_text(json.dumps(dict(tpu_steps=rows, recipes=recipes)))
    lines = report.rewritten("<!-- seven -->\n<!-- end -->\n", tmp_path).splitlines()
    assert lines[1].endswith("| million cycles | products | copies | sorts |")
    assert lines[3:6] == [
        "| widenet_b16 | 1,234 | v3 | 16 | 10.00 GiB of 15.00 GiB | 3.00 GiB | 5.00 GiB | 250.0 | 3.0 | 4.00 | 75% | 25% | 12 |",
        "| vit_l16 (depth=2) | 1,234 | v3 | 16 | too large for 15.00 GiB |  |  |  |  |  |  |  |  |",
        "| bert_base | 1,234 | v3 | 16 | refused |  |  |  |  |  |  |  |  |",
    ]
    assert lines[9:11] == ["| widenet_b16 | v3 | 33 (estimate) | 128 | 64 |", "| bert_base | v3 | none |  |  |"]
    assert lines[12] == "Estimates of the compiler, nothing was run; commit 0123456."


def test_a_table_without_results_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.json"):
        report.rewritten("<!-- nothing -->\n<!-- end -->", tmp_path)


def test_a_paired_comparison_by_hand(tmp_path):
    paired = {"pretrained": [0.75, 0.7], "from scratch": [0.7, 0.6]}
    means = {"pretrained": 0.725, "from scratch": 0.65}
    found = dict(machine=MACHINE, paired=paired, means=means, majority=0.51, difference=0.075, standard_error=0.025)
    (tmp_path / "four.json").write_text(json.dumps(found))
    lines = report.rewritten("<!-- four -->\n<!-- end -->\n", tmp_path).splitlines()
    assert lines[3:6] == [
        "| pretrained | 75.00% | 70.00% | 72.50% |",
        "| from scratch | 70.00% | 60.00% | 65.00% |",
        "| always the most frequent class |  |  | 51.00% |",
    ]
    assert "differences is +7.50%, its standard error 2.50%" in lines[7]


def test_runs_by_hand(tmp_path):
    """A folder without evaluation.json is left out."""
    for name in ("b_run", "a_run", "no_run"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(json.dumps(dict(parameters=1234, step=5678, wall_seconds=90.0)))
    for name in ("a_run", "b_run"):
        evaluated = dict(split="test", metrics=dict(top_1=0.91234, loss=1.0), step=5678)
        (tmp_path / name / "evaluation.json").write_text(json.dumps(evaluated))
    lines = report.rewritten("<!-- runs -->\n<!-- end -->\n", tmp_path / "benchmarks").splitlines()
    assert lines[3] == "| a_run | 1,234 | 5,678 | 1.5 | test | top 1 0.9123, loss 1.0000 |"
    assert [line.split()[1] for line in lines[3:-1]] == ["a_run", "b_run"]
