"""Scores of texts from a judge, a model behind an OpenAI-compatible endpoint; every answer is kept as it comes.

The cache is the one file that grows: a line per answer, each appended by a single write. So a killed run loses none,
and runs that share a cache do not mix. A line is JSON: `key`, the SHA-256 of what was asked, and the `answer`.
"""

import hashlib
import json
import logging
import os
import re
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Event

import httpx

from tessera.base.errors import TesseraError, shorten

logger = logging.getLogger("tessera")

CONFIG = "config key interventions.….judge"
TEXT = "{text}"  # stands in a question for the text
MAX_TOKENS = 16  # of an answer, which is a number
PARALLEL = 8  # requests at once
TIMEOUT = 120.0  # seconds without a byte of an answer
PAUSES = (2.0, 4.0, 8.0, 16.0, 32.0)  # seconds before each further try
PATIENCE = 300.0  # seconds that a server may ask to wait
NUMBER = re.compile(r"(?<![A-Za-z0-9.,−-])[−-]?(?:\d+(?:[.,]\d+)?|[.]\d+)")
RESUME = "then the same command again: what was answered is kept"


def judge(texts: list[str], spec: dict, cache: Path) -> tuple[list[float | None], list[str | None]]:
    """Ask a judge about N texts, of equal ones once, and of those whose answer is in `cache` not again.

    spec: `url`, `model`, `question`, `scale` and, if there is one, `key` of the config key interventions.….judge.

    Returns:
        The score [N] of each text, from 0 at the low end of the scale to 1, None where its answer has none (see
        `score`); and the answer [N] as the judge gave it. An empty text is not asked and has neither.

    Raises:
        TesseraError: `spec` cannot be used, a line of `cache` is damaged, or the endpoint gives no answer.
    """
    low, high = spec["scale"]
    if not low < high:
        raise TesseraError(f"{CONFIG}.scale: {low} is not below {high}")
    if spec["question"].count(TEXT) != 1:
        raise TesseraError(f"{CONFIG}.question: {shorten(spec['question'])} does not hold {TEXT} once")
    spec = spec | {"url": spec["url"].rstrip("/")}
    digests = [_digest(spec, text) if text.strip() else None for text in texts]
    answers = _read(cache)
    prompts = {
        digest: spec["question"].replace(TEXT, text)
        for digest, text in zip(digests, texts, strict=True)
        if digest is not None and digest not in answers
    }
    if prompts:
        answers |= _ask(prompts, spec, cache)
    given = [None if digest is None else answers[digest] for digest in digests]
    return [None if answer is None else score(answer, low, high) for answer in given], given


def score(answer: str, low: float, high: float) -> float | None:
    """The first number of an answer, 0 at `low` and 1 at `high`; None if there is none, or it lies outside.

    No later number is taken in its place: that may be an end of the scale, as in "12 of 10".
    """
    found = NUMBER.search(answer)
    if found is None:
        return None
    number = float(found[0].replace(",", ".").replace("−", "-"))
    return (number - low) / (high - low) if low <= number <= high else None


def _digest(spec: dict, text: str) -> str:
    asked = [spec["url"], spec["model"], spec["question"], text]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _read(cache: Path) -> dict[str, str]:
    """Digest → answer of the lines of a cache, the first of each; a last line that was not ended is cut off.

    Raises:
        TesseraError: another line is damaged.
    """
    content = cache.read_bytes() if cache.exists() else b""
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(cache, whole)
    answers: dict[str, str] = {}
    for number, line in enumerate(content[:whole].split(b"\n")[:-1], start=1):
        match _parsed(line):
            case {"key": str(digest), "answer": str(answer)}:
                answers.setdefault(digest, answer)
            case _:
                raise TesseraError(f"{cache}: line {number} is damaged; remove it, and its text is asked anew")
    return answers


def _parsed(content: bytes) -> object:
    """What JSON says; None of what is no JSON."""
    try:
        return json.loads(content)
    except ValueError:
        return None


def _ask(prompts: dict[str, str], spec: dict, cache: Path) -> dict[str, str]:
    """Digest → answer of every prompt, several asked at once; each is in the cache as soon as it comes.

    Raises:
        TesseraError: one got none. No further one is asked then; what is under way ends, and is kept.
    """
    headers = _authorization(spec)
    logger.info("%d texts to ask %s at %s", len(prompts), spec["model"], spec["url"])
    logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line per request
    cache.parent.mkdir(parents=True, exist_ok=True)
    answers, stopped = {}, Event()
    with (
        cache.open("ab", buffering=0) as lines,
        httpx.Client(headers=headers, timeout=TIMEOUT) as client,
        ThreadPoolExecutor(PARALLEL) as pool,
    ):

        def ask(digest: str, prompt: str) -> str:
            answer = _answer(client, spec, prompt, stopped)
            line = json.dumps({"key": digest, "answer": answer}).encode() + b"\n"
            if lines.write(line) < len(line):
                raise TesseraError(f"{cache} cannot grow: the disk is full; make room, {RESUME}")
            return answer

        asked = {pool.submit(ask, digest, prompt): digest for digest, prompt in prompts.items()}
        try:
            for future in as_completed(asked):
                answers[asked[future]] = future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            stopped.set()
    return answers


