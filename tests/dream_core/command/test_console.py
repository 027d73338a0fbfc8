"""Output on the terminal."""

from __future__ import annotations

import warnings

import pytest
import torch

from dream_core.command.console import Teller, exit_code, objective_teller
from dream_core.dreaming.dream import DreamStep
from dream_core.errors import Notice, SettingsError


def ended(error: BaseException, *, quiet: bool = False) -> int:
    return exit_code(error, Teller(quiet=quiet), out_of_memory="dream less", stopped="nothing was done")


def test_a_mistake_is_one_line_that_names_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(SettingsError("expected `tile_size` from 0, got [red]")) == 1
    assert capsys.readouterr() == ("", "error: expected --tile-size from 0, got [red]\n")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_memory_that_ran_out_is_one_line_of_advice(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(error) == 1
    assert capsys.readouterr().err == "error: out of memory: dream less\n"


def test_ctrl_c_is_one_line_unless_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "stopped: nothing was done\n"
    assert ended(KeyboardInterrupt(), quiet=True) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), KeyError("conv")])
def test_other_errors_are_not_hidden(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        ended(error)
    assert raised.value is error


def test_a_warning_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    teller = Teller()
    with teller.bar():
        for message in ("small", "small", "large"):
            warnings.warn(message, stacklevel=1)
    lines = capsys.readouterr().err.split("\n")
    assert [line for line in lines if "warning" in line] == ["warning: small", "warning: large"]


@pytest.mark.parametrize(("quiet", "told"), [(False, "this --model it is"), (True, "")])
def test_a_notice_is_a_plain_line(quiet: bool, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    teller = Teller(quiet=quiet)
    with teller.bar():
        for _ in range(2):
            warnings.warn("this `model` it is", Notice, stacklevel=1)
    assert capsys.readouterr().err.strip() == told


@pytest.mark.parametrize("total", [0, 100])
def test_the_bar_of_a_download_goes(total: int) -> None:
    teller = Teller(quiet=True)
    teller.downloaded(100, total)
    teller.begin(3)
    assert [task.description for task in teller._progress.tasks] == ["dreaming"]


@pytest.mark.parametrize(("verbose", "lines"), [(False, 0), (True, 2)])
def test_frames_are_told_one_by_one_if_verbose(
    verbose: bool, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    teller = Teller(verbose=verbose)
    teller.begin(2)
    for index in range(2):
        teller.frame_done(index)
    assert teller._progress.tasks[0].completed == 2
    assert capsys.readouterr().err.count(" done after ") == lines


def test_the_objective_is_told_at_every_third_step(capsys: pytest.CaptureFixture[str]) -> None:
    tell = objective_teller(Teller(), 3)
    for done in range(1, 7):
        tell(
            DreamStep(
                done=done,
                total=6,
                octave=1,
                octaves=2,
                objective=torch.tensor(done / 8),
                image=torch.zeros(1),
            )
        )
    assert capsys.readouterr().err.splitlines() == [
        "step 3/6, octave 1/2: objective 0.375",
        "step 6/6, octave 1/2: objective 0.75",
    ]
