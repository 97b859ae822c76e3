"""The guide and the examples do what they say."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import aether_ipc as aether
import pytest
from conftest import REPOSITORY, WATCHDOG

GUIDE = (REPOSITORY / "docs" / "python.md").read_text()
EXAMPLES = Path(__file__).parent.parent / "examples"


def test_the_code_of_the_guide_does_what_stands_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # A fence is no output.
    text = re.sub(r"^```.*$", "", GUIDE, flags=re.MULTILINE)
    test = doctest.DocTestParser().get_doctest(text, {}, "docs/python.md", "docs/python.md", 0)
    assert len(test.examples) > 30
    words: list[str] = []
    failed, _ = doctest.DocTestRunner().run(test, out=words.append)
    assert failed == 0, "".join(words)


def test_the_guide_names_every_error_and_what_it_is() -> None:
    table = GUIDE.split("<!-- errors -->")[1]
    documented = {}
    for row in table.strip().splitlines()[2:]:
        names, builtin, _ = (cell.strip() for cell in row.strip("|").split("|"))
        for name in re.findall(r"`(\w+)`", names):
            documented[name] = builtin.strip("`")
    errors = {name: getattr(aether, name) for name in aether.__all__ if name.endswith("Error")}
    del errors["AetherError"]
    assert set(documented) == set(errors)
    for name, error in errors.items():
        _, *bases = error.__bases__
        module = {"queue": "queue."}
        assert documented[name] == "".join(module.get(base.__module__, "") + base.__name__ for base in bases)


def test_the_program_in_the_readme_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), flags=re.DOTALL)
    assert "/dev/shm/" in program
    exec(program.replace("/dev/shm", str(tmp_path)), {})
    assert capsys.readouterr().out == "b'hello'\n"


@pytest.mark.parametrize(
    ("example", "output"),
    [("numpy_ticks.py", "1000000 traded, at 100.000 on average\n"), ("arrow_tables.py", "7.75\n")],
)
def test_an_example_prints_what_it_should(example: str, output: str) -> None:
    ended = subprocess.run(
        [sys.executable, EXAMPLES / example], capture_output=True, text=True, timeout=WATCHDOG, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, output, "")


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"numpy_ticks.py", "arrow_tables.py"}


def test_everything_public_has_a_docstring() -> None:
    for name in set(aether.__all__) - {"__version__"}:
        item = getattr(aether, name)
        assert item.__doc__, name
        for member in vars(item) if isinstance(item, type) else ():
            if not member.startswith("_") and callable(getattr(item, member)):
                assert getattr(item, member).__doc__, f"{name}.{member}"
