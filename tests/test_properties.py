"""Properties that hold for whatever comes: readers give back what was written, records refuse what they are not, recipes survive YAML,
statistics keep their bounds. The same examples on every machine (see conftest)."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from textunlearn import plain_yaml
from textunlearn.data.rows import KEY, TEXT_COLUMN, read_rows
from textunlearn.errors import LONGEST, UserError, one_line
from textunlearn.evaluation.judge_error import Error, corrected
from textunlearn.evaluation.single import SingleSpec
from textunlearn.evaluation.statistics import Rate, holm, kappa, mcnemar, rogan_gladen, sample_size
from textunlearn.files import append_records, read_records, write_records
from textunlearn.recipe import Recipe
from textunlearn.records import Answer, Case, Likelihoods, Prompt, Question, Score, Verdict, from_json, to_json

quick = settings(max_examples=40, deadline=None)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
names = st.lists(text, max_size=3).map(tuple)
floats = st.floats(allow_nan=False)

# -- readers ------------------------------------------------------------------------------------------------------------

plain = text.map(lambda t: t.replace("\0", ""))
columns = st.lists(plain.map(str.strip), min_size=1, max_size=4, unique=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("properties")


@quick
@given(st.data(), columns, st.sampled_from(["", "\ufeff"]), st.sampled_from(["\n", "\r\n"]))
def test_a_table_gives_back_what_was_written(
    folder: Path, data: st.DataObject, header: list[str], bom: str, end: str
) -> None:
    assume(header != [""])  # a line of nothing
    rows = data.draw(st.lists(st.lists(plain, min_size=len(header), max_size=len(header)), max_size=4))
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator=end).writerows([header, *rows])
    (folder / "a.csv").write_bytes((bom + out.getvalue()).encode())
    assert [list(row.values.items()) for row in read_rows(folder / "a.csv")] == [
        list(zip(header, row, strict=True)) for row in rows
    ]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
objects = st.lists(st.dictionaries(text, values, max_size=4), max_size=4)


@quick
@given(objects, st.booleans(), st.sampled_from(["", "\ufeff"]))
def test_json_gives_back_what_was_written(
    folder: Path, entries: list[dict[str, Any]], ascii_only: bool, bom: str
) -> None:
    lines = "".join(json.dumps(entry, ensure_ascii=ascii_only).replace("\0", "\\u0000") + "\n" for entry in entries)
    (folder / "a.jsonl").write_bytes((bom + lines).encode())
    assert [row.values for row in read_rows(folder / "a.jsonl")] == entries
    (folder / "a.json").write_bytes((bom + json.dumps(entries, ensure_ascii=ascii_only)).encode())
    assert [row.values for row in read_rows(folder / "a.json")] == entries
    keyed = {f"k{number}": entry for number, entry in enumerate(entries)}
    (folder / "a.json").write_bytes(json.dumps(keyed).encode())
    assert [row.values for row in read_rows(folder / "a.json")] == [{KEY: key, **e} for key, e in keyed.items()]


@quick
@given(st.lists(plain.map(lambda t: t.replace("\n", " ")), max_size=6))
def test_lines_of_text(folder: Path, lines: list[str]) -> None:
    (folder / "a.txt").write_bytes("\n".join(lines).encode())
    said = [row.values[TEXT_COLUMN] for row in read_rows(folder / "a.txt")]
    assert said == [line.strip() for line in "\n".join(lines).removeprefix("\ufeff").split("\n") if line.strip()]


@quick
@given(st.lists(text, min_size=1, max_size=6))
def test_parquet_gives_back_what_was_written(folder: Path, said: list[str]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist([{"prompt": one} for one in said]), folder / "a.parquet")
    assert [row.values["prompt"] for row in read_rows(folder / "a.parquet")] == said


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | text.map(str.encode), st.sampled_from([".csv", ".jsonl", ".json", ".txt", ".parquet"]))
def test_any_bytes_are_rows_or_one_sentence(folder: Path, data: bytes, ending: str) -> None:
    path = folder / f"any{ending}"
    path.write_bytes(data)
    try:
        rows = read_rows(path)
    except UserError as error:
        assert str(error).isprintable() and f"any{ending}" in str(error)
    else:
        assert json.dumps([row.values for row in rows], ensure_ascii=False).encode(), "no half characters"


# -- records ------------------------------------------------------------------------------------------------------------

kinds = st.sampled_from(["harmful", "lookalike", "ordinary"])
prompts = st.builds(Prompt, text, kinds, text, text, text, text, text, text, text)
records: dict[type, st.SearchStrategy[Any]] = {
    Prompt: prompts,
    Case: st.builds(Case, text, text, prompts, text, names, names, text),
    Answer: st.builds(Answer, text, text, st.integers(0, 10**9), st.booleans()),
    Verdict: st.builds(Verdict, text, text, st.sampled_from(["unsafe", "refusal", "broken", "other", "failed"]), text),
    Question: st.builds(Question, text, text, names, st.integers(-1, 9), names, text, text, st.booleans(), text, names, names),
    Likelihoods: st.builds(Likelihoods, text, st.lists(floats, max_size=4).map(tuple)),
    Score: st.builds(Score, text, st.lists(floats, max_size=4).map(tuple)),
}  # fmt: skip


@quick
@given(st.one_of(*records.values()))
def test_every_record_survives_json(record: Any) -> None:
    again = from_json(type(record), to_json(record))
    assert again == record and hash(again) == hash(record)


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from(list(records)), values)
def test_a_record_with_another_value_is_refused_or_means_what_it_says(
    data: st.DataObject, cls: type, value: Any
) -> None:
    """Whatever is read is written again as it stood there: nothing is turned into something else on the way."""
    line = json.loads(to_json(data.draw(records[cls])))
    key = data.draw(st.sampled_from([field.name for field in fields(cls)]))
    line[key] = value
    try:
        read = from_json(cls, json.dumps(line))
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert json.loads(to_json(read)) == line


@quick
@given(st.data(), st.sampled_from(list(records)))
def test_a_record_with_a_field_more_is_refused(data: st.DataObject, cls: type) -> None:
    line = json.loads(to_json(data.draw(records[cls])))
    name = data.draw(text)
    assume(name not in {*line, "image", "image_sha256"})
    with pytest.raises(ValueError, match=r"xtra|nexpected|not permitted"):
        from_json(cls, json.dumps({**line, name: 1}))


@quick
@given(st.lists(records[Case], max_size=3), records[Case], st.data())
def test_a_store_cut_anywhere_keeps_its_whole_lines(
    folder: Path, whole: list[Case], torn: Case, data: st.DataObject
) -> None:
    path = folder / "cut.jsonl"
    write_records(path, whole)
    line = to_json(torn).encode()
    with path.open("ab") as file:
        file.write(line[: data.draw(st.integers(0, len(line)))])
    assert read_records(path, Case) == whole
    append_records(path, [torn])
    assert read_records(path, Case) == [*whole, torn]


# -- recipes and messages -----------------------------------------------------------------------------------------------

printable = text.filter(lambda t: t.strip() != "")
recipes = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**31 - 1),
        "model": st.fixed_dictionaries(
            {}, optional={"id": printable, "adapter": st.none() | printable, "trust_remote_code": st.booleans()}
        ),
        "slots": st.fixed_dictionaries({}, optional={"share": st.floats(0, 0.5), "misread": st.floats(0, 1)}),
        "pictures": st.fixed_dictionaries({}, optional={"share": st.floats(0, 0.5)}),
        "training": st.fixed_dictionaries(
            {},
            optional={
                "steps": st.integers(1, 10**6),
                "lr": st.floats(1e-9, 1),
                "warmup": st.floats(0, 1, exclude_max=True),
                "interpolate": st.lists(st.floats(0.01, 2), max_size=3),
                "guard": st.booleans(),
            },
        ),
        "data": st.fixed_dictionaries(
            {},
            optional={
                "ordinary": st.lists(
                    st.just("ordinary") | st.fixed_dictionaries({"file": printable.map(lambda t: t.replace("\0", "") + ".csv")}),
                    min_size=1,
                    max_size=3,
                ),
                "places": st.dictionaries(
                    st.sampled_from(["siuo", "figstep", "advbench"]),
                    printable.map(lambda t: "x" + t) | st.fixed_dictionaries({"file": printable, "column": text}),
                    max_size=2,
                ),
            },
        ),
        "evaluation": st.fixed_dictionaries(
            {},
            optional={
                "suites": st.sampled_from(["default", "comparison", "none", ["figstep", "xstest_safe@base64"]]),
                "limit": st.none() | st.integers(1, 99),
                "batch_size": st.just("auto") | st.integers(1, 99),
                "utility": st.sampled_from([[], ["mmlu"], [{"source": "gsm8k", "limit": 3}]]),
                "judge": st.sampled_from(["rules", {"name": "rules"}]),
            },
        ),
    },
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(recipes)
def test_a_recipe_survives_the_run_folder(folder: Path, data: dict[str, Any]) -> None:
    recipe = Recipe.parse(data, "my.yaml")
    (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    assert Recipe.read(folder / "recipe.yaml") == recipe
    single = {key: data[key] for key in ("seed", "model", "evaluation") if key in data}
    spec = SingleSpec.parse({"name": "x", "places": data.get("data", {}).get("places", {}), **single}, "x")
    (folder / "evaluation.yaml").write_text(spec.to_yaml(), encoding="utf-8")
    assert SingleSpec.read(folder / "evaluation.yaml") == spec


@quick
@given(st.dictionaries(text, values, max_size=4))
def test_plain_yaml_reads_what_yaml_writes(data: dict[str, Any]) -> None:
    written = yaml.safe_dump(data)
    assert plain_yaml.parse(written, "x") == yaml.safe_load(written)


@quick
@given(st.text(max_size=60) | st.text(max_size=9).map(lambda t: t * 3000))
def test_a_message_is_one_printable_line(said: str) -> None:
    line = str(UserError(said))
    assert line == one_line(said) == one_line(line)
    assert line.isprintable() and len(line) <= LONGEST
    if said.isprintable() and len(said) <= LONGEST:
        assert line == " ".join(said.split())


# -- statistics ---------------------------------------------------------------------------------------------------------

counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@quick
@given(counts)
def test_wilson_is_scipys_holds_the_rate_and_is_the_same_from_the_other_side(pair: tuple[int, int]) -> None:
    from scipy.stats import binomtest

    k, n = pair
    rate, other = Rate(k, n), Rate(n - k, n)
    assert rate.low is not None and rate.high is not None and rate.value is not None and other.high is not None
    assert 0 <= rate.low <= rate.value <= rate.high <= 1 and rate.low < rate.high
    found = binomtest(k, n).proportion_ci(method="wilson")
    assert (rate.low, rate.high) == (pytest.approx(found.low, abs=1e-9), pytest.approx(found.high, abs=1e-9))
    assert rate.low == pytest.approx(1 - other.high, abs=1e-12)
    if k < n:
        more = Rate(k + 1, n)
        assert more.low is not None and more.high is not None and more.low > rate.low and more.high >= rate.high


@quick
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60), st.randoms(use_true_random=False))
def test_mcnemar_is_a_sign_test_whatever_the_order(pairs: list[tuple[bool, bool]], random: Any) -> None:
    from scipy.stats import binomtest

    before, after = [a for a, _ in pairs], [b for _, b in pairs]
    found, back = mcnemar(before, after), mcnemar(after, before)
    assert (found.gained, found.lost, found.p) == (back.lost, back.gained, back.p)
    assert found.gained + found.lost + found.same == len(pairs) and 0 < found.p <= 1
    changed = found.gained + found.lost
    assert found.p == pytest.approx(binomtest(found.gained, changed).pvalue if changed else 1.0)
    random.shuffle(pairs)
    assert mcnemar([a for a, _ in pairs], [b for _, b in pairs]) == found


shares = st.floats(0, 1)


@quick
@given(shares, st.floats(0.51, 1), st.floats(0.51, 1))
def test_rogan_gladen_undoes_what_a_judge_of_known_error_does(
    true: float, sensitivity: float, specificity: float
) -> None:
    seen = true * sensitivity + (1 - true) * (1 - specificity)
    assert rogan_gladen(seen, sensitivity, specificity) == pytest.approx(true, abs=1e-6)
    assert 0 <= rogan_gladen(true, sensitivity, specificity) <= 1


@quick
@given(counts, counts, counts)
def test_a_corrected_rate_lies_in_its_interval(rate: tuple[int, int], se: tuple[int, int], sp: tuple[int, int]) -> None:
    found = corrected(Rate(*rate), Error(Rate(*se), Rate(*sp)))
    if found is None:
        assert (se[0] + 1) / (se[1] + 2) + (sp[0] + 1) / (sp[1] + 2) <= 1 or se[0] / se[1] + sp[0] / sp[1] <= 1
    else:
        value, low, high = found
        assert 0 <= low <= value <= high <= 1 and all(map(math.isfinite, found))


@quick
@given(st.lists(shares, max_size=8))
def test_holm_only_raises_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert len(adjusted) == len(p_values)
    for p, raised in zip(p_values, adjusted, strict=True):
        assert p <= raised + 1e-12 <= min(1.0, p * len(p_values)) + 2e-12 or raised <= 1
        assert raised >= p - 1e-12
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert [adjusted[i] for i in order] == sorted(adjusted)
    if p_values:
        assert min(adjusted) == pytest.approx(min(1.0, min(p_values) * len(p_values)))


@quick
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), max_size=40))
def test_kappa_is_the_same_from_both_sides_and_one_where_all_agree(pairs: list[tuple[str, str]]) -> None:
    found, back = kappa(Counter(pairs)), kappa(Counter((b, a) for a, b in pairs))
    if found is None:
        assert back is None
        return
    assert back == pytest.approx(found) and -1 - 1e-9 <= found <= 1
    if all(a == b for a, b in pairs):
        assert found == pytest.approx(1)


@quick
@given(st.floats(0.01, 0.9), st.floats(0.02, 0.09), st.floats(0.5, 0.95))
def test_more_prompts_are_needed_for_less_of_a_difference_and_for_more_power(
    first: float, gap: float, power: float
) -> None:
    near, far = sample_size(first, first + gap / 2, power=power), sample_size(first, first + gap, power=power)
    assert near.separate >= far.separate > 0 and near.paired >= far.paired > 0 and near.alone >= far.alone
    assert sample_size(first, first + gap, power=min(0.99, power + 0.04)).separate >= far.separate
    alike = sample_size(first, first + gap, power=power, agreement=1)
    assert alike.paired <= far.paired
