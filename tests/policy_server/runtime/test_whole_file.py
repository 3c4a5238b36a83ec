from pathlib import Path

import pytest

from policy_server.runtime.whole_file import whole_file, write_whole


def test_what_was_there_is_replaced_at_once(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "facts.json"
    write_whole(file, "old")
    with whole_file(file) as temporary:
        temporary.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    file = tmp_path / "facts.json"
    write_whole(file, b"old")

    def fail() -> None:
        with whole_file(file) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_text_is_utf_8(tmp_path: Path) -> None:
    write_whole(tmp_path / "page.md", "≥ 0 °\n")
    assert (tmp_path / "page.md").read_bytes() == "≥ 0 °\n".encode()
