"""Anthropic's own client against `serve`: messages, streams, tools and their results, counts, errors.

anthropic_client.py MODEL: a folder whose chat template writes tools. Ends with 1 if an answer is not as expected.
"""

import sys

import anthropic
import jsonschema

from server import KEY, WEATHER, check, served

TOOLS = [{"name": "weather", "description": "The weather in a city", "input_schema": WEATHER}]
HELLO = [{"role": "user", "content": "Hello"}]


def messages(client: anthropic.Anthropic) -> None:
    ask = dict(model="peer", system="Be brief.", messages=HELLO, max_tokens=24, extra_body={"seed": 7})
    whole = client.messages.create(**ask)
    check(whole.role == "assistant" and whole.stop_reason in ("end_turn", "max_tokens"), whole)
    with client.messages.stream(**ask) as stream:
        text = "".join(stream.text_stream)
        last = stream.get_final_message()
    check(text == "".join(block.text for block in whole.content), (text, whole.content))
    check(last.content[0].text == text and last.stop_reason == whole.stop_reason, last)
    check(last.usage.output_tokens == whole.usage.output_tokens, last.usage)
    counted = client.messages.count_tokens(model="peer", system="Be brief.", messages=HELLO)
    check(counted.input_tokens == whole.usage.input_tokens + whole.usage.cache_read_input_tokens, (counted, whole.usage))
    stop = text[3:5]
    cut = client.messages.create(**ask, stop_sequences=[stop])
    check(cut.stop_reason == "stop_sequence" and cut.stop_sequence == stop, cut)


def tools(client: anthropic.Anthropic) -> None:
    any_one = {"type": "any", "disable_parallel_tool_use": True}
    for choice in (any_one, {"type": "tool", "name": "weather"}):
        for seed in range(3):
            ask = dict(model="peer", messages=HELLO, max_tokens=400, tools=TOOLS, tool_choice=choice, extra_body={"seed": seed})
            whole = client.messages.create(**ask)
            check(whole.stop_reason == "tool_use" and len(whole.content) == 1, whole)
            for block in whole.content:
                check(block.type == "tool_use" and block.name == "weather", block)
                jsonschema.validate(block.input, WEATHER)
            with client.messages.stream(**ask) as stream:
                last = stream.get_final_message()
            check([it.input for it in last.content] == [it.input for it in whole.content], (last, whole))
    results = [{"type": "tool_result", "tool_use_id": block.id, "content": "21 degrees"} for block in whole.content]
    turns = [*HELLO, {"role": "assistant", "content": whole.content}, {"role": "user", "content": results}]
    answer = client.messages.create(model="peer", messages=turns, tools=TOOLS, max_tokens=8)
    check(answer.usage.output_tokens > 0, answer)


def errors(client: anthropic.Anthropic) -> None:
    for kind, change in (
        (anthropic.NotFoundError, {"model": "other"}),
        (anthropic.BadRequestError, {"extra_body": {"temperature": -1}}),
        (anthropic.BadRequestError, {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}),
        (anthropic.BadRequestError, {"messages": [*HELLO, {"role": "assistant", "content": "I"}]}),
    ):
        try:
            client.messages.create(**{"model": "peer", "messages": HELLO, "max_tokens": 4, **change})
        except kind as error:
            check(error.body["type"] == "error" and error.body["error"]["message"], error.body)
        else:
            sys.exit(f"anthropic_client.py: {change} was answered")
    try:
        client.with_options(api_key="sk-wrong").messages.create(model="peer", messages=HELLO, max_tokens=4)
    except anthropic.AuthenticationError as error:
        check(error.body["error"]["type"] == "authentication_error", error.body)
    else:
        sys.exit("anthropic_client.py: a wrong key was accepted")


with served(sys.argv[1]) as address:
    client = anthropic.Anthropic(base_url=address, api_key=KEY, max_retries=0)
    for part in (messages, tools, errors):
        part(client)
        print(f"anthropic {anthropic.__version__}, {part.__name__}: as expected")
