"""The one description of a run. Read from YAML, checked as a whole before any work starts, written resolved into the run folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from textunlearn.data.loading import SourceSpec
from textunlearn.data.places import Mapped, PlaceSpec
from textunlearn.errors import UserError
from textunlearn.evaluation.suites import Suite
from textunlearn.files import read_yaml
from textunlearn.judges import DEFAULT
from textunlearn.registry import choices
from textunlearn.settings import sentence


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSpec(Part):
    """Which model, and how it is held in memory."""

    id: str = Field("builtin", description="'builtin', a local folder in Hugging Face layout, or a hub id")
    adapter: str | None = Field(None, description="a peft adapter that is part of the model to start from")
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: bfloat16 where the hardware is fast at it"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    quantize: Literal["4bit"] | None = Field(
        None, description="4bit: the language model's frozen weights in four bits (QLoRA; textunlearn[quantized])"
    )
    trust_remote_code: bool = Field(
        False, description="run Python code that comes with the model; only if you trust its author"
    )


class DataSpec(Part):
    """What is unlearned, and what is kept. Everything is text."""

    harmful: list[SourceSpec] = Field(
        [SourceSpec(source="advbench"), SourceSpec(source="harmbench_validation")],
        min_length=1,
        description="requests to refuse",
    )
    lookalike: list[SourceSpec] = Field(
        [SourceSpec(source="lookalikes")], min_length=1, description="harmless requests that look like harm"
    )
    ordinary: list[SourceSpec] = Field(
        [SourceSpec(source="ordinary")], min_length=1, description="plain harmless requests"
    )
    places: dict[str, Path | Mapped] = Field(
        {},
        description="where data sets lie, by name: a folder in the publisher's layout, a file, or a table with mapped columns",
    )
    forms: bool = Field(
        True, description="put harmful requests into several forms (imperative, question, scenario, keyword, list)"
    )
    topics: list[str] = Field(
        [],
        description="train on harmful requests of these topics only (see data/authored/safe_answers.json); empty: all",
    )
    max_harmful: int = Field(400, ge=1)
    max_lookalike: int = Field(440, ge=1)
    max_ordinary: int = Field(660, ge=1)
    answer_tokens: int = Field(14, ge=4, le=1024, description="length of the harmful answers that are unlearned")
    kept_tokens: int = Field(
        8,
        ge=1,
        le=1024,
        description="length of the harmless answers that are kept; what matters is decided in the first few",
    )
    begun: float = Field(
        0.3,
        ge=0,
        le=1,
        description="share of harmful rows whose answer has already begun, so that the model learns to stop midway",
    )
    validation: int = Field(24, ge=4, description="held-out prompts of each kind that training is watched on")

    @model_validator(mode="before")
    @classmethod
    def _kinds(cls, value: Any) -> Any:
        """A name alone is a source; a file or hub set takes the kind it is listed under."""
        if not isinstance(value, dict):
            return value
        out = dict(value)
        for kind in ("harmful", "lookalike", "ordinary"):
            if isinstance(out.get(kind), list):
                specs = [{"source": spec} if isinstance(spec, str) else spec for spec in out[kind]]
                out[kind] = [
                    {"kind": kind, **spec} if isinstance(spec, dict) and not spec.get("source") else spec
                    for spec in specs
                ]
        return out


class SlotSpec(Part):
    """Text in the image slots: word embeddings of a request laid out where image tokens stand. No image, no vision encoder."""

    share: float = Field(
        0.5, ge=0, le=1, description="share of rows that stand in the image slots; 0 = plain textual unlearning"
    )
    misread: float = Field(
        0.03,
        ge=0,
        le=1,
        description="chance that a character is misread, so that rows look like the vision side's reading",
    )
    fewer_blanks: float = Field(
        0.8,
        ge=0,
        le=1,
        description="share of slot rows with a random number of the blanks after the words left out: cheaper",
    )
    noise: float = Field(0.0, ge=0, description="Gaussian noise on slot embeddings, in units of their mean norm")
    neutral: bool = Field(
        True,
        description="under one of several neutral typed prompts, the empty one among them; false: always the empty one",
    )


class PictureSpec(Part):
    """Real typographic pictures among the training rows: multi-modal training, as the paper's baselines do it."""

    share: float = Field(
        0.0, ge=0, le=1, description="share of rows that are drawn as pictures; with slots.share at most 1"
    )


class MethodSpec(Part):
    """Which loss, with its own settings (see `textunlearn methods`)."""

    name: str = "textual_unlearning"
    settings: dict[str, Any] = Field(default_factory=dict)


Tracker = Literal["tensorboard", "trackio", "wandb", "mlflow"]


