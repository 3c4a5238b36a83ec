"""Peers that stand in for installed ones: the protocol, the start of their processes, and what the results say of them."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from policy_server.runtime.errors import ConfigurationError
from tests.benchmarks.named_runs import module_of_benchmarks

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"
SIZES = ("--cameras", 2, "--contexts", 2, 64)
SLEEPER = """
import sys, time
sys.path.insert(0, {peers!r})
from protocol import answer, parse
from patience import UNIT_S
sizes = parse("sleeps")
answer({{length: lambda length=length: time.sleep(length * sizes.cameras * UNIT_S) for length in sizes.contexts}})
"""


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return module_of_benchmarks(monkeypatch, "peer_process")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    file = tmp_path / "sleeper_tick.py"
    file.write_text(SLEEPER.format(peers=str(PEERS)), encoding="utf-8")
    return file


def test_a_peer_makes_the_ticks_it_is_asked_for_with_what_its_checkout_holds(
    process: ModuleType, script: Path, tmp_path: Path
) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "patience.py").write_text("UNIT_S = 1e-3\n", encoding="utf-8")
    with process.peer_ticks(process.Peer("sleeper", script, Path(sys.executable), checkout), SIZES) as tick_ms:
        assert tick_ms(2) >= 4
        assert tick_ms(64) >= 128


def test_a_peer_that_lacks_what_it_imports_is_named(process: ModuleType, script: Path, tmp_path: Path) -> None:
    peer = process.Peer("sleeper", script, Path(sys.executable), tmp_path)
    with (
        pytest.raises(ConfigurationError, match=r"does not run sleeper_tick\.py"),
        process.peer_ticks(peer, SIZES),
    ):
        pass


def test_an_interpreter_that_is_not_there_is_named(process: ModuleType, script: Path, tmp_path: Path) -> None:
    peer = process.Peer("sleeper", script, tmp_path / "python")
    with pytest.raises(ConfigurationError, match=r"no interpreter at .*python"), process.peer_ticks(peer, SIZES):
        pass


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ((), []),
        (("--lerobot-python", "a"), ["LeRobot"]),
        (
            ("--diffusion-policy-python", "b", "--diffusion-policy-checkout", "c", "--lerobot-python", "a"),
            ["LeRobot", "diffusion_policy"],
        ),
    ],
)
def test_those_take_part_whose_interpreters_are_given(
    monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], names: list[str]
) -> None:
    bench = module_of_benchmarks(monkeypatch, "bench_tick")
    monkeypatch.setattr(sys, "argv", ["bench_tick.py", *given])
    peers = list(bench._peers(bench._parse()))
    assert [peer.name for peer in peers] == names
    assert all(peer.script.is_file() for peer in peers)


def test_diffusion_policy_needs_its_checkout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = module_of_benchmarks(monkeypatch, "bench_tick")
    monkeypatch.setattr(sys, "argv", ["bench_tick.py", "--diffusion-policy-python", "b"])
    with pytest.raises(SystemExit):
        bench._parse()
    assert "--diffusion-policy-checkout" in capsys.readouterr().err


def test_ratios_are_of_the_peers_that_took_part(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = module_of_benchmarks(monkeypatch, "bench_tick")
    assert bench._peer_ratios({"float32": {64: 100.0}, "naive PyTorch": {64: 500.0}}) == {}
    median_ms = {"float32": {64: 100.0}, "LeRobot": {64: 600.0}, "diffusion_policy": {64: 1700.0}}
    assert bench._peer_ratios(median_ms) == {"lerobot_over_ours_64": 6.0, "diffusion_policy_over_ours_64": 17.0}
