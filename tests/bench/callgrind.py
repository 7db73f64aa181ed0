"""Instructions of a program by the source file that they were written in, inlined or not, as
callgrind counts them."""

import os
import re
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class NotCounted(Exception):
    pass


def count(command, function):
    """(what the program printed, source file -> instructions inside `function`)."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--collect-atstart=no",
             f"--toggle-collect={function}", "--dump-instr=yes",
             "--compress-pos=no", "--compress-strings=no", *command],
            capture_output=True, text=True, timeout=300, cwd=ROOT)
        if done.returncode != 0 or not out.exists():
            raise NotCounted(f"{' '.join(map(str, command))}: {done.stderr[-600:]}")
        return done.stdout, by_file(out.read_text().splitlines())


def by_file(lines):
    """Self cost of every file of podwire in a profile. What is inlined from the compiler's and the
    libraries' headers belongs to the file of ours that stands before it in the machine code."""
    instructions = sorted(read_instructions(lines))
    found, current = {}, "libraries"
    for _, file, cost in instructions:
        current = ours(file) or current
        found[current] = found.get(current, 0) + cost
    return found


def read_instructions(lines):
    """(address, file, cost). The line after "calls=" is the callee's cost, counted where it
    arose."""
    file, skip = "", False
    for line in lines:
        place = re.match(r"f[lie]=(.*)$", line)
        if place:
            file = place[1]
        elif line.startswith("calls="):
            skip = True
        elif line.startswith("0x"):
            if not skip:
                address, _, cost = line.split()
                yield int(address, 16), file, int(cost)
            skip = False


def ours(file):
    """Path from the top folder; None for what is not podwire's. ccache shares objects between
    folders, so what stands before it may be another checkout's."""
    found = re.search(r"/((?:dataplane|bench|tests)/.*)$", os.path.normpath(file))
    return found[1] if found and not file.startswith("/usr/") else None


def stage(file):
    """The stage or part of podwire that a source file is of."""
    if not file.startswith("dataplane/"):
        return file.split("/")[0]
    folder, name = os.path.split(file.removeprefix("dataplane/"))
    stem = name.rsplit(".", 1)[0]
    return f"stages/{stem}" if folder == "stages" else folder or stem
