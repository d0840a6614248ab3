"""langchain-openai against `serve`: invocations, streams, tools, structured output, in chats and responses.

langchain_client.py MODEL: a folder whose chat template writes tools. Ends with 1 if an answer is not as expected.
"""

import sys
from importlib.metadata import version
from typing import Literal

from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel, ConfigDict, Field

from server import KEY, check, served


class Person(BaseModel):
    """A person."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=12)
    age: int = Field(ge=0, le=150)


@tool
def weather(city: Literal["Bern", "Lima"], unit: Literal["celsius", "fahrenheit"]) -> str:
    """The weather in a city."""
    return f"21 degrees {unit} in {city}"


TURNS = [SystemMessage("Be brief."), HumanMessage("Hello")]


def invocations(chat: ChatOpenAI) -> None:
    whole = chat.bind(max_tokens=16).invoke(TURNS)
    text = "".join(chunk.text for chunk in chat.bind(max_tokens=16).stream(TURNS))
    check(text == whole.text, (text, whole.text))
    check(whole.usage_metadata["output_tokens"] > 0, whole)


def tools(chat: ChatOpenAI) -> None:
    bound = chat.bind_tools([weather], tool_choice="any", parallel_tool_calls=False)
    whole = bound.invoke(TURNS)
    check(whole.tool_calls and not whole.invalid_tool_calls, whole)
    results = [weather.invoke(call) for call in whole.tool_calls]
    check(all(isinstance(it, ToolMessage) and it.content.startswith("21 degrees") for it in results), results)
    summed = None
    for chunk in bound.stream(TURNS):
        summed = chunk if summed is None else summed + chunk
    same = [(it["name"], it["args"]) for it in whole.tool_calls]
    check([(it["name"], it["args"]) for it in summed.tool_calls] == same, (summed, whole))
    answer = chat.bind_tools([weather]).bind(max_tokens=8).invoke([*TURNS, whole, *results])
    check(answer.usage_metadata["output_tokens"] > 0, answer)


def structured(chat: ChatOpenAI) -> None:
    for method in ("json_schema", "function_calling"):
        person = chat.with_structured_output(Person, method=method).invoke(TURNS)
        check(isinstance(person, Person), person)


def completions(address: str) -> None:
    model = OpenAI(model="peer", base_url=f"{address}/v1", api_key=KEY, max_tokens=8, temperature=0)
    check("".join(model.stream("Once")) == model.invoke("Once"), "a stream of a completion differs")


with served(sys.argv[1]) as address:
    for responses in (False, True):
        chat = ChatOpenAI(
            model="peer", base_url=f"{address}/v1", api_key=KEY, temperature=0, max_retries=0, use_responses_api=responses
        )
        for part in (invocations, tools, structured):
            part(chat)
            name = "responses" if responses else "chats"
            print(f"langchain-openai {version('langchain-openai')}, {name}, {part.__name__}: as expected")
    completions(address)
    print(f"langchain-openai {version('langchain-openai')}, completions: as expected")
