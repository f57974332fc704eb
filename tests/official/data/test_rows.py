"""Tables of the user's: quoting as pandas, R and Excel write it, quotes as GLUE has them, and what is refused."""

import csv
import re

import pytest

from official.data.rows import Rows, is_table


def rows_of(path, content):
    """[(number, row or reason)] of a file with this content, str or bytes."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [(number, str(found) if isinstance(found, ValueError) else found) for number, found in Rows(path)]


@pytest.mark.parametrize("ending", ["csv", "CSV", "Csv"])
def test_csv(tmp_path, ending):
    """Fields in quotes hold separators, line ends and doubled quotes; byte order mark, returns and empty lines are dropped."""
    content = '\ufeff"text",label\r\n"a, ""b""\r\nc",x\r\n\r\nsome "quotes" here,\r\n"",y'
    assert rows_of(tmp_path / f"rows.{ending}", content) == [
        (2, {"text": 'a, "b"\r\nc', "label": "x"}),
        (5, {"text": 'some "quotes" here', "label": ""}),
        (6, {"text": "", "label": "y"}),
    ]


@pytest.mark.parametrize("ending", ["tsv", "TSV", "tab", "txt"])
def test_tsv_as_pandas_and_r_write_it(tmp_path, ending):
    content = '"text"\t"label"\n"say ""hi"""\t"x"\n"a\ttab"\ty\n"two\nlines, ""b"""\tz\nlast\t"w\nv"\n'
    assert rows_of(tmp_path / f"rows.{ending}", content) == [
        (2, {"text": 'say "hi"', "label": "x"}),
        (3, {"text": "a\ttab", "label": "y"}),
        (4, {"text": 'two\nlines, "b"', "label": "z"}),
        (6, {"text": "last", "label": "w\nv"}),
    ]


@pytest.mark.parametrize("ending", ["tsv", "csv"])
def test_quotes_after_a_backslash(tmp_path, ending):
    """As R's write.table writes them, which leaves a backslash as it is; doubled quotes are found first."""
    content = '"text"\t"label"\n"say \\"hi\\""\t"x"\n"a\\b\tc\n\\"d"\t"y"\n"\\"\t"z"\n"a\\""b"\t""\n'
    if ending == "csv":
        content = content.replace("\t", ",")
    found = [tuple(row.values()) for _, row in rows_of(tmp_path / f"rows.{ending}", content)]
    middle = 'a\\b\tc\n"d' if ending == "tsv" else 'a\\b,c\n"d'
    assert found == [('say "hi"', "x"), (middle, "y"), ("\\", "z"), ('a\\"b', "")]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC, csv.QUOTE_ALL])
@pytest.mark.parametrize("ending, separator", [("csv", ","), ("tsv", "\t")])
def test_as_pandas_writes_it(tmp_path, ending, separator, quoting):
    """By Python's own writer, as pandas.DataFrame.to_csv does it, whatever the texts hold."""
    texts = ['"', 'a "b" c', '""', "a,b\tc", "two\nlines", "\\", '\\"', "", " blank ", "é\u2028", '"in quotes"', "'", "x\\"]
    expected = [
        {"id": str(i), "text": text, "label": label} for i, (text, label) in enumerate(zip(texts, texts[::-1], strict=True))
    ]
    with (tmp_path / f"rows.{ending}").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, expected[0], delimiter=separator, quoting=quoting, lineterminator="\n")
        writer.writeheader()
        writer.writerows(expected)
    assert [found for _, found in Rows(tmp_path / f"rows.{ending}")] == expected


def test_columns_without_a_name(tmp_path):
    """As Excel writes them at the right of a table."""
    assert rows_of(tmp_path / "rows.csv", "text,label,,\na,x,,\n") == [(2, {"text": "a", "label": "x", "": ""})]


def test_tsv_with_single_quotes(tmp_path):
    """As in GLUE's files: a quote that opens a field on one line and one that closes another line's do not belong together."""
    content = 'text\tlabel\n"I think\t1\n\nso "\t0\n"a" and "b"\t1\n " c "\t0\n" d " e "\t1\n'
    found = [row["text"] for _, row in rows_of(tmp_path / "rows.tsv", content)]
    assert found == ['"I think', 'so "', '"a" and "b"', ' " c "', '" d " e "']


def test_tsv_of_one_column(tmp_path):
    found = rows_of(tmp_path / "rows.tsv", 'text\n"a\nb"\nplain\n"open\nend\n')
    assert found == [(2, {"text": "a\nb"}), (4, {"text": "plain"}), (5, {"text": '"open'}), (6, {"text": "end"})]


def test_json(tmp_path):
    """An object on each line, or one array of objects."""
    lines, objects = '{"a": 1}\r\n\n{"a": "\u2028"}\n', ({"a": 1}, {"a": "\u2028"})
    for ending in ("jsonl", "JSONL", "ndjson", "json"):
        assert rows_of(tmp_path / f"rows.{ending}", "\ufeff" + lines) == [(1, objects[0]), (3, objects[1])]
    array = ' [{"a": 1},\n {"a": "\u2028"}, 3]'
    said = "it must be a JSON object, not 3"
    assert rows_of(tmp_path / "rows.JSON", array) == [(1, objects[0]), (2, objects[1]), (3, said)]
    assert Rows(tmp_path / "rows.JSON").name_of(2) == f"{tmp_path / 'rows.JSON'}, object 2"


@pytest.mark.parametrize(
    "name, content, number, said",
    [
        ("a.csv", 'text,label\n"open,x\n', 2, "a quote opens its column 1, and none before a separator closes it"),
        ("a.csv", 'text,label\nx,"a" b\n', 2, "a quote opens its column 2, and none before a separator closes it"),
        ("a.csv", "text,label\nx\n", 2, "it has 1 columns, and line 1 names 2"),
        ("a.tsv", "\ntext\tlabel\nx\ty\tz\n", 3, "it has 3 columns, and line 2 names 2"),
        ("a.tsv", b"text\tlabel\nx\xff\ty\n", 2, "it is not UTF-8: invalid start byte at byte 1"),
        ("a.jsonl", "{", 1, "it is not JSON: Expecting property name"),
    ],
)
def test_invalid_rows(tmp_path, name, content, number, said):
    """Each bad row has its reason and place, and the rows after it are read."""
    ((at, reason),) = rows_of(tmp_path / name, content)
    assert at == number
    assert reason.startswith(said)


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("a.tsv", "\n", "a.tsv has no examples"),
        ("a.csv", "text,text\n", "a.csv, line 1: two columns are called 'text'"),
        ("a.csv", "text,label\n1,2".encode("utf-16"), "a.csv, line 1: it is not UTF-8: "),
        ("a.json", '[{"a": 1},\n {"a": 2} 3]', "a.json, line 2: it is not JSON: Expecting ',' delimiter"),
    ],
)
def test_files_that_are_refused(tmp_path, name, content, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        rows_of(tmp_path / name, content)


def test_endings():
    assert is_table("a/b.TxT") and is_table("b.Json")
    assert not is_table("a.tsv/b") and not is_table("a.xlsx") and not is_table("a.csv.gz")
