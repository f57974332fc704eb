"""The cases compute what their rows say."""

import importlib.util
import runpy

import pytest
import tensorflow as tf

import vision
from benchmarks import dense_baseline, image_models, imports, models, peak, text_models
from benchmarks.dense_baseline import shared_vit
from benchmarks.image_models import zoo
from benchmarks.layer_cases import shared_moe
from benchmarks.profile import profile
from tests.profiled import profiled_flops
from vision.models import forward_flops

SMALL = dict(depth=3, width=32, heads=2, ffn_dim=64, image_size=32, patch_size=8, classes=7)


def test_dense_baseline_has_the_products_of_our_dense_model():
    """All kinds that the profiler knows; attention's own products, which Keras writes as Einsum, by hand."""
    baseline = shared_vit(**SMALL)
    ours = vision.create_model("widenet_ti16", moe_blocks=0, **SMALL)
    tokens, width, depth = 16, SMALL["width"], SMALL["depth"]
    attention = depth * (4 * 2 * tokens * width * width + 2 * 2 * tokens * tokens * width)
    found = profiled_flops(baseline)
    assert "Einsum" not in found  # or the sum below would count attention twice
    assert found["MatMul"] + found["Conv2D"] + attention == forward_flops(ours)


def test_dense_model_is_as_wide_as_two_experts():
    wide = vision.create_model("widenet_ti16", depth=2, width=32, heads=2, expert_dim=48, image_size=32)
    dense = vision.create_model("widenet_ti16", depth=2, width=32, heads=2, ffn_dim=96, moe_blocks=0, image_size=32)
    router = 2 * (2 * 4 * 32 * 4)
    assert forward_flops(wide) - router == forward_flops(dense)


def test_dense_baseline_shares_its_weights():
    """Three blocks have the weights of one and three pairs of norms."""
    one, three = shared_vit(**{**SMALL, "depth": 1}), shared_vit(**SMALL)
    assert three.count_params() - one.count_params() == 2 * 2 * 2 * SMALL["width"]


@pytest.mark.further
def test_dense_baseline_trains(monkeypatch):
    """With the LAMB that there is, of TensorFlow Addons or not."""
    monkeypatch.setattr(dense_baseline, "shared_vit", lambda: shared_vit(**{**SMALL, "depth": 1}))
    step, facts = image_models.dense_baseline("float32", "train", 2)
    step()
    assert facts["kept"] == 1 and facts["parameters"] > 0


def test_packages_are_not_the_project_s_files():
    """Of no environment in the checkout, whatever it is called."""
    here = imports.ROOT / "vision" / "zoo.py"
    found = imports.own_files([here, imports.ROOT / ".venv-3.13/lib/python3.13/site-packages/absl/app.py", "/usr/lib/os.py"])
    assert found == [here.relative_to(imports.ROOT)]


@pytest.mark.further
def test_a_train_step_changes_the_weights_and_counts_the_kept():
    step, facts = zoo("widenet_ti16", "float32", "train", 2, **{**SMALL, "depth": 1, "expert_dim": 48}, capacity_factor=0.5)
    step()
    assert 0 < facts["kept"] <= 0.5
    assert facts["flops"] > 0


def run(case):
    """The facts of a Case after a step, in this process."""
    step, facts = runpy.run_path(str(imports.ROOT / case.file))[case.function](**case.settings)
    step()
    return facts


TEXTS = dict(text_models.MINILM, depth=2, width=12, heads=3, ffn_dim=20, embedding_dim=12, vocab_size=50)


def text_facts():
    """Parameters, and FLOPs of a forward pass of two texts of five tokens, by hand."""
    norm, ffn, dense = 2 * 12, 2 * 12 * 20 + 20 + 12, 12 * 12 + 12
    parameters = (50 + 512 + 2) * 12 + norm + 2 * (4 * dense + ffn + 2 * norm) + dense + 2 * 12 + 2
    products = 2 * (5 * (4 * 12**2 + 2 * 12 * 20) + 2 * 5**2 * 12) + 12**2 + 2 * 12
    return parameters, 2 * 2 * products


def test_text_model_by_hand():
    facts = run(models.text_cases("forward", 2, 5, False, TEXTS)[0])
    assert (facts["parameters"], facts["flops"]) == text_facts()


@pytest.mark.further
def test_text_models_of_all_libraries_are_the_same(monkeypatch):
    """A training step of ours and of each library that is here: as many parameters and as many FLOPs."""
    monkeypatch.setattr(models, "available", lambda rows: rows)
    needed = {"benchmarks/peers/huggingface.py": "torch", models.TENSORFLOW_PEER: "transformers"}
    parameters, flops = text_facts()
    for case in models.text_cases("train", 2, 5, False, TEXTS):
        if importlib.util.find_spec(needed.get(case.file, "tensorflow")):
            facts = run(case)
            assert facts["parameters"] == parameters, case.name
            assert facts.get("flops", 3 * flops) == 3 * flops, case.name


def test_layer_in_all_ways():
    shape = dict(batch=2, length=5, width=8, experts=4, hidden=16, top_k=2)
    for settings in (dict(), dict(compiled=False), dict(jit_compile=True)):
        step, facts = shared_moe("float32", "train", **shape, **settings)
        step()
        assert facts["flops"] == 3 * 2 * 2 * 10 * 2 * 8 * 16


def test_peak_does_what_it_counts(monkeypatch):
    monkeypatch.setattr(peak, "SHAPES", ((64, 32, 48), (128, 96, 64)))
    step, facts = peak.products("float32", seconds=0.05)
    step()
    m, k, n = map(int, facts["product"].split("x"))
    assert facts["flops"] % (2 * m * k * n) == 0


def test_profile_counts_operations_and_compiled_functions():
    """Three products in a step, one Exp, and one function that XLA compiles; frames around them do not count."""
    x = tf.random.stateless_normal([64, 64], [0, 0])
    double = tf.function(lambda x: 2 * x, jit_compile=True)

    @tf.function
    def step(x):
        return double(tf.exp(x @ (x @ (x @ x))))

    step(x)
    for _ in range(10):  # on a busy machine TensorFlow's tracer misses the frame of a compiled function now and then
        totals, seconds = profile(lambda: step(x).numpy())
        if totals["compiled by XLA"][1]:
            break
    assert sum(calls for kind, (_, calls) in totals.items() if "MatMul" in kind) == 3
    assert totals["Exp"][1] == totals["compiled by XLA"][1] == 1
    assert sum(own for own, _ in totals.values()) > 0
    assert set(totals) & {"step", "Process", "Run"} == set()
    assert seconds > 0
