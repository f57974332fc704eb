"""What the compiler for TPUs says of a step, read from programs made by hand; and, where it is installed, of tiny models."""

import json
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import tpu
from benchmarks.harness import ROOT
from benchmarks.peers import tpu_compiler
from benchmarks.peers.environments import TPU
from benchmarks.train_hlo import compiled_model, write

# As the compiler writes it: a product with something elementwise behind it, a reduction, a loop of three rounds around a scatter
# and another loop, whose number of rounds nobody knows, around a copy.
PROGRAM = """\
HloModule jit_step, is_scheduled=true, entry_computation_layout={(f32[8,4]{1,0:T(8,128)}, s32[])->(f32[8]{0})}

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[]{:T(128)} parameter(0)
  %b = f32[]{:T(128)} parameter(1)
  ROOT %sum = f32[]{:T(128)} add(%a, %b)
}

%fused_computation (p: f32[8,4]) -> f32[8,8] {
  %p = f32[8,4]{1,0:T(8,128)} parameter(0)
  %product = f32[8,8]{1,0:T(8,128)} convolution(%p, %p), dim_labels=bf_oi->bf
  ROOT %tanh = f32[8,8]{1,0:T(8,128)} tanh(%product)
}

%fused_inner (p: f32[8,8]) -> f32[8] {
  %p = f32[8,8]{1,0:T(8,128)} parameter(0)
  %zero = f32[]{:T(128)} constant(0)
  ROOT %reduce.1 = f32[8]{0:T(128)} reduce(%p, %zero), dimensions={1}, to_apply=%add
}

%fused_outer (p: f32[8,8]) -> f32[8] {
  %p = f32[8,8]{1,0:T(8,128)} parameter(0)
  %inner = f32[8]{0:T(128)} fusion(%p), kind=kLoop, calls=%fused_inner
  ROOT %exp = f32[8]{0:T(128)} exponential(%inner)
}

%body (t: (s32[], f32[8])) -> (s32[], f32[8]) {
  %t = (s32[]{:T(128)}, f32[8]{0:T(128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%t), index=0
  %x = f32[8]{0:T(128)} get-tuple-element(%t), index=1
  %scatter.1 = f32[8]{0:T(128)} scatter(%x, %i, %x), to_apply=%add, backend_config={"estimated_cycles":"70"}
  ROOT %next = (s32[]{:T(128)}, f32[8]{0:T(128)}) tuple(%i, %scatter.1)
}

%condition (t: (s32[], f32[8])) -> pred[] {
  %t = (s32[]{:T(128)}, f32[8]{0:T(128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%t), index=0
  ROOT %less = pred[]{:T(512)} compare(%i, %i), direction=LT, backend_config={"estimated_cycles":"1"}
}

%other_body (x: f32[8]) -> f32[8] {
  %x = f32[8]{0:T(128)} parameter(0)
  ROOT %copy = f32[8]{0:T(128)} copy(%x), backend_config={"estimated_cycles":"5"}
}

ENTRY %main (x: f32[8,4], i: s32[]) -> f32[8] {
  %x = f32[8,4]{1,0:T(8,128)} parameter(0)
  %i = s32[]{:T(128)} parameter(1)
  %fusion = f32[8,8]{1,0:T(8,128)S(1)} fusion(%x), kind=kOutput, calls=%fused_computation, \
backend_config={"estimated_cycles":"1000"}
  %fusion.1 = f32[8]{0:T(128)} fusion(%fusion), kind=kLoop, calls=%fused_outer, backend_config={"estimated_cycles":"300"}
  %start = (s32[]{:T(128)}, f32[8]{0:T(128)}) tuple(%i, %fusion.1)
  %while = (s32[]{:T(128)}, f32[8]{0:T(128)}) while(%start), condition=%condition, body=%body, \
backend_config={"known_trip_count":{"n":"3"},"estimated_cycles":"999999"}
  %y = f32[8]{0:T(128)} get-tuple-element(%while), index=1
  %z = f32[8]{0:T(128)} while(%y), condition=%condition, body=%other_body
  %bits = u32[8]{0:T(128)} xor(%z, %z), metadata={op_name="model/dropout/stateless_random_uniform"}, \
backend_config={"estimated_cycles":"40"}
  ROOT %power = f32[8]{0:T(128)} power(%z, %bits), backend_config={"estimated_cycles":"20"}
}
"""


