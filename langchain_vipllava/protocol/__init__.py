"""The seam below the chat model: what is asked and answered, and the `Backend` that does it."""

from langchain_vipllava.protocol.answer import Answer, FinishReason, Timings
from langchain_vipllava.protocol.backend import Backend
from langchain_vipllava.protocol.chat_request import ChatRequest
from langchain_vipllava.protocol.limits import RequestLimits
from langchain_vipllava.protocol.logprobs import AnswerPiece, Choice, TokenLogprob
from langchain_vipllava.protocol.output_spec import OutputSpec
from langchain_vipllava.protocol.sampling import Sampling

__all__ = [
    "Answer",
    "AnswerPiece",
    "Backend",
    "ChatRequest",
    "Choice",
    "FinishReason",
    "OutputSpec",
    "RequestLimits",
    "Sampling",
    "Timings",
    "TokenLogprob",
]
