import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from policy_server.runtime.child import Child, last_error, progress


def wait_for(condition, timeout_s: float = 20.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())


def start(tmp_path: Path, script: str) -> Child:
    return Child([sys.executable, "-c", script], tmp_path / "log", tmp_path, os.environ)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_command_ends_with_its_status_and_its_words_in_the_log(tmp_path) -> None:
    child = start(tmp_path, "import sys; print('said', flush=True); print('error: why', file=sys.stderr); sys.exit(3)")
    assert wait_for(lambda: child.status is not None)
    assert child.status == 3 and (tmp_path / "log").read_text() == "said\nerror: why\n"


def test_a_command_that_is_asked_to_end_may_do_so_in_good_order(tmp_path) -> None:
    child = start(
        tmp_path,
        "import time\nprint('up', flush=True)\n"
        "try: time.sleep(60)\nexcept KeyboardInterrupt: print('saved', flush=True)",
    )
    assert wait_for(lambda: "up" in (tmp_path / "log").read_text())
    child.interrupt()
    child.end(grace_s=20)
    assert (tmp_path / "log").read_text() == "up\nsaved\n" and child.status == 0


def test_a_command_can_be_interrupted_though_its_parent_blocks_and_ignores_that(tmp_path) -> None:
    kept = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        child = start(tmp_path, "import time; print('up', flush=True); time.sleep(60)")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, kept[1])
        signal.signal(signal.SIGINT, kept[0])
    assert wait_for(lambda: "up" in (tmp_path / "log").read_text())
    child.interrupt()
    assert wait_for(lambda: child.status is not None) and "KeyboardInterrupt" in (tmp_path / "log").read_text()


def test_a_command_that_will_not_end_is_killed_with_all_that_it_started(tmp_path) -> None:
    child = start(
        tmp_path,
        "import signal, subprocess, sys, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "print(subprocess.Popen(['sleep', '60']).pid, flush=True)\ntime.sleep(60)",
    )
    assert wait_for(lambda: (tmp_path / "log").read_text().strip())
    child.interrupt()
    child.end(grace_s=0.2)
    grandchild = int((tmp_path / "log").read_text())
    assert child.status == -signal.SIGKILL and wait_for(lambda: not is_alive(grandchild))


def test_a_command_does_not_outlive_a_parent_that_is_killed(tmp_path) -> None:
    script = (
        "import os, sys, time; from pathlib import Path; from policy_server.runtime.child import Child\n"
        f"child = Child([sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'], "
        f"Path({str(tmp_path / 'log')!r}), Path('.'), os.environ)\ntime.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[3])
    try:
        assert wait_for(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text().strip())
        pid = int((tmp_path / "log").read_text())
        assert is_alive(pid)
    finally:
        parent.kill()
        parent.wait()
    assert wait_for(lambda: not is_alive(pid))


@pytest.mark.parametrize(
    ("log", "found"),
    [
        ("loading\nerror: the first\nerror: no dataset\n  at all\n", "no dataset"),
        ("step 1\rstep 2\rerror: stopped\r", "stopped"),
        (
            "Traceback:\n  File x\ntorch.onnx.TorchExportError: cannot\n\n(more above)\n",
            "torch.onnx.TorchExportError: cannot",
        ),
        ("one\ntwo\n\n", "two"),
        ("", "ended without a word"),
    ],
)
def test_the_last_error_of_a_log_is_found(tmp_path, log: str, found: str) -> None:
    (tmp_path / "log").write_text(log)
    assert last_error(tmp_path / "log") == found


def test_the_last_progress_bar_of_a_log_counts(tmp_path) -> None:
    log = tmp_path / "log"
    assert progress(log) is None
    log.write_text("loading: 100%|##| 9/9 [00:01<00:00]\n\rtraining:  10%|#  | 50/200 [00:04<00:06, 9.1step/s]")
    assert progress(log) == 0.25
