"""OpenAI's own client against `serve`: completions, chats, streams, log-probabilities, errors, and a client that leaves.

openai_client.py MODEL: a run or a folder. DARKHORSE names the binary. Ends with 1 if an answer is not as expected.
"""

import concurrent.futures
import os
import subprocess
import sys
import time
import urllib.request

import openai

DARKHORSE = os.environ.get("DARKHORSE", "target/release/darkhorse-genesis")


def check(holds: bool, what: object) -> None:
    if not holds:
        sys.exit(f"openai_client.py: {what}")


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


def main() -> None:
    keys = os.path.join(os.environ.get("PEERS_WORK", "."), "serve-keys.txt")
    with open(keys, "w") as file:
        file.write("sk-peer\n")
    command = [DARKHORSE, "serve", "--model", sys.argv[1], "--name", "peer", "--port", "0", "--api-keys", keys,
               "--max-sequences", "4", "--queue", "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline()
            check(" is served at http://" in line, f"the server said {line!r}")
            address = line.split(" is served at ")[1].strip()
            client = openai.OpenAI(base_url=f"{address}/v1", api_key="sk-peer", max_retries=0)
            check([model.id for model in client.models.list()] == ["peer"], "models")
            check(client.models.retrieve("peer").id == "peer", "model")
            for part in (completions, chats, errors, leaves):
                begin = time.monotonic()
                part(client)
                print(f"{part.__name__}: as expected, {time.monotonic() - begin:.1f} s")
            request = urllib.request.Request(f"{address}/metrics", headers={"Authorization": "Bearer sk-peer"})
            metrics = urllib.request.urlopen(request).read().decode()
            aborted = [line for line in metrics.splitlines() if 'finished_reason="abort"' in line]
            check(aborted and aborted[0].endswith(" 4"), aborted)
        finally:
            server.terminate()
    check(server.returncode == 0, f"the server ended with {server.returncode}")


main()
