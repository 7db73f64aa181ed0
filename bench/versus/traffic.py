"""The generator and judge, build*/bench/versus/traffic/traffic, as an object."""

import json
import subprocess



class Wrong(RuntimeError):
    """A system did to a packet what it must not."""


class Traffic:
    def __init__(self, program, system, scene_file, core, log):
        command = [str(program), "--scene", str(scene_file), "--device", system.device(),
                   "--core", str(core), "--receive-queues", str(system.receive_queues)]
        if system.generator_namespace is not None:
            command = ["ip", "netns", "exec", system.generator_namespace, *command]
        self.system, self.log = system, log
        with open(log, "wb") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True,
                                            stdout=subprocess.PIPE, stderr=errors)
        try:
            self.tsc_hz = self.answer()["tsc_hz"]
        except RuntimeError:
            self.stop()
            raise

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            said = self.log.read_text(errors="replace").strip().splitlines()[-1:]
            raise RuntimeError(f"the generator ended: {' '.join(said)}")
        return json.loads(line)

    def command(self, *words):
        """Has it send; raises Wrong when a frame came back that is not what it must be."""
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        outcome = self.answer()
        if "error" in outcome:
            raise RuntimeError(outcome["error"])
        if outcome["wrong"]:
            raise Wrong(f"{outcome['wrong']} frames are wrong: {outcome['fault']}")
        if outcome["received"] == 0:
            raise Wrong(f"nothing came back of {outcome['sent']} frames")
        return outcome

    def establish(self, flows):
        outcome = self.command("establish", flows)
        if outcome["received"] < flows:
            raise Wrong(f"only {outcome['received']} of {flows} flows have both their request and "
                        "their reply translated")

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def in_window(traffic, system, *words):
    """Sends, and tells what the system has counted meanwhile: (outcome, packets, cycles)."""
    before = system.counters()
    outcome = traffic.command(*words)
    after = system.counters()
    cycles = after.busy_cycles - before.busy_cycles
    cycles += (after.busy_ns - before.busy_ns) * traffic.tsc_hz / 1e9
    return outcome, after.packets - before.packets, cycles
