"""CSV tables that are appended to and stay right when a run goes on."""

from typing import NamedTuple

import pytest

from official.files.tables import Table, read_table, text_table


def lines(path):
    return path.read_text().splitlines()


def test_header_once(tmp_path):
    """The first rows decide the columns; later calls only add lines."""
    table = Table(tmp_path / "t.csv")
    table.append([dict(step=1, loss=0.5), dict(step=1, loss=0.25)])
    table.append([dict(step=2, loss=0.125)])
    assert lines(tmp_path / "t.csv") == ["step,loss", "1,0.5", "1,0.25", "2,0.125"]


def test_nothing_is_written_before_the_first_row(tmp_path):
    Table(tmp_path / "t.csv")
    assert not (tmp_path / "t.csv").exists()


def test_missing_values_are_empty(tmp_path):
    """A row that lacks a column leaves it empty; a column that the first row did not have is left out."""
    table = Table(tmp_path / "t.csv")
    table.append([dict(step=1, a=1, b=2)])
    table.append([dict(step=2, b=3, c=4)])
    assert read_table(tmp_path / "t.csv") == [dict(step="1", a="1", b="2"), dict(step="2", a="", b="3")]


def test_later_rows_are_removed_on_resume(tmp_path):
    """Rows written after the checkpoint would stand twice once the run goes on."""
    table = Table(tmp_path / "t.csv")
    for step in (2, 4, 6):
        table.append([dict(step=step, x="first"), dict(step=step, x="second")])
    resumed = Table(tmp_path / "t.csv", first_step=4)
    assert lines(tmp_path / "t.csv") == ["step,x", "2,first", "2,second", "4,first", "4,second"]
    resumed.append([dict(step=6, x="again")])
    assert lines(tmp_path / "t.csv")[-2:] == ["4,second", "6,again"]
    assert sum(line.startswith("step") for line in lines(tmp_path / "t.csv")) == 1


def test_all_rows_removed(tmp_path):
    """A run that starts from step 0 in a folder with a table begins it anew, header included."""
    table = Table(tmp_path / "t.csv")
    table.append([dict(step=2, old=1)])
    afresh = Table(tmp_path / "t.csv", first_step=0)
    assert read_table(tmp_path / "t.csv") == []
    afresh.append([dict(step=1, new=5)])
    assert lines(tmp_path / "t.csv") == ["step,new", "1,5"]


def test_resumed_table_keeps_its_columns(tmp_path):
    """The order of the file counts, not that of the dict that comes next."""
    Table(tmp_path / "t.csv").append([dict(step=1, a=1, b=2)])
    Table(tmp_path / "t.csv", first_step=1).append([dict(b=4, a=3, step=2)])
    assert lines(tmp_path / "t.csv") == ["step,a,b", "1,1,2", "2,3,4"]


def test_values_with_commas(tmp_path):
    """Quoted as CSV has it, and read back as they were, also after a resume has rewritten them."""
    Table(tmp_path / "t.csv").append([dict(step=1, name='a, "b"')])
    Table(tmp_path / "t.csv", first_step=1)
    assert read_table(tmp_path / "t.csv") == [dict(step="1", name='a, "b"')]


@pytest.mark.parametrize("torn", ["3", "3,0.", "3,0.125", "3,0.125\r", "3,", "\0\0\0\0", "3,0.1\0\0\r\n", "3\r\n"])
def test_torn_row(tmp_path, torn):
    """A last row that was cut off anywhere is not read, and gone before the next is written."""
    Table(tmp_path / "t.csv").append([dict(step=12, loss=0.5), dict(step=24, loss=0.25)])
    before = (tmp_path / "t.csv").read_bytes()
    (tmp_path / "t.csv").write_bytes(before + torn.encode())
    assert [row["step"] for row in read_table(tmp_path / "t.csv")] == ["12", "24"]
    resumed = Table(tmp_path / "t.csv", first_step=24)
    assert (tmp_path / "t.csv").read_bytes() == before
    resumed.append([dict(step=36, loss=0.125)])
    assert lines(tmp_path / "t.csv")[-2:] == ["24,0.25", "36,0.125"]


@pytest.mark.parametrize("torn", ["", "st", "step,lo", "step,loss"])
def test_torn_heading(tmp_path, torn):
    (tmp_path / "t.csv").write_text(torn)
    Table(tmp_path / "t.csv", first_step=3).append([dict(step=4, loss=0.5)])
    assert lines(tmp_path / "t.csv") == ["step,loss", "4,0.5"]


class Line(NamedTuple):
    name: str
    count: str
    why: str = ""


def test_text_table():
    """Columns begin where their heading does, and no line ends in spaces."""
    text = text_table([Line("a", "10000000", "since b"), Line("longer", "2")])
    assert text.splitlines() == ["name    count     why", "a       10000000  since b", "longer  2"]
