"""Workflows that keep secrets badly, and workflows that fail in every way that a retry policy or a time limit knows."""

from __future__ import annotations

import asyncio
import time

from indegree import Defaults, Permanent, Retry, Workflow
from indegree.worker import Context

MARK = "beside-the-secret"  # stands next to each secret, so that a search that finds it would have found the secret

NAMES = ["TOKEN", "PIN"]
careless = Workflow("careless", params={"again": 400})

PRINTS = """
echo "MARK $TOKEN"
echo "MARK $PIN" >&2
printf '{"token": "%s", "pin": %s, "at": "MARK"}' "$TOKEN" "$PIN"
"""
careless.command("prints", PRINTS.replace("MARK", MARK), output="json", secrets=NAMES)
careless.command(
    "long",
    f'for i in $(seq "$AGAIN"); do echo "{MARK} $TOKEN"; done',
    output="text",
    secrets=NAMES,
    env={"AGAIN": "${{ params.again }}"},
)
careless.command(
    "breaks", f'echo "{MARK} $TOKEN" | tee /dev/stderr; exit 3', secrets=NAMES, allow_failure=True, output="json"
)
careless.command("garbles", f'echo "{MARK} $TOKEN is no JSON"', secrets=NAMES, allow_failure=True, output="json")


@careless.task(secrets=NAMES)
def returns(context: Context) -> dict[str, object]:
    print(MARK, context.secrets["TOKEN"])
    context.logger.warning("%s %s", MARK, context.secrets["PIN"])
    return {MARK: [context.secrets["TOKEN"], f"pin={context.secrets['PIN']}"], "long": context.secrets["TOKEN"] * 500}


@careless.task(secrets=NAMES, isolate=True, args={"given": "${{ returns }}"})
def isolated(given: dict[str, object], context: Context) -> str:
    context.progress(0.5, f"{MARK} {context.secrets['TOKEN']}")
    time.sleep(0.6)
    print(f"{MARK} {context.secrets['TOKEN']}", flush=True)
    return f"{MARK} {context.secrets['TOKEN']}"


def raising(context: Context) -> None:
    try:
        raise KeyError(f"{MARK} {context.secrets['TOKEN']}")
    except KeyError as error:
        error.add_note(f"{MARK} {context.secrets['PIN']}")
        raise RuntimeError(f"{MARK} pin {context.secrets['PIN']}") from error


for apart in (False, True):
    careless.add(
        raising,
        id=f"raises_{'apart' if apart else 'here'}",
        secrets=NAMES,
        isolate=apart,
        allow_failure=True,
        retry=Retry(max_attempts=2, delay="10ms"),
    )


class Ours(Exception):
    """An error of the user's, which builtin names do not cover."""


class Flaky(Ours):
    """One whose base is what the policy names."""


THRICE = Defaults(retry=Retry(max_attempts=3, delay="10ms", jitter=0.0))
failing = Workflow("failing", defaults=THRICE)


@failing.task(allow_failure=True)
def permanent() -> None:
    raise Permanent("no such bucket")


@failing.task(retry=Retry(errors=[Ours]))
def of_a_base_class(context: Context) -> int:
    if context.attempt < 3:
        raise Flaky("again")
    return context.attempt


@failing.task(retry=Retry(errors=[ConnectionError]))
def of_a_builtin_base_class(context: Context) -> int:
    if context.attempt < 2:
        raise ConnectionResetError("again")
    return context.attempt


@failing.task(retry=Retry(errors=[Flaky]), allow_failure=True)
def of_another_class() -> None:
    raise Ours("not this one")


failing.command("code_75", "exit 75", retry=Retry(exit_codes=[75]), allow_failure=True)
failing.command("code_1", "exit 1", retry=Retry(exit_codes=[75]), allow_failure=True)
failing.command(
    "unserved",
    "true",
    queue="nobody",
    queue_timeout="300ms",
    retry=Retry(max_attempts=2, delay="10ms"),
    allow_failure=True,
)

overdue = Workflow("overdue", timeout="1s")


@overdue.task
async def sleeps() -> None:
    await asyncio.sleep(60)


overdue.wait_for("waits", signal="never")
overdue.join("after", depends_on=["sleeps"])
