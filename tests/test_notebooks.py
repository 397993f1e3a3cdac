"""The notebooks hold no output, and run from their first cell to their last, one after the other, on the real built-in model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

FOLDER = Path(__file__).parents[1] / "notebooks"
SHORT = """
changes = [
    "training.steps=2", "training.validate_every=2", "training.probe_tokens=2", "evaluation.limit=2", "data.max_harmful=8",
    "data.max_lookalike=8", "data.max_ordinary=8", "evaluation.suites=[direct_harmbench, xstest_safe]",
]
"""
"""What the test puts in place of the values of the cell tagged "parameters"."""


def read(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_is_stored_without_outputs(path: Path) -> None:
    notebook = read(path.stem)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and not any(cell.outputs or cell.execution_count for cell in code)
    assert "parameters" in code[0].metadata.get("tags", [])


@pytest.mark.builtin
def test_they_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    shown = {}
    for name, change in (("quickstart", SHORT), ("results", "")):
        notebook = read(name)
        notebook.cells[1].source += change
        nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
        shown[name] = "".join(
            output.get("text", "") + "".join(output.get("data", {}).get("text/plain", ""))
            for cell in notebook.cells
            if cell.cell_type == "code"
            for output in cell.outputs
        )
    assert (tmp_path / "runs/first-look/report.html").is_file()
    assert "XSTest safe, typed" in shown["quickstart"] and "direct_harmbench" in shown["results"]
