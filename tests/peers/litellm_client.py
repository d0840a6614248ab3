"""litellm against `serve`, by its providers for OpenAI's and Anthropic's interfaces: chats, streams, tools, schemas, errors.

litellm_client.py MODEL: a folder whose chat template writes tools. Ends with 1 if an answer is not as expected.
"""

import json
import os
import sys
from importlib.metadata import version

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import jsonschema
import litellm

from server import KEY, PERSON, WEATHER, check, served

litellm.suppress_debug_info = True
HELLO = [{"role": "user", "content": "Hello"}]
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "The weather in a city", "parameters": WEATHER}}]


def chats(where: dict) -> None:
    ask = dict(messages=HELLO, max_tokens=16, temperature=0, **where)
    whole = litellm.completion(**ask)
    text = whole.choices[0].message.content
    check(whole.usage.completion_tokens > 0 and text, whole)
    chunks = list(litellm.completion(**ask, stream=True, stream_options={"include_usage": True}))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    check(streamed == text, (streamed, text))


def tools(where: dict) -> None:
    ask = dict(messages=HELLO, max_tokens=400, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, temperature=0, **where)
    whole = litellm.completion(**ask)
    calls = whole.choices[0].message.tool_calls
    check(calls and whole.choices[0].finish_reason == "tool_calls", whole)
    for call in calls:
        jsonschema.validate(json.loads(call.function.arguments), WEATHER)
    chunks = list(litellm.completion(**ask, stream=True))
    again = litellm.stream_chunk_builder(chunks).choices[0].message.tool_calls
    same = [(json.loads(it.function.arguments), it.function.name) for it in calls]
    check([(json.loads(it.function.arguments), it.function.name) for it in again] == same, (again, same))
    results = [{"role": "tool", "tool_call_id": call.id, "name": "weather", "content": "21"} for call in calls]
    turns = [*HELLO, whole.choices[0].message, *results]
    answer = litellm.completion(messages=turns, tools=TOOLS, max_tokens=8, **where)
    check(answer.usage.completion_tokens > 0, answer)


def schemas(where: dict) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": PERSON}}
    whole = litellm.completion(messages=HELLO, max_tokens=200, response_format=form, **where)
    jsonschema.validate(json.loads(whole.choices[0].message.content), PERSON)


def errors(where: dict) -> None:
    for kind, change in ((litellm.BadRequestError, {"temperature": -1}), (litellm.AuthenticationError, {"api_key": "sk-wrong"})):
        try:
            litellm.completion(messages=HELLO, max_tokens=4, num_retries=0, **{**where, **change})
        except kind:
            continue
        sys.exit(f"litellm_client.py: {change} was answered")


with served(sys.argv[1]) as address:
    openai = {"model": "openai/peer", "api_base": f"{address}/v1", "api_key": KEY}
    claude = {"model": "anthropic/peer", "api_base": address, "api_key": KEY}
    for where, parts in ((openai, (chats, tools, schemas, errors)), (claude, (chats, tools, errors))):
        for part in parts:
            part(where)
            print(f"litellm {version('litellm')}, {where['model']}, {part.__name__}: as expected")
