"""What the bench says of two runs, and of the Python that it runs on."""

from pathlib import Path

import pytest

from conformance.bench import interpreter, report
from conformance.bench.dialect import LARGE, TASKS, Task, request
from conformance.bench.figures import figures
from conformance.bench.moved import Change, changes
from conformance.bench.results import Cost, Paced, Results, Spread, Wave

ONE = Spread(1e6, 2e6, 3e6)


def run(cpu_us: float, rounds: list[float]) -> Results:
    return Results(requests=[cost("olgate", cpu_us, rounds)])


def cost(target: str, cpu_us: float, rounds: list[float] | None = None) -> Cost:
    return Cost(
        target=target,
        task="chat",
        cpu_us=cpu_us,
        per_cpu_s=1.0,
        per_wall_s=1.0,
        rounds=rounds or [],
    )


@pytest.mark.parametrize(
    ("new", "rounds", "has_moved"),
    [
        (104.0, [104.0], False),
        (106.0, [106.0], True),
        (94.0, [94.0], True),
        (120.0, [100.0, 140.0], False),
        (130.0, [128.0, 132.0], True),
    ],
)
def test_only_more_than_the_noise_has_moved(
    new: float, rounds: list[float], has_moved: bool
) -> None:
    """The noise is what the rounds of a run lie apart, and a twentieth in any case."""
    (change,) = changes(run(100.0, [100.0]), run(new, rounds))

    assert ("olgate, chat: CPU, us", has_moved) == (change.what, change.has_moved)
    assert new / 100 - 1 == pytest.approx(change.share)


def test_the_greatest_change_comes_first_and_rows_of_one_run_are_left_out() -> None:
    """A row that only one run has can't be compared."""
    old = Results(burst=[cost("a", 10.0), cost("b", 10.0), cost("c", 1.0)])
    new = Results(burst=[cost("a", 12.0), cost("b", 5.0), cost("d", 1.0)])

    assert ["b, burst: CPU per token, us", "a, burst: CPU per token, us"] == [
        change.what for change in changes(old, new)
    ]


def test_every_kind_of_row_has_figures() -> None:
    """Also those of a wave, whose noise is that of its rounds."""
    results = Results(
        paced=[
            Paced(
                target="olgate",
                streams=16,
                first_token=ONE,
                token=ONE,
                cpu_us_per_token=20.0,
                rounds=[18.0, 22.0],
            )
        ],
        waves=[Wave(target="olgate", streams=256, first_token=ONE, rounds=[0.5e6, 1.5e6])],
        work_ns={"framing": 500.0},
    )

    found = {f"{each.target}, {each.what}": each for each in figures(results)}

    assert 20.0 == found["olgate, 16 streams: CPU per token, us"].value
    assert 3.0 == found["olgate, wave of 256: first token p99, ms"].value
    assert (0.5, 1.5) == found["olgate, wave of 256: first token p99, ms"].rounds
    assert 500.0 == found["olgate, framing: ns per chunk"].value


def test_a_table_tells_what_has_moved_and_how_much_has_not() -> None:
    """Without a change there is no table."""
    told = report.changes([Change("x", 10.0, 5.0, -0.5, 0.1), Change("y", 1.0, 1.0, 0.0, 0.1)])

    assert "| x    | 10.00 | 5.00 | -50%  | 10%   |" in told
    assert "1 of 2 figures are within the noise." in told
    assert report.changes([]).startswith("0 of 0")


@pytest.mark.parametrize(
    ("configured", "kind"),
    [
        ("", "built without profiles"),
        ("'--prefix=/usr' '--enable-optimizations'", "built with profiles"),
        ("'--with-lto' '--enable-optimizations'", "built with profiles and link-time"),
    ],
)
def test_the_build_of_python_is_told(configured: str, kind: str) -> None:
    """It changes figures by a third to a half."""
    assert kind in interpreter.described(configured)
    assert interpreter.described() in report.machine()


@pytest.mark.parametrize(
    ("prefix", "has_file", "machine", "kind"),
    [
        ("/usr", True, "x86_64", "built with profiles and link-time"),
        ("/usr", True, "riscv64", "built without profiles"),
        ("/usr", False, "x86_64", "built without profiles"),
        ("/opt/python", True, "x86_64", "built without profiles"),
    ],
)
def test_a_build_of_debians_does_not_say_how_it_is_built(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    prefix: str,
    has_file: bool,
    machine: str,
    kind: str,
) -> None:
    """Only its own Python is known to be built so, and only for some machines."""
    mark = tmp_path / "debian_version"
    if has_file:
        mark.touch()
    monkeypatch.setattr(interpreter, "_DEBIAN", mark)
    monkeypatch.setattr("sys.base_prefix", prefix)
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("sysconfig.get_config_var", lambda _: "'--enable-shared'")

    assert kind in interpreter.described()


@pytest.mark.parametrize("task", TASKS)
def test_requests_of_every_kind_are_made(task: Task) -> None:
    """Those that are called large have more than a hundred kilobytes, or get that."""
    message = request("ollama", task)

    assert message is not None
    assert (len(message) > 100_000 or task == "embed256") == (task in LARGE)


def test_a_wave_has_its_row() -> None:
    """In all, as for a single stream."""
    told = report.tables(Results(waves=[Wave(target="olgate", streams=256, first_token=ONE)]))

    assert "| 256     | olgate | 1.00 / 2.00 / 3.00" in told
