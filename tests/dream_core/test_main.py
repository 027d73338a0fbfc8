"""The command as a process: signals, exit codes and pipes."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from dream_core.settings import InputSettings, OutputSettings
from dream_core.video import open_clip, open_output

# The process with another body than the command.
PROGRAM = """
import os, signal, sys
# Whoever runs the tests, as nohup does, may have signals ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGTERM, signal.SIGHUP): signal.signal(number, signal.SIG_DFL)
import dream_core.__main__ as command

def run(arguments):
    {body}

command.run = run
sys.exit(command.main())
"""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows cannot send these signals")


def process(body: str) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(body=body.replace("\n", "\n    "))
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_signals_stop_it_once_and_set_the_exit_code(name: str, code: int) -> None:
    done = process(
        f"try: signal.raise_signal(signal.{name})\n"
        "except KeyboardInterrupt: print('stopping')\n"
        "for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.raise_signal(number)\n"
        "print('finished')\n"
        "return 130"
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "stopping\nfinished\n", "")


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "ImportError('numpy is half loaded')"])
def test_an_interrupted_import_gives_no_traceback(error: str) -> None:
    done = process(f"try: signal.raise_signal(signal.SIGINT)\nexcept KeyboardInterrupt: raise {error}")
    assert (done.returncode, done.stderr) == (130, "")


def test_other_errors_are_not_hidden() -> None:
    done = process("raise ImportError('numpy is missing')")
    assert done.returncode == 1
    assert "numpy is missing" in done.stderr


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    program = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from dream_core.__main__ import stop_at_first_signal\n"
        "received = stop_at_first_signal(); signal.raise_signal(signal.SIGHUP); assert not received"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_freed_memory_is_not_fetched_anew_page_by_page() -> None:
    done = process(
        "from resource import RUSAGE_SELF, getrusage\n"
        "def use(): return [b'x' * (3 << 20) for _ in range(8)]\n"
        "use()\n"
        "before = getrusage(RUSAGE_SELF).ru_minflt\n"
        "for _ in range(5): use()\n"
        "print(getrusage(RUSAGE_SELF).ru_minflt - before)\n"
        "return 0"
    )
    assert done.returncode == 0
    assert int(done.stdout) < 1000  # of 30,720 pages


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = [sys.executable, "-m", "dream_core", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as helped:
        assert helped.stdout
        assert helped.stderr
        helped.stdout.close()
        assert helped.stderr.read() == ""
    assert helped.returncode == 1


def test_closed_outputs_fail_no_run() -> None:
    command = f"{shlex.quote(sys.executable)} -m dream_core --version >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 0


def test_a_terminated_dream_is_a_whole_file(tmp_path: Path) -> None:
    source, target = tmp_path / "clip.mp4", tmp_path / "out.mp4"
    with open_output(source, size=(48, 64), fps=Fraction(10), settings=OutputSettings()) as output:
        for _ in range(3):
            output.write(torch.rand(3, 48, 64))
    body = f"""
from dream_core.command import dream as cli, options
def dream_into(output, clip, *_, **__):
    output.write(next(clip).image)
    os.kill(os.getpid(), signal.SIGTERM)
    output.write(next(clip).image)
cli.dream_into = dream_into
return cli.main(options.parse([{str(source)!r}, {str(target)!r}]))"""
    done = process(body)
    assert done.returncode == 143
    growing = tmp_path / "out.part.mp4"
    assert done.stderr.startswith(f"stopped: {growing} has the 1 image done so far; the same again goes on")
    with open_clip(growing, settings=InputSettings()) as clip:
        assert len(list(clip)) == 1
