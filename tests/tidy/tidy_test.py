"""Holds the sources to docs/STYLE.md where a machine can: layers, bans, sizes, openings.

usage: tidy_test.py [ROOT]       prints violations as `path:line: rule: what`; exit code 1 if any
       tidy_test.py --self-test  plants each kind of violation in a scratch tree, expects it found
Standard library only. The tables below are the rules; docs/ARCHITECTURE.md has the picture.
"""

import pathlib
import re
import sys
import tempfile

MAX_COLUMNS = 100
MAX_SCRIPT_COLUMNS = 120  # Python and JavaScript, whose strings nobody breaks for us
MAX_LINES = 500

# What a folder may include of the project: whole folders, or single headers. A folder may always
# include itself. The layers of docs/ARCHITECTURE.md, from the bottom.
LAYERS = {
    "core": [],
    "model": ["core"],
    "policy": ["core"],
    "gpu": ["core", "model"],
    "store": ["core"],
    "api": ["core", "model", "store/store.hpp"],
    "actors": ["core", "model", "policy", "api", "gpu/backend.hpp", "store/store.hpp"],
    "net": [
        "core",
        "api",
        "model",
        "store/store.hpp",
        "actors/protocols.hpp",
        "actors/messages.hpp",
        "actors/served_model.hpp",
    ],
    "config": ["core", "model", "policy", "gpu", "store", "api", "actors", "net"],
    "sim": ["core", "model", "policy", "gpu", "store", "api", "actors"],
    "cli": ["core", "model", "policy", "gpu", "store", "api", "actors", "net", "config", "sim"],
    "bench": ["core", "model", "policy", "gpu", "store", "api", "actors", "net", "config", "sim"],
    "tests": [
        "core",
        "model",
        "policy",
        "gpu",
        "store",
        "api",
        "actors",
        "net",
        "config",
        "sim",
        "cli",
        "bench",
    ],
    "examples": [
        "core",
        "model",
        "policy",
        "gpu",
        "store",
        "api",
        "actors",
        "net",
        "config",
        "sim",
        "cli/client",
        "tests/support",
    ],
}
# Files that see more than their folder does.
EXCEPTIONS = {"net/bridge": ["actors", "caf"], "net/server": ["caf"]}

PURE = ["core", "policy", "model", "gpu", "store", "api"]
# header prefix: (folders or files it is banned from, what to do instead)
BANNED_HEADERS = {
    "caf/": (PURE + ["net", "config"], "CAF lives in actors/, sim/ and net/bridge"),
    "spdlog/": (PURE, "only shells log; return an Error or use core's facade"),
    "boost/asio": (PURE + ["actors", "sim", "config"], "sockets live in net/"),
    "boost/beast": (PURE + ["actors", "sim", "config"], "sockets live in net/"),
    "sqlite3.h": ([f for f in LAYERS if f not in ("store", "tests")], "SQL lives in store/"),
    "cuda": ([f for f in LAYERS if f not in ("gpu", "tests", "bench")], "CUDA lives in gpu/cuda"),
    "thread": (["core", "policy", "api"], "policies are values in, values out"),
    "mutex": (["core", "policy", "api", "actors", "sim"], "one actor owns each fact"),
    "shared_mutex": (["core", "policy", "api", "actors", "sim"], "one actor owns each fact"),
    "condition_variable": (["core", "policy", "api", "actors", "sim"], "send a message"),
    "future": (["policy", "api", "actors", "sim"], "send a message"),
    "fstream": (["policy", "api"], "policies read no files"),
    "filesystem": (["policy"], "policies read no files"),
    "iostream": (
        ["policy", "core", "model", "gpu", "store", "api", "actors", "net"],
        "only programs print",
    ),
}
# regular expression on code: (rule, folders, what to do instead)
BANNED_CODE = [
    (r"_clock\s*::\s*now\s*\(", "clock", ["policy"], "take the time as an argument"),
    (r"\bstd::random_device\b|\bs?rand\s*\(", "chance", ["policy"], "take a seed as an argument"),
    (
        r"\bstd::this_thread::sleep",
        "sleep",
        ["policy", "actors", "sim", "net", "api", "core"],
        "use a delayed message or a timer",
    ),
]

SOURCES = {".cpp", ".hpp", ".cu", ".cuh", ".py", ".sh", ".mjs", ".js"}
CPP = {".cpp", ".hpp", ".cu", ".cuh"}
HEADERS = {".hpp", ".cuh"}
TEXT = SOURCES | {".md", ".txt", ".cmake", ".yaml", ".yml", ".json", ".jsonl", ".toml", ""}
SKIPPED = {"build", "data", ".git", "node_modules", "__pycache__", ".venv", ".cache"}
# Paths of somebody's own machine, put together here so that this file does not hold one.
MACHINE_PATH = re.compile(
    r"(?<![\w.~-])/(?:"
    + "|".join(["wo" + "rk", "ro" + "ot", "ho" + "me", "Us" + "ers"])
    + r")/[\w.]"
)
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def folder_of(path, folders):
    """True if `path` ("net/bridge.cpp") lies in one of `folders`."""
    return path.split("/")[0] in folders


