from pathlib import Path

from sim_bridge.latency import LostTick, latency_table, read_ticks, stage_latencies
from sim_bridge.run_files import TIMING_FILE, TimingFile

MS = 1_000_000


def write_run(folder: Path) -> None:
    timing = TimingFile(folder)
    for tick in range(3):
        start_ns = tick * 100 * MS
        stamp_ns = tick * 100 * MS
        timing.add("capture", stamp_ns, start_ns, start_ns, 0)
        timing.add("history_node", stamp_ns, start_ns + 1 * MS, start_ns + 6 * MS, 3 * MS)
        timing.add("inference_node", stamp_ns, start_ns + 7 * MS, start_ns + 27 * MS, 18 * MS)
        if tick < 2:
            timing.add("arm_node", stamp_ns, start_ns + 28 * MS, start_ns + 30 * MS, 0)
    timing.close()


def test_stages_add_up_to_the_whole_way(tmp_path: Path) -> None:
    write_run(tmp_path)
    ticks, _ = read_ticks(tmp_path)
    rows = {row.stage: row.p50_ms for row in stage_latencies(ticks)}
    assert rows["capture → arm command"] == 30.0
    assert rows["all but the networks"] == 9.0
    assert rows["history: rest"] == 2.0
    parts = [value for stage, value in rows.items() if stage not in ("capture → arm command", "all but the networks")]
    assert sum(parts) == 30.0


def test_a_tick_that_was_never_answered_is_counted(tmp_path: Path) -> None:
    write_run(tmp_path)
    ticks, lost = read_ticks(tmp_path)
    assert len(ticks) == 2
    assert lost == [LostTick(200 * MS, 0.2, "inference_node")]


def test_an_answer_stamped_beside_its_observation_is_still_its_answer(tmp_path: Path) -> None:
    write_run(tmp_path)
    file = tmp_path / TIMING_FILE
    lines = file.read_text(encoding="utf-8").replace(f"arm_node,{100 * MS},", f"arm_node,{101 * MS},")
    file.write_text(lines, encoding="utf-8")
    assert len(read_ticks(tmp_path)[0]) == 2


def test_the_table_names_every_stage(tmp_path: Path) -> None:
    write_run(tmp_path)
    latencies = stage_latencies(read_ticks(tmp_path)[0])
    assert all(row.stage in latency_table(latencies) for row in latencies)
