"""Models behind an OpenAI-compatible endpoint: asked many at a time, within limits, with what it costs said before."""

from textunlearn.endpoint.client import Endpoint
from textunlearn.endpoint.estimate import Estimate, estimate, estimate_cases
from textunlearn.endpoint.messages import Message, Reply, chat_of
from textunlearn.endpoint.spec import EndpointSpec

__all__ = ["Endpoint", "EndpointSpec", "Estimate", "Message", "Reply", "chat_of", "estimate", "estimate_cases"]