def exceptions_of(path):
    return [
        extra
        for stem, extras in EXCEPTIONS.items()
        if path.split(".")[0] == stem
        for extra in extras
    ]


def check_include(path, kind, target):
    """The violations of one #include line of the file `path`, as (rule, what)."""
    top = path.split("/")[0]
    found = []
    first = target.split("/")[0]
    if first in LAYERS and "/" in target:
        if kind == "<":
            found.append(("include", f"<{target}> is ours, write it in quotes"))
        allowed = [top] + LAYERS[top] + exceptions_of(path)
        if not any(target == a or target.startswith(a + "/") for a in allowed):
            found.append(
                ("layer", f'{top} may not include "{target}"; it sees ' f"{', '.join(allowed)}")
            )
    elif kind == '"':
        found.append(("include", f'"{target}" does not begin at the root of the repository'))
    for banned, (folders, instead) in BANNED_HEADERS.items():
        exact = not banned.endswith("/") and not banned.startswith(("boost", "cuda"))
        hit = target == banned if exact else target.startswith(banned)
        if hit and folder_of(path, folders):
            if banned == "caf/" and "caf" in exceptions_of(path):
                continue
            found.append(("header", f"<{target}> is banned in {top}/: {instead}"))
    return found


def opens_with_comment(lines, suffix):
    lines = [line for line in lines[:4] if line.strip() and not line.startswith("#!")]
    if not lines:
        return False
    first = lines[0].lstrip()
    marks = ('"""', "#") if suffix in (".py", ".sh") else ("//", "/*")
    return first.startswith(marks)


def begins_with_own_header(path, lines):
    """A .cpp file that begins by including its own header: the header has the comment."""
    return bool(lines) and lines[0] == f'#include "{path.removesuffix(".cpp")}.hpp"'


def check_cpp(path, lines, suffix):
    found = []
    if suffix in HEADERS and not any(line.strip() == "#pragma once" for line in lines):
        found.append((1, "pragma-once", "a header needs #pragma once"))
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if match and path.split("/")[0] in LAYERS:
            found += [(number, rule, what) for rule, what in check_include(path, *match.groups())]
        code = STRING.sub('""', line).split("//")[0]
        if suffix in HEADERS and re.match(r"\s*using\s+namespace\b", code):
            found.append((number, "using-namespace", "not in a header"))
        for pattern, rule, folders, instead in BANNED_CODE:
            if folder_of(path, folders) and re.search(pattern, code):
                found.append((number, rule, instead))
    return found


def check_file(path, text):
    """Violations of one file, as (line, rule, what). `path` is relative to the root."""
    suffix = pathlib.PurePosixPath(path).suffix
    lines = text.splitlines()
    found = []
    for number, line in enumerate(lines, 1):
        if MACHINE_PATH.search(line):
            found.append((number, "machine-path", "a path of somebody's own machine"))
    if suffix not in SOURCES:
        return found
    columns = MAX_COLUMNS if suffix in CPP or suffix == ".sh" else MAX_SCRIPT_COLUMNS
    for number, line in enumerate(lines, 1):
        # An address or a single long word cannot be broken.
        if len(line) > columns and "://" not in line and " " in line.strip():
            found.append((number, "columns", f"{len(line)} columns, at most {columns}"))
        if line != line.rstrip() or "\t" in line:
            found.append((number, "blanks", "a tab, or blanks at the end of the line"))
    if len(lines) > MAX_LINES:
        found.append((MAX_LINES + 1, "lines", f"{len(lines)} lines, at most {MAX_LINES}"))
    if not opens_with_comment(lines, suffix) and not begins_with_own_header(path, lines):
        found.append((1, "opening", "open the file with a comment: purpose, place, invariants"))
    if suffix in CPP:
        found += check_cpp(path, lines, suffix)
    return found


def files_below(root):
    for path in sorted(root.iterdir()):
        if path.name in SKIPPED or path.is_symlink():
            continue
        if path.is_dir():
            yield from files_below(path)
        elif path.suffix in TEXT and path.stat().st_size < 4 << 20:
            yield path


def check_tree(root):
    """All violations, as (path, line, rule, what), and the number of files read."""
    found, count = [], 0
    for file in files_below(root):
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        count += 1
        path = file.relative_to(root).as_posix()
        found += [(path, *violation) for violation in check_file(path, text)]
    return found, count


