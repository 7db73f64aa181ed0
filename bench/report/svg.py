"""Plots as SVG, written by hand: bars with whiskers, and lines over the number of workers."""

import math
from html import escape

COLOURS = ("#2b6ca3", "#d9822b", "#4f9d5d", "#a34b8c", "#7a7a7a", "#b8a13a",
           "#c0392b", "#3aa6a6")
STYLE = """text { font: 12px sans-serif; fill: #222 } .title { font-size: 15px; font-weight: bold }
.small { font-size: 11px; fill: #555 } .grid { stroke: #ddd } .axis { stroke: #888 }
.whisker { stroke: #222; stroke-width: 1.2; fill: none }"""


class Picture:
    def __init__(self, width, height):
        self.parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
                      f'viewBox="0 0 {width} {height}">', f"<style>{STYLE}</style>",
                      f'<rect width="{width}" height="{height}" fill="white"/>']

    def text(self, x, y, words, kind="", anchor="start"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">'
                          f"{escape(words)}</text>")

    def line(self, x1, y1, x2, y2, kind):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
                          f'class="{kind}"/>')

    def bar(self, x, y, width, height, colour):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" '
                          f'height="{height:.1f}" fill="{colour}"/>')

    def path(self, points, colour):
        at = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{at}" fill="none" stroke="{colour}" '
                          'stroke-width="2"/>')
        self.parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
                       for x, y in points]

    def finish(self):
        return "\n".join([*self.parts, "</svg>", ""])


def ticks(most):
    """Round numbers from 0 to at least `most`, about five."""
    if most <= 0:
        return [0, 1]
    step = 10 ** math.floor(math.log10(most / 4))
    step *= next((m for m in (1, 2, 5, 10) if most / (step * m) <= 6), 10)
    return [step * n for n in range(math.ceil(most / step - 1e-9) + 1)]


def number(value):
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{value:.4g}"


def bars(title, unit, footer, series, labels):
    """`series`: name -> a Value or None for each label. Horizontal, so that labels have room."""
    bar, gap, left, right, top = 14, 12, 12 + 7 * max(map(len, labels)), 90, 56
    group = len(series) * bar + gap
    height = top + group * len(labels) + 64
    width = left + 520 + right
    marks = ticks(max(v.high for values in series.values() for v in values if v))
    picture = Picture(width, height)

    def x_of(value):
        return left + 520 * value / marks[-1]

    picture.text(12, 22, title, "title")
    legend(picture, series, 12, 40)
    for mark in marks:
        picture.line(x_of(mark), top, x_of(mark), height - 60, "grid")
        picture.text(x_of(mark), height - 44, number(mark), "small", "middle")
    picture.line(left, top, left, height - 60, "axis")
    picture.text(left + 260, height - 26, unit, "small", "middle")
    for row, words in enumerate(labels):
        y = top + gap / 2 + row * group
        picture.text(left - 6, y + len(series) * bar / 2 + 4, words, anchor="end")
        for place, values in enumerate(series.values()):
            if values[row] is not None:
                colour = COLOURS[place % len(COLOURS)]
                one_bar(picture, x_of, y + place * bar, bar, values[row], colour)
    picture.text(12, height - 8, footer, "small")
    return picture.finish()


def one_bar(picture, x_of, y, bar, value, colour):
    picture.bar(x_of(0), y, x_of(value.median) - x_of(0), bar - 3, colour)
    middle = y + (bar - 3) / 2
    if value.low != value.high:
        picture.line(x_of(value.low), middle, x_of(value.high), middle, "whisker")
        for end in (value.low, value.high):
            picture.line(x_of(end), middle - 3, x_of(end), middle + 3, "whisker")
    picture.text(x_of(max(value.high, value.median)) + 5, middle + 4, number(value.median), "small")


def legend(picture, names, x, y):
    if len(names) < 2:
        return
    for place, name in enumerate(names):
        picture.bar(x, y - 9, 10, 10, COLOURS[place % len(COLOURS)])
        picture.text(x + 14, y, name, "small")
        x += 24 + 7 * len(name)


def lines(title, unit, x_name, footer, series):
    """`series`: name -> [(x, y)]."""
    left, top, width, height = 70, 52, 560, 340
    right = 40 + 7 * max(map(len, series))
    x_most = max(x for points in series.values() for x, _ in points)
    marks = ticks(max(y for points in series.values() for _, y in points))
    picture = Picture(left + width + right, top + height + 70)

    def place(point):
        return left + width * point[0] / x_most, top + height * (1 - point[1] / marks[-1])

    picture.text(12, 22, title, "title")
    picture.text(12, 42, unit, "small")
    for mark in marks:
        picture.line(left, place((0, mark))[1], left + width, place((0, mark))[1], "grid")
        picture.text(left - 6, place((0, mark))[1] + 4, number(mark), "small", "end")
    for x in {x for points in series.values() for x, _ in points if x >= x_most / 20}:
        picture.text(place((x, 0))[0], top + height + 18, number(x), "small", "middle")
    picture.line(left, top + height, left + width, top + height, "axis")
    picture.text(left + width / 2, top + height + 36, x_name, "small", "middle")
    for index, (name, points) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        picture.path([place(p) for p in sorted(points)], colour)
        picture.bar(left + width + 14, top + 18 * index, 10, 10, colour)
        picture.text(left + width + 28, top + 9 + 18 * index, name, "small")
    picture.text(12, top + height + 60, footer, "small")
    return picture.finish()
