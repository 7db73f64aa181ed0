"""Which plots a set of results gives: one for each bench and measure."""

from rows import identity, is_spread, label, together, value_of, varying
from svg import bars, lines
from tables import machines

UNITS = {"cycles_per_packet": "TSC cycles per packet", "ratio": "times rte_hash's look-up alone",
         "cycles_per_operation": "TSC cycles per operation",
         "bytes_per_connection": "bytes per connection"}


def plots(rows):
    """File name -> SVG."""
    out = {}
    for bench in dict.fromkeys(row.get("bench", "results") for row in rows):
        own = [row for row in rows if row.get("bench", "results") == bench]
        found = together(own)
        for measure in dict.fromkeys(name for values in found.values() for name in values):
            name = f"{bench}-{measure}.svg".replace("/", "-")
            if any(row.get("model") for row in own):
                out[name] = over_workers(bench, measure, own, found)
            else:
                out[name] = as_bars(bench, measure, own, found)
    return out


def unit(measure):
    return UNITS.get(measure, measure.replace("_", " "))


def as_bars(bench, measure, rows, found):
    found = {about: values for about, values in found.items() if measure in values}
    names = varying(found)
    labels = [label(about, names) or bench for about in found]
    series = {"podwire": [values[measure] for values in found.values()]}
    baseline = rte_hash(rows) if measure.startswith("cycles_per_") else {}
    if baseline:
        series["rte_hash's look-up alone"] = [baseline.get(label(about)) for about in found]
    return bars(f"{bench}: {unit(measure)}",
                f"{unit(measure)}; median with p10 to p90, or lowest to highest",
                next(machines(rows)), series, labels)


def rte_hash(rows):
    found = {}
    for row in rows:
        spread = row.get("rte_hash_spread")
        if is_spread(spread):
            found[label(identity(row))] = value_of(spread)
    return found


def over_workers(bench, measure, rows, found):
    points = {about: values for about, values in found.items()
              if measure in values and "workers" in dict(about)}
    names = [name for name in varying(points) if name not in ("workers", "elephant_share")]
    series = {}
    for about, values in points.items():
        name = label(about, names) or bench
        series.setdefault(name, []).append((dict(about)["workers"], values[measure].median))
    return lines(f"{bench}: {unit(measure)} (a model, but for what is called measured)",
                 unit(measure), "workers", next(machines(rows)), series)
