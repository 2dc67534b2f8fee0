"""Values in shell commands are words, whatever is in them: checked against the real shell."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indegree.events.expressions import EvaluationError, ExpressionError, Scope, TaskTable, compile_command

NASTY = ["$(touch owned)", "`touch owned`", "'; touch owned; '", '" ; touch owned ; "', "a\\", "\\", "a b\tc\nd", "*",
         "", "-n", "~", "#x", "$HOME", "${HOME}", "!!", "\u2028é", "x'\"x"]  # fmt: skip


def words(command: str, value: object) -> bytes:
    text = compile_command(command).evaluate(Scope(tasks=TaskTable(v=value)))
    return subprocess.run(["/bin/sh", "-c", text], capture_output=True, check=True, timeout=10).stdout


@pytest.mark.parametrize("value", NASTY)
@pytest.mark.parametrize(
    ("command", "form"),
    [
        ("printf %s ${{ v }}", "{}"),
        ("printf %s a${{ v }}b", "a{}b"),
        ('printf %s "a b"${{ v }}', "a b{}"),
        ("# don't \"worry\nprintf %s 'x'${{ v }}", "x{}"),
        ("printf %s $(printf %s ${{ v }}x)", None),
        ('X=${{ v }}; printf %s "${X}"', "{}"),
        ("printf %s \\'${{ v }}", "'{}"),
    ],
)
def test_a_value_is_one_word_of_a_shell_command(command: str, form: str | None, value: str) -> None:
    found = words(command, value)

    if form is not None:
        assert found.decode() == form.format(value) if "{" not in value else form.replace("{}", value)


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30))
def test_any_text_comes_through_the_shell_unchanged(value: str) -> None:
    assert words("printf %s ${{ v }}", value).decode() == value


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ('echo "${{ v }}"', 'inside " quotes'),
        ("echo '${{ v }}'", "inside ' quotes"),
        ("# don't\necho 'x ${{ v }}'", "inside ' quotes"),
        ("\\\n# '\necho '${{ v }}'", "inside ' quotes"),
        ("echo `${{ v }}`", "backticks"),
        ("cat <<EOF\n${{ v }}\nEOF", "here-document"),
        ("echo $(( ${{ v }} + 1 ))", "arithmetic"),
        ("echo $'x' ${{ v }}", r"\$'...' quoting"),
        ("echo \"$(echo '\"')\" '${{ v }}'", "inside double quotes"),
        ("echo $${{ v }}", r"directly after \$"),
        ("echo \\${{ v }}", r"directly after \\"),
        ("echo hi # ${{ v }}", "comment"),
    ],
)
def test_where_quoting_cannot_protect_the_command_is_refused_with_the_way_out(command: str, says: str) -> None:
    with pytest.raises(ExpressionError, match=says):
        compile_command(command)


def test_a_here_string_and_plain_variables_are_no_obstacle() -> None:
    scope = Scope(tasks=TaskTable(v="x y"))

    assert compile_command('echo "${A}" $B <<< ${{ v }}').evaluate(scope) == "echo \"${A}\" $B <<< 'x y'"


def test_words_of_a_list_are_texts_and_nothing_is_quoted() -> None:
    command = compile_command(["run", "--n=${{ n }}", "${{ v }}", "${{ l }}"])

    found = command.evaluate(Scope(tasks=TaskTable(n=3, v="a 'b'", l=[1])))

    assert found == ["run", "--n=3", "a 'b'", "[1]"]


@pytest.mark.parametrize("command", ["echo ${{ v }}", ["echo", "${{ v }}"]])
def test_a_nul_in_a_value_is_an_error_of_the_task(command: str | list[str]) -> None:
    with pytest.raises(EvaluationError, match="NUL"):
        compile_command(command).evaluate(Scope(tasks=TaskTable(v="a\0b")))


PIECES = ["'", '"', "\\", "\n", " ", "#", "# don't\n", "echo ", "a", "$x", "${x}", "${x:-", "}", "$(", ")", "(", "{",
          ";",
          "&&", "|", "<<<", "<", "$", "`", "\\\n", "case a in a)",
          ";;", "esac", "if true; then", "fi", "x=", "\\'", '\\"',
          "''", '""', "$((", "))", '# "\n', "$'", "#'", "${#x}", "${x#'"]  # fmt: skip
HOSTILE = [
    '$(touch "$MARK")',
    "'$(touch \"$MARK\")'",
    '";touch "$MARK";"',
    "';touch \"$MARK\";'",
    '`touch "$MARK"`',
    "x\\",
]


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.sampled_from([*PIECES, "${{ v }}"]), max_size=8), st.lists(st.sampled_from(PIECES), max_size=3),
    st.sampled_from(HOSTILE),
)  # fmt: skip
def test_no_accepted_command_runs_what_is_in_a_value(
    tmp_path_factory: pytest.TempPathFactory, before: list[str], after: list[str], value: str
) -> None:
    try:
        command = compile_command("true " + "".join([*before, "${{ v }}", *after]))
    except ExpressionError:
        return
    folder = tmp_path_factory.mktemp("shell")
    mark = folder / "mark"

    subprocess.run(
        ["/bin/sh", "-c", command.evaluate(Scope(tasks=TaskTable(v=value)))],
        env={"MARK": str(mark), "PATH": os.defpath}, cwd=folder, capture_output=True, timeout=10,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip

    assert not mark.exists()
