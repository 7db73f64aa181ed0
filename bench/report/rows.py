"""Results as the benches print them, one JSON object a line: what a row is about, what it measured,
and what it was measured on."""

import json
import re
from collections import namedtuple

RECORD = ("machine", "cores", "kernel", "dpdk", "commit", "build", "date", "noise")
# What tells two rows of one bench apart; the rest is measured, or of no use in a comparison.
IDENTITY = ("bench", "system", "case", "load", "way", "from", "table", "family", "protocol", "tx",
            "rx", "directions", "size", "burst", "services", "flows", "distribution",
            "elephant_share", "workers")
IDENTITY_OF = {"ports": ("new_flows_per_second",)}
MEASURES = re.compile(r"(cycles|nanoseconds|instructions)_per_|ratio$|bytes_per_|speedup|"
                      r"(?!packets).*_per_second$|(received_)?(mpps|gbit_s)$|ndr|pdr|"
                      r"latency_ns\.p(50|99)$")
MORE_IS_BETTER = re.compile(r".*_per_second$|.*mpps|.*gbit_s|ndr|pdr|speedup")

# One measure of one row. `low` and `high` are p10 and p90, lowest and highest, or the value.
Value = namedtuple("Value", "median low high")


class BadInput(Exception):
    pass


def read(lines, name):
    """The rows of a file; an empty line is nothing. A list of rows on one line is as good."""
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError as error:
            raise BadInput(f"{name}, line {number}: not a JSON object: {error}") from None
        for row in found if isinstance(found, list) else [found]:
            if not isinstance(row, dict) or "bench" not in row and "case" not in row:
                raise BadInput(f"{name}, line {number}: not a result: it has no \"bench\"")
            rows.append(row)
    if not rows:
        raise BadInput(f"{name}: no results")
    return rows


def identity(row):
    """What the row is about: pairs in the order of IDENTITY, hashable."""
    names = IDENTITY + IDENTITY_OF.get(row.get("bench"), ())
    return tuple((name, row[name]) for name in names
                 if isinstance(row.get(name), (str, int, float)))


def is_spread(value):
    return isinstance(value, dict) and "median" in value and \
        ("p10" in value and "p90" in value or "lowest" in value and "highest" in value)


def value_of(spread):
    return Value(spread["median"], spread.get("p10", spread.get("lowest")),
                 spread.get("p90", spread.get("highest")))


def measures(row):
    """name -> Value of everything that is worth a column, in the row's order."""
    about = {name for name, _ in identity(row)}
    found = {}
    for name, value in flat(row):
        if name in about or name.split(".")[0] in RECORD or not MEASURES.match(name):
            continue
        if is_spread(value):
            found[name] = value_of(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[name] = Value(value, value, value)
    if "ratio" in found and "rte_hash_spread" in row:
        found["ratio"] = ratio_value(row, found["ratio"].median)
    return found


def ratio_value(row, median):
    """The ratio with its own spread: the widest that the two sides allow."""
    ours = next((v for k, v in row.items() if k.startswith("cycles_per_") and is_spread(v)), None)
    theirs = row["rte_hash_spread"]
    if ours is None or not theirs["p10"]:
        return Value(median, median, median)
    return Value(median, value_of(ours).low / theirs["p90"], value_of(ours).high / theirs["p10"])


def flat(row, prefix=""):
    """(name, value) with the members of plain objects as name.member; spreads stay whole."""
    for name, value in row.items():
        if isinstance(value, dict) and not is_spread(value):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def together(rows):
    """identity -> measures. Runs of the same thing become one: the median of their medians, and the
    widest of their spreads."""
    runs = {}
    for row in rows:
        runs.setdefault(identity(row), []).append(measures(row))
    return {about: {name: combined([run[name] for run in each if name in run])
                    for name in dict.fromkeys(n for run in each for n in run)}
            for about, each in runs.items()}


def combined(values):
    ordered = sorted(v.median for v in values)
    middle = ordered[len(ordered) // 2] if len(ordered) % 2 else \
        (ordered[len(ordered) // 2 - 1] + ordered[len(ordered) // 2]) / 2
    return Value(middle, min(v.low for v in values), max(v.high for v in values))


def label(about, varying=None):
    """The identity as a person reads it; of `varying` names only, where that is given."""
    words = []
    for name, value in about:
        if varying is not None and name not in varying:
            continue
        if isinstance(value, str):
            words.append(value)
        elif name == "flows":
            words.append(f"{value:,} flows")
        else:
            words.append(f"{name} {value:,}")
    return ", ".join(words)


def varying(abouts):
    """Names that do not have the same value everywhere, in order."""
    values = {}
    for about in abouts:
        for name, value in about:
            values.setdefault(name, set()).add(value)
    partly = {n for n in values if any(n not in dict(about) for about in abouts)}
    return [name for name in IDENTITY + ("new_flows_per_second",)
            if name in values and name != "bench" and (len(values[name]) > 1 or name in partly)]
