import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from policy_server.sweep.jobs import Job
from policy_server.sweep.running import list_jobs, run_jobs

# Like a training: saves when it is asked to stop, and is done when it is started again.
SAVES = "trap 'touch saved; exit 130' INT; test -e saved && exit 0; touch begun; while :; do sleep 0.02; done"


def job(folder: Path, script: str) -> Job:
    folder.mkdir(exist_ok=True)
    return Job(folder.name, folder, ("sh", "-c", f"cd {folder}; {script}"), 10, 100, "")


def test_all_jobs_are_run_each_with_one_thread_and_are_skipped_afterwards(tmp_path: Path) -> None:
    jobs = [job(tmp_path / str(number), "echo $OMP_NUM_THREADS >> ran") for number in range(3)]
    for _ in range(2):
        outcome = run_jobs(jobs, workers=2)
        assert outcome.failures == () and not outcome.stopped
    assert [(each.folder / "ran").read_text() for each in jobs] == ["1\n"] * 3


def test_runs_share_the_gpus_that_are_left_to_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for visible, names in ((None, {"0", "1"}), ("4,GPU-a", {"4", "GPU-a"})):
        if visible:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        jobs = [
            job(tmp_path / f"{visible}{number}", "echo $CUDA_VISIBLE_DEVICES > gpu; sleep 0.2") for number in range(2)
        ]
        run_jobs(jobs, workers=2)
        assert {(each.folder / "gpu").read_text().strip() for each in jobs} == names


def test_a_failure_is_named_and_keeps_nothing_else_from_running(tmp_path: Path) -> None:
    bad = job(tmp_path / "bad", "echo 'error: no such thing' >&2; echo more; exit 2")
    good = job(tmp_path / "good", "true")
    (failure,) = run_jobs([bad, good], workers=1).failures
    assert failure.job is bad and failure.reason.startswith("no such thing (status 2; see ")
    assert good.is_done and not bad.is_done


def test_a_stop_lets_the_jobs_at_work_save_and_the_next_call_goes_on(tmp_path: Path) -> None:
    jobs = [job(tmp_path / "a", SAVES), job(tmp_path / "b", "true")]

    def stop() -> None:
        while not (tmp_path / "a" / "begun").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    stopper = threading.Thread(target=stop)
    stopper.start()
    outcome = run_jobs(jobs, workers=1)
    stopper.join()
    assert outcome.stopped and (tmp_path / "a" / "saved").exists()
    assert not any(each.is_done for each in jobs)
    assert not run_jobs(jobs, workers=1).stopped
    assert all(each.is_done for each in jobs)


def test_a_job_that_someone_else_interrupted_counts_as_stopped(tmp_path: Path) -> None:
    assert run_jobs([job(tmp_path / "a", "exit 130")], workers=1).stopped


def test_the_list_says_what_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [job(tmp_path / "a", "true"), job(tmp_path / "b", "true")]
    run_jobs(jobs[:1], workers=1)
    capsys.readouterr()
    list_jobs(jobs, workers=2)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].endswith("done") and shown[1].endswith("step 0 of 10")
    assert shown[2].startswith("1 of 2 runs to do")


def test_a_command_does_not_outlive_a_sweep_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import os, signal, time; from pathlib import Path; from policy_server.runtime.child import Child\n"
        "Child(['sh', '-c', 'echo $$; exec sleep 60'], Path('log'), Path.cwd(), os.environ)\n"
        "while not Path('log').read_text(): time.sleep(0.01)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=False)
    process = Path("/proc") / (tmp_path / "log").read_text().strip()
    for _ in range(500):
        if not process.exists() or "sleep" not in (process / "cmdline").read_text():
            return
        time.sleep(0.01)
    pytest.fail(f"{process} still runs")