def _authorization(spec: dict) -> dict[str, str]:
    """The header with the API key; it is read from the environment here, and stands nowhere else."""
    if "key" not in spec:
        return {}
    value, variable = os.environ.get(spec["key"], "").strip(), f"the environment variable {spec['key']}"
    if not value:
        raise TesseraError(f"{CONFIG}.key: {variable} is not set; put the API key into it")
    if not (value.isascii() and value.isprintable()):  # else the client's error quotes it
        raise TesseraError(f"{CONFIG}.key: {variable} holds characters that no API key has; put the API key into it")
    return {"Authorization": f"Bearer {value}"}


class _Again(Exception):
    """What another try may mend, and the seconds that the server asks to wait before it."""

    def __init__(self, happened: str, seconds: float = 0.0):
        super().__init__(happened)
        self.seconds = seconds


def _answer(client: httpx.Client, spec: dict, prompt: str, stopped: Event) -> str:
    """The answer to a prompt, tried again while the server is busy or does not hold the connection.

    Raises:
        TesseraError: there is none.
        CancelledError: another request has failed while this one waited for its next try.
    """
    for pause in (*PAUSES, None):
        try:
            return _try(client, spec, prompt)
        except _Again as again:
            if pause is None or again.seconds > PATIENCE:
                raise TesseraError(f"{again}; see to the server or wait, {RESUME}") from again
            if stopped.wait(max(pause, again.seconds)):
                raise CancelledError from again


def _try(client: httpx.Client, spec: dict, prompt: str) -> str:
    where = f"{spec['url']}/chat/completions"
    asked = {"model": spec["model"], "messages": [{"role": "user", "content": prompt}]}
    try:
        response = client.post(where, json=asked | {"temperature": 0, "max_tokens": MAX_TOKENS})
    except httpx.ConnectError as error:
        raise TesseraError(f"{where} cannot be reached ({error}); start the server, {RESUME}") from error
    except httpx.TimeoutException as error:
        raise _Again(f"{where} did not answer within {TIMEOUT:.0f} s") from error
    except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
        raise _Again(f"{where} dropped the connection ({error})") from error
    except (httpx.RequestError, httpx.InvalidURL) as error:
        raise TesseraError(f"{CONFIG}.url: {where} cannot be asked ({error}); mend it, {RESUME}") from error
    return _content(response, spec, where)


def _content(response: httpx.Response, spec: dict, where: str) -> str:
    """The answer in a response.

    Raises:
        _Again: the server is busy, or at fault.
        TesseraError: it refuses, or speaks another language.
    """
    status, said = response.status_code, _said(response)
    if status == 429 or status >= 500:
        seconds = _seconds(response)
        wish = f", to be asked again in {seconds:.0f} s" if seconds > 0 else ""
        raise _Again(f"{where} answered {status}{wish}: {said}", seconds)
    match status:
        case 200:
            match _parsed(response.content):
                case {"choices": [{"message": {"content": str() | None as content}}, *_]}:
                    return content or ""  # null where the tokens ran out on thoughts
            refused = f"no chat completion but {said}; set {CONFIG}.url to an OpenAI-compatible endpoint"
        case 401 | 403 if "key" in spec:
            refused = f"it refuses the API key in the environment variable {spec['key']}; set the right one"
        case 401 | 403:
            refused = f"it wants an API key; set {CONFIG}.key to the environment variable that holds one"
        case 404:
            refused = f"no model {spec['model']!r} there, or no endpoint: {said}; mend {CONFIG}.model or .url"
        case _:
            refused = f"{said}; mend what it names"
    raise TesseraError(f"{where} answered {status}: {refused}, {RESUME}")


def _said(response: httpx.Response) -> str:
    """The start of a response, without the API key, which a server may repeat."""
    key = response.request.headers.get("authorization", "").removeprefix("Bearer ")
    return shorten(response.text.replace(key, "…") if key else response.text, 160)


def _seconds(response: httpx.Response) -> float:
    """How long a server asks to be left alone: Retry-After, seconds or a date (RFC 9110, 10.2.3); 0 without it."""
    said = response.headers.get("retry-after", "")
    with suppress(ValueError):
        return float(said)
    with suppress(ValueError):
        return parsedate_to_datetime(said).timestamp() - time.time()
    return 0.0
