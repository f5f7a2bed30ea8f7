"""The documentation names only what exists: commands, options, make targets, paths, links, words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Decision records keep the names and paths of their date; only their form is checked.
RECORDS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
LANGUAGES = {"sh", "python", "json", "mermaid", "text", "yaml"}
OLD_WORDS = re.compile(r"\bstreets?\b|\boffice/", re.IGNORECASE)


@dataclass(frozen=True)
class CodeBlock:
    """A fenced block: its language ("" for none), its first line's number, its lines."""

    language: str
    line_number: int
    lines: tuple[str, ...]


def code_blocks(text: str) -> list[CodeBlock]:
    """Returns the fenced blocks of a page in their order. A fence left open ends with the page."""
    blocks: list[CodeBlock] = []
    language: str | None = None
    start, inside = 0, []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.lstrip().startswith("```"):
            if language is not None:
                inside.append(line)
        elif language is None:
            language, start, inside = line.strip().removeprefix("```").strip(), number + 1, []
        else:
            blocks.append(CodeBlock(language, start, tuple(inside)))
            language = None
    if language is not None:
        blocks.append(CodeBlock(f"{language} (never closed)", start, tuple(inside)))
    return blocks


def prose_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yields number and text of the lines outside fenced blocks."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, line


def shell_commands(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yields line number and words of each command in the `sh` blocks.

    Comments and leading assignments of variables are left out. Lines that end in a backslash are
    joined to the next, and a line is split at `&&`, `||`, `|` and `;`.
    """
    for block in code_blocks(text):
        if block.language != "sh":
            continue
        whole = "\n".join(block.lines).replace("\\\n", "  ")
        for offset, line in enumerate(whole.splitlines()):
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
            lexer.whitespace_split = True
            command: list[str] = []
            for word in [*lexer, ";"]:
                if not set(word) <= set("|&;"):
                    if command or not re.match(r"[A-Z_]+=", word):
                        command.append(word)
                elif command:
                    yield block.line_number + offset, command
                    command = []


def wrong_fences(page: Path, text: str) -> list[str]:
    """Returns blocks without one of the known languages."""
    return [
        f"{page.name}:{block.line_number - 1}: a block of language {block.language!r}. "
        f"Use one of {', '.join(sorted(LANGUAGES))}"
        for block in code_blocks(text)
        if block.language not in LANGUAGES
    ]


def unknown_commands(page: Path, text: str) -> list[str]:
    """Returns `keepline` commands and options in `sh` blocks that the command line lacks."""
    problems = []
    for number, words in shell_commands(text):
        if words[0] != "keepline":
            continue
        # A typer group has `commands`, a command at the end of its path has none.
        command: Any = typer.main.get_command(app)
        rest, options = words[1:], set[str]()
        while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
            if rest[0] not in command.commands:
                problems.append(f"{page.name}:{number}: no command keepline {rest[0]}")
                break
            command, rest = command.commands[rest[0]], rest[1:]
            for parameter in command.params:
                options |= {*parameter.opts, *parameter.secondary_opts}
        else:
            problems += [
                f"{page.name}:{number}: {' '.join(words)}: no option {word}"
                for word in rest
                if re.match(r"--?[a-z]", word) and word.split("=")[0] not in {*options, "--help"}
            ]
    return problems


def unknown_targets(page: Path, text: str) -> list[str]:
    """Returns `make` targets in `sh` blocks that the Makefile lacks."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    return [
        f"{page.name}:{number}: no target {word} in the Makefile"
        for number, words in shell_commands(text)
        if words[0] == "make"
        for word in words[1:]
        if "=" not in word and not word.startswith("-") and word not in targets
    ]


def missing_paths(page: Path, text: str) -> list[str]:
    """Returns paths in backticks that the checkout lacks; `*` stands for any name.

    Only paths with a slash that end in .py, .md, .yaml or .toml are checked, and none with a
    placeholder such as `<kind>`.
    """
    return [
        f"{page.name}:{number}: {word}: no such file in the checkout"
        for number, line in prose_lines(text)
        for span in re.findall(r"`([^`]+)`", line)
        for word in span.split()
        if re.fullmatch(r"[^<>]*/[^<>]*\.(py|md|yaml|toml)", word)
        if not any(ROOT.glob(word))
    ]


