#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The documentation against the source; prints each contradiction, exits 1 on any.

- options, environment variables and commands: the man page has each, and none that is not there;
  the other pages name none that is not there
- drop reasons, status keys and metrics: docs/status.md has each, and none that is not there
- the shim's texts that docs/trino.md explains are in its source
- wire numbers: the tables of docs/protocol.md against the enums that they come from
- files: relative links and their anchors resolve, named fixtures exist, and the README begins with
  scripts that can be run
"""
import os
import re
import sys

PAGES = ["README.md", "docs/architecture.md", "docs/protocol.md", "docs/status.md", "docs/mtu.md", "docs/performance.md",
         "docs/testing.md", "docs/threat-model.md", "docs/trino.md"]
MAN = "docs/warren.8"

# Options of other programs, and of our scripts, that the pages show in examples.
FOREIGN_OPTIONS = {
    "--cap-add", "--device", "--restart",           # docker run
    "--system",                                     # useradd
    "--server", "--execute",                        # trino
    "--suite",                                      # meson test
    "--keep", "--rounds", "--seconds", "--tcp", "--only",    # tests/demo.sh, tests/bench.sh
}
ALSO_OPTIONS = {"--help", "--version"}              # of main.c, not in the table of settings

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
VARIABLE = re.compile(r"\b(?:WARREN|TRINO)_[A-Z0-9_]+\b|\bWORKER_ID\b|\bKUBERNETES_SERVICE_HOST\b")
LINK = re.compile(r"\]\(([^)\s]+)\)")
WORD = re.compile(r"`([a-z][a-z0-9_]*)`")
FENCED = re.compile(r"^( {4}|\t).*$", re.M)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as f:
        return f.read()


def differ(what, docs, code, where):
    """Both ways: each of `docs` is in `code` and each of `code` in `docs`."""
    for name in sorted(docs - code):
        yield f"{where}: {what} {name} is not in the source"
    for name in sorted(code - docs):
        yield f"{where}: {what} {name} of the source is missing"


# --- options, variables, commands

def settings(root):
    """(flag, variable or None) of each line of the table in gateway/config.c."""
    code = read(root, "gateway/config.c")
    rows = re.findall(r'\[SET_\w+\]\s*=\s*\{\s*"([a-z-]+)",\s*(?:"(\w+)"|NULL),', code)
    if len(rows) != len(re.findall(r"\[SET_\w+\]\s*=", code)):
        sys.exit("gateway/config.c has settings in another form: correct tests/docs.py")
    return [("--" + flag, env) for flag, env in rows]


def man_words(man, macro):
    """The arguments of a macro, wherever it stands in a line; punctuation left out."""
    for line in re.findall(rf"\b{macro} (.*)", man):
        for word in line.split():
            if len(word) < 3 and re.fullmatch(r"[A-Z][a-z]", word):
                break
            if word not in "|,.":
                yield word


def sources(root, folders, endings):
    for folder in folders:
        for path, _, names in os.walk(os.path.join(root, folder)):
            for name in names:
                if name.endswith(endings) and name != "docs.py":
                    yield os.path.relpath(os.path.join(path, name), root)


def command_line(root):
    man = read(root, MAN)
    table = settings(root)
    flags = {flag for flag, _ in table} | ALSO_OPTIONS
    in_man = {"-" + w for w in man_words(man, "Fl") if w.startswith("-") and len(w) > 1}
    yield from differ("option", in_man, flags, MAN)
    for page in PAGES:
        for name in sorted(set(OPTION.findall(read(root, page))) - flags - FOREIGN_OPTIONS):
            yield f"{page}: there is no option {name}"

    ours = {env for _, env in table if env}
    for name in sorted(ours - set(VARIABLE.findall(man))):
        yield f"{MAN}: variable {name} of the source is missing"
    known = set()
    for path in sources(root, ["base", "crypto", "gateway", "route", "tests"], (".c", ".h", ".sh")):
        known |= set(VARIABLE.findall(read(root, path)))
    known |= set(re.findall(r"\bCTL_(TRINO_\w+)", read(root, "punch/control.h")))  # fields of that name
    for page in [*PAGES, MAN]:
        for name in sorted(set(VARIABLE.findall(read(root, page))) - known):
            yield f"{page}: there is no variable {name}"

    commands = set(re.findall(r'^\t\{\s*"([a-z]+)",\s', read(root, "gateway/main.c"), re.M)) | {"help"}
    commands |= set(re.findall(r'^\t\{ "([a-z]+)", \w+_usage', read(root, "gateway/cmd_admin.c"), re.M))
    yield from differ("command", set(man_words(man, "Cm")), commands, MAN)


# --- what warren status and /warren/metrics say

def between(text, begin, end):
    if begin not in text or end not in text.split(begin, 1)[1]:
        sys.exit(f"the source has no part from {begin!r} to {end!r} any more: correct tests/docs.py")
    return text.split(begin, 1)[1].split(end, 1)[0]


def section(page, title):
    """The part of a page under a heading of the second level."""
    return between(page + "\n## ", f"\n## {title}\n", "\n## ")


def literals(code):
    return set(re.findall(r'"([a-z][a-z0-9_]*)"', code))


def first_column(part):
    names = set()
    for cell in re.findall(r"^\| ((?:`[a-z0-9_]+`(?:, )?)+) \|", part, re.M):
        names |= set(WORD.findall(cell))
    return names


def status(root):
    where = "docs/status.md"
    page = read(root, where)
    drops = set(re.findall(r'X\(\w+,\s*"(\w+)"\)', read(root, "base/drop.h"))) - {"none"}
    yield from differ("drop reason", first_column(section(page, "Drop reasons")), drops, where)

    shim = set(re.findall(r'"(warren_[a-z_]+)"', read(root, "discovery/pages.c")))
    shim |= set(re.findall(r"# TYPE (warren_[a-z_]+) ", read(root, "discovery/pages.c")))
    yield from differ("metric", first_column(section(page, "Metrics")), shim, where)

    code = read(root, "gateway/status.c")
    mine = literals(between(code, "static const char *path_word", "static json_t *roster_"))
    mine |= literals(between(read(root, "punch/pmtu.c"), "*pmtu_state_name", "*pmtu_reason_text"))
    yield from differ("key or value", set(WORD.findall(section(page, "A gateway"))), mine, where)
    its = literals(read(root, "gateway/rdv_status.c"))
    yield from differ("key or value", set(WORD.findall(section(page, "A rendezvous"))), its, where)


# --- what the shim says

def shim_texts(root):
    """Each piece between the dots of docs/trino.md's table stands in a string of the shim's."""
    where = "docs/trino.md"
    code = "".join(read(root, path) for path in sources(root, ["discovery"], (".c",)))
    code = re.sub(r'"\s*"', "", code)
    part = section(read(root, where), "What it says when something is wrong")
    for text in re.findall(r"^\| (?:[0-9, ]+|log) \| (.+?) \|", part, re.M):
        for piece in re.split(r"…[,;]?|; ", text):
            if piece.strip() and piece.strip() not in code:
                yield f"{where}: the shim does not say {piece.strip()!r}"


# --- wire numbers

def enum_numbers(code, first, prefix):
    """NAME → number of the enum whose first entry is `first`; an entry without a number counts on."""
    body = re.sub(r"/\*.*?\*/", "", first + between(code, first, "}"), flags=re.S)
    numbers, value = {}, -1
    for name, said in re.findall(rf"\b{prefix}(\w+)(?: = (\w+))?,", body):
        value = int(said, 0) if said else value + 1
        numbers[name] = value
    numbers.pop("END", None)
    numbers.pop("FIELD_END", None)
    return numbers


def table_numbers(part):
    return {name: int(number, 0)
            for number, name in re.findall(r"^\| (0x[0-9a-f]+|\d+) \| ([A-Z][A-Z_]+) \|", part, re.M)}


def wire(root):
    where = "docs/protocol.md"
    page = read(root, where)
    control, token, state, memory, admission = (read(root, p) for p in (
        "punch/control.h", "punch/token.c", "gateway/state.c", "gateway/memory.c", "punch/admission.c"))
    said = section(page, "Control messages")
    messages, fields = said.split("Fields, as TLVs", 1)
    checks = [
        ("message", messages, enum_numbers(control, "CTL_REGISTER = ", "CTL_")),
        ("field", fields, enum_numbers(control, "CTL_WORKER_ID = ", "CTL_")),
        ("token field", section(page, "Token"), enum_numbers(token, "FIELD_NETWORK = ", "FIELD_")),
        ("state field", section(page, "State file"), enum_numbers(state, "STATE_PRIVATE_KEY = ", "STATE_")),
        ("members field", section(page, "Members file"),
         {name: number for name, number in enum_numbers(memory, "MEMORY_OWNER = ", "MEMORY_").items()}),
        ("admission field", section(page, "Admission file"), enum_numbers(admission, "FILE_EPOCH = ", "FILE_")),
    ]
    for what, part, code in checks:
        docs = table_numbers(part)
        pairs = [{f"{name} = {number:#x}" for name, number in d.items()} for d in (docs, code)]
        yield from differ(what, *pairs, where)
    outer = read(root, "punch/outer.h")
    for name in ("PING", "PONG", "RELAY"):
        number = re.search(rf"OUTER_TYPE_{name} = (0x[0-9a-f]+)", outer).group(1)
        if not re.search(rf"^\| {number} \| \[{name.lower()}\]", section(page, "The gate"), re.M):
            yield f"{where}: {name} is not {number} in the gate's table"
    for name in re.findall(r"`((?:outer|relay|admission)[\w-]*\.bin|token[\w-]*\.txt)`", page):
        if not os.path.exists(os.path.join(root, "tests/fixtures/v1", name)):
            yield f"{where}: there is no fixture {name}"


# --- links and scripts

def anchors(page):
    """GitHub's: lower case, spaces to hyphens, other punctuation gone."""
    heads = re.findall(r"^#+ (.+)$", FENCED.sub("", page), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in heads}


def links(root):
    for page in PAGES:
        text = read(root, page)
        for link in LINK.findall(text):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
            if not os.path.exists(os.path.join(root, target)):
                yield f"{page}: there is no {target}"
            elif anchor and anchor not in anchors(read(root, target)):
                yield f"{page}: {target} has no heading #{anchor}"


def first_commands(root):
    block = re.search(r"(?:^ {4}.*\n)+", read(root, "README.md"), re.M)
    scripts = re.findall(r"\btests/[\w.]+\.sh\b", block.group() if block else "")
    if scripts != ["tests/demo.sh", "tests/run.sh"]:
        yield f"README.md: the first commands are {scripts}, not the demo and the tests"
    for script in scripts:
        if not os.access(os.path.join(root, script), os.X_OK):
            yield f"README.md: {script} cannot be run"


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(
        os.path.abspath(__file__)))
    found = [line for check in (command_line, status, shim_texts, wire, links, first_commands)
             for line in check(root)]
    for line in found:
        print(line)
    print(f"{len(found)} contradictions" if found else "the documentation agrees with the source")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
