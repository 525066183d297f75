"""The example notebook is committed as it was executed, and executes again."""

import warnings
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / "demos" / "compare" / "example.ipynb"


def kinds(notebook):
    """What each code cell showed: text, pictures, errors."""
    return [
        [output["output_type"] + ("" if "data" not in output else f" {sorted(output['data'])}") for output in cell["outputs"]]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_the_notebook_runs_and_shows_what_it_showed():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the packages that run notebooks
        nbclient = pytest.importorskip("nbclient")
        nbformat = pytest.importorskip("nbformat")
        notebook = nbformat.read(PATH, as_version=4)
        shown = kinds(notebook)
        assert any("image/png" in output for cell in shown for output in cell)
        for cell in notebook.cells:
            cell.source = cell.source.replace("budget=2", "budget=0.05")
        assert sum("budget=0.05" in cell.source for cell in notebook.cells) == 2
        nbclient.NotebookClient(
            notebook, timeout=120, coalesce_streams=True, resources={"metadata": {"path": str(PATH.parents[2])}}
        ).execute()
    assert kinds(notebook) == shown
