"""docs/your-model.md: every block of code runs, one after another."""

from __future__ import annotations

import re
from pathlib import Path

import torch

PAGE = Path(__file__).parents[2] / "docs" / "your-model.md"


def test_every_block_runs() -> None:
    torch.manual_seed(0)
    text, names = PAGE.read_text(encoding="utf-8"), {"__name__": "your_model"}
    blocks = list(re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    assert len(blocks) == text.count("```") // 2
    for block in blocks:
        line = text[: block.start()].count("\n") + 1
        exec(compile("\n" * line + block.group(1), str(PAGE), "exec"), names)
