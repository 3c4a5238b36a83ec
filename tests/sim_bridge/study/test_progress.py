import io

import pytest
from rich.console import Console

from sim_bridge.study.cell_run import Failure
from sim_bridge.study.progress import Display, RunningCell, Status, _picture, counted, describe, duration
from tests.sim_bridge.study.synthetic_study import result

RUNNING = (RunningCell("reach-c2", "train", 0.5, 65.0), RunningCell("reach-c8", "export", None, 3.0))
STATUS = Status(done=3, failed=1, total=10, running=RUNNING, left_s=7260.0)


def test_the_picture_has_a_line_for_everything() -> None:
    console = Console(file=io.StringIO(), width=120)
    console.print(_picture(STATUS, ["reach-c4: 3/4"]))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert lines[0] == "reach-c4: 3/4"
    assert lines[1].startswith("3 of 10 cells done, 1 failed; about 2 h 01 min left; Ctrl-C stops")
    assert lines[3].startswith("reach-c2  train") and lines[3].endswith("1 min 05 s")
    assert lines[4].startswith("reach-c8  export") and lines[4].endswith("3 s")
    assert len(lines) == 5


def test_without_a_terminal_every_event_is_a_line(capsys) -> None:
    with Display() as display:
        display.show(STATUS)
        display.tell("something happened", STATUS)
    assert capsys.readouterr().out == "[4/10, 2 h 01 min left] something happened\n"


def test_a_result_and_a_failure_are_told_in_one_line() -> None:
    assert describe(result()).startswith("reach_cued-c8: 3/4 = 75.0 % (95 % interval 30.1 to 95.4 %) in 2 min 00 s")
    assert describe(Failure("c", "h", "export", "no room")) == "c: export failed: no room"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"), (3600, "1 h 00 min")]
)
def test_durations_are_said_in_the_two_largest_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_one_thing_is_not_several() -> None:
    assert (counted(1, "cell"), counted(0, "cell"), counted(2, "cell")) == ("1 cell", "0 cells", "2 cells")
