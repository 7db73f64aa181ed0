"""Our own rules, each a function that yields what breaks it. Prints one line for each rule.

    tests/tidy/tidy.py [rule...]
"""

import concurrent.futures
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
LINE_COLUMNS, FUNCTION_LINES, STAGE_LINES, FILE_LINES = 100, 60, 300, 800

# Which of the project's headers a folder may include, longest match first. What is not listed under
# a folder is forbidden there; its own folder and those below are always allowed.
INCLUDES = {
    "dataplane/main.cc": ["dataplane/", "control/"],
    "dataplane/": ["dataplane/"],
    # Control knows what the dataplane shows: tables it builds, counters and events it reads, ports
    # by their handle, types that both speak. Never stages, flows' insides, or workers.
    "control/": ["control/", "dataplane/tables/", "dataplane/observe/", "dataplane/net/",
                 "dataplane/io/port.h", "dataplane/io/namespace.h", "dataplane/config.h",
                 "dataplane/packet.h", "dataplane/reasons.h", "dataplane/result.h",
                 "dataplane/check.h"],
    "cni-shim/": ["control/cni/protocol.h"],
    "tests/": ["dataplane/", "control/", "cni-shim/", "tests/"],
    "tests/unit/bench/": ["bench/", "dataplane/net/", "tests/lib/"],
    "tests/bench/": ["bench/", "tests/"],
    "bench/": ["dataplane/", "control/", "tests/packet/", "tests/lib/", "bench/"],
}
FOLDERS_WITH_README = ["dataplane", "dataplane/io", "dataplane/flow", "dataplane/stages",
                       "dataplane/tables", "dataplane/net", "dataplane/observe", "control",
                       "control/kube", "control/manifests", "control/apiserver", "control/build",
                       "control/routes", "control/cni", "control/bgp", "control/ctl",
                       "control/serve", "cni-shim", "conf", "scripts", "tests", "tests/apiserver",
                       "tests/bgp", "tests/kube", "bench"]


def tracked(*endings):
    names = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"],
                           cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return [n for n in names if n.endswith(endings) and (ROOT / n).is_file()]


def text(name):
    return (ROOT / name).read_text()


def sources():
    return tracked(".h", ".cc")


# ---- rules ----

def include_directions():
    for name in sources():
        room = max((r for r in INCLUDES if name.startswith(r)), key=len, default=None)
        if room is None:
            yield f"{name}: no rule says what this folder may include"
            continue
        own = os.path.dirname(name) + "/"
        for number, line in enumerate(text(name).split("\n"), 1):
            found = re.match(r'#include "([^"]+)"', line)
            if not found:
                continue
            path = found[1]
            if not any((ROOT / (path + end)).is_file() for end in ("", ".in")):
                yield f"{name}:{number}: {path} is not a path from the top folder"
            elif not path.startswith((own, *INCLUDES[room])):
                yield f"{name}:{number}: {room} may not include {path}"


def line_length():
    for name in sources() + tracked(".py", ".build") + scripts():
        if name.startswith("tests/") and name.endswith(".cc"):
            continue  # quoted manifests keep their lines; clang-format sees to the rest
        for number, line in enumerate(text(name).split("\n"), 1):
            if len(line) > LINE_COLUMNS + (20 if name.endswith(".build") else 0):
                yield f"{name}:{number}: {len(line)} columns"


def functions(name):
    """(first line, length) of what looks like a function definition in formatted code."""
    lines = text(name).split("\n")
    start = None
    for number, line in enumerate(lines):
        if start is None:
            found = re.match(r"^( {0,4})[\w:~<&*\[].*[)\w] ?\{$|^( {0,4})\S.*\) .*\{$", line)
            if found and not re.match(
                    r"\s*(namespace|class|struct|enum|union|extern|if|for|while|switch|do|else|"
                    r"return|try|case|using|static constexpr|inline constexpr|constexpr)\b", line):
                start, indent = number, len(line) - len(line.lstrip())
                if line.lstrip().startswith(":"):
                    indent -= 4  # a constructor's initialisers stand four to the right of it
        elif re.match(rf"^ {{{indent}}}\}}", lines[number]):
            yield start + 1, number - start + 1
            start = None