class TrainingSpec(Part):
    steps: int = Field(220, ge=1)
    harmful_rows: int = Field(
        2, ge=1, description="harmful requests a step; each brings its harmful and its safe answer"
    )
    lookalike_rows: int = Field(2, ge=0)
    ordinary_rows: int = Field(3, ge=0)
    accumulate: int = Field(
        1, ge=1, description="micro-batches a step is computed in; the result does not depend on it"
    )
    lr: float = Field(1.2e-3, gt=0)
    warmup: float = Field(0.1, ge=0, lt=1, description="share of steps")
    lora_rank: int = Field(4, ge=1)
    lora_alpha: int = Field(8, ge=1)
    lora_kind: Literal["lora", "dora", "rslora"] = Field(
        "lora",
        description="dora: direction and length of each weight apart, dearer; rslora: scaled by the root of the rank, for high ranks",
    )
    lora_skip: float = Field(
        0.0, ge=0, lt=1, description="share of the language model's layers, from the input on, without LoRA"
    )
    full: bool = Field(False, description="train the layers' own weights instead of LoRA")
    gradient_checkpointing: bool = Field(
        False,
        description="compute each layer again in the backward pass: a third slower, far less memory for long rows",
    )
    offload: bool = Field(
        False,
        description="with --shard: the layers' weights and the optimizer in the CPU's memory, where GPUs hold too little",
    )
    adversarial: float = Field(
        0.0, ge=0, description="latent adversarial noise on harmful prompts, in norms of each token's embedding"
    )
    validate_every: int = Field(110, ge=1)
    probe_tokens: int = Field(12, ge=1)
    guard: bool = Field(
        True, description="the guards below stop training; false lets it run to its end, whatever becomes of the model"
    )
    interpolate: list[Annotated[float, Field(gt=0, le=2)]] = Field(
        [],
        description="factors on the adapter that are tried on held-out prompts after training; the best is kept",
    )
    max_kl: float = Field(1.5, gt=0, description="guard: stop when the mean KL a token over ten steps passes this")
    max_broken: float = Field(
        0.15, gt=0, le=1, description="guard: stop when this share more of probe answers is broken than before"
    )
    max_harm_nll: float = Field(
        25.0, gt=0, description="guard: stop when harmful answers' NLL a token, mean of ten steps, passes this"
    )
    stop_when_reached: bool = Field(
        True, description="stop early once validation meets the aim below at two looks running"
    )
    aim_unsafe: float = Field(0.0, ge=0, le=1)
    aim_refusal: float = Field(0.03, ge=0, le=1, description="refusals of held-out harmless requests")
    report_to: list[Tracker] | None = Field(
        None, description="trackers of the curves; null: TensorBoard's files in the run folder, where it is installed"
    )


class UtilitySpec(Part):
    """One set of questions whose right answers are known; ``NAME``, ``NAME=LIMIT`` or ``NAME:FORM=LIMIT`` in short."""

    source: str = Field(min_length=1, description="a set of questions from `textunlearn datasets`, e.g. mmlu")
    limit: int | None = Field(None, ge=1, description="at most this many questions, evenly over categories")
    form: str | None = Field(
        None, description="how it is answered: letters, continuation, generated, ...; none: as the set is in the field"
    )
    shots: int = Field(0, ge=0, le=32, description="answered examples before each question")
    max_new_tokens: int | None = Field(None, ge=1, description="length of answers, where it is answered in words")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        name, equals, limit = value.partition("=")
        source, colon, form = name.partition(":")
        if equals and not limit.strip().isdecimal():
            raise ValueError(f"{value!r} is not of the form NAME, NAME=LIMIT or NAME:FORM=LIMIT, e.g. gsm8k=200")
        return {
            "source": source.strip(),
            **({"form": form.strip()} if colon else {}),
            **({"limit": int(limit)} if equals else {}),
        }


class EvaluationSpec(Part):
    suites: list[str | Suite] | Literal["default", "comparison", "broad", "audio", "none"] = Field(
        "default",
        description="a set of suites, or a list of names from `textunlearn suites` and of suites of your own (source, attack)",
    )
    utility: list[UtilitySpec] = Field(
        [], description="sets of questions with known answers: names, or {source: gsm8k, limit: 200, shots: 5}"
    )
    limit: int | None = Field(None, ge=1, description="at most this many cases a suite, and questions a set")
    judge: str | dict[str, Any] = Field(
        DEFAULT,
        description="one of `textunlearn judges`, or its name with settings: {name: llama_guard_3, model: my/folder}",
    )
    knowledge: bool = Field(False, description="ask short questions of general knowledge as well")
    shallowness: bool = Field(
        False, description="fine-tune the result a little and attack it again; look at the first token's ranks"
    )
    max_new_tokens: int = Field(32, ge=1)
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto",
        description="cases at once; auto: found as it goes, doubled while memory has room, halved where it had not",
    )

    @field_validator("suites", mode="before")
    @classmethod
    def _own(cls, value: Any) -> Any:
        """Suites of the recipe's own, each checked by itself: a union would name every way in which it is not a name.
        ``SOURCE@ATTACK`` is one in short."""
        if not isinstance(value, list):
            return value
        out = []
        for number, suite in enumerate(value, start=1):
            if isinstance(suite, str) and "@" in suite:
                source, _, attack = suite.partition("@")
                suite = {"source": source.strip(), "attack": attack.strip() or "direct"}
            try:
                out.append(Suite.model_validate(suite) if isinstance(suite, dict) else suite)
            except ValidationError as error:
                raise ValueError(f"entry {number}: {sentence(error, Suite)}") from None
        return out


