"""Charts by what their SVG says: places by hand, ticks, and text that cannot become markup."""

import base64
import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from official.comparison.charts import BOTTOM, COLUMNS, DRAWN_POINTS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Curve, heat_map, line_chart


def places(svg):
    """[[(x, y)]] of the lines."""
    lines = ElementTree.fromstring(svg).iter("polyline")
    return [[tuple(map(float, point.split(","))) for point in line.get("points").split()] for line in lines]


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter("text")]


def test_places_and_ticks_by_hand():
    """The horizontal axis begins at 0, the vertical one goes from the least value to the largest."""
    svg = line_chart("a & b", [Curve("run <1>", "red", [(50, 1.0), (100, 3.0)]), Curve("2", "blue", [(0, 2.0)], True)], "<step>")
    middle, bottom, top = (LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM, TOP + 6
    assert places(svg) == [[(middle, bottom), (WIDTH - RIGHT, top)], [(LEFT, (bottom + top) / 2)]]
    assert texts(svg) == ["a & b", "1.0", "1.5", "2.0", "2.5", "3.0", "0", "20", "40", "60", "80", "100", "<step>"]
    assert [title.text for title in ElementTree.fromstring(svg).iter("title")] == ["run <1>: 3 at the end", "2: 2 at the end"]


def test_values_over_decades_have_a_logarithmic_axis():
    svg = line_chart("loss", [Curve("run", "red", [(0, 0.01), (1, 0.1), (2, 1.0)])], "step")
    (_, low), (_, middle), (_, high) = places(svg)[0]
    assert middle == pytest.approx((low + high) / 2, abs=0.1)
    assert texts(svg)[1:4] == ["0.01", "0.1", "1"]


@pytest.mark.parametrize("values", [[0.0], [2.0, 2.0], [-1.0], [1e-9, 3e-9], [4e12, 5e12], [0, 1e-30]])
def test_every_range_has_places_inside(values):
    svg = line_chart("x", [Curve("run", "red", list(enumerate(values)))], "step")
    ys = [y for line in places(svg) for _, y in line]
    assert ys and all(TOP <= y <= HEIGHT - BOTTOM for y in ys)


def test_values_that_are_not_finite_are_left_out():
    points = [(1, float("nan")), (2, 1.0), (3, float("inf"))]
    assert len(places(line_chart("x", [Curve("run", "red", points)], "step"))[0]) == 1
    assert line_chart("x", [Curve("run", "red", points[:1])], "step") == ""


def test_long_curves_keep_their_extremes():
    values = np.sin(np.arange(10_000.0))
    values[4321], values[7777] = 5, -5
    (line,) = places(line_chart("x", [Curve("run", "red", list(enumerate(values.tolist())))], "step"))
    ys = [y for _, y in line]
    assert len(line) <= DRAWN_POINTS + 1
    assert (min(ys), max(ys)) == (TOP + 6, HEIGHT - BOTTOM)
    assert line == sorted(line, key=lambda place: place[0])


def test_heat_map():
    """A pixel for each evaluation, block and expert; 0, the balanced share and twice that are the colours of the key."""
    shares = np.zeros([2, 3, 4])
    shares[:, :, 0], shares[1, 2, 3] = 0.25, 0.5
    images = [
        Image.open(io.BytesIO(base64.b64decode(element.get("href").partition("base64,")[2]))).convert("RGB")
        for element in ElementTree.fromstring(heat_map("run", [100, 200], shares)).iter("image")
    ]
    pixels, key = map(np.asarray, images)
    assert pixels.shape == (12, 2, 3)
    np.testing.assert_array_equal(pixels[11], [key[0, 0], key[0, -1]])
    assert (pixels[1] == key[0, 0]).all()
    balanced = pixels[[0, 4, 8]].astype(int)
    assert np.abs(balanced - key[0, 31:33].mean(axis=0)).max() <= 3  # the key's steps are 1/63 of the colours


def test_heat_map_of_a_long_run():
    picture = next(ElementTree.fromstring(heat_map("run", list(range(1000)), np.full([1000, 2, 2], 0.5))).iter("image"))
    assert Image.open(io.BytesIO(base64.b64decode(picture.get("href").partition("base64,")[2]))).size == (COLUMNS, 4)