HEADER = "// A header.\n#pragma once\n"
SOURCE = "// A source.\n"
# path: (text, rules that must be found in it); an empty set must stay without violation.
PLANTED = {
    "policy/clean.hpp": (HEADER + '#include <chrono>\n#include "core/units.hpp"\n', set()),
    "actors/clean.cpp": (SOURCE + '#include <caf/send.hpp>\n#include "gpu/backend.hpp"\n', set()),
    "net/bridge.cpp": (SOURCE + '#include <caf/send.hpp>\n#include "actors/messages.hpp"\n', set()),
    "net/url.cpp": (SOURCE + "// https://example.org/" + "x" * 100 + "\n", set()),
    "docs/clean.md": ("A path such as build/release or example.org/home/page is fine.\n", set()),
    "policy/up.cpp": (SOURCE + '#include "model/tokenizer.hpp"\n', {"layer"}),
    "core/up.cpp": (SOURCE + '#include "policy/kv_ledger.hpp"\n', {"layer"}),
    "api/up.cpp": (SOURCE + '#include "policy/kv_ledger.hpp"\n', {"layer"}),
    "model/up.cpp": (SOURCE + '#include "gpu/backend.hpp"\n', {"layer"}),
    "store/up.cpp": (SOURCE + '#include "model/tokenizer.hpp"\n', {"layer"}),
    "gpu/up.cpp": (SOURCE + '#include "actors/messages.hpp"\n', {"layer"}),
    "actors/deep.cpp": (SOURCE + '#include "gpu/host/host_backend.hpp"\n', {"layer"}),
    "actors/side.cpp": (SOURCE + '#include "net/server.hpp"\n', {"layer"}),
    "net/actor.cpp": (SOURCE + '#include "actors/runtime.hpp"\n', {"layer"}),
    "config/up.cpp": (SOURCE + '#include "cli/serve.hpp"\n', {"layer"}),
    "net/angle.cpp": (SOURCE + "#include <core/units.hpp>\n", {"include"}),
    "net/relative.cpp": (SOURCE + '#include "codec.hpp"\n', {"include"}),
    "net/caf.cpp": (SOURCE + "#include <caf/send.hpp>\n", {"header"}),
    "policy/caf.cpp": (SOURCE + "#include <caf/send.hpp>\n", {"header"}),
    "store/log.cpp": (SOURCE + "#include <spdlog/spdlog.h>\n", {"header"}),
    "policy/thread.cpp": (SOURCE + "#include <thread>\n", {"header"}),
    "policy/mutex.cpp": (SOURCE + "#include <mutex>\n", {"header"}),
    "policy/file.cpp": (SOURCE + "#include <fstream>\n", {"header"}),
    "policy/print.cpp": (SOURCE + "#include <iostream>\n", {"header"}),
    "policy/asio.cpp": (SOURCE + "#include <boost/asio/post.hpp>\n", {"header"}),
    "actors/lock.cpp": (SOURCE + "#include <mutex>\n", {"header"}),
    "policy/time.cpp": (SOURCE + "auto t = std::chrono::steady_clock::now();\n", {"clock"}),
    "policy/chance.cpp": (SOURCE + "std::random_device device;\n", {"chance"}),
    "actors/nap.cpp": (SOURCE + "std::this_thread::sleep_for(1s);\n", {"sleep"}),
    "core/using.hpp": (HEADER + "using namespace std;\n", {"using-namespace"}),
    "core/twice.hpp": ("// A header.\n", {"pragma-once"}),
    "core/bare.cpp": ("int x = 0;\n", {"opening"}),
    "scripts/bare.sh": ("#!/usr/bin/env bash\nset -e\n", {"opening"}),
    "core/wide.cpp": (SOURCE + "// " + "x" * 98 + "\n", {"columns"}),
    "core/long.cpp": (SOURCE + "//\n" * 500, {"lines"}),
    "core/blank.cpp": (SOURCE + "int x = 0; \n", {"blanks"}),
    "docs/path.md": ("See /ro" + "ot/notes.txt.\n", {"machine-path"}),
    "config/path.yaml": ("model: /ho" + "me/me/model\n", {"machine-path"}),
}


def self_test():
    """Every planted violation is found, where it was planted, and nothing else is."""
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        for path, (text, _) in PLANTED.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        found, count = check_tree(root)
    failures = [] if count == len(PLANTED) else [f"{count} of {len(PLANTED)} files were read"]
    for path, (_, expected) in PLANTED.items():
        rules = {rule for where, _, rule, _ in found if where == path}
        if rules != expected:
            failures.append(f"{path}: expected {sorted(expected)}, found {sorted(rules)}")
    return failures


def main():
    if "--self-test" in sys.argv[1:]:
        failures = self_test()
        print("\n".join(failures) or f"{len(PLANTED)} planted files judged rightly")
        return 1 if failures else 0
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
    root = root if root.is_dir() else root.parents[2]
    found, count = check_tree(root)
    for path, line, rule, what in found:
        print(f"{path}:{line}: {rule}: {what}")
    print(f"{count} files read, {len(found)} violations")
    return 1 if found or not count else 0


if __name__ == "__main__":
    sys.exit(main())
