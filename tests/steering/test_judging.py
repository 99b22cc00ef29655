"""A judge behind an endpoint: asked once for each text, whatever fails on the way, and its key told to no one else."""

import http.server
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from email.utils import formatdate
from pathlib import Path

import pytest
from refusals import fails
from tessera.steering import judging
from tessera.steering.judging import judge, score

SCRIPTS = Path(judging.__file__).parents[2]
SECRET = "sk-0123456789abcdef"
WAITED = 30  # seconds after which a test that hangs fails


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet

    def do_POST(self):
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        prompt = json.loads(asked)["messages"][0]["content"]
        with self.server.lock:
            self.server.requests.append((self.path, dict(self.headers), json.loads(asked)))
            nth = self.server.times[prompt] = self.server.times[prompt] + 1
        reply = self.server.reply(prompt, nth)
        if reply is None:
            self.close_connection = True
            return
        status, headers, body = reply
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    """An endpoint: `reply` gives status, headers and body for a prompt that comes the nth time, or None to hang up."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock, self.requests, self.times = threading.Lock(), [], Counter()
        self.reply = lambda prompt, nth: said("7")

    def handle_error(self, *_):
        pass  # whoever asked was killed

    @property
    def prompts(self) -> list[str]:
        return [body["messages"][0]["content"] for *_, body in self.requests]


def said(answer: str | None) -> tuple:
    return 200, {}, {"choices": [{"message": {"role": "assistant", "content": answer}}]}


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=[0.01])
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def waits(monkeypatch) -> list[float]:
    """The seconds before each further try, none of which are waited."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    found = []

    class Skipping(threading.Event):
        def wait(self, timeout=None):
            found.append(timeout)
            return super().wait(0)

    monkeypatch.setattr(judging, "Event", Skipping)
    return found


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "judge" / "answers.jsonl"


def spec_of(server: Server, **others) -> dict:
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    return {"url": url, "model": "m", "question": "How good, 0 to 10?\n\n{text}", "scale": [0, 10]} | others


def prompts_of(texts) -> list[str]:
    return [f"How good, 0 to 10?\n\n{text}" for text in texts]


def until(so):
    pause = threading.Event()
    for _ in range(WAITED * 100):
        if so():
            return
        pause.wait(0.01)
    raise AssertionError("it never came")


def lines(cache: Path) -> list[dict]:
    return [json.loads(line) for line in cache.read_text().splitlines()]


def test_a_text_is_put_into_the_question_and_its_answer_scaled(server, cache):
    server.reply = lambda prompt, nth: said("2" if prompt.endswith("bad") else "Score: 8.")
    found = judge(["bad", "a {text}"], spec_of(server, scale=[0, 10]), cache)
    assert found == ([0.2, 0.8], ["2", "Score: 8."])
    assert sorted(server.prompts) == prompts_of(["a {text}", "bad"])
    path, headers, body = server.requests[0]
    assert path == "/v1/chat/completions" and "Authorization" not in headers
    assert body["model"] == "m" and body["temperature"] == 0 and body["max_tokens"] <= 32


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        *(("7", 0.6), ("7/11", 0.6), ("Score: 8.", 0.7), ("**3**", 0.2), ("4.5", 0.35), ("4,5", 0.35), ("1", 0.0)),
        *(("11", 1.0), ("7 (of 11)", 0.6), ("Model-4: 7", 0.6), ("\n 2\n", 0.1), ("a 3, b 5", 0.2)),
        *(("12", None), ("0", None), ("-3", None), ("−3", None), ("12 of 10", None), (".5", None), ("100%", None)),
        *(("", None), ("good", None), ("GPT4", None), ("v2.5", None), ("ten", None), ("-", None)),
    ],
)
def test_the_first_number_counts_and_one_outside_the_scale_is_none(answer, expected):
    assert score(answer, 1, 11) == (None if expected is None else pytest.approx(expected))


def test_numbers_may_be_negative_where_the_scale_is():
    assert [score(answer, -2, 2) for answer in ("-2", "−1", "0", "Score: -0.5", "-3")] == [0, 0.25, 0.5, 0.375, None]


def test_an_answer_without_a_number_is_kept_and_is_none(server, cache):
    replies = {"a": "I cannot say.", "b": None, "c": "12", "d": "5"}
    server.reply = lambda prompt, nth: said(replies[prompt[-1]])
    expected = ([None, None, None, 0.5], ["I cannot say.", "", "12", "5"])
    assert judge([*"abcd"], spec_of(server), cache) == expected
    assert judge([*"abcd"], spec_of(server), cache) == expected
    assert len(server.requests) == 4


