"""One question to a chat endpoint, asked again where that helps.

The client is `huggingface_hub.InferenceClient`, which talks to Hugging Face's inference providers and to any endpoint
that understands OpenAI's chat completions (vLLM, llama.cpp, TGI, Ollama and the services of the same form).
"""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field
from http.client import HTTPException
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from irtd_datasets.errors import EndpointError
from irtd_datasets.remote import Retry, asked_wait, error_status, passes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from threading import Event

__all__ = ["Endpoint", "Reply", "image_message"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered.

    Attributes:
        text: The answer.
        finish_reason: Why it stopped.
        input_tokens: Tokens of the question; None when the endpoint does not say.
        output_tokens: Tokens of the answer.
        model: What the endpoint calls the model that answered; None when it does not say.
    """

    text: str
    finish_reason: str | None
    input_tokens: int | None
    output_tokens: int | None
    model: str | None = None


@dataclass(frozen=True)
class Endpoint:
    """Where a model is, and how patiently it is asked.

    Attributes:
        model: Name of the model.
        url: Base address of an OpenAI-compatible endpoint; None uses Hugging Face's inference providers.
        api_key: Its key. For an endpoint of your own without one none is sent: the Hugging Face token never goes to
            another host.
        timeout: Seconds that one answer may take.
        attempts: How often a question is asked in all. Waits double from one second, or are what the server asks for.
        max_tokens: Most tokens of an answer.
        temperature: Of the sampling; 0 is the most repeatable.
        seed: Passed on; few endpoints keep the promise.
    """

    model: str
    url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    timeout: float = 120.0
    attempts: int = 6
    max_tokens: int = 512
    temperature: float = 0.2
    seed: int = 0
    _sleep: Callable[[float], None] | None = field(default=None, repr=False, compare=False)

    def ask(self, messages: Sequence[dict[str, Any]], over: Event | None = None) -> Reply:
        """Ask, and ask again after limits, stalls and failures of the server.

        Args:
            messages: The conversation so far.
            over: Ends the waiting when somebody sets it; the question then counts as not answered.

        Raises:
            EndpointError: The server refuses (its ``fatal`` is true where every other question would fail, too), or
                no attempt was answered.
        """
        retry = Retry(self.attempts, 1.0)
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._ask_once(messages)
            except EndpointError as error:
                if not error.again:
                    raise
                trouble, seconds = error.problem, retry.wait(attempt, error.wait)
            if seconds is None:
                raise EndpointError(
                    f"no answer after {attempt} attempts; the last failed with: {trouble}",
                    where=self._name(),
                    remedy="Run the same command again later: answers so far are kept.",
                )
            if self._sleep is not None:
                self._sleep(seconds)
            elif over is None:
                time.sleep(seconds)
            else:
                over.wait(seconds)
            if over is not None and over.is_set():
                raise EndpointError(f"given up while waiting after: {trouble}", where=self._name())

    def _ask_once(self, messages: Sequence[dict[str, Any]]) -> Reply:
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        # The bases of the hub's own error are the transport errors of the HTTP library that it uses.
        transport = [
            base for base in HfHubHTTPError.__mro__ if base.__name__ in {"HTTPError", "RequestException"}
        ]
        unreachable: tuple[type[BaseException], ...] = (OSError, *transport)
        if self._is_local() and is_offline():
            return self._ask_local(messages)
        try:
            output = self._client().chat_completion(
                list(messages),
                model=None if self.url else self.model,
                max_tokens=self.max_tokens,
                temperature=self.temperature,
                seed=self.seed,
                extra_body={"model": self.model} if self.url else None,
            )
        except HfHubHTTPError as error:
            raise self._refused(error, str(getattr(error.response, "text", "") or "")) from error
        except OfflineModeIsEnabled as error:
            raise EndpointError(
                "HF_HUB_OFFLINE is set, and huggingface_hub then refuses every address",
                where=self._name(),
                remedy="Unset HF_HUB_OFFLINE for this command.",
                fatal=True,
            ) from error
        except unreachable as error:
            raise EndpointError(
                f"the endpoint cannot be reached: {type(error).__name__}: {error}"[:500],
                where=self._name(),
                again=True,
            ) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, JSONDecodeError) and error.doc.lstrip().startswith("{"):
                # The client of huggingface_hub before 1.0 does not notice that a body is shorter than announced.
                raise EndpointError("the answer was cut off", where=self._name(), again=True) from error
            raise self._not_an_answer() from error
        try:
            choice = output.choices[0]
            text = choice.message.content
        except (AttributeError, IndexError, TypeError) as error:
            raise self._not_an_answer() from error
        if not isinstance(text, str) or not text.strip():
            raise EndpointError("the answer is empty", where=self._name(), again=True)
        usage = getattr(output, "usage", None)
        return Reply(
            text.strip(),
            getattr(choice, "finish_reason", None),
            getattr(usage, "prompt_tokens", None),
            getattr(usage, "completion_tokens", None),
            getattr(output, "model", None),
        )

    def _is_local(self) -> bool:
        host = urlsplit(self.url).hostname if self.url else None
        return host in {"localhost", "127.0.0.1", "::1"}

    def _ask_local(self, messages: Sequence[dict[str, Any]]) -> Reply:
        """Ask an endpoint on this machine where HF_HUB_OFFLINE keeps the client of huggingface_hub from asking any."""
        fields = {
            "model": self.model,
            "messages": list(messages),
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
        }
        request = Request(  # noqa: S310 - its host is this machine
            f"{str(self.url).rstrip('/')}/chat/completions",
            data=json.dumps(fields).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self.api_key or 'none'}"},
        )
        try:
            with urlopen(request, timeout=self.timeout) as response:  # noqa: S310 - its host is this machine
                body = response.read()
        except HTTPError as error:
            raise self._refused(error, error.read(2000).decode(errors="replace")) from error
        except (OSError, HTTPException) as error:
            raise EndpointError(
                f"the endpoint cannot be reached: {type(error).__name__}: {error}"[:500],
                where=self._name(),
                again=True,
            ) from error
        try:
            found = json.loads(body)
            choice = found["choices"][0]
            text = choice["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise self._not_an_answer() from error
        if not isinstance(text, str) or not text.strip():
            raise EndpointError("the answer is empty", where=self._name(), again=True)
        usage = found.get("usage") or {}
        return Reply(
            text.strip(),
            choice.get("finish_reason"),
            usage.get("prompt_tokens"),
            usage.get("completion_tokens"),
            found.get("model"),
        )

    def _client(self) -> Any:  # noqa: ANN401 - the client's type is imported lazily
        from huggingface_hub import InferenceClient

        if self.url:
            return InferenceClient(base_url=self.url, api_key=self.api_key or "none", timeout=self.timeout)
        return InferenceClient(api_key=self.api_key, timeout=self.timeout)

    def _refused(self, error: Exception, text: str) -> EndpointError:
        status = error_status(error)
        if passes(error) or status is None:
            return EndpointError(
                f"the endpoint answered {status}",
                where=self._name(),
                again=True,
                wait=asked_wait(error),
            )
        remedies = {
            400: "The request was not understood: does the model take images?",
            401: "Give a key that is valid for this endpoint.",
            402: "The account has no credit left. Answers so far are kept.",
            403: "The key may not use this model.",
            404: "Check the address and the name of the model.",
            413: "The image is too large for the endpoint: use a smaller largest side.",
        }
        detail = " ".join(text.split())[:200]
        return EndpointError(
            f"the endpoint answered {status}" + (f": {detail}" if detail else ""),
            where=self._name(),
            remedy=remedies.get(status, ""),
            fatal=status in {401, 402, 403, 404},
            status=status,
        )

    def _not_an_answer(self) -> EndpointError:
        return EndpointError(
            "what came back is no chat completion (a web page of a proxy?)",
            where=self._name(),
            remedy="The address must be the base of an OpenAI-compatible interface, such as http://HOST:PORT/v1.",
            fatal=True,
        )

    def _name(self) -> str:
        return f"{self.model} at {self.url}" if self.url else self.model


def is_offline() -> bool:
    """Whether huggingface_hub was told to ask no address."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def image_message(text: str, image: bytes, kind: str = "jpeg") -> dict[str, Any]:
    """A user's message with an image (``jpeg`` or ``png``) and a text, in the form of OpenAI's chat completions."""
    data = base64.b64encode(image).decode()
    return {
        "role": "user",
        "content": [
            {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}"}},
            {"type": "text", "text": text},
        ],
    }
