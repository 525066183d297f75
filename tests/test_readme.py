"""The README's code runs, block after block, as a reader would paste it, and links lead somewhere."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_every_python_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) >= 4
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    assert (tmp_path / "history.csv").read_text().count("\n") == 1 + 6
    assert namespace["completed"][:, :32].tolist() == namespace["test"].images[:16, :32].tolist()


@pytest.mark.parametrize("page", ["README.md", "demos/README.md"])
def test_every_local_link_leads_somewhere(page: str) -> None:
    path = README.parent / page
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert links
    for link in links:
        assert (path.parent / link).exists(), link
