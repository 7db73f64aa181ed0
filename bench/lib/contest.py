"""Systems that a bench measures side by side: a file each in its folder `systems/`, and files that
the command line adds. What programs them. And numbers on its command line."""

import argparse
import importlib
import importlib.util
import pkgutil
import subprocess
import sys

import netns


def must(namespace, *command, **options):
    """What the command prints; an error ends the run with its sentence."""
    done = netns.run(namespace, command, timeout_s=60, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])}: {done.stderr.strip()[:500]}")
    return done.stdout


def load(namespace, command, text, timeout_s=60):
    """Runs a command that reads what it is to program from its input."""
    done = subprocess.run(["ip", "netns", "exec", namespace, *command], input=text, text=True,
                          capture_output=True, timeout=timeout_s)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[:500]}")


def known_systems(bench, package, added):
    """By name: every subclass of package.System that has one. podwire comes last."""
    modules = [importlib.import_module(f"{package.__name__}.{module.name}")
               for module in pkgutil.iter_modules(package.__path__)]
    for path in added:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or not path.is_file():
            raise SystemExit(f"{bench}: --add {path}: no such Python file")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        modules.append(module)
    found = {one.name: one for module in modules for one in vars(module).values()
             if isinstance(one, type) and issubclass(one, package.System) and one.name}
    return dict(sorted(found.items(), key=lambda item: (item[0] == "podwire", item[0])))


def choose(bench, known, names):
    """The systems to measure, all without names. What this machine lacks is left out, loudly."""
    for name in names or []:
        if name not in known:
            raise SystemExit(f"{bench}: no system \"{name}\": there are {', '.join(known)}")
    chosen = []
    for name in names or known:
        missing = known[name].missing()
        if missing is None:
            chosen.append(known[name])
        else:
            print(f"{bench}: LEFT OUT: {name}: {missing}", file=sys.stderr)
    if not chosen:
        raise SystemExit(f"{bench}: nothing is left to measure")
    return chosen


def numbers(most):
    """The type of an option: whole numbers from 1, separated by commas."""
    def parse(text):
        values = [int(part) for part in text.split(",") if part.isdigit()]
        if len(values) != len(text.split(",")) or not all(1 <= v <= most for v in values):
            raise argparse.ArgumentTypeError(f"\"{text}\": give numbers from 1 to {most:,}, "
                                             "separated by commas")
        return sorted(set(values))
    return parse


def within(kind, least, most):
    """The type of an option: one number within these bounds."""
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"\"{text}\": give a number from {least} to {most:,}")
        return value
    return parse
