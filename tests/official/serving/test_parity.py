"""Comparison of the outputs of two runtimes, with results worked out by hand."""

import numpy as np
import pytest

from official.serving.parity import ParityCheck

REFERENCE = {"logits": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.float32)}


def moved(example, by):
    other = REFERENCE["logits"].astype(np.float64)
    other[example, 1] += by
    return {"logits": other}


def compared(other, margins=None, reference=REFERENCE, **settings):
    check = ParityCheck(**settings)
    check.add(reference, other, margins)
    return check.result("The outputs of it")


def test_within_the_limit():
    found = compared(moved(1, 5e-5), [1e-3, 1e-3, 1e-7])
    assert found.largest == pytest.approx(5e-5)
    assert (found.examples, found.near_ties, found.flipped) == (3, 1, 0)


def test_above_the_limit():
    words = r"^The outputs of it differ by 0.0002 from .* 0.0001 is allowed: most in example 1 \(of 3, from 0\)"
    with pytest.raises(ValueError, match=words + r"; its K-th and next expert lie 2e-06 apart$"):
        compared(moved(1, 2e-4), [1e-9, 2e-6, 1e-9])
    with pytest.raises(ValueError, match=words + "$"):
        compared(moved(1, 2e-4))


def test_a_near_tie_may_flip_and_is_counted():
    found = compared(moved(1, 2e-2), [1e-3, 1e-6, 1e-3])
    assert (found.largest, found.near_ties, found.flipped) == (0, 1, 1)
    assert str(found) == "largest difference 0 in 3 examples; near ties of experts (within 1e-06): 1, routing flips: 1"


def test_another_example_may_not_hide_behind_a_flip():
    other = moved(1, 2e-2)
    other["logits"][2] += 3e-4
    with pytest.raises(ValueError, match=r"differ by 0\.0003 .* in example 2 "):
        compared(other, [1e-3, 1e-7, 1e-3])


def test_batches_are_put_together():
    check = ParityCheck()
    for example in (0, 2):
        check.add(REFERENCE, moved(example, 1e-5 * (1 + example)), [1e-7, 1, 1])
    found = check.result("x")
    assert found.largest == pytest.approx(3e-5)
    assert (found.examples, found.near_ties) == (6, 2)


def test_what_a_batch_shares():
    """The limit holds for a scalar too, unless an example has a routing flip."""
    reference, other = ({**outputs, "balance_loss": loss} for outputs, loss in ((REFERENCE, 0.5), (moved(0, 1.0), 0.6)))
    assert compared(other, [1e-7, 1, 1], reference).flipped == 1
    with pytest.raises(ValueError, match=r"differ by 0\.1 "):
        compared({**REFERENCE, "balance_loss": 0.6}, [1e-7, 1, 1], reference)


def test_no_limit():
    found = compared(moved(0, 7.0), [1e-9, 1, 1], limit=None)
    assert (found.largest, found.flipped) == (7, 0)


def test_numbers_that_are_not_finite():
    """Equal ones agree; one against a number does not."""
    odd = {"logits": np.array([[np.inf, np.nan]])}
    assert compared(odd, reference=odd).largest == 0
    with pytest.raises(ValueError, match="differ by inf"):
        compared({"logits": np.array([[1.0, np.nan]])}, reference=odd)
    with pytest.raises(ValueError, match="differ by inf"):
        compared({"logits": np.array([[np.inf, 1.0]])}, reference=odd)


@pytest.mark.parametrize("other", [{}, {"other": REFERENCE["logits"]}, {"logits": REFERENCE["logits"][:, :1]}])
def test_other_outputs(other):
    with pytest.raises(ValueError, match="the outputs are .* and must be .*logits"):
        compared(other)
