"""bench/ports says what is wrong with its command line, in one sentence that names it."""
import subprocess

from smoke import lab

DEVICE = ["--tx", "net_null0"]
CASES = [
    ([], "--tx"),
    (["--rx", "net_null0"], "--tx"),
    ([*DEVICE, "--rate", "fast"], "--rate"),
    ([*DEVICE, "--rate", "0"], "--rate"),
    ([*DEVICE, "--size", "63"], "64 to 9216"),
    ([*DEVICE, "--size", "64", "--protocol", "tcp"], "76 to 9216"),
    ([*DEVICE, "--size", "large"], "--size"),
    ([*DEVICE, "--family", "5"], "--family"),
    ([*DEVICE, "--protocol", "sctp"], "--protocol"),
    ([*DEVICE, "--flows", "0"], "--flows"),
    ([*DEVICE, "--flows", "many"], "flows"),
    ([*DEVICE, "--source", "fd00::1"], "--source"),
    ([*DEVICE, "--destination-mac", "02:00"], "--destination-mac"),
    ([*DEVICE, "--cores", "4000"], "--cores"),
    ([*DEVICE, "--cores", "0,0"], "--cores"),
    ([*DEVICE, "--new-flows", "5", "--bidirectional"], "--new-flows"),
    ([*DEVICE, "--connections", "some"], "--connections"),
    ([*DEVICE, "--connections", "max", "--search"], "--connections"),
    ([*DEVICE, "--search", "--width", "2"], "--width"),
    ([*DEVICE, "--seconds", "-1"], "--seconds"),
    ([*DEVICE, "--fast"], "--fast"),
    (["--tx", "net_no_such_driver0"], "net_no_such_driver0"),
]

program = lab.BUILD / "bench/ports/ports"
for options, word in CASES:
    done = subprocess.run([program, *options], capture_output=True, text=True, timeout=20)
    said = [line for line in done.stderr.splitlines() if line.startswith("ports: ")]
    said = [line for line in said if "debug build" not in line]
    assert done.returncode in (1, 2), (options, done.returncode, done.stderr)
    assert len(said) == 1 and word in said[0], (options, done.stderr)
