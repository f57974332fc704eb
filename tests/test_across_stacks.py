"""What one stack writes, the other loads and resumes: runs, exports, published models, Keras's files, weights (docs/stacks.md).

Needs a Python of the other stack, of which OTHER_STACK is the path, and works from either.
"""

import concurrent.futures
import json
import os
import sys

import pytest

from tests.official.tiny import ROOT, run_command

OTHER = os.environ.get("OTHER_STACK")
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        not OTHER, reason="no other stack: OTHER_STACK=.venv-modern/bin/python make test-all ARGS=tests/test_across_stacks.py"
    ),
]
# The largest difference of any number. Answers: float32 sums in another order. What follows steps: LAMB and Adam divide by the
# gradient's size, so rounding makes steps where the gradient should be zero, as that of the attention's key bias.
OF_ANSWERS, AFTER_STEPS = 1e-5, 1e-4
RUN_FORMS = ("run", "export", "handle", "load_model of a run", "load_model of a handle", "load_model of an export")
FORMS = ("keras", "weights.weights.h5", "weights.h5", "weights", "weights.npz")
ITEMS = [
    *(f"{name}: {form}" for name in ("images", "texts") for form in RUN_FORMS),
    *(f"{name}: {form}" for name in ("image", "text") for form in FORMS),
    *("image: h5", "image: tf"),
    *(f"{name}: keras and steps" for name in ("image_lamb", "around_image_adam", "text_adamw")),
]


def report_of(python, command, folder):
    done = run_command(
        [python, "-m", "tests.across_stacks", command, str(folder)],
        timeout=1800,
        WIDENET_HUB=str(folder / "repository"),
        TFHUB_CACHE_DIR=str(folder / "cache"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """{which stack reads: its report on what the other one wrote}."""
    pythons = sys.executable, str(ROOT / OTHER)
    folders = [tmp_path_factory.mktemp("written") for _ in pythons]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        written = [*pool.map(report_of, pythons, ("write", "write"), folders)]
        read = [*pool.map(report_of, pythons, ("read", "read"), folders[::-1])]
    versions = [report["tensorflow"] for report in written]
    assert versions[0] != versions[1], (
        f"OTHER_STACK={OTHER} must be a Python of the other stack: both have TensorFlow {versions[0]}"
    )
    return dict(zip(("this", "the other"), read, strict=True))


@pytest.mark.parametrize("item", ITEMS)
@pytest.mark.parametrize("reader", ["this", "the other"])
def test_goes_on(reports, reader, item):
    found = reports[reader][item]
    assert not isinstance(found, str), found
    *answers, last = found if isinstance(found, list) else [found]
    assert all(difference <= OF_ANSWERS for difference in answers)
    assert last <= (AFTER_STEPS if item.endswith((": run", "steps")) else OF_ANSWERS)


@pytest.mark.parametrize("reader", ["this", "the other"])
def test_everything_is_listed(reports, reader):
    assert set(reports[reader]) == {*ITEMS, "tensorflow", "second_keras"}


@pytest.mark.parametrize("reader", ["this", "the other"])
def test_loads_with_one_keras(reports, reader):
    """A file that names tf_keras does not make the reference stack import it as a second Keras."""
    assert not reports[reader]["second_keras"]
