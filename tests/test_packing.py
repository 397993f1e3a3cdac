"""A packed forward is the separate forwards of its prompts and answers, whatever is packed with what."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from textunlearn.errors import UserError
from textunlearn.training.packing import LAST, answer_states, pack, shared_prefix
from textunlearn.training.rows import Row, Target
from textunlearn.vlm.load import Vlm

PREFIX = (1, 50, 51, 52)


def rows() -> list[Row]:
    """Rows with one to three answers of one to five tokens, and one that stands in image slots."""
    return [
        Row("harmful", (*PREFIX, 60, 61, 62), (Target("harmful", (70, 71, 72)), Target("safe", (80, 81, 2)))),
        Row("ordinary", (*PREFIX, 63), (Target("benign", (90,)),)),
        Row("lookalike", (*PREFIX, 60, 64, 65, 66, 67), (Target("benign", (91, 92, 93, 94, 95)),), slots=(5, 6)),
        Row("harmful", (*PREFIX, 60), (Target("harmful", (73, 74)), Target("safe", (82,)), Target("benign", (96, 97)))),
        Row("ordinary", (*PREFIX, 68, 69), (Target("benign", (98, 99, 100)),)),
    ]


def separate(vlm: Vlm, some: list[Row]) -> torch.Tensor:
    """Hidden states that predict each answer token, one plain forward an answer."""
    out = []
    for row in some:
        for target in row.targets:
            ids = torch.tensor([[*row.prompt, *target.ids[:-1]]])
            hidden = vlm.decoder(input_ids=ids).last_hidden_state[0]
            out.append(hidden[len(row.prompt) - 1 :])
    return torch.cat(out)


@pytest.fixture(scope="module")
def double(clip_folder) -> Vlm:
    vlm = tiny.loaded(clip_folder)
    vlm.model.double()
    return vlm


@pytest.mark.parametrize("sequences", [None, 1, 2, 3, 5, 9])
def test_packed_forward_equals_separate_forwards(double: Vlm, sequences: int | None) -> None:
    some = rows()
    packed = pack(some, double.blank_id, sequences)
    with torch.no_grad():
        together = answer_states(double.decoder, double.embed, packed)[LAST]
        alone = separate(double, some)
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)
    assert packed.targets.tolist() == [token for row in some for target in row.targets for token in target.ids]


def test_eager_attention_gives_the_same_and_others_are_refused(clip_folder) -> None:
    vlm = tiny.loaded(clip_folder)
    packed = pack(rows(), vlm.blank_id, 2)
    with torch.no_grad():
        before = answer_states(vlm.decoder, vlm.embed, packed)[LAST]
        vlm.model.set_attn_implementation("eager")
        after = answer_states(vlm.decoder, vlm.embed, packed)[LAST]
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    vlm.decoder.config._attn_implementation = "flash_attention_2"
    with pytest.raises(UserError, match="flash_attention_2"):
        answer_states(vlm.decoder, vlm.embed, packed)


def test_one_answer_cannot_see_another(double: Vlm) -> None:
    first = rows()[:2]
    safe = first[0].targets[1]
    other = [Row("harmful", first[0].prompt, (Target("harmful", (7, 8, 9)), safe)), first[1]]
    with torch.no_grad():
        a, b = (answer_states(double.decoder, double.embed, pack(some, 0, 1))[LAST] for some in (first, other))
    assert torch.equal(a[3:6], b[3:6]) and not torch.allclose(a[1:3], b[1:3])


def test_shared_prefix() -> None:
    assert shared_prefix(rows()) == len(PREFIX)
    alone = rows()[:1]
    assert shared_prefix(alone) == len(alone[0].prompt) - 1  # one token is left out
    twin = Row("a", (1, 2, 3, 4, 5), (), slots=(2, 3))
    assert shared_prefix([twin, twin]) == 2  # up to the first image slot
    assert shared_prefix([Row("a", (1,), ()), Row("a", (2,), ())]) == 0


def test_slots_are_marked_where_their_tokens_lie() -> None:
    """Also where several rows begin with the same words in the slots."""
    some = [Row("a", (1, 2, 30, 31, word, 4), (Target("benign", (9, 9)),), slots=(2, 3, 4)) for word in (40, 41, 42)]
    for sequences in (1, 2, 3):
        packed = pack(some, 0, sequences)
        assert sorted(packed.input_ids[packed.slots].tolist()) == [30, 30, 30, 31, 31, 31, 40, 41, 42]


def test_noise_falls_on_slots_only(double: Vlm) -> None:
    some = rows()
    packed = pack(some, 0, 1)
    torch.manual_seed(0)
    with torch.no_grad():
        quiet = answer_states(double.decoder, double.embed, packed)[LAST]
        noisy = answer_states(double.decoder, double.embed, packed, noise=0.5)[LAST]
    changed = [not torch.equal(quiet[s.start : s.stop], noisy[s.start : s.stop]) for s in packed.segments]
    assert changed == [s.row == 2 for s in packed.segments]


def test_states_of_layers_are_the_models_own(double: Vlm) -> None:
    some = rows()[:1]
    packed = pack(some, 0, 1)
    with torch.no_grad():
        found = answer_states(double.decoder, double.embed, packed, layers=(1,))
        ids = torch.tensor([[*some[0].prompt, *some[0].targets[0].ids[:-1]]])
        kept: list[torch.Tensor] = []
        handle = double.decoder.layers[0].register_forward_hook(
            lambda module, args, out: kept.append(out[0] if isinstance(out, tuple) else out)
        )
        double.decoder(input_ids=ids)
        handle.remove()
    first = packed.segments[0]
    own = kept[0].reshape(-1, found[1].shape[-1])[len(some[0].prompt) - 1 :]
    torch.testing.assert_close(found[1][first.start : first.stop], own, rtol=1e-9, atol=1e-9)
    assert set(found) == {1, LAST}


def test_features_stand_in_their_own_slots(double: Vlm) -> None:
    """Two pictures of the same words' features give the same as those words."""
    words = [[30, 31], [40, 41]]
    target = (Target("benign", (9, 8)),)
    typed = [Row("a", (1, 2, *w, 4), target, slots=(2, 3)) for w in words]
    drawn = [Row("a", (1, 2, 3, 3, 4), target, slots=(2, 3), picture=str(i)) for i in range(2)]
    features = {str(i): double.embed(torch.tensor(w)).detach() for i, w in enumerate(words)}
    for sequences in (1, 2):
        with torch.no_grad():
            a = answer_states(double.decoder, double.embed, pack(typed, 0, sequences))[LAST]
            b = answer_states(double.decoder, double.embed, pack(drawn, 0, sequences, features))[LAST]
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert len({row.key for row in (*typed, *drawn)}) == 4, "a picture is part of what a row is"