def test_what_is_in_the_cache_is_not_asked_again_and_needs_neither_server_nor_key(server, cache):
    spec = spec_of(server)
    first = judge(["a", "b"], spec, cache)
    before = cache.read_bytes()
    assert judge(["b", "a"], spec | {"url": spec["url"] + "/", "key": "NOT_SET_ANYWHERE"}, cache) == first
    assert len(server.requests) == 2 and cache.read_bytes() == before
    assert judge(["a"], spec | {"scale": [0, 14]}, cache) == ([0.5], ["7"])
    assert len(server.requests) == 2
    for other in ({"model": "n"}, {"question": "How bad? {text}"}, {"url": spec["url"].replace("/v1", "/v2")}):
        judge(["a"], spec | other, cache)
    assert len(server.requests) == 5
    assert [sorted(line) for line in lines(cache)] == [["answer", "key"]] * 5


def test_equal_texts_are_asked_once_and_empty_ones_not_at_all(server, cache):
    found = judge(["a", "", "a", " \n", "b", "a"], spec_of(server), cache)
    assert found == ([0.7, None, 0.7, None, 0.7, 0.7], ["7", None, "7", None, "7", "7"])
    assert sorted(server.prompts) == prompts_of("ab") and len(lines(cache)) == 2
    assert judge(["", "  "], spec_of(server), cache) == ([None, None], [None, None])
    assert judge([], spec_of(server), cache) == ([], [])


def test_results_stand_in_the_order_of_texts_when_eight_answers_come_in_the_other(server, cache):
    """Each is answered after the next one is, so that all eight must be under way at once."""
    answered = [threading.Event() for _ in range(9)]
    answered[8].set()

    def reply(prompt, nth):
        number = int(prompt[-1])
        assert answered[number + 1].wait(WAITED)
        until(lambda: len(lines(cache)) == 7 - number)
        answered[number].set()
        return said(str(number))

    server.reply = reply
    assert judge([*"01234567"], spec_of(server), cache)[0] == [number / 10 for number in range(8)]
    assert [line["answer"] for line in lines(cache)] == [*"76543210"]


def test_a_failure_half_way_keeps_what_was_answered(server, cache):
    texts = [f"text {number:02}" for number in range(30)]
    server.reply = lambda prompt, nth: (400, {}, {"error": "too long"}) if prompt.endswith("17") else said("3")
    fails(lambda: judge(texts, spec_of(server), cache), "400", "too long", "what was answered is kept")
    kept, refused = len(lines(cache)), len(server.requests)
    assert 17 <= kept < 30 and refused == kept + 1
    server.reply = lambda prompt, nth: said("3")
    assert judge(texts, spec_of(server), cache)[0] == [0.3] * 30
    assert len(server.requests) == refused + 30 - kept and len(lines(cache)) == 30


def test_a_killed_run_asks_only_for_what_is_missing(server, cache, tmp_path):
    texts, enough, killed = [f"text {number:02}" for number in range(20)], threading.Semaphore(5), threading.Event()

    def reply(prompt, nth):
        if not enough.acquire(blocking=False):
            assert killed.wait(WAITED)
        return said("3")

    server.reply = reply
    code = f"""
from pathlib import Path
from tessera.steering.judging import judge
judge({texts}, {spec_of(server)}, Path({str(cache)!r}))
"""
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as process:
        until(lambda: process.poll() is not None or (len(server.requests) == 13 and len(lines(cache)) == 5))
        process.send_signal(signal.SIGKILL)  # while eight are under way
    assert process.returncode == -signal.SIGKILL
    killed.set()
    kept = len(lines(cache))
    server.requests.clear()
    assert kept == 5 and judge(texts, spec_of(server), cache)[0] == [0.3] * 20
    assert len(server.requests) == len(set(server.prompts)) == 15 and len(lines(cache)) == 20


@pytest.mark.parametrize("left", [1, 30, -1])
def test_a_torn_last_line_is_dropped_and_asked_anew(server, cache, left):
    judge([*"abc"], spec_of(server), cache)
    whole = cache.read_bytes().splitlines(keepends=True)
    cache.write_bytes(b"".join(whole[:2]) + whole[2][:left])
    assert judge([*"abc"], spec_of(server), cache)[0] == [0.7] * 3
    assert len(server.requests) == 4 and sorted(cache.read_bytes().splitlines(keepends=True)) == sorted(whole)


