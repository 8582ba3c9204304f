"""One guest for every test that reads from the recipes."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from lab.guest import run

from tests.guest.manual_recipes import NO_CONTROL, NO_TRANSFER, TIME_OUT, Recipe
from tests.guest.recipe_table import ROWS, STEPS, TRAPS
from tests.guest.shared import once

HANGING = (TIME_OUT, NO_TRANSFER, NO_CONTROL + TIME_OUT)
SCENARIO = Path(__file__).with_name("recipes.py")


@pytest.fixture(scope="session")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """By recipe: what the client said of each mode, or what its steps returned."""
    recipes = [*(_told(*row) for row in (*ROWS, *TRAPS)), *STEPS]
    made: dict[str, dict[str, Any]] = once(
        tmp_path_factory,
        "recipes",
        lambda: run.scenario(SCENARIO, [asdict(one) for one in recipes], timeout_s=300),
    )
    return made


def _told(recipe: Recipe, words: tuple[str, ...]) -> Recipe:
    """With the modes that are said to time out."""
    return replace(recipe, hangs=[mode for mode, word in zip(recipe.modes, words, strict=True) if word in HANGING])