ids = st.integers(3, 30)
targets = st.lists(
    st.builds(
        lambda role, some: Target(role, tuple(some)),
        st.sampled_from(["harmful", "safe", "benign"]),
        st.lists(ids, min_size=1, max_size=5),
    ),
    min_size=1,
    max_size=3,
).map(tuple)
any_row = st.builds(
    lambda prompt, some: Row("a", (1, *prompt), some), st.lists(ids, min_size=1, max_size=7).map(tuple), targets
)


@settings(max_examples=150, deadline=None)
@given(st.lists(any_row, min_size=1, max_size=6), st.integers(1, 7))
def test_layout(some: list[Row], sequences: int) -> None:
    """Every answer token is predicted from a position whose visible tokens, in order, are its prompt and the answer before it."""
    packed = pack(some, pad=0, sequences=sequences)
    assert len(packed.input_ids) == min(sequences, len(some))
    assert [(s.role, s.row) for s in packed.segments] == [
        (t.role, i) for i, row in enumerate(some) for t in row.targets
    ]
    flat = iter([t.ids for row in some for t in row.targets])
    length = packed.input_ids.shape[1]
    for segment in packed.segments:
        answer = next(flat)
        assert packed.targets[segment.start : segment.stop].tolist() == list(answer)
        for place, position in enumerate(packed.index[segment.start : segment.stop].tolist()):
            sequence, at = divmod(position, length)
            seen = packed.mask[sequence, 0, at].nonzero().squeeze(1)
            expected = [*some[segment.row].prompt, *answer[:place]]
            assert packed.input_ids[sequence, seen].tolist() == expected
            assert packed.position_ids[sequence, seen].tolist() == list(range(len(expected)))
    used = (packed.mask[:, 0].sum(-1) > 1) | (packed.input_ids != 0)
    assert packed.tokens == int(used.sum())


tokens_ = st.integers(3, 99)
drawn_row = st.builds(
    lambda prompt, some, slots: Row(
        "a", (*PREFIX, *prompt), some, tuple(i for i in slots if i < len(PREFIX) + len(prompt) - 1)
    ),
    st.lists(tokens_, min_size=2, max_size=6).map(tuple),
    targets,
    st.sets(st.integers(len(PREFIX), len(PREFIX) + 5)).map(lambda some: tuple(sorted(some))),
)


@settings(max_examples=12, deadline=None)
@given(some=st.lists(drawn_row, min_size=1, max_size=5), sequences=st.integers(1, 5))
def test_whatever_is_packed_gives_what_it_gives_alone(double: Vlm, some: list[Row], sequences: int) -> None:
    """Positions and mask against the model itself, on rows nobody chose."""
    packed = pack(some, double.blank_id, sequences)
    with torch.no_grad():
        together = answer_states(double.decoder, double.embed, packed)[LAST]
        torch.testing.assert_close(together, separate(double, some), rtol=1e-9, atol=1e-9)
    marked = sorted(packed.input_ids[packed.slots].tolist())
    assert len(marked) <= sum(len(row.slots) for row in some) and {*marked} == {
        row.prompt[i] for row in some for i in row.slots
    }
