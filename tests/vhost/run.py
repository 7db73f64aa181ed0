"""Real vhost-user peers: tests/vhost/run.py [word of a test's name...]"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / folder) for folder in ("lib", "attack", "smoke", "vhost")]

import result_lines  # noqa: E402

if __name__ == "__main__":
    result_lines.run(ROOT / "tests/vhost")
