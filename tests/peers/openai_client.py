"""OpenAI's own client against `serve`: completions, chats, streams, log-probabilities, schemas, tools, responses, errors, and
a client that leaves.

openai_client.py MODEL: a run or a folder; tools are tried if its chat template writes them. DARKHORSE names the binary.
Ends with 1 if an answer is not as expected.
"""

import concurrent.futures
import json
import sys
import time
import urllib.request
from typing import Literal

import openai
import pydantic

from server import KEY, check, served


class Person(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    name: str = pydantic.Field(max_length=12)
    age: int = pydantic.Field(ge=0, le=150)


class Weather(pydantic.BaseModel):
    """The weather in a city."""

    model_config = pydantic.ConfigDict(extra="forbid")
    city: str = pydantic.Field(max_length=12)
    unit: Literal["celsius", "fahrenheit"]


HELLO = [{"role": "user", "content": "Hello"}]


def completions(client: openai.OpenAI) -> None:
    ask = dict(model="peer", prompt="The court held that", max_tokens=24, seed=7, temperature=0.8, logprobs=2)
    whole = client.completions.create(**ask)
    again = client.completions.create(**ask)
    choice = whole.choices[0]
    check(choice.text == again.choices[0].text, "equal seeds give other texts")
    check(choice.finish_reason in ("stop", "length"), choice)
    check(whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens, whole.usage)
    check(len(choice.logprobs.tokens) == whole.usage.completion_tokens, choice.logprobs)
    events = list(client.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    text = "".join(event.choices[0].text for event in events if event.choices)
    check(text == choice.text, f"streamed {text!r}, whole {choice.text!r}")
    check(events[-1].usage == whole.usage, events[-1].usage)
    scores = [score for event in events if event.choices and event.choices[0].logprobs
              for score in event.choices[0].logprobs.token_logprobs]
    check(scores == choice.logprobs.token_logprobs, "streamed log-probabilities differ")
    many = client.completions.create(model="peer", prompt=["a", "b"], n=2, max_tokens=4, seed=1)
    check([it.index for it in many.choices] == [0, 1, 2, 3], many)
    stop = choice.text[8:11]
    cut = client.completions.create(**ask, stop=[stop])
    check(stop not in cut.choices[0].text and cut.choices[0].finish_reason == "stop", (stop, cut.choices[0]))
    check(choice.text.startswith(cut.choices[0].text), cut.choices[0])


def chats(client: openai.OpenAI) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    ask = dict(model="peer", messages=messages, max_completion_tokens=16, temperature=0, logprobs=True, top_logprobs=3)
    whole = client.chat.completions.create(**ask)
    message = whole.choices[0].message
    check(message.role == "assistant" and message.content is not None, message)
    content = whole.choices[0].logprobs.content
    check(all(len(token.top_logprobs) == 3 for token in content), content)
    with client.chat.completions.create(**ask, stream=True) as stream:
        events = list(stream)
    check(events[0].choices[0].delta.role == "assistant", events[0])
    text = "".join(event.choices[0].delta.content or "" for event in events)
    check(text == message.content, f"streamed {text!r}, whole {message.content!r}")
    check(events[-1].choices[0].finish_reason == whole.choices[0].finish_reason, events[-1])


def schemas(client: openai.OpenAI) -> None:
    for seed in range(3):
        ask = dict(model="peer", messages=HELLO, max_completion_tokens=200, seed=seed)
        whole = client.chat.completions.parse(**ask, response_format=Person)
        check(isinstance(whole.choices[0].message.parsed, Person), whole)
        with client.chat.completions.stream(**ask, response_format=Person) as stream:
            last = stream.get_final_completion()
        check(last.choices[0].message.parsed == whole.choices[0].message.parsed, last)
        given = client.responses.parse(model="peer", input="Hello", text_format=Person, max_output_tokens=200)
        check(isinstance(given.output_parsed, Person), given)
    whole = client.chat.completions.create(**ask, response_format={"type": "json_object"}, stop=["}"])
    check(whole.choices[0].message.content.startswith("{"), whole)


def tools(client: openai.OpenAI) -> None:
    tool = openai.pydantic_function_tool(Weather, name="weather")
    for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
        for seed in range(3):
            ask = dict(model="peer", messages=HELLO, max_completion_tokens=740, seed=seed, tools=[tool], tool_choice=choice)
            # one of the rounds may have several
            if choice == "required" and seed > 0:
                ask["parallel_tool_calls"] = False
            whole = client.chat.completions.parse(**ask)
            calls = whole.choices[0].message.tool_calls
            check(whole.choices[0].finish_reason == "tool_calls" and calls, whole)
            check(all(isinstance(call.function.parsed_arguments, Weather) for call in calls), calls)
            with client.chat.completions.stream(**ask) as stream:
                last = stream.get_final_completion().choices[0].message.tool_calls
            check([it.function.arguments for it in last] == [it.function.arguments for it in calls], (last, calls))
    results = [{"role": "tool", "tool_call_id": call.id, "content": "21 degrees"} for call in calls]
    message = whole.choices[0].message.model_dump(exclude={"parsed"})
    for call in message["tool_calls"]:
        call["function"].pop("parsed_arguments")
    answer = client.chat.completions.create(model="peer", messages=[*HELLO, message, *results], tools=[tool], max_tokens=8)
    check(answer.usage.completion_tokens > 0, answer)
    flat = {"type": "function", **{key: tool["function"][key] for key in ("name", "parameters", "strict")}}
    ask = dict(model="peer", input="Hello", max_output_tokens=400, tools=[flat], tool_choice="required", parallel_tool_calls=False)
    whole = client.responses.create(**ask)
    check(whole.status == "completed" and all(item.type == "function_call" for item in whole.output), whole)
    for item in whole.output:
        Weather.model_validate_json(item.arguments)
    outputs = [{"type": "function_call_output", "call_id": item.call_id, "output": "21"} for item in whole.output]
    turns = [*HELLO, *whole.output, *outputs]
    answer = client.responses.create(model="peer", input=turns, tools=[flat], max_output_tokens=8)
    check(answer.usage.output_tokens > 0, answer)


def responses(client: openai.OpenAI) -> None:
    ask = dict(model="peer", instructions="Be brief.", input="Hello", max_output_tokens=16, temperature=0)
    whole = client.responses.create(**ask)
    messages = [{"role": "system", "content": "Be brief."}, *HELLO]
    chat = client.chat.completions.create(model="peer", messages=messages, max_tokens=16, temperature=0)
    check(whole.output_text == chat.choices[0].message.content, (whole.output_text, chat))
    with client.responses.stream(**ask) as stream:
        events = list(stream)
    # get_final_response() raises where an answer is cut off
    last = events[-1].response
    check(last.output_text == whole.output_text and last.status == whole.status, last)
    check([event.sequence_number for event in events] == list(range(len(events))), events)
    try:
        client.responses.create(**ask, previous_response_id=whole.id)
    except openai.BadRequestError as error:
        check(error.param == "previous_response_id", error.body)
    else:
        sys.exit("openai_client.py: a stored response was found")


def errors(client: openai.OpenAI) -> None:
    wrong = [
        (openai.NotFoundError, dict(model="other", prompt="a")),
        (openai.BadRequestError, dict(model="peer", prompt="a", temperature=-1)),
        (openai.BadRequestError, dict(model="peer", prompt="a", logit_bias={"5": 1})),
        (openai.BadRequestError, dict(model="peer", prompt=[2**30])),
        (openai.BadRequestError, dict(model="peer", prompt="a", extra_body={"colour": "red"})),
    ]
    for kind, ask in wrong:
        try:
            client.completions.create(**ask)
        except kind as error:
            check(error.body["message"] and error.type == "invalid_request_error", error.body)
        else:
            sys.exit(f"openai_client.py: {ask} was answered")
    try:
        client.with_options(api_key="sk-wrong").models.list()
    except openai.AuthenticationError as error:
        check(error.code == "invalid_api_key", error.body)
    else:
        sys.exit("openai_client.py: a wrong key was accepted")


def leaves(client: openai.OpenAI) -> None:
    """A stream that is closed frees its place; requests that are refused are tried again by the client."""
    long = dict(model="peer", prompt="a", max_tokens=100_000, stream=True, extra_body={"ignore_eos": True})
    for _ in range(4):
        stream = client.completions.create(**long)
        next(iter(stream))
        stream.close()
    ask = dict(model="peer", prompt="a", max_tokens=4, seed=1)
    patient = client.with_options(max_retries=60)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: patient.completions.create(**ask).choices[0].text, range(24)))
    check(len(set(answers)) == 1, answers)


with served(sys.argv[1], "--max-sequences", "4", "--queue", "4") as address:
    client = openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0)
    check([model.id for model in client.models.list()] == ["peer"], "models")
    check(client.models.retrieve("peer").id == "peer", "model")

    def get(path: str) -> str:
        request = urllib.request.Request(f"{address}{path}", headers={"Authorization": f"Bearer {KEY}"})
        return urllib.request.urlopen(request).read().decode()

    writes_tools = "tools" in json.loads(get("/tokenizer_info"))["chat_template"]
    for part in (completions, chats, schemas, *([tools] if writes_tools else []), responses, errors, leaves):
        begin = time.monotonic()
        part(client)
        print(f"openai {openai.__version__}, {part.__name__}: as expected, {time.monotonic() - begin:.1f} s")
    aborted = [line for line in get("/metrics").splitlines() if 'finished_reason="abort"' in line]
    check(aborted and aborted[0].endswith(" 4"), aborted)