def function_length():
    for name in sources():
        if name.startswith("tests/"):
            continue  # a table of cases may be long
        for number, length in functions(name):
            if length > FUNCTION_LINES:
                yield f"{name}:{number}: function of {length} lines"


def file_length():
    for name in sources():
        limit = STAGE_LINES if name.startswith("dataplane/stages/") else FILE_LINES
        length = text(name).count("\n")
        if length > limit:
            yield f"{name}: {length} lines, more than {limit}"


def folder_readmes():
    for folder in FOLDERS_WITH_README:
        if (ROOT / folder).is_dir() and not (ROOT / folder / "README.md").is_file() and \
                any(n.startswith(folder + "/") for n in sources() + tracked(".py", ".conf")):
            yield f"{folder}: has no README.md"


def reasons():
    return re.findall(r'X\((\w+),\s+"([^"]+)"\)', text("dataplane/reasons.h"))


def drop_table():
    """dataplane/README.md's table is the list of dataplane/reasons.h, in order."""
    wanted = [f"| `{name}` | {meaning} |" for name, meaning in reasons() if name != "none"]
    have = [line for line in text("dataplane/README.md").split("\n")
            if re.match(r"\| `\w+` \| .* \|$", line)]
    have = [line for line in have if re.match(r"\| `(\w+)`", line)[1] in dict(reasons())]
    if have != wanted:
        first = next((w for w, h in zip(wanted + [None], have + [None]) if w != h), None)
        yield f"dataplane/README.md: the drop table differs from reasons.h, first at {first}"


def reasons_used():
    code = "".join(text(n) for n in sources() if n.startswith("dataplane/"))
    for name, _ in reasons():
        if name != "none" and not re.search(rf"Reason::{name}\b", code):
            yield f"dataplane/reasons.h: nothing drops for `{name}`"


def stages_run(header, function):
    """(stage, only for new flows) in the order that a function of pipeline.h runs them."""
    body = re.search(rf"inline void {function}\(.*?\n\}}", header, re.DOTALL)[0]
    for call in re.finditer(r"\b(run|run_fresh)<([^>]+)>|\b(pipeline\w*)\(batch", body):
        if call[3]:
            yield from stages_run(header, call[3])
        else:
            for stage in call[2].split(","):
                yield stage.split("::")[-1].strip().lower(), call[1] == "run_fresh"


def pipeline_picture():
    """The pictures show the stages that pipeline.h runs, in its order."""
    stages = list(stages_run(text("dataplane/pipeline.h"), "pipeline"))
    known = [stage for stage, fresh in stages if not fresh]
    fresh = [stage for stage, fresh in stages if fresh]
    for name in ("dataplane/pipeline.h", "dataplane/README.md", "README.md"):
        shown = re.findall(r"[a-z]+", " ".join(
            line for line in text(name).split("\n")
            if re.search(r"\brx\b.*\btx\b|\bnew\b.*[-─].*\bservice\b", line)))
        if [w for w in shown if w in known] != known or [w for w in shown if w in fresh] != fresh:
            yield f"{name}: the picture shows {shown}, pipeline.h runs {known} with {fresh}"


def headers_compile_alone():
    """A header that is the first include of a source file compiles alone when that does; the build
    has seen to it. The others are compiled here."""
    commands = json.loads((BUILD / "compile_commands.json").read_text())
    first = {found[1] for c in commands if (BUILD / c["file"]).is_file() and
             (found := re.search(r'^#include "([^"]+)"', (BUILD / c["file"]).read_text(),
                                 re.MULTILINE))
             and "<" not in (BUILD / c["file"]).read_text()[:found.start()]}
    keep = {}  # in order, each once; "-include rte_config.h" is two words
    for command in commands:
        words = shlex.split(command["command"])
        for word, following in zip(words, words[1:] + [""]):
            if word in ("-include", "-isystem"):
                keep[word, following] = None
            elif word.startswith(("-I/", "-isystem", "-D", "-std", "-m", "-W")):
                keep[word,] = None
    keep = [word for words in keep for word in words]
    compiler = ["ccache", "g++"] if shutil.which("ccache") else ["g++"]
    folder = BUILD / "tidy"
    folder.mkdir(exist_ok=True)

    def compile_one(name):
        alone = folder / (name.replace("/", "_") + ".cc")
        line = f'#include "{name}"\n'
        if not alone.exists() or alone.read_text() != line:
            alone.write_text(line)
        done = subprocess.run([*compiler, *keep, f"-I{ROOT}", f"-I{BUILD}", "-c", str(alone), "-o",
                               str(alone) + ".o"], cwd=BUILD, capture_output=True, text=True)
        return None if done.returncode == 0 else \
            f"{name}: does not compile alone: " + next(
                (line for line in done.stderr.split("\n") if "error" in line), done.stderr[:200])

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        headers = [n for n in sources() if n.endswith(".h") and n not in first]
        yield from filter(None, pool.map(compile_one, headers))