def test_cycles_of_a_program_by_hand():
    """A fusion is what it holds, however deep; a loop counts as often as it runs, and once where that is not known.

    Arithmetic with bits is a draw where TensorFlow's name of the operation says so.
    """
    computations = tpu_compiler.parse(PROGRAM)
    found = {kind: cycles for kind, cycles in tpu_compiler.cycles_by_kind(computations).items() if cycles}
    assert found == {
        "products": 1000,
        "reductions": 300,
        "scatters": 3 * 70,
        "random draws": 40,
        "copies": 5,
        "elementwise": 20 + 3 * 1 + 1,
    }
    found = {opcode: count for opcode, count in tpu_compiler.counts(computations).items() if count}
    assert found == {"convolution": 1, "reduce": 1, "scatter": 1, "while": 2}


def row(batch, limit=1000, fixed=100, per_example=10, **more):
    """A compiled step that takes fixed + per_example * batch bytes, or the refusal of one above the limit."""
    common = dict(model="widenet_b16", settings={}, chip="v3", batch=batch, parameters=5, limit=limit)
    if fixed + per_example * batch > limit:
        return dict(common, error="XLA:TPU compile permanent error. Ran out of memory in memory space hbm.", **more)
    memory = dict(arguments=60, outputs=50, replaced=40, temporaries=per_example * batch, code=fixed - 70)
    return dict(common, memory=memory, **more)


def test_memory_counts_what_is_replaced_once():
    assert tpu.used(row(7)) == 100 + 70


def test_largest_batch_by_hand():
    """1000 bytes hold 90 examples of 10 beside 100. One step alone lets all but its arguments grow with the batch."""
    assert tpu.estimated_largest([row(10), row(20)]) == 90
    assert tpu.estimated_largest([row(20)]) == 20 + int((1000 - 300) / ((300 - 60) / 20))
    assert tpu.estimated_largest([row(20), row(100)]) == tpu.estimated_largest([row(20)])  # a refused one says nothing
    assert tpu.estimated_largest([row(200)]) == 0


