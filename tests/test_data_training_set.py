"""Splits: disjoint, apart from the test sets, counted. Small made-up files stand in for the sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from textunlearn.data.loading import SourceSpec
from textunlearn.data.training_set import Splits, make_splits
from textunlearn.errors import UserError
from textunlearn.records import Kind

WORDS = (
    "amber",
    "birch",
    "cedar",
    "dune",
    "ember",
    "fjord",
    "grove",
    "heath",
    "inlet",
    "jetty",
    "knoll",
    "ledge",
    "marsh",
)
PAIRS = [f"{a} {b}" for a in WORDS for b in WORDS if a < b]  # 78 pairs; two share at most one word


def spec(tmp_path: Path, name: str, kind: Kind, lines: list[str]) -> SourceSpec:
    path = tmp_path / f"{name}.txt"
    path.write_text("\n".join(lines))
    return SourceSpec(file=path, kind=kind)


def make(tmp_path: Path, **options: object) -> Splits:
    # one word of its own keeps a request apart from the others in every wording
    harmful = [f"Write a guide on how to hide {pair} {pair.replace(' ', '')}" for pair in PAIRS]
    extra = ["Write a guide on how to HIDE amber birch amberbirch", "Write a guide on how to fool a child"]
    sets: dict[str, object] = {
        "harmful": [spec(tmp_path, "harmful", "harmful", harmful + extra)],
        "lookalike": [spec(tmp_path, "look", "lookalike", [f"Kill {pair}" for pair in PAIRS])],
        "ordinary": [spec(tmp_path, "plain", "ordinary", [f"Bake {pair}" for pair in PAIRS])],
        "tests": [spec(tmp_path, "test", "harmful", ["How do I hide the cedar dune?"])],
    }
    return make_splits(**{**sets, **options})  # type: ignore[arg-type]


def pair_of(text: str) -> str:
    return next(pair for pair in PAIRS if pair in text)


def test_parts_are_disjoint_and_apart_from_the_tests(tmp_path: Path) -> None:
    splits = make(tmp_path)
    train = {pair_of(p.text) for p in splits.harmful_train}
    held = {pair_of(p.text) for p in splits.harmful_validation}
    assert train and held and not train & held
    assert "cedar dune" not in train | held
    assert not any("child" in p.text for part in splits.parts().values() for p in part)
    for name, prompts in splits.parts().items():
        assert {p.kind for p in prompts} == {name.split("_")[0]}


def test_every_prompt_is_used_or_counted(tmp_path: Path) -> None:
    splits = make(tmp_path, limits={"lookalike": 20})
    for kind, rows in (("harmful", len(PAIRS) + 2), ("lookalike", len(PAIRS)), ("ordinary", len(PAIRS))):
        # a harmful prompt may stand in two wordings
        used = len({pair_of(p.text) for part in ("train", "validation") for p in splits.parts()[f"{kind}_{part}"]})
        assert used + sum(n for reason, n in splits.cut.items() if reason.startswith(f"{kind}:")) == rows
    assert len(splits.lookalike_train) == 20
    assert splits.cut["harmful: may be about minors"] == 1
    assert splits.cut["harmful: repeated"] == 1
    assert splits.cut["harmful: near a test set"] == 1


def test_harmful_prompts_come_in_every_form_and_harmless_ones_as_they_are(tmp_path: Path) -> None:
    splits = make(tmp_path)
    counts = splits.forms()["harmful_train"]
    own = sum(p.text.startswith("Write a guide") for p in splits.harmful_train)
    pairs = len({pair_of(p.text) for p in splits.harmful_train})
    assert 0 < own < pairs < len(splits.harmful_train)  # some stand in their own words, beside the reworded form
    others = [n for form, n in counts.items() if form != "imperative"]
    assert len(others) == 4 and max(others) - min(others) <= 1 < min(others) < counts["imperative"]
    assert all(p.text.startswith("Bake") for p in splits.ordinary_train)
    plain = make(tmp_path, forms=False)
    assert all(p.text.startswith("Write a guide") for p in plain.harmful_train)


def test_the_seed_decides_everything(tmp_path: Path) -> None:
    assert make(tmp_path, seed=1) == make(tmp_path, seed=1)
    assert make(tmp_path, seed=1).hashes() != make(tmp_path, seed=2).hashes()


@pytest.mark.parametrize("name", ["harmbench", "strongreject", "xstest_safe", "self_instruct_user"])
def test_test_sets_are_refused_for_training(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"{name} is a test set"):
        make(tmp_path, harmful=[name])


def test_sets_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ordinary holds ordinary prompts, but lookalike ones are wanted"):
        make(tmp_path, lookalike=["ordinary"])
    with pytest.raises(UserError, match=r"one\.txt gives [01] lookalike prompts to train on"):
        make(tmp_path, lookalike=[spec(tmp_path, "one", "lookalike", ["Kill a process"])])
    with pytest.raises(UserError, match="no source at all gives 0 ordinary"):
        make(tmp_path, ordinary=[])
