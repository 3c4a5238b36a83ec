from dataclasses import dataclass
from pathlib import Path

from policy_server.sweep.report import paragraph, table, write_csv, write_section


def test_what_stands_around_a_section_stays(tmp_path: Path) -> None:
    page = tmp_path / "results" / "page.md"
    write_section(page, "first", "Title", ["one", ""])
    write_section(page, "second", "Title", ["two", ""])
    text = page.read_text()
    assert text.startswith("# Title\n") and text.index("one") < text.index("two")
    page.write_text(text.replace("# Title\n", "# Mine\n\nby hand\n") + "\nbelow by hand\n")
    write_section(page, "first", "Title", ["new", ""])
    text = page.read_text()
    assert "one" not in text and "Title" not in text
    assert [line for line in text.splitlines() if line and "<!--" not in line] == [
        *("# Mine", "by hand", "new", "two", "below by hand")
    ]


def test_writing_a_section_twice_changes_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        write_section(tmp_path / "page.md", "a", "Title", ["text", ""])
        write_section(tmp_path / "page.md", "ab", "Title", ["other", ""])
    text = (tmp_path / "page.md").read_text()
    assert text.count("text") == text.count("other") == 1


def test_paragraphs_are_wrapped_and_tables_are_markdown() -> None:
    lines = list(paragraph("word " * 40, "end"))
    assert lines[-1] == "" and max(map(len, lines)) <= 120 and lines[-2].endswith("end")
    assert list(table(("a", "b"), [(1, "x")])) == ["| a | b |", "|---|---|", "| 1 | x |", ""]


@dataclass(frozen=True)
class Row:
    name: str
    value: float


def test_csv_has_a_column_per_field(tmp_path: Path) -> None:
    write_csv(tmp_path / "rows.csv", [Row("a", 1 / 3)])
    assert (tmp_path / "rows.csv").read_text() == "name,value\na,0.333333\n"
    write_csv(tmp_path / "none.csv", [])
    assert not (tmp_path / "none.csv").exists()