def broken_python(page: Path, text: str) -> list[str]:
    """Returns `python` blocks that do not compile."""
    problems = []
    for block in code_blocks(text):
        if block.language == "python":
            try:
                compile("\n".join(block.lines), page.name, "exec")
            except SyntaxError as error:
                problems.append(f"{page.name}:{block.line_number}: does not compile: {error}")
    return problems


def broken_links(page: Path, text: str) -> list[str]:
    """Returns relative links whose file or heading is not there."""
    problems = []
    for number, line in prose_lines(text):
        for target in re.findall(r"\]\(([^)\s]+)\)", line):
            path, _, heading = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            file = page.parent / path if path else page
            if path and not file.exists():
                problems.append(f"{page.name}:{number}: {target}: no such file")
            elif heading and heading not in heading_anchors(file.read_text() if path else text):
                problems.append(f"{page.name}:{number}: {target}: no such heading")
    return problems


def heading_anchors(text: str) -> set[str]:
    """Returns the anchors of a page's headings: lower case, hyphens for blanks."""
    headings = [re.match(r"#+ (.*)", line) for _, line in prose_lines(text)]
    return {
        re.sub(r"[^\w\- ]", "", heading.group(1)).strip().lower().replace(" ", "-")
        for heading in headings
        if heading
    }


def old_words(page: Path, text: str) -> list[str]:
    """Returns lines that use a word which the code has given up."""
    return [
        f"{page.name}:{number}: an old word: {line.strip()}"
        for number, line in enumerate(text.splitlines(), 1)
        if OLD_WORDS.search(line)
    ]


Check = Callable[[Path, str], list[str]]
FORM: list[Check] = [wrong_fences, broken_python, broken_links]
CONTENT: list[Check] = [unknown_commands, unknown_targets, missing_paths, old_words]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.parametrize("check", [*FORM, *CONTENT], ids=lambda check: check.__name__)
def test_a_page_names_only_what_exists(check: Check, page: Path) -> None:
    assert check(page, page.read_text()) == []


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
@pytest.mark.parametrize("check", FORM, ids=lambda check: check.__name__)
def test_a_decision_record_is_well_formed(check: Check, record: Path) -> None:
    assert check(record, record.read_text()) == []


PLANTED: list[tuple[Check, str, str]] = [
    (wrong_fences, "```\nls\n```", "language ''"),
    (wrong_fences, "```bash\nls\n```", "language 'bash'"),
    (wrong_fences, "```sh\nls", "never closed"),
    (unknown_commands, "```sh\nkeepline nosuch\n```", "no command keepline nosuch"),
    (unknown_commands, "```sh\ncat a | keepline data nosuch -\n```", "no command keepline nosuch"),
    (unknown_commands, "```sh\nKEY=1 keepline run --nosuch x  # why\n```", "no option --nosuch"),
    (unknown_targets, "```sh\nmake demo && make nosuch ONLY=gates\n```", "no target nosuch"),
    (missing_paths, "See `flows/nosuch.py`.", "flows/nosuch.py"),
    (missing_paths, "See `nosuch/*.toml`.", "nosuch/*.toml"),
    (broken_python, "```python\ndef f(:\n```", "does not compile"),
    (broken_links, "[gates](nosuch.md)", "nosuch.md"),
    (broken_links, "[top](#nosuch)\n# A heading", "no such heading"),
    (old_words, "A run of the street.", "an old word"),
    (old_words, "It lies in `office/asr.json`.", "an old word"),
]


@pytest.mark.parametrize(("check", "text", "message"), PLANTED)
def test_a_planted_fault_is_reported(check: Check, text: str, message: str) -> None:
    problems = check(ROOT / "docs" / "page.md", text)
    assert len(problems) == 1
    assert message in problems[0]


def test_what_is_right_is_not_reported() -> None:
    text = """# A heading
```sh
KEEPLINE_STORE=x keepline stage train_asr --force | cat; make bench ONLY=gates  # one
keepline data repair
```
`models/kinds.py`, `flows/*.py`, `flows/stages/<kind>.py` and [this](#a-heading) or [that](gates.md).
"""
    for check in (*FORM, *CONTENT):
        assert check(ROOT / "docs" / "page.md", text) == []