def options_documented():
    """conf/podwired.conf names every option of `podwired --help`, and no other."""
    program = next(BUILD.rglob("podwired"), None)
    if program is None:
        yield "podwired is not built"
        return
    usage = subprocess.run([str(program), "--help"], capture_output=True, text=True, check=True)
    options = set(re.findall(r"^\s+--([a-z][a-z0-9-]+)", usage.stdout, re.MULTILINE))
    options -= {"help", "version", "check-config", "config"}
    named = set(re.findall(r"^#?\s?([a-z][a-z0-9-]+) =", text("conf/podwired.conf"), re.MULTILINE))
    for name in sorted(options - named):
        yield f"conf/podwired.conf: does not document {name}"
    for name in sorted(named - options):
        yield f"conf/podwired.conf: documents {name}, which podwired does not have"


def unit_tests_mirror_sources():
    """The folder of a unit test is that of what it tests; its name says which file or subject."""
    for name in tracked("_test.cc"):
        if not name.startswith("tests/unit/"):
            continue
        stem = name.removeprefix("tests/unit/").removesuffix("_test.cc")
        if not (ROOT / stem).parent.is_dir():
            yield f"{name}: mirrors no source folder"


def nothing_unfinished():
    word = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
    for name in sources() + tracked(".py", ".build", ".md", ".yaml", ".conf") + scripts():
        for number, line in enumerate(text(name).split("\n"), 1):
            if word.search(line):
                yield f"{name}:{number}: {line.strip()}"


def scripts():
    """Scripts by their first line, with any name."""
    found = []
    for name in tracked(""):
        if name.startswith(("scripts/", "tests/", "bench/", ".ci/")) and "." not in \
                os.path.basename(name):
            with open(ROOT / name, "rb") as file:
                if file.read(2) == b"#!":
                    found.append(name)
    return found


def scripts_are_sound():
    shell = [n for n in scripts() + tracked(".sh") if "bash" in text(n).split("\n", 1)[0]]
    if shell and shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", "-f", "gcc", *shell], cwd=ROOT, capture_output=True,
                              text=True)
        yield from done.stdout.strip().split("\n") if done.returncode else []
    python = tracked(".py") + [n for n in scripts() if "python" in text(n).split("\n", 1)[0]]
    for name in python:
        try:
            compile(text(name), name, "exec")
        except SyntaxError as error:
            yield f"{name}: {error}"


RULES = [include_directions, line_length, function_length, file_length, folder_readmes, drop_table,
         reasons_used, pipeline_picture, options_documented, unit_tests_mirror_sources,
         nothing_unfinished, scripts_are_sound, headers_compile_alone]


def main():
    failed = False
    for rule in RULES:
        name = rule.__name__.replace("_", " ")
        if sys.argv[1:] and rule.__name__ not in sys.argv[1:]:
            continue
        started = time.monotonic()
        try:
            broken = list(rule())
        except (OSError, ValueError, StopIteration, subprocess.CalledProcessError) as error:
            broken = [f"{type(error).__name__}: {error}"]
        if broken:
            failed = True
            print(f"FAIL {name}: {broken[0]}" +
                  (f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""))
            for line in broken[1:]:
                print("     " + line)
        else:
            print(f"ok   {name} ({time.monotonic() - started:.2f} s)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