@pytest.mark.parametrize("start", [1, 8, 64, 128])
@pytest.mark.parametrize("saved", [0, 300])
def test_search_for_the_largest_batch(start, saved):
    """Also where the compiler saves memory as it gets short, so that the estimates are too low; every batch is tried once."""
    asked = []

    def compiled(batch):
        asked.append(batch)
        return row(batch) if 100 + 10 * batch <= 600 else row(batch, limit=1000 + saved)

    found, is_sure = tpu.find_largest(compiled, start, tries=6)
    assert (found, is_sure) == ((1000 + saved - 100) // 10 // start * start, True)
    assert len(set(asked)) == len(asked) <= 5
    if start == 1:
        assert tpu.find_largest(compiled, start, tries=2) == (18, False)


@pytest.mark.parametrize(("largest", "cores"), [(16, 256), (17, 256), (31, 256), (32, 128), (5000, 1), (1, 4096), (0, None)])
def test_cores_of_the_paper_s_batch(largest, cores):
    """4096 examples, equally many on each core: 17 do not divide them."""
    assert tpu.cores_needed(largest) == cores


def test_recipes_by_hand():
    """Chips of v3 have two cores. A changed model does not count as a recipe, nor another error as too little memory."""
    rows = [row(10), row(20), row(16, model="vit_b16"), row(17, model="vit_b16", limit=0), row(4, settings={"depth": 1})]
    rows += [row(8, chip="v4", error="op not supported")]
    assert tpu.recipes(rows) == [
        dict(model="widenet_b16", chip="v3", largest=90, is_tried=False, cores=64, chips=32),
        dict(model="vit_b16", chip="v3", largest=16, is_tried=True, cores=256, chips=128),
        dict(model="widenet_b16", chip="v4", largest=0, is_tried=False, cores=None, chips=None),
    ]


def test_results_are_kept_and_not_computed_again(monkeypatch, tmp_path, capsys):
    """The command of both chips after one of them; a step that was refused is a result like any other."""
    asked = []

    def compile_step(model, chip, batch, settings, folder):
        asked.append((model, chip, batch))
        costs = dict(flops=1e9, bytes=1e6, cycles={"products": 3, "sorts": 1}, counts={"sort": 1}, chip=chip)
        return {**row(batch, limit=100 * (1 + (chip == "v4")), fixed=50, per_example=10), **costs}

    monkeypatch.setattr(tpu, "compile_step", compile_step)
    monkeypatch.setattr(tpu, "TPU", TPU._replace(name="none"))
    arguments = ["tpu", "--model=widenet_b16", "--batch=10", f"--json={tmp_path / 'tpu.json'}"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit, match=r"sh benchmarks/peers/setup\.sh"):
        tpu.main()
    monkeypatch.setattr(type(TPU), "python", ROOT / "benchmarks/tpu.py")  # any file that there is
    tpu.main()
    assert "batch 10: refused, XLA:TPU compile permanent error" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", [*arguments, "--chip=v3", "--chip=v4"])
    tpu.main()
    assert asked == [("widenet_b16", "v3", 10), ("widenet_b16", "v4", 10)]
    assert "products 75.0%, sorts 25.0%" in capsys.readouterr().out
    found = json.loads((tmp_path / "tpu.json").read_text())
    assert [step["chip"] for step in found["tpu_steps"]] == ["v3", "v4"]
    assert found["recipes"][1]["largest"] == 15


def random_inputs(specs, words=100):
    """Arrays of such shapes: floats in [0, 1), and integers from 0 to below `words` or, for masks, 1."""
    random = np.random.default_rng(0)

    def array(path, spec):
        if spec.dtype.is_floating:
            return random.random(spec.shape).astype(spec.dtype.as_numpy_dtype)
        highest = 2 if path in ("input_type_ids", "next_sentence") else words
        return np.ones(spec.shape, np.int32) if path == "input_mask" else random.integers(0, highest, spec.shape, np.int32)

    def arrays(spec, path=""):
        return {key: arrays(part, key) for key, part in spec.items()} if isinstance(spec, dict) else array(path, spec)

    return tuple(arrays(spec) for spec in specs)


TINY = dict(depth=2, width=32, heads=2, expert_dim=64, num_experts=4)
IMAGES = dict(name="widenet_ti16", image_size=32, classes=10, **TINY)
TEXTS = dict(name="widenet_tiny_e4", embedding_dim=16, max_length=32, vocab_size=100, **TINY)
needs_compiler = pytest.mark.skipif(not TPU.python.exists(), reason=f"needs sh benchmarks/peers/setup.sh {TPU.name}")


@needs_compiler
@pytest.mark.process
@pytest.mark.parametrize("model", [IMAGES, pytest.param(TEXTS, marks=pytest.mark.further)], ids=["images", "texts"])
def test_compiler_takes_a_tiny_step(model, tmp_path):
    """Weights and moments are replaced, and what the tables show is known.

    Of the scatters one a block is left, that of the dispatch plan: the gradients of routers have none. Nothing sorts.
    """
    settings = {key: value for key, value in model.items() if key != "name"}
    found = tpu.compile_step(model["name"], "v3", 4, settings, tmp_path)
    assert "error" not in found
    memory = found["memory"]
    assert 3 * 4 * found["parameters"] < memory["replaced"] < memory["arguments"] < found["limit"]
    assert tpu.used(found) < found["limit"]
    assert found["flops"] > 0 and found["bytes"] > 0 and found["cycles"]["products"] > 0
    if model is IMAGES:  # the gradients of texts' embeddings are scatters, too
        assert found["counts"]["scatter"] == TINY["depth"]
        assert found["counts"]["sort"] == 0


@needs_compiler
@pytest.mark.process
def test_another_runtime_computes_the_same_step(tmp_path):
    """The program, run by jaxlib on a CPU, gives the logs and the weights, moments and counts of TensorFlow's own step.

    In float32, within 5e-5 of the largest number of each tensor (6e-6 was seen): sums are in another order, and LAMB divides the
    difference by the size of the gradient. In the middle of the warm-up, since the first step has a learning rate of 0. A bias of
    the keys shifts all scores of a query alike, so its gradient is rounding alone.
    """
    model, specs = compiled_model(batch=4, precision="float32", **IMAGES)
    model.optimizer.iterations.assign(5000)
    before = model.get_weights()
    step = write(tmp_path / "step.hlo", model, specs)
    inputs = random_inputs(specs)
    arguments = [*tf.nest.flatten(inputs), *(variable.numpy() for variable in step.variables)]
    np.savez(tmp_path / "inputs.npz", **{str(i): array for i, array in enumerate(arguments)})
    files = [tmp_path / name for name in ("step.hlo", "inputs.npz", "outputs.npz")]
    subprocess.run([TPU.python, "-I", ROOT / TPU.file, "run", *files], check=True, capture_output=True)
    logs = tf.nest.flatten(step.function(*tf.nest.flatten(inputs)))
    assert any(np.any(new != old) for new, old in zip(model.get_weights(), before, strict=True))
    changed = [step.variables[argument - len(tf.nest.flatten(specs))] for _, argument in step.replaced]
    assert {weight.ref() for weight in model.trainable_weights} <= {variable.ref() for variable in changed}
    with np.load(files[-1]) as outputs:
        assert len(outputs.files) == len(logs) + len(changed)
        names = ["log"] * len(logs) + [variable.name for variable in changed]
        for number, (name, expected) in enumerate(zip(names, [*logs, *changed], strict=True)):
            expected, found = np.asarray(expected), outputs[str(number)]
            if "key/bias" not in name:
                assert expected.shape == found.shape, name
                np.testing.assert_allclose(found, expected, rtol=0, atol=5e-5 * np.max(np.abs(expected)), err_msg=name)