def test_of_two_answers_to_one_text_the_first_counts(server, cache):
    judge(["a"], spec_of(server), cache)
    cache.write_text(cache.read_text() + json.dumps(lines(cache)[0] | {"answer": "2"}) + "\n")
    assert judge(["a"], spec_of(server), cache) == ([0.7], ["7"])


@pytest.mark.parametrize("damaged", [b'{"key": "0', b"", b"\xff", b"7", b'{"key": "0", "answer": 7}', b'{"key": "0"}'])
def test_any_other_damaged_line_is_an_error(server, cache, damaged):
    judge([*"abc"], spec_of(server), cache)
    whole = cache.read_bytes().splitlines(keepends=True)
    cache.write_bytes(whole[0] + damaged + b"\n" + whole[2])
    fails(lambda: judge([*"abcd"], spec_of(server), cache), str(cache), "line 2 is damaged", "remove it")
    assert len(server.requests) == 3


def test_runs_that_share_a_cache_do_not_mix_their_lines(server, cache):
    server.reply = lambda prompt, nth: said(prompt[:1] * 300)
    texts = [f"text {number}" for number in range(40)]
    specs = [spec_of(server, question=sign + "{text}") for sign in "abc"]
    threads = [threading.Thread(target=judge, args=(texts, spec, cache)) for spec in specs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAITED)
    assert Counter(line["answer"] for line in lines(cache)) == {sign * 300: 40 for sign in "abc"}
    for sign, spec in zip("abc", specs, strict=True):
        assert judge(texts, spec, cache)[1] == [sign * 300] * 40
    assert len(server.requests) == 120


def test_a_busy_server_is_asked_again_when_it_says(server, cache, waits):
    busy = [(429, {"Retry-After": "11"}, {}), (503, {"Retry-After": "1"}, {}), (500, {}, {}), said("7")]
    server.reply = lambda prompt, nth: busy[nth - 1]
    assert judge(["a"], spec_of(server), cache)[0] == [0.7]
    assert waits == [11, 4, 8]


def test_a_server_may_say_a_date(server, cache, waits, monkeypatch):
    monkeypatch.setattr(judging.time, "time", lambda: 1_000_000_000.0)
    date = formatdate(1_000_000_040, usegmt=True)
    server.reply = lambda prompt, nth: (429, {"Retry-After": date}, {}) if nth == 1 else said("7")
    assert judge(["a"], spec_of(server), cache)[0] == [0.7] and waits == [40]


def test_what_is_no_time_to_wait_counts_for_nothing(server, cache, waits):
    odd = ["soon", "-5", "nan"]
    server.reply = lambda prompt, nth: (429, {"Retry-After": odd[nth - 1]}, {}) if nth <= 3 else said("7")
    assert judge(["a"], spec_of(server), cache)[0] == [0.7] and waits == [2, 4, 8]


def test_a_server_that_asks_for_an_hour_is_not_waited_for(server, cache, waits):
    server.reply = lambda prompt, nth: (429, {"Retry-After": "3600"}, {"error": "quota"})
    fails(lambda: judge(["a"], spec_of(server), cache), "429", "3600 s", "quota", "what was answered is kept")
    assert waits == [] and len(server.requests) == 1


def test_a_server_that_fails_for_ever_is_an_error(server, cache, waits):
    server.reply = lambda prompt, nth: (500, {}, b"out of memory\n on the GPU")
    fails(lambda: judge(["a"], spec_of(server), cache), "/v1/chat/completions answered 500", "out of memory", "kept")
    assert waits == [2, 4, 8, 16, 32] and len(server.requests) == 6


def test_dropped_connections_and_timeouts_are_tried_again(server, cache, waits, monkeypatch):
    monkeypatch.setattr(judging, "TIMEOUT", 0.5)
    over = threading.Event()

    def reply(prompt, nth):
        if nth == 2:
            over.wait(WAITED)
        return None if nth <= 2 else said("7")

    server.reply = reply
    assert judge(["a"], spec_of(server), cache)[0] == [0.7]
    over.set()
    assert waits == [2, 4]


