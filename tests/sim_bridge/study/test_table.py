import math

import pyarrow.parquet as pq
import pytest

from sim_bridge.study.table import TableError, read_table, write_table
from tests.sim_bridge.study.synthetic_study import result


def test_a_table_gives_back_what_was_written(tmp_path) -> None:
    rows = [result(), result(hash="b", seed=1, completed="", outcomes="0000", versions='says "a, b"', regime="N/2")]
    write_table(tmp_path / "results/trial.csv", rows)
    assert read_table(tmp_path / "results/trial.csv") == rows


def test_a_loss_that_was_never_logged_stays_unknown(tmp_path) -> None:
    write_table(tmp_path / "trial.csv", [result(final_loss=math.nan)])
    assert math.isnan(read_table(tmp_path / "trial.csv")[0].final_loss)


def test_the_parquet_holds_the_same_rows_and_rates_with_types(tmp_path) -> None:
    write_table(tmp_path / "trial.csv", [result(outcomes="1101", completed="1101"), result(hash="b", completed="")])
    table = pq.read_table(tmp_path / "trial.parquet").to_pydict()
    assert table["hash"] == ["0123456789ab", "b"]
    assert table["successes"] == [3, 3] and table["success_rate"] == [0.75, 0.75]
    assert table["completed_episodes"] == [3, None] and table["contextual_success_rate"] == [1.0, None]
    assert table["low"][0] == pytest.approx(0.3006, abs=1e-4) and table["context_length"] == [8, 8]


def test_an_empty_table_can_be_written_and_read(tmp_path) -> None:
    write_table(tmp_path / "trial.csv", [])
    assert read_table(tmp_path / "trial.csv") == read_table(tmp_path / "missing.csv") == []
    assert pq.read_table(tmp_path / "trial.parquet").num_rows == 0


def test_a_table_of_another_version_is_refused(tmp_path) -> None:
    (tmp_path / "trial.csv").write_text("cell,hash\na,b\n")
    with pytest.raises(TableError, match=r"trial\.csv"):
        read_table(tmp_path / "trial.csv")
