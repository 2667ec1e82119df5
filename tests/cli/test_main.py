"""The command table: every command has help, starts fast, and is documented."""

from __future__ import annotations

import subprocess
import sys

import pytest
from scripted_api import ROOT
from typer.testing import CliRunner

from batchline.cli.host.docs import rendered
from batchline.cli.main import COMMANDS, app


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    """Its first sentence begins as the table says."""
    done = CliRunner().invoke(app, [name, "--help"])

    assert done.exit_code == 0, done.output
    assert "Usage: " in done.output
    line = COMMANDS[name][1]
    assert not line or line.split(";")[0].rstrip(".")[:40] in " ".join(done.output.split())


def test_help_lists_every_public_command_and_writes_to_stdout():
    """Hidden are only the commands of those who work on batchline."""
    done = CliRunner().invoke(app, ["--help"])

    for name, (_, line) in COMMANDS.items():
        assert (f"  {name} " in done.stdout) is bool(line)


def test_an_unknown_command_is_exit_2():
    """With the nearest names, which the library suggests."""
    done = CliRunner().invoke(app, ["submitt"])

    assert done.exit_code == 2
    assert "submit" in done.stderr


def test_help_loads_nothing_heavy():
    """A tenth of a second to the first output: no httpx, rich, pydantic or aiohttp for help."""
    code = (
        "import sys; from batchline.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'httpx', 'rich', 'pydantic', 'aiohttp', 'prometheus_client', 'importlib.metadata'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        timeout=60,
    )

    assert done.stderr.strip() == "[]"


def test_the_version_is_the_packages():
    """As an option and as a command."""
    from batchline import __version__

    option, command = (CliRunner().invoke(app, [a]) for a in ("--version", "version"))

    assert option.stdout == command.stdout == f"batchline {__version__}\n"


def test_a_closed_pipe_is_quiet(api, start_batchline):
    """`batchline ls | head -1` ends without a traceback, as if by SIGPIPE."""
    for number in range(1, 400):
        api.add(number)
    process = start_batchline(
        "ls", "--all", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.read(1)
    process.stdout.close()

    assert process.wait(60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize("name", rendered(ROOT))
def test_generated_files_are_fresh(name):
    """`batchline docs` was run after the last change."""
    assert (ROOT / name).read_text("utf-8") == rendered(ROOT)[name], "run: make docs"


def test_every_command_and_exit_code_is_documented():
    """docs/cli.md has a heading per command and a row per exit code."""
    from batchline.cli.failure import ExitCode

    text = (ROOT / "docs/cli.md").read_text("utf-8")

    missing = [n for n, (_, line) in COMMANDS.items() if line and f"`batchline {n}" not in text]
    assert not missing
    assert all(f"| {int(code)} |" in text for code in ExitCode)


def test_docs_refuses_to_write_elsewhere(tmp_path):
    """It writes only into the repository."""
    done = CliRunner().invoke(app, ["docs", "--root", str(tmp_path)])

    assert done.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_the_shell_completes_names_and_ids(api, start_batchline):
    """Asked the way bash does; a server that is away completes nothing and says nothing."""
    api.add(1, metadata={"name": "nightly"})
    api.add(2, metadata={"name": "evil\x1b[2J"})

    def completed(typed, **env):
        asked = {"_BATCHLINE_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
        asked |= {"COMP_WORDS": f"batchline show {typed}"} | env
        process = start_batchline(
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=asked, text=True
        )
        out, err = process.communicate(timeout=60)
        assert err == ""
        return out.split()

    assert completed("ni") == ["nightly"]
    assert completed("@") == ["@last"]
    assert len(completed("batch_")) == 2
    assert completed("ev") == []
    assert completed("ni", BATCHLINE_URL="http://127.0.0.1:9") == []
