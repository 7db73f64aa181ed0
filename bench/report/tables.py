"""Results as CSV, with every field, and as a Markdown table for each bench."""

import csv
import io
import json

from rows import flat, is_spread, label, together, varying


def to_csv(rows):
    flattened = []
    for row in rows:
        fields = {}
        for name, value in flat(row):
            if is_spread(value):
                fields.update({f"{name}.{part}": part_value for part, part_value in value.items()})
            else:
                fields[name] = json.dumps(value) if isinstance(value, (list, dict)) else value
        flattened.append(fields)
    columns = list(dict.fromkeys(name for fields in flattened for name in fields))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flattened)
    return out.getvalue()


def figure(value):
    """Three significant digits or a whole number, thousands apart."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def cell(value):
    if value is None:
        return ""
    if value.low == value.high:
        return figure(value.median)
    return f"{figure(value.median)} ({figure(value.low)}–{figure(value.high)})"


def machines(rows):
    """One line for each machine, build and commit that the rows come from."""
    seen = {}
    for row in rows:
        noise = row.get("noise") or {}
        key = tuple(str(row.get(name, "unknown")) for name in
                    ("machine", "kernel", "dpdk", "commit", "build"))
        seen.setdefault(key, []).append((row.get("date", ""), noise.get("quiet", True)))
    for (machine, kernel, dpdk, commit, build), found in seen.items():
        loud = sum(not quiet for _, quiet in found)
        line = f"{machine}, Linux {kernel}, {dpdk}, commit {commit}, {build} build, " \
               f"{max(date for date, _ in found)}"
        if loud:
            line += f"; {loud} of {len(found)} results from a machine that was never quiet " \
                    "(their quietest third)"
        yield line


def to_markdown(rows):
    parts = []
    for bench in dict.fromkeys(row.get("bench", "results") for row in rows):
        own = [row for row in rows if row.get("bench", "results") == bench]
        parts.append(table(bench, own))
    return "\n".join(parts)


def table(bench, rows):
    found = together(rows)
    names = varying(found) or ["case"]
    columns = list(dict.fromkeys(name for values in found.values() for name in values))
    title = bench
    if any(row.get("model") for row in rows):
        title += " (a model, but for what is called measured)"
    lines = [f"## {title}", ""]
    lines.append("| " + " | ".join([n.replace("_", " ") for n in names] +
                                   [c.replace("_", " ") for c in columns]) + " |")
    lines.append("|" + "---|" * len(names) + "---:|" * len(columns))
    for about, values in found.items():
        own = dict(about)
        left = [label(((n, own[n]),)) if n in own else "" for n in names]
        lines.append("| " + " | ".join(left + [cell(values.get(c)) for c in columns]) + " |")
    lines += ["", "Medians (p10–p90, or lowest–highest). " +
              " ".join(f"{line}." for line in machines(rows)), ""]
    return "\n".join(lines)

