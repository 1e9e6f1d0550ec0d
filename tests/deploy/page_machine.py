"""A folder that stands for the machine of deploy/OPERATING.md, so that its commands run as written.

Paths below /etc, /var and /usr/local are taken to lie in the folder. What needs a machine of its
own is played by small scripts before everything else on the PATH: `systemctl` runs engramd as its
installed unit says and writes down the rest, `systemd-sysusers` remembers users, `install` and
`sudo` ask for no other user than those.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import textwrap
import time
from pathlib import Path

from engram_server import program
from prometheus_program import prometheus_program

SOURCE = Path(__file__).resolve().parents[2]
_MOVED = re.compile(r"(?<![\w./-])/(etc|var|usr/local)(?=[/\s]|$)")

_PLAYED = {
    "systemctl": r"""
        echo "$*" >>"$MACHINE/systemctl"
        [[ ${*: -1} == engramd ]] || exit 0
        case $1 in
          enable | start)
            mkdir -p -m 0700 "$MACHINE/var/lib/engram"
            unit=$MACHINE/usr/local/lib/systemd/system/engramd.service
            command=$(sed -n 's/^ExecStart=//p' "$unit" | sed -E "s#=/(etc|var)/#=$MACHINE/\1/#g")
            # A test that is killed stops no server: then its time ends it.
            eval "exec timeout 200 $command" >>"$MACHINE/engramd.log" 2>&1 </dev/null &
            echo $! >"$MACHINE/engramd.pid"
            ;;
          stop)
            pid=$(<"$MACHINE/engramd.pid")
            kill "$pid" 2>/dev/null || exit 0
            # What nobody waits for has no program any more, and its number stays.
            for ((tries = 0; tries < 600; ++tries)); do
              [[ -e /proc/$pid/exe ]] || exit 0
              sleep 0.1
            done
            exit 1
            ;;
        esac""",
    "systemd-sysusers": r"""
        cd "$MACHINE"
        sed -n 's/^u \([a-z]*\) .*/\1/p' usr/local/lib/sysusers.d/*.conf >users""",
    "install": r"""
        words=()
        while (($# > 0)); do
          case $1 in
            -o | -g) grep -qx "$2" "$MACHINE/users"; shift 2 ;;
            *) words+=("$1"); shift ;;
          esac
        done
        exec /usr/bin/install "${words[@]}" """,
    "sudo": r"""
        [[ $1 == -u ]] && grep -qx "$2" "$MACHINE/users"
        exec "${@:3}" """,
}


def free_address() -> str:
    """Of this machine, and nobody listens there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class Machine:
    """The folder, and what the commands did to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.address = free_address()
        played = root / "played"
        played.mkdir()
        for name, text in _PLAYED.items():
            script = played / name
            script.write_text("#!/usr/bin/env bash\nset -euo pipefail\n" + textwrap.dedent(text))
            script.chmod(0o755)
        promtool = Path(prometheus_program("promtool")).parent
        self._environment = {
            **os.environ,
            "MACHINE": str(root),
            "PATH": f"{played}:{root}/usr/local/bin:{promtool}:{os.environ['PATH']}",
            "ENGRAM_SERVER": self.address,
            "ENGRAM_LISTEN": self.address,
            "ENGRAM_HTTP_LISTEN": "127.0.0.1:0",
        }

    def path(self, absolute: str) -> Path:
        """Where a file of the machine lies."""
        return self.root / absolute.lstrip("/")

    def run(self, commands: str) -> str:
        """Runs them as one script, in the source folder; all must succeed. What they printed."""
        moved = _MOVED.sub(lambda found: f"{self.root}/{found.group(1)}", commands)
        built = str(program("engramd").parents[1])
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", moved.replace("build/release", built)],
            cwd=SOURCE,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        return done.stdout

    def wait_until_it_answers(self) -> None:
        """engramd, as `engram doctor` sees it."""
        deadline = time.monotonic() + 60
        while True:
            try:
                self.run("engram doctor")
                return
            except AssertionError:
                log = (self.root / "engramd.log").read_text(errors="replace")
                assert time.monotonic() < deadline, log[-4000:]

    def stop(self) -> None:
        """The server, where the commands started one."""
        if (self.root / "engramd.pid").exists():
            self.run("systemctl stop engramd")