def test_a_failure_ends_the_waiting_of_others_and_no_more_is_asked(server, cache, monkeypatch):
    monkeypatch.setattr(judging, "Event", threading.Event)  # which waits

    def reply(prompt, nth):
        if prompt.endswith("slow"):
            return 429, {"Retry-After": "250"}, {}
        until(lambda: len(server.requests) == 8)
        return 400, {}, {}

    server.reply = reply
    texts = ["wrong", *(f"{number} slow" for number in range(40))]
    fails(lambda: judge(texts, spec_of(server), cache), "answered 400")
    assert len(server.requests) <= 9  # one may begin before the failure is seen


def test_connections_dropped_for_ever_are_an_error(server, cache, waits):
    server.reply = lambda prompt, nth: None
    fails(lambda: judge(["a"], spec_of(server), cache), "dropped the connection", "what was answered is kept")
    assert len(waits) == 5


def test_no_server_is_an_error_at_once(server, cache, waits):
    with closing(socket.socket()) as taken:  # bound, but it does not listen
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        texts = [str(number) for number in range(50)]
        fails(lambda: judge(texts, spec_of(server, url=url), cache), url, "cannot be reached", "start the server")
    assert waits == []


@pytest.mark.parametrize("url", ["localhost/v1", "ftp://127.0.0.1/v1", "http://127.0.0.1:port/v1"])
def test_a_url_that_is_none_is_an_error_at_once(server, cache, waits, url):
    fails(lambda: judge(["a"], spec_of(server, url=url), cache), "interventions.….judge.url", url)
    assert waits == []


@pytest.mark.parametrize("body", [b"<html>hello", {}, {"choices": []}, {"choices": [{"message": {"content": 7}}]}])
def test_another_server_is_an_error(server, cache, waits, body):
    server.reply = lambda prompt, nth: (200, {}, body)
    fails(lambda: judge(["a"], spec_of(server), cache), "no chat completion", "OpenAI-compatible")
    assert waits == [] and cache.read_bytes() == b""


@pytest.mark.parametrize(
    ("status", "others", "parts"),
    [
        (401, {}, ["judge.key", "wants an API key"]),
        (401, {"key": "JUDGE_KEY"}, ["environment variable JUDGE_KEY"]),
        (403, {"key": "JUDGE_KEY"}, ["environment variable JUDGE_KEY"]),
        (404, {"model": "big"}, ["'big'", "/v1/chat/completions", "judge.model"]),
        (400, {"key": "JUDGE_KEY"}, ["no such parameter"]),
        (302, {}, ["answered 302"]),
    ],
)
def test_a_refusal_is_an_error_at_once(server, cache, waits, monkeypatch, status, others, parts):
    monkeypatch.setenv("JUDGE_KEY", SECRET)
    server.reply = lambda prompt, nth: (status, {}, {"error": {"message": f"no such parameter, {SECRET}"}})
    with pytest.raises(judging.TesseraError) as raised:
        judge(["a"], spec_of(server, **others), cache)
    message = str(raised.value)
    assert str(status) in message and [part for part in parts if part not in message] == []
    assert SECRET not in message or "key" not in others
    assert len(message.splitlines()) == len(server.requests) == 1 and waits == []


def test_the_api_key_stands_in_its_header_and_nowhere_else(server, cache, monkeypatch, caplog):
    monkeypatch.setenv("JUDGE_KEY", f"{SECRET}\n")
    with caplog.at_level(logging.DEBUG):
        judge(["a"], spec_of(server, key="JUDGE_KEY"), cache)
    path, headers, body = server.requests[0]
    assert headers.pop("Authorization") == f"Bearer {SECRET}"
    assert SECRET not in f"{path} {headers} {body} {cache.read_text()} {caplog.text}"


@pytest.mark.parametrize(("value", "reason"), [(None, "is not set"), (" ", "is not set"), (f"{SECRET}\nß", "holds")])
def test_a_key_that_is_none_is_an_error_before_any_request(server, cache, monkeypatch, value, reason):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("JUDGE_KEY", value)
    with pytest.raises(judging.TesseraError, match=f"judge.key: the environment variable JUDGE_KEY {reason}") as raised:
        judge(["a"], spec_of(server, key="JUDGE_KEY"), cache)
    assert SECRET not in str(raised.value) and server.requests == []


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ({"question": "How good?"}, "{text} once"),
        ({"question": "{text} {text}"}, "{text} once"),
        ({"scale": [1, 1]}, "1 is not below 1"),
    ],
)
def test_a_judge_that_cannot_be_asked_is_an_error_before_any_request(server, cache, others, reason):
    fails(lambda: judge(["a"], spec_of(server, **others), cache), f"judge.{next(iter(others))}", reason)
    assert server.requests == []
