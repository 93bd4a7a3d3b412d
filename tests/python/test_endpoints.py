"""The endpoints that pass through, called by the official OpenAI SDK on both fronts: JSON, forms, sound, events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import openai
import pytest

from conftest import start_lambda
from fake_provider import Cut, FakeProvider, Handler, Seen, compact
from support import MASTER, OPENAI_KEY, Gateway, Process, config, model

# Neither UTF-8 nor free of line ends: what a text-minded layer would spoil.
SOUND = b"ID3\x04\x00\r\n--boundary\r\n\xff\xfb\x90\x00" * 5000
RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "error": None, "model": "up",
    "output": [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "Hello", "annotations": []}]}],
    "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
}  # fmt: skip


def event(body: dict) -> bytes:
    return f"event: {body['type']}\ndata: {compact(body)}\n\n".encode()


class Endpoints(Handler):
    """Answers by path."""

    def answer(self, seen: Seen) -> None:
        assert {k.lower(): v for k, v in seen.headers}["authorization"] == f"Bearer {OPENAI_KEY}"
        form = {k.lower(): v for k, v in seen.headers}["content-type"].startswith("multipart/form-data; boundary=")
        request = {} if form else json.loads(seen.body)
        path = seen.path.removeprefix("/v1")
        if path == "/audio/speech":
            self.whole(seen, 200, SOUND, {"content-type": "audio/mpeg"})
        elif path in ("/audio/transcriptions", "/audio/translations"):
            assert form and SOUND in seen.body
            words = b"1\n00:00:00,000 --> 00:00:01,000\nHello\n"
            srt = b'name="response_format"\r\n\r\nsrt' in seen.body
            kind = "text/plain" if srt else "application/json"
            self.whole(seen, 200, words if srt else b'{"text":"Hello"}', {"content-type": kind})
        elif path == "/completions" and request.get("stream"):
            chunk = {"id": "c", "object": "text_completion", "created": 1, "model": "up"}
            texts = [("Hel", None), ("lo", "stop")]
            chunks = [chunk | {"choices": [{"index": 0, "text": text, "finish_reason": why}]} for text, why in texts]
            if (request.get("stream_options") or {}).get("include_usage"):
                chunks.append(chunk | {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})
            self.stream(seen, iter([*(f"data: {compact(one)}\n\n".encode() for one in chunks), b"data: [DONE]\n\n"]))
        elif path == "/responses" and request.get("stream"):
            self.stream(seen, self.response(request["input"]))
        elif path == "/responses":
            self.whole(seen, 200, compact(RESPONSE).encode())
        elif path == "/moderations":
            self.whole(seen, 200, compact({"id": "m", "model": "up", "results": [{"flagged": True}]}).encode())
        elif path in ("/images/generations", "/images/edits", "/images/variations"):
            self.whole(seen, 200, compact({"created": 1, "data": [{"b64_json": "AAAA"}]}).encode())
        else:
            self.whole(seen, 404, compact({"error": {"message": path, "type": "x", "param": None, "code": None}}).encode())

    def response(self, what: str) -> Iterator[bytes | int]:
        started = RESPONSE | {"status": "in_progress", "output": []}
        yield event({"type": "response.created", "sequence_number": 0, "response": started})
        delta = {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
        yield event(delta | {"sequence_number": 1, "delta": "Hello"})
        if what == "cut":
            yield 50
            raise Cut
        yield event({"type": "response.completed", "sequence_number": 2, "response": RESPONSE})


class Provider(FakeProvider):
    handler = Endpoints


@dataclass
class Running:
    client: openai.OpenAI
    fake: Provider
    process: Process


@pytest.fixture(params=["server", "lambda"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("endpoints")
    with ExitStack() as stack:
        fake = stack.enter_context(Provider())
        names = ("any", "omni-moderation-latest")
        text = config([model(name, "openai/up", fake.url) for name in names] + [model("claude", "anthropic/up", fake.url)])
        if request.param == "lambda":
            process: Process = (one := start_lambda(stack, folder, text, {})).process
            url = one.url
        else:
            process = Gateway(text, folder, {}, (), "server")
            stack.callback(process.stop)
            url = process.listen().url
        client = stack.enter_context(openai.OpenAI(api_key=MASTER, base_url=url + "/v1", max_retries=0, timeout=20))
        yield Running(client, fake, process)
        assert not fake.crashes, fake.crashes[0]
    process.check_output()


def test_sound_comes_back_byte_for_byte(running: Running) -> None:
    assert running.client.audio.speech.create(model="any", input="hi", voice="alloy").content == SOUND
    seen = running.fake.only()
    assert seen.json == {"input": "hi", "model": "up", "voice": "alloy"}


@pytest.mark.parametrize("how", ["json", "srt"])
def test_forms_keep_their_files(running: Running, how: str) -> None:
    file = ("a.mp3", SOUND, "audio/mpeg")
    for call in (running.client.audio.transcriptions, running.client.audio.translations):
        said = call.create(model="any", file=file, response_format=how)
        assert (said if how == "srt" else said.text).strip().endswith("Hello")
    for seen in running.fake.seen:
        assert b'name="model"\r\n\r\nup\r\n' in seen.body


def test_images(running: Running) -> None:
    images = running.client.images
    picture = ("a.png", SOUND, "image/png")
    made = [
        images.generate(model="any", prompt="x"),
        images.edit(model="any", image=picture, prompt="x"),
        images.create_variation(model="any", image=picture),
    ]
    assert [one.data[0].b64_json for one in made] == ["AAAA"] * 3
    with pytest.raises(openai.BadRequestError) as caught:
        images.generate(prompt="x")
    assert caught.value.param == "model" and "dall-e-2" in caught.value.message


def test_moderations_need_no_name(running: Running) -> None:
    assert running.client.moderations.create(input="x").results[0].flagged
    assert running.fake.only().json == {"model": "up", "input": "x"}


def test_completions(running: Running) -> None:
    chunks = list(running.client.completions.create(model="any", prompt="x", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == "Hello"
    # Nobody asked for the usage but us.
    asked = {"include_usage": True}
    *_, last = list(running.client.completions.create(model="any", prompt="x", stream=True, stream_options=asked))
    assert (last.choices, last.usage.total_tokens) == ([], 5)
    assert [seen.json["stream_options"] for seen in running.fake.seen] == [asked] * 2
    lines = running.process.wait_for_requests(2)
    assert [(line["input_tokens"], line["output_tokens"]) for line in lines] == [(3, 2)] * 2


def test_responses(running: Running) -> None:
    answer = running.client.responses.create(model="any", input="x")
    assert (answer.output_text, answer.usage.output_tokens) == ("Hello", 2)
    events = list(running.client.responses.create(model="any", input="x", stream=True))
    assert [one.type for one in events] == ["response.created", "response.output_text.delta", "response.completed"]
    assert events[-1].response.output_text == "Hello"


def test_a_response_that_is_cut_raises(running: Running) -> None:
    with pytest.raises(openai.APIError) as caught:
        list(running.client.responses.create(model="any", input="cut", stream=True))
    assert "not complete" in caught.value.message


def test_what_an_upstream_does_not_have_is_said(running: Running) -> None:
    calls: list[Callable[[], object]] = [
        lambda: running.client.responses.create(model="claude", input="x"),
        lambda: running.client.audio.speech.create(model="claude", input="hi", voice="alloy"),
        lambda: running.client.embeddings.create(model="claude", input="x"),
    ]
    for call in calls:
        with pytest.raises(openai.BadRequestError) as caught:
            call()
        assert caught.value.code == "unsupported_endpoint" and "/v1/messages" in caught.value.message
    assert not running.fake.seen
