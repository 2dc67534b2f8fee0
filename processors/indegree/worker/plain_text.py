"""Text that can always be recorded: valid UTF-8, no longer than a bound, with a mark where it was cut.

Why: protobuf refuses a lone surrogate and Kafka refuses a record that is too large. If either happened while a failure
is being recorded, the failure would be lost. So text from users passes through here first, and nothing here raises.
"""

from __future__ import annotations

CUT_MARK = "\n[... cut ...]\n"


def carriable(text: str) -> str:
    """`text`, with each lone surrogate written as an escape (`\\udc80`). NUL stays: protobuf carries it."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def cut_end(text: str, limit: int) -> tuple[str, bool]:
    """The first `limit` bytes of `text` (whole characters) and a mark, if it is longer; and whether it was."""
    text = carriable(text)
    if len(text) * 4 <= limit:
        return text, False
    data = text.encode()
    if len(data) <= limit:
        return text, False
    return data[:limit].decode("utf-8", "ignore") + CUT_MARK, True


def cut_middle(text: str, limit: int) -> tuple[str, bool]:
    """Both ends of `text` with a mark between them, if it is longer than `limit` bytes; and whether it was."""
    text = carriable(text)
    if len(text) * 4 <= limit:
        return text, False
    data = text.encode()
    if len(data) <= limit:
        return text, False
    half = limit // 2
    head = data[:half].decode("utf-8", "ignore")
    return head + CUT_MARK + data[-half:].decode("utf-8", "ignore"), True


def described(value: object) -> str:
    """`str(value)`, or what went wrong in making it: an exception's `__str__` is user code and may itself fail."""
    try:
        return str(value)
    except BaseException as error:  # noqa: BLE001 - user code may raise anything here
        return f"(the text of this {type(value).__name__} could not be made: {type(error).__name__})"