class Recipe(Part):
    """A whole run."""

    # pydantic's engine is Rust's, whose \w is narrower than Python's: "²" is no word there
    name: str = Field(
        "run", pattern=r"^[^/\\\x00-\x1f]*\w[^/\\\x00-\x1f]*$", description="of the run folder and the report; no path"
    )
    seed: int = Field(0, ge=0, lt=2**31)
    model: ModelSpec = ModelSpec()
    data: DataSpec = DataSpec()
    slots: SlotSpec = SlotSpec()
    pictures: PictureSpec = PictureSpec()
    method: MethodSpec = MethodSpec()
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec = EvaluationSpec()

    @classmethod
    def parse(cls, data: Any, where: str) -> Recipe:
        """Checked recipe; UserError naming the first bad key (``where``: the file, for the message)."""
        if not isinstance(data, dict):
            raise UserError(f"{where} does not hold a recipe: expected keys such as name, model, data, training")
        try:
            recipe = cls.model_validate(data)
        except ValidationError as error:
            raise UserError(f"{where}: {sentence(error, cls)}") from None
        recipe.check(where)
        return recipe

    @classmethod
    def read(cls, path: Path) -> Recipe:
        return cls.parse(read_yaml(path, "recipe"), str(path))

    def check(self, where: str) -> None:
        """Refuse combinations that cannot work, before any work starts."""
        from textunlearn.data.safe_answers import topics
        from textunlearn.methods import METHODS
        from textunlearn.training import combinations

        for kind in ("harmful", "lookalike", "ordinary"):
            for number, source in enumerate(getattr(self.data, kind)):
                if not source.trainable:
                    raise UserError(
                        f"{where}: data.{kind}.{number}: {source.title} is a test set and must not be trained on; choose another source"
                    )
        check_places(self.data.places, f"{where}: data.places")
        known = [topic.name for topic in topics()]
        for topic in self.data.topics:
            if topic not in known:
                raise UserError(f"{where}: data.topics: there is no topic {topic!r}; choose from {', '.join(known)}")
        METHODS.get(self.method.name)(**self.method.settings)
        suites = check_evaluation(self.evaluation, where)
        trained = {
            spec.source for kind in (self.data.harmful, self.data.lookalike, self.data.ordinary) for spec in kind
        }
        for suite in suites:
            if both := trained & set(suite.sources):
                raise UserError(
                    f"{where}: evaluation.suites: {suite.name} tests on {', '.join(map(str, both))}, which is trained on; "
                    "name another source"
                )
        if self.slots.share + self.pictures.share > 1:
            raise UserError(
                f"{where}: slots.share and pictures.share are {self.slots.share:g} and {self.pictures.share:g}, together more "
                "than all rows; lower one"
            )
        t = self.training
        combinations.check(self, where)
        if t.accumulate > t.harmful_rows + t.lookalike_rows + t.ordinary_rows:
            raise UserError(f"{where}: training.accumulate is {t.accumulate}, more than a step has rows; lower it")
        if t.lookalike_rows + t.ordinary_rows == 0:
            raise UserError(
                f"{where}: training.lookalike_rows and ordinary_rows are both 0, so nothing keeps the model useful; set one above 0"
            )

    @property
    def places(self) -> Mapping[str, PlaceSpec]:
        """Where data sets lie."""
        return self.data.places

    def to_yaml(self) -> str:
        # What a source leaves at its default stays out: a named source refuses settings that are not its own.
        data = self.model_dump(mode="json")
        for kind in ("harmful", "lookalike", "ordinary"):
            data["data"][kind] = [spec.model_dump(mode="json", exclude_unset=True) for spec in getattr(self.data, kind)]
        data["data"]["places"] = {
            name: place.model_dump(mode="json", exclude_unset=True) if isinstance(place, Mapped) else str(place)
            for name, place in self.data.places.items()
        }
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        if yaml.safe_load(text) != data:  # PyYAML folds U+0085 inside a string when it may write it as it is
            text = yaml.safe_dump(data, sort_keys=False)
        return text


def check_places(places: Mapping[str, PlaceSpec], where: str) -> None:
    """UserError for a place of a data set that there is not."""
    from textunlearn.data.sources import place_names

    if unknown := set(places) - set(place_names()):
        instead = choices(min(unknown), place_names(), "textunlearn datasets")
        raise UserError(f"{where}: there is no data set called {min(unknown)!r}; {instead}")


def check_evaluation(spec: EvaluationSpec, where: str) -> list[Suite]:
    """The suites that ``spec`` names; UserError for a suite, set of questions or judge that there is not."""
    from textunlearn.evaluation import benchmarks
    from textunlearn.evaluation.suites import chosen
    from textunlearn.judges.spec import make

    try:
        make(spec.judge)
    except UserError as error:
        raise UserError(f"{where}: evaluation.judge: {error}") from None
    try:
        benchmarks.chosen(spec.utility)
    except UserError as error:
        raise UserError(f"{where}: evaluation.utility: {error}") from None
    try:
        return chosen(spec.suites)
    except UserError as error:
        raise UserError(f"{where}: evaluation.suites: {error}") from None
