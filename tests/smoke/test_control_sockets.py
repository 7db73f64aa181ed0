"""podwired's sockets serve root alone: others cannot connect, and where the mode would let them,
they get one sentence and a closed connection, whatever they ask."""
import json
import os
import socket
import subprocess
import sys

import smoke

NOBODY = 65534


def ask(path, line):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(line)
        return client.makefile("rb").read()


if len(sys.argv) == 3:  # as that other user
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    try:
        print(ask(sys.argv[1], sys.argv[2].encode() + b"\n").decode(), end="")
    except OSError as error:
        print(type(error).__name__)
    sys.exit(0)

with smoke.node() as n:
    n.start()
    for name, line, message in (("cni.sock", {"command": "STATUS"}, "message"),
                                ("podwired.sock", {"command": "pods"}, "error")):
        path, text = n.run_dir / name, json.dumps(line)

        def other(path=path, text=text):
            return subprocess.run([sys.executable, __file__, path, text], capture_output=True,
                                  text=True, check=True, timeout=20).stdout

        mine = ask(path, text.encode() + b"\n")
        assert message not in json.loads(mine), mine
        for folder in (n.folder, n.run_dir):
            folder.chmod(0o755)
        assert other() == "PermissionError\n", other()
        path.chmod(0o666)
        answer = json.loads(other())
        assert answer[message] == f"only root may use {path}" and "result" not in answer, answer
        assert ask(path, text.encode() + b"\n") == mine
