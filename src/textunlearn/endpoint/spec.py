"""Which endpoint, how fast it may be asked, and what it costs. Holds no key: only the name of the variable that does."""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator

from textunlearn.errors import UserError
from textunlearn.recipe import Part
from textunlearn.records import digest
from textunlearn.settings import sentence

OURS = frozenset({"model", "messages", "stream", "n", "temperature", "max_tokens", "max_completion_tokens"})
"""Body fields that are set by other means than ``extra``."""
_SECRET = re.compile(r"key$|secret|password|passwd|authorization|bearer|^token$|[_-]token$", re.IGNORECASE)
_NO_KEYS = "a key never stands in a file; put it into an environment variable and name that variable in key_env"

Prefill = Literal["auto", "fields", "plain", "no"]


class EndpointSpec(Part):
    """An OpenAI-compatible endpoint (chat completions)."""

    base_url: str = Field(description="where the API begins, e.g. http://localhost:8000/v1")
    model: str = Field(min_length=1, description="what the server calls the model")
    key_env: str | None = Field(None, description="environment variable that holds the key; never the key itself")
    key_header: str = Field(
        "Authorization",
        pattern=r"^[A-Za-z0-9-]+$",
        description="header that carries the key; some clouds want api-key",
    )
    concurrency: int = Field(8, ge=1, le=512, description="requests at a time")
    requests_per_minute: float | None = Field(None, gt=0, description="at most; none: as fast as the server answers")
    tokens_per_minute: float | None = Field(
        None, gt=0, description="at most, counting each prompt as estimated and each answer at its longest"
    )
    timeout: float = Field(120.0, gt=0, description="seconds a request may take in all")
    retries: int = Field(6, ge=0, description="further tries of a request that was limited, timed out or failed")
    first_wait: float = Field(1.0, gt=0, description="seconds before the first further try; doubled each time")
    longest_wait: float = Field(
        300.0, gt=0, description="seconds; an endpoint that asks for a longer pause is left for another day"
    )
    temperature: float = Field(0.0, ge=0, le=2)
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="what the server calls the limit on answers; OpenAI's newer models want the second"
    )
    prefill: Prefill = Field(
        "auto",
        description="how the server goes on with an answer that has begun: fields (vLLM's continue_final_message), plain "
        "(it always does, as llama.cpp), no, or auto to try it",
    )
    price_in: float | None = Field(None, ge=0, description="of a million prompt tokens, in any currency")
    price_out: float | None = Field(None, ge=0, description="of a million answer tokens, in the same currency")
    extra: dict[str, Any] = Field(
        default_factory=dict, description="more fields for the body of every request, e.g. seed, chat_template_kwargs"
    )

    @classmethod
    def parse(cls, data: Any, where: str) -> EndpointSpec:
        """Checked settings; UserError naming the first bad one, without its value, which might be a key."""
        if not isinstance(data, dict):
            raise UserError(f"{where} does not describe an endpoint: expected base_url, model and perhaps key_env")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            loc = ".".join(str(part) for part in first["loc"])
            said = sentence(error, cls) if first["type"] == "extra_forbidden" else f"{loc}: {first['msg']}"
        raise UserError(f"{where}: {said}")

    # UserErrors, not ValueErrors: pydantic would quote what was given, and that may be the key.

    @model_validator(mode="before")
    @classmethod
    def _no_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            more = value.get("extra")
            names = [*value, *(more if isinstance(more, dict) else ())]
            for name in names:
                if isinstance(name, str) and name not in cls.model_fields and _SECRET.search(name):
                    raise UserError(f"the setting {name!r} of an endpoint: {_NO_KEYS}")
        return value

    @field_validator("key_env", mode="before")
    @classmethod
    def _variable(cls, value: Any) -> Any:
        if value is not None and not (isinstance(value, str) and re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", value)):
            raise UserError(
                f"key_env is not the name of an environment variable (capitals, digits and _ as in MY_API_KEY); {_NO_KEYS}"
            )
        return value

    @field_validator("base_url", mode="before")
    @classmethod
    def _address(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            parts = urlsplit(value.strip())
            host = parts.hostname
        except ValueError:
            host, parts = None, urlsplit("")
        if parts.scheme not in {"http", "https"} or not host:
            raise UserError(
                "base_url is not an address such as http://localhost:8000/v1; give it with http:// or https://"
            )
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise UserError(f"base_url holds more than an address (a user name, or something after ? or #): {_NO_KEYS}")
        return value.strip().rstrip("/").removesuffix("/chat/completions")

    @field_validator("extra")
    @classmethod
    def _not_ours(cls, value: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(OURS & value.keys()):
            raise ValueError(f"{', '.join(taken)} cannot be set here; the endpoint's own settings say it")
        return value

    @property
    def identity(self) -> str:
        """Hex digest of what decides the answers: two specs of one identity may share a store."""
        return digest(self.base_url, self.model, self.temperature, self.extra)
